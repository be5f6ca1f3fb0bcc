"""The copy that a checkpoint is written from: the same names, the same numbers, and nothing of what is learned afterwards."""

import contextlib
import pathlib
import threading

import numpy as np
import pytest
import tensorflow as tf
from checkpoint_helpers import checkpoints_of
from learner_helpers import FOUR_ROWS, SEED_RATES, make_learner

from tfonline.features.spec import Spec
from tfonline.keep import checkpoint_files, packed_counts
from tfonline.keep.snapshot import Snapshot
from tfonline.keep.variables import as_objects, named_variables
from tfonline.model.learner import Learner
from tfonline.model.networks.wide_deep import WideDeep
from tfonline.model.tables import small_counts
from tfonline.model.tables.replicas import make_strategy
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


@pytest.mark.parametrize("num_replicas", [1, 2])
@pytest.mark.parametrize("background", [True, False])
def test_a_save_holds_the_moment_at_which_it_began(background, num_replicas, tmp_path):
    learner, disk_is_free = make_learner(num_replicas, average_rows=100), threading.Lock()
    position = Position(next=[7], start=[0], window=3)
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


def test_a_save_that_training_waits_for_needs_no_memory_for_a_copy(tmp_path):
    learner = make_learner(num_ids=1_000_000, dim=8)
    learner.train(FOUR_ROWS)  # TensorFlow copies a table that was learned by when it is read
    checkpoints = checkpoints_of(tmp_path, learner, Position(next=[7], start=[0], window=3), background=False)
    held = resident_mb("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the highest so far is what there is now
    checkpoints.begin(contextlib.nullcontext())
    assert resident_mb("VmHWM") - held < 50  # of 108
    checkpoints.close()


def resident_mb(which):
    """What Linux says of this process's memory."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(which)).split()[1]) / 1000


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


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_many_counts_are_saved_in_few_bytes_and_read_to_the_bit(num_replicas, tmp_path):
    buckets = 150_000
    counts = np.zeros([buckets + 1, 2], np.float32)
    counts[:1000] = np.arange(2000).reshape(1000, 2)  # 255 and more do not fit in a byte
    counts[2000:2006] = [[0.5, 0], [2.0**20, 3], [1 / 3, 1e-9], [-0.0, 0], [-2, 1], [254, 255]]
    saved = learner_with_pairs(num_replicas, buckets)
    saved.model.cross_history.counts.assign(counts)
    older, checkpoints = write(tmp_path / "ckpt-1", saved), checkpoints_of(tmp_path / "packed", saved, background=True)
    checkpoints.begin(contextlib.nullcontext())
    saved.model.cross_history.counts.assign(np.full_like(counts, 7))
    path = checkpoints.finished(wait=True)
    assert sum(file.stat().st_size for file in checkpoint_files.files(pathlib.Path(path))) < counts.nbytes / 10
    checkpoints.close()
    restored = learner_with_pairs(num_replicas, buckets)
    for before_format_4 in (False, True):
        restored.model.cross_history.counts.assign(np.full_like(counts, 8))
        if before_format_4:
            packed_counts.read(older, {f"learner/{name}": v for name, v in named_variables(restored).items()})
        else:
            checkpoints_of(tmp_path / "packed", restored).restore()
        for copy in restored._strategy.experimental_local_results(restored.model.cross_history.counts):
            assert copy.numpy().tobytes() == counts.tobytes()
    with pytest.raises(ValueError, match="rows of counts, for"):
        packed_counts.read(path, {"learner/model/cross_history/counts": tf.Variable(tf.zeros([buckets + 2, 2]))})


@pytest.mark.parametrize(("most", "dtype"), [(3, np.uint8), (3000, np.uint16), (1e9, np.float32)])
def test_counts_take_as_many_bytes_as_most_of_them_need(most, dtype):
    values = np.random.default_rng(1).integers(0, most, [1000, 2]).astype(np.float32)
    part = small_counts.encode(values)
    assert part.codes.dtype == dtype
    assert np.concatenate(list(packed_counts.unpack(packed_counts.pack([part] * 2)))).tobytes() == values.tobytes() * 2


@pytest.mark.parametrize("wrong", [np.nan, -np.inf])
def test_a_number_that_is_not_finite_is_found_in_a_large_table(wrong, monkeypatch):
    monkeypatch.setattr(small_counts, "ROWS_AT_ONCE", 10)
    learner = learner_with_pairs(1, 24)
    assert learner.all_finite()
    learner.model.cross_history.counts.assign(np.array([[0, 0]] * 24 + [[0, wrong]], np.float32))
    assert not learner.all_finite()


def learner_with_pairs(num_replicas, buckets):
    strategy = make_strategy(num_replicas, "cpu")
    with strategy.scope():
        network = WideDeep(Spec.of(6, 3, cross_buckets=buckets), 2, (4,), "glorot", 0.1, seed=3)
    return Learner(strategy, network, SEED_RATES)
