"""Checkpoints for tests: small ones, what is in one, and those that older versions wrote."""

import contextlib
import json

import tensorflow as tf

from tfonline.evaluate.progressive import ProgressiveMetrics
from tfonline.keep.checkpoints import Checkpoints
from tfonline.keep.learner import KeptLearner
from tfonline.state import FileLengths, Position


def parts_of(learner, position=None, metrics=None):
    """What a run keeps."""
    return KeptLearner(learner), position or Position(next=[0], start=[0]), metrics or ProgressiveMetrics(100), FileLengths()


def checkpoints_of(folder, learner, position=None, keep=2, background=False, metrics=None, contract=None):
    folder.mkdir(exist_ok=True)
    return Checkpoints(str(folder), keep, parts_of(learner, position, metrics), contract or {}, background)


def save(checkpoints, window, position):
    position.window, position.next = window, [10 * window]
    checkpoints.begin(contextlib.nullcontext())
    return checkpoints.finished(wait=True)


def saved(model_dir):
    """All tensors of the newest checkpoint, and all of its plain data but the metrics, which stand among the tensors."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(model_dir)))
    tensors = {n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map()}
    state = json.loads(tensors.pop("state/.ATTRIBUTES/py_state"))
    assert json.loads(tensors.pop("position/.ATTRIBUTES/py_state")) == {"format": state["format"]}
    tensors.pop("_CHECKPOINTABLE_OBJECT_GRAPH")
    parts = {name: part["state"] for name, part in state["parts"].items()}
    tensors["metrics"] = parts["metrics"]
    return tensors, {**parts["position"], **parts["learner"], "files": parts["files"], "contract": state["contract"]}


def saved_parts(model_dir):
    """The plain data of each part of the newest checkpoint, by name."""
    text = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(model_dir))).get_tensor("state/.ATTRIBUTES/py_state")
    return {name: part["state"] for name, part in json.loads(text)["parts"].items()}


def contents(folder):
    """All files of a model folder but what says that somebody was there."""
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name not in (".lock", "status")}


class _Text(tf.train.experimental.PythonState):
    def __init__(self, text):
        self._text = text

    def serialize(self):
        return self._text

    def deserialize(self, _):
        raise AssertionError


def as_format_1(folder, learner, fields, metrics):
    """A checkpoint as TensorFlow's manager wrote it: no number, no rates, and a save_counter.

    Args:
      fields: of the position, among them the contract and the lengths of files.
      metrics: their state.
    """
    texts = {"position": _Text(json.dumps(fields)), "metrics": _Text(metrics.get_state())}
    checkpoint = tf.train.Checkpoint(learner=learner, **texts)
    return tf.train.CheckpointManager(checkpoint, str(folder), 5, checkpoint_name="ckpt").save(checkpoint_number=fields["window"])


def as_format_2(folder, learner, fields, metrics):
    """A checkpoint with its number and the rates among the position's fields."""
    texts = {"position": _Text(json.dumps({**fields, "format": 2})), "metrics": _Text(metrics.get_state())}
    return tf.train.Checkpoint(learner=learner, **texts).write(f"{folder}/ckpt-{fields['window']}")
