"""Fields that are one row of weights times a value: the same model as with any ids and values, by fewer products."""

import numpy as np
import pytest
import tensorflow as tf
from learner_helpers import examples, learner_by_flags

from tfonline.config import of_flags
from tfonline.features.spec import Spec
from tfonline.model.tables.replicas import make_strategy

NUM_IDS, FIELDS, SCALED, DIM, UNITS, ROWS = 30, 5, 3, 4, 6, 16


def make(scaled_fields, num_replicas=1, **flags):
    flags = {"embedding_dim": DIM, "deep_layers": f"{UNITS},3", "l2": 0.01, "seed": 5, **flags}
    spec = Spec.of(NUM_IDS, FIELDS, scaled_fields=scaled_fields)
    return learner_by_flags(make_strategy(num_replicas, "cpu"), of_flags(**flags), spec)


def batches(count=20):
    """Rows as the features give them, the last three of each batch refused or padding."""
    random = np.random.default_rng(7)
    for _ in range(count):
        ids = random.integers(SCALED, NUM_IDS, (ROWS, FIELDS))
        ids[:, :SCALED] = np.arange(SCALED)
        values = np.ones((ROWS, FIELDS), np.float32)
        values[:, :SCALED] = random.random((ROWS, SCALED)) * (random.random((ROWS, SCALED)) < 0.8)  # a missing one is 0
        ids[-3:], values[-3:] = NUM_IDS, 0
        yield examples(ids, random.integers(0, 2, ROWS), values, [1.0] * (ROWS - 3) + [0.0] * 3)


def split(learner, variables):
    """The first layer's kernel, [units, numbers a row], and the others; of weights, or of their slots, in the weights' order."""
    tower = learner.model.tower
    own = [tower.dense_0.kernel.shape, (SCALED, DIM, UNITS)]
    values = [v.numpy() for v in variables]
    parts = [v for v in values if v.shape in own]
    if learner.model._scaled_fields:
        scaled, kernel = parts
        parts = [np.concatenate([scaled.transpose(2, 0, 1).reshape(UNITS, -1), kernel], axis=1)]
    (whole,) = parts
    return [whole, *(v for v in values if v.shape not in own)]


def everything(learner):
    deep, wide = learner.deep_optimizer, learner.wide_optimizer
    groups = [split(learner, g) for g in (learner.all_weights, deep.means, deep.squares)]
    return [v for g in groups for v in g] + [v.numpy() for v in wide.variables]


@pytest.mark.parametrize("num_replicas", [1, 2])
@pytest.mark.parametrize("flags", [{}, {"wide_reduction": "sum", "history": True}])
def test_it_learns_the_same(num_replicas, flags):
    plain, scaled = make(None, num_replicas, **flags), make(SCALED, num_replicas, **flags)
    starts = everything(plain), everything(scaled)
    for a, b in zip(*starts, strict=True):
        np.testing.assert_array_equal(a, b)
    for some in batches():
        of_plain, of_scaled = plain.train(some), scaled.train(some)
        for a, b in zip(*map(tf.nest.flatten, (of_plain, of_scaled)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    for start, a, b in zip(starts[0], everything(plain), everything(scaled), strict=True):
        moved = np.linalg.norm(a - start)
        assert np.linalg.norm(a - b) <= 1e-4 * moved + 1e-7


def test_rows_that_a_batch_does_not_have_stay():
    learner = make(SCALED)
    before = learner.model.embedding.table.numpy()
    some = next(batches(1))
    learner.train(some)
    moved = np.flatnonzero((learner.model.embedding.table.numpy() != before).any(axis=1))
    assert moved.tolist() == sorted(set(some.features["ids"].numpy().ravel()) - {NUM_IDS})


def test_columns_of_numbers_only():
    spec = Spec.of(SCALED, SCALED, scaled_fields=SCALED)
    learner = learner_by_flags(make_strategy(1, "cpu"), of_flags(embedding_dim=DIM, deep_layers=str(UNITS)), spec)
    ids, values = np.tile(np.arange(SCALED), (ROWS, 1)), np.random.default_rng(1).random((ROWS, SCALED))
    some = examples(ids, values[:, 0] > 0.5, values)
    losses = [float(learner.train(some).losses["wide_loss"]) for _ in range(60)]
    assert losses[-1] < losses[0] - 0.01


def test_the_average_has_both_parts_of_the_kernel():
    learner = make(SCALED, average_rows=1)  # of the last step alone
    for some in batches(3):
        learner.train(some)
    towers = learner.model.average, learner.model.tower
    np.testing.assert_allclose(*(split(learner, [w.value for w in t.weights])[0] for t in towers), rtol=1e-6)
