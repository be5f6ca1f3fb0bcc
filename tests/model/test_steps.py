"""Several steps a call: the same steps, to the last bit, as so many calls; and what a run makes of them."""

import json

import numpy as np
import pytest
import tensorflow as tf
from checkpoint_helpers import saved
from learner_helpers import as_one, examples, learner_by_flags, random_batches, values_of
from rows import make_rows

from tfonline.ahead import ahead
from tfonline.config import of_flags
from tfonline.evaluate.progressive import PREDICTION
from tfonline.features.spec import Spec
from tfonline.lifecycle import UserError
from tfonline.model.tables.replicas import make_strategy

NUM_IDS, FIELDS, ROWS = 30, 3, 12


def learner_of(num_replicas, **flags):
    flags = {"embedding_dim": 5, "deep_layers": "16,4", "l2": 1e-3, "history": True, "average_rows": 50} | flags
    config = of_flags(batch_size=ROWS, num_replicas=num_replicas, **flags)
    return learner_by_flags(make_strategy(num_replicas, "cpu"), config, Spec.of(NUM_IDS, FIELDS))


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_steps_of_one_call_are_those_of_single_calls_to_the_last_bit(num_replicas):
    single, grouped = learner_of(num_replicas), learner_of(num_replicas)
    batches = list(random_batches(7, ROWS, NUM_IDS, FIELDS))  # some padded, down to one row
    want = [single.train(b) for b in batches]
    got = [grouped.train_steps(tf.constant(4), tf.constant([0, 1, 2, 3]), as_one(batches[:4]))]
    empty = examples(np.full((ROWS, FIELDS), NUM_IDS), np.zeros(ROWS), np.zeros((ROWS, FIELDS)), np.zeros(ROWS))
    got.append(grouped.train_steps(tf.constant(3), tf.constant([0, 2, 3, 1]), as_one([batches[4], empty, *batches[5:]])))
    logits = np.concatenate([r.logits.numpy().reshape(4, ROWS) for r in got])
    losses = np.concatenate([np.stack([r.losses["wide_loss"], r.losses["deep_loss"]], axis=1) for r in got])
    np.testing.assert_array_equal(logits[5], 0)  # of the batch that was no step
    np.testing.assert_array_equal(losses[5], 0)
    np.testing.assert_array_equal(np.delete(logits, 5, axis=0), [r.logits for r in want])
    np.testing.assert_array_equal(np.delete(losses, 5, axis=0), [(r.losses["wide_loss"], r.losses["deep_loss"]) for r in want])
    for a, b in zip(values_of(single), values_of(grouped), strict=True):
        np.testing.assert_array_equal(a, b)
    assert grouped.deep_optimizer.step.values[0].numpy() == 7
    assert grouped._train_steps.experimental_get_tracing_count() == 1


def test_one_step_a_call_is_a_step():
    single, other = learner_of(1), learner_of(1)
    for b in random_batches(3, ROWS, NUM_IDS, FIELDS):
        want, got = single.train(b), other.train_steps(tf.constant(1), tf.constant([0]), b)
        np.testing.assert_array_equal(got.logits, want.logits)
        assert got.losses["wide_loss"].numpy().tolist() == [float(want.losses["wide_loss"])]
    np.testing.assert_array_equal(single.model.embedding.table, other.model.embedding.table)


@pytest.fixture
def grouped_and_single(topic, start, tmp_path):
    """Folders of two runs over the same windows of 150 rows, in batches of 32: seven steps a call, and one."""
    rows = make_rows(730)
    rows[100:200] = [b"garbage"] * 100  # in windows 1 and 2: batches without a row among others
    name = topic([rows])
    flags = {"window_rows": 150, "save_predictions": True, "loss_log_every_steps": 1, "max_rejected_ratio": 1}
    for steps in (7, 1):
        start(topic=name, steps_per_call=steps, model_dir=str(tmp_path / str(steps)), **flags)
    return tmp_path / "7", tmp_path / "1"


def test_a_run_with_several_steps_a_call_leaves_what_a_run_with_one_leaves(grouped_and_single):
    grouped, single = grouped_and_single
    (tensors, position), (other, other_position) = saved(grouped), saved(single)
    assert position["step"] == 23  # 5 windows: 4 + 4 + 5 + 5 + 5, as a batch of each of the first two was all refused
    assert position["rows"] == 630
    assert position == other_position
    assert {n for n in tensors if np.asarray(tensors[n]).tobytes() != np.asarray(other[n]).tobytes()} == set()
    for name in ("loss.log", "predictions.bin", "rejected.jsonl"):
        assert (grouped / name).read_bytes() == (single / name).read_bytes(), name
    scored = np.fromfile(grouped / "predictions.bin", PREDICTION)
    assert scored["offset"].tolist() == [*range(100), *range(200, 730)]
    totals = [json.loads((folder / "summary.json").read_text())["total"] for folder in grouped_and_single]
    assert totals[0] == totals[1]


def test_the_step_at_which_the_loss_is_not_finite_is_named(topic, start, tmp_path):
    name = topic([make_rows(400)])
    errors = []
    for i, steps in enumerate((1, 5)):
        with pytest.raises(UserError, match="the loss is") as e:
            start(topic=name, deep_learning_rate=1e30, model_dir=str(tmp_path / str(i)), steps_per_call=steps)
        errors.append(str(e.value).split(",")[0])
    assert errors[0] == errors[1]


def test_items_are_prepared_while_the_one_before_is_worked_on():
    prepared = []

    def double(n):
        prepared.append(n)
        return 2 * n

    assert list(ahead(range(4), double, threaded=False)) == list(ahead(range(4), double, threaded=True))
    prepared.clear()
    pairs = ahead(range(3), double, threaded=True)
    assert next(pairs) == (0, 0)
    assert next(pairs) == (1, 2)  # which was fetched when 0 was given
    assert list(pairs) == [(2, 4)]
    assert prepared == [0, 1, 2]


def test_an_error_comes_in_its_place():
    def items():
        yield 1
        raise ValueError("the second")

    pairs = ahead(items(), str, threaded=True)
    assert next(pairs) == (1, "1")
    with pytest.raises(ValueError, match="the second"):
        next(pairs)
