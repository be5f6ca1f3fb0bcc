"""The average of the dense layers: by hand, under replicas, and that it scores and does not learn."""

import numpy as np
import pytest
import tensorflow as tf
from learner_helpers import FOUR_ROWS, make_learner


def weights(tower):
    return [w.numpy() for w in tower.weights]


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_the_average_by_hand(num_replicas):
    learner = make_learner(num_replicas, average_rows=10)
    want, shift, information = weights(learner.model.average), 0.0, 0.0
    for step in range(1, 15):
        logits = learner.train(FOUR_ROWS).logits.numpy()[:3]
        part = min(1, 3 / (0.3 * min(3 * step, 10 / 0.3)))  # of the 3 rows that count; in the end 3 of 10
        want = [a + part * (w - a) for a, w in zip(want, weights(learner.model.tower), strict=True)]
        p = 1 / (1 + np.exp(-logits.astype(np.float64)))
        information = (1 - part) * information + (p * (1 - p)).sum()
        shift -= (p - [1, 0, 1]).sum() / (information + 50)
    for copy in learner._strategy.experimental_local_results(learner.model.average.shift):
        np.testing.assert_allclose(copy.numpy(), [shift, information], rtol=1e-4)
    for average, by_hand in zip(learner.model.average.weights, want, strict=True):
        for copy in learner._strategy.experimental_local_results(average.value):
            np.testing.assert_allclose(copy.numpy(), by_hand, rtol=1e-4, atol=1e-7)
    assert part == 0.3


def test_the_average_scores_and_changes_nothing_of_what_is_learned():
    plain, averaged = make_learner(), make_learner(average_rows=1000)
    for _ in range(3):
        plain_result, result = plain.train(FOUR_ROWS), averaged.train(FOUR_ROWS)
    assert result.losses["wide_loss"] == plain_result.losses["wide_loss"]  # of the weights that learn
    for one, other in zip(*([*x.learned_by("ftrl"), *x.learned_by("adam")] for x in (plain, averaged)), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    before = averaged.score(FOUR_ROWS.features)
    np.testing.assert_allclose(averaged.train(FOUR_ROWS).logits, before, rtol=1e-6)
    rows = averaged._lookup.rows(FOUR_ROWS.features["ids"])
    wide, inputs = averaged.model.sides(rows, FOUR_ROWS.features)
    np.testing.assert_allclose(averaged.score(FOUR_ROWS.features), wide + averaged.model.average(inputs), rtol=1e-6)
    assert not np.allclose(averaged.score(FOUR_ROWS.features), plain.score(FOUR_ROWS.features), rtol=1e-4)


def test_the_shift_brings_the_scores_to_the_share_of_clicks():
    learner = make_learner(average_rows=10_000)
    learner.model.average.dense_1.bias.assign([3.0])
    off = abs(tf.sigmoid(learner.score(FOUR_ROWS.features)[:3]).numpy().mean() - 2 / 3)
    for _ in range(300):
        learner.train(FOUR_ROWS)
    assert abs(tf.sigmoid(learner.score(FOUR_ROWS.features)[:3]).numpy().mean() - 2 / 3) < off / 5


def test_bfloat16_multiplies_roughly_and_keeps_exact_weights():
    exact, rough = make_learner(), make_learner(precision="bfloat16")
    for _ in range(3):
        exact_logits, logits = exact.train(FOUR_ROWS).logits, rough.train(FOUR_ROWS).logits
    assert logits.dtype == tf.float32
    assert {w.dtype for w in rough.learned_by("adam")} == {tf.float32}
    np.testing.assert_allclose(logits, exact_logits, atol=2e-3)
    assert not np.array_equal(logits, exact_logits)
