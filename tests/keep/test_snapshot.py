"""The copy that a checkpoint is written from: the same names, the same numbers, and nothing of what is learned afterwards."""

import contextlib
import threading

import numpy as np
import pytest
import tensorflow as tf
from checkpoint_helpers import checkpoints_of
from learner_helpers import FOUR_ROWS, make_learner

from tfonline.keep.snapshot import Snapshot
from tfonline.keep.variables import as_objects, named_variables
from tfonline.state import Position


def content(path):
    """Name to bytes of what a checkpoint holds of the learner."""
    reader = tf.train.load_checkpoint(str(path))
    return {n: reader.get_tensor(n).tobytes() for n in reader.get_variable_to_shape_map() if n.startswith("learner/")}


def write(path, learner):
    return tf.train.Checkpoint(learner=learner).write(str(path))


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_a_copy_is_the_model_as_it_was_under_the_same_names(num_replicas, tmp_path):
    learner = make_learner(num_replicas, average_rows=100)
    learner.train(FOUR_ROWS)
    snapshot = Snapshot(named_variables(learner))
    learner.train(FOUR_ROWS)
    snapshot.take()
    then = content(write(tmp_path / "then", learner))
    for _ in range(3):
        learner.train(FOUR_ROWS)
    assert content(write(tmp_path / "now", learner)) != then
    copy = tf.train.Checkpoint(**as_objects(snapshot.copies))
    assert content(write(tmp_path / "copy", copy)) == then
    snapshot.give_back()
    assert content(write(tmp_path / "back", learner)) == then
    for copy in learner._strategy.experimental_local_results(learner.model.embedding.table):
        assert copy.numpy().tobytes() == then["learner/model/embedding/table/.ATTRIBUTES/VARIABLE_VALUE"]


@pytest.mark.parametrize("background", [True, False])
def test_a_save_holds_the_moment_at_which_it_began(background, tmp_path):
    learner, position, disk_is_free = make_learner(average_rows=100), Position(next=[7], start=[0], window=3), threading.Lock()
    checkpoints = checkpoints_of(tmp_path, learner, position, background=background)
    learner.train(FOUR_ROWS)
    then = content(write(tmp_path / "then", learner))
    if background:
        disk_is_free.acquire()
    checkpoints.begin(disk_is_free)
    if background:
        assert checkpoints.writing
        assert checkpoints.finished() is None
        learner.train(FOUR_ROWS)
        position.next, position.window = [9], 4
        disk_is_free.release()
    path = checkpoints.finished(wait=True)
    assert path == str(tmp_path / "ckpt-3")
    assert checkpoints.finished() is None
    assert content(path) == then
    learner.train(FOUR_ROWS)
    checkpoints.restore()
    assert (position.next, position.window) == ([7], 3)
    assert content(write(tmp_path / "restored", learner)) == then
    checkpoints.close()


def test_either_way_of_saving_reads_what_the_other_wrote(tmp_path):
    weights = []
    for background in (True, False, True):
        learner = make_learner(average_rows=100)
        checkpoints = checkpoints_of(tmp_path, learner, background=background)
        if weights:
            checkpoints.restore()
            assert np.array_equal(weights[-1], learner.model.embedding.table.numpy())
        learner.train(FOUR_ROWS)
        checkpoints.begin(contextlib.nullcontext())
        checkpoints.finished(wait=True)
        weights.append(learner.model.embedding.table.numpy())
        checkpoints.close()
    assert not np.array_equal(weights[0], weights[1])
