"""Checkpoints: weights, slots, next offsets, counters and metric state in one tf.train.Checkpoint.

That they stand in one checkpoint is what makes a row count exactly once: there is no moment at which the weights know of a row
that the offsets do not.
"""

import base64
import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, Protocol

import tensorflow as tf

from tfonline.lifecycle import Exit, UserError


@dataclasses.dataclass
class Position:
    """Where in the stream the model is, and what it has learned from. Plain data; changed only by the training loop.

    Attributes:
      next: the next offset of each partition.
      start: the offsets at which the model's first window began.
      stop: the offsets at which the run ends, or None.
      stop_at: the flag that `stop` was resolved from.
      window: the next window's number.
      step: train steps done.
      rows: rows trained.
      rejected: rows refused, by reason.
      skipped: offsets passed over by --lag_policy=skip.
      fingerprint: sum of the fingerprints of the trained rows, mod 2^64.
      contract: what the weights were made for: schema, dictionaries, sizes, topic.
      files: length in bytes of the files beside the checkpoint, to cut them back to.
    """

    next: list[int]
    start: list[int]
    stop: list[int] | None = None
    stop_at: str = ""
    window: int = 0
    step: int = 0
    rows: int = 0
    rejected: dict[str, int] = dataclasses.field(default_factory=dict)
    skipped: int = 0
    fingerprint: int = 0
    contract: dict[str, Any] = dataclasses.field(default_factory=dict)
    files: dict[str, int] = dataclasses.field(default_factory=dict)


class Metrics(Protocol):
    """What goes on counting after a restart."""

    def state(self) -> bytes:
        """Its state."""

    def restore(self, state: bytes) -> None:
        """Takes over a state."""


class _Text(tf.train.experimental.PythonState):
    """A string in a checkpoint, made when it is saved."""

    def __init__(self, get: Callable[[], str]):
        self._get, self.value = get, ""

    def serialize(self) -> str:
        return self._get()

    def deserialize(self, string_value: bytes | str) -> None:
        self.value = string_value.decode() if isinstance(string_value, bytes) else string_value


class Checkpoints:
    """The checkpoints of a model folder; `ckpt-<n>` holds the model before window n.

    Args:
      folder: the model folder.
      keep: how many are kept.
      learner: weights and slots.
      position: saved as it is at the save.
      metrics: likewise.
    """

    def __init__(self, folder: str, keep: int, learner: tf.Module, position: Position, metrics: Metrics):
        self._folder, self._metrics = pathlib.Path(folder), metrics
        self._text = _Text(lambda: json.dumps(dataclasses.asdict(position)))
        self._metric_text = _Text(lambda: base64.b64encode(metrics.state()).decode())
        self._position = position
        self._checkpoint = tf.train.Checkpoint(learner=learner, position=self._text, metrics=self._metric_text)
        self._manager = tf.train.CheckpointManager(self._checkpoint, folder, max_to_keep=keep, checkpoint_name="ckpt")
        for torn in self._folder.glob("ckpt-*_temp"):  # left by a kill in the middle of a save
            shutil.rmtree(torn, ignore_errors=True)

    @property
    def latest(self) -> str:
        """Path of the newest checkpoint."""
        return self._manager.latest_checkpoint or ""

    @property
    def oldest_window(self) -> int:
        """The window before which the oldest kept checkpoint was saved."""
        return min((int(path.rpartition("-")[2]) for path in self._manager.checkpoints), default=0)

    def save(self) -> str:
        """Writes a checkpoint, numbered by the next window; returns its path."""
        return self._manager.save(checkpoint_number=self._position.window)

    def restore(self) -> None:
        """Takes over everything from the newest checkpoint; `saved_position` has said beforehand that it fits."""
        self._checkpoint.restore(self.latest).assert_existing_objects_matched()
        for field, value in json.loads(self._text.value).items():
            setattr(self._position, field, value)
        self._metrics.restore(base64.b64decode(self._metric_text.value))


def saved_position(folder: str) -> Position | None:
    """The position in a model folder's newest checkpoint, read without a model; None where there is no checkpoint.

    Raises:
      UserError: the checkpoint is not one of tfonline's (exit 78).
    """
    path = tf.train.latest_checkpoint(folder)
    if not path:
        return None
    try:
        reader = tf.train.load_checkpoint(path)
        return Position(**json.loads(reader.get_tensor("position/.ATTRIBUTES/py_state")))
    except (tf.errors.OpError, ValueError, TypeError) as e:
        raise UserError(
            f"{path} cannot be read as a checkpoint of tfonline ({e}). Use a new --model_dir, or remove the newest checkpoint's "
            "files and its name in the file 'checkpoint' to go back to the one before.",
            Exit.CONFIG,
        ) from e


def check_contract(folder: str, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compares what the checkpoint was made for with what the flags say.

    Raises:
      UserError: with each difference (exit 78).
    """
    differences = [
        f"  {name}: the checkpoint has {saved.get(name)!r}, this run {wanted.get(name)!r}"
        for name in sorted({*saved, *wanted})
        if saved.get(name) != wanted.get(name)
    ]
    if differences:
        raise UserError(
            f"the model in {folder} was made for another configuration:\n"
            + "\n".join(differences)
            + "\nUse the same as before, or a new --model_dir.",
            Exit.CONFIG,
        )
