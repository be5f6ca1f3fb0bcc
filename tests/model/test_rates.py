"""A changed rate changes how fast the wide side learns, and nothing of what it has learned."""

import dataclasses

import numpy as np
import pytest
from learner_helpers import SEED_RATES, examples, make_learner

from tfonline.keep.contract import CONVERTED

RATES = dataclasses.replace(SEED_RATES, wide_reduction="sum")
IDS = [[0, 2, 4], [1, 2, 4], [0, 3, 4], [1, 3, 4]]
# Its gradients are 0: an update that changes nothing but by its rates.
NO_ROW = examples(IDS, [1, 0, 0, 0], values=np.zeros([4, 3]))


def by_other_rates(num_replicas=1, **changed):
    """A learner that has learned by RATES, and one that has taken it over by changed ones."""
    old = make_learner(num_replicas, rates=RATES)
    for _ in range(20):
        old.train(examples(IDS, [1, 0, 0, 0]))
    new = make_learner(num_replicas, rates=dataclasses.replace(RATES, **changed))
    for mine, theirs in zip(new.variables, old.variables, strict=True):
        mine.assign(theirs)
    assert new.carry_over(old.rates)
    return old, new


def wide(learner):
    """The wide table and the bias."""
    return np.append(learner.model.wide.table.numpy()[:, 0], learner.model.bias.numpy())


@pytest.mark.parametrize("num_replicas", [1, 2])
@pytest.mark.parametrize(
    "changed",
    [
        {"wide_learning_rate": 0.005},
        {"wide_learning_rate": 0.5},
        {"wide_l1": 0.3},
        {"wide_l2": 0.3},
        {"wide_initial_accumulator": 9.0},
        {"wide_learning_rate": 0.01, "wide_l1": 0.1, "wide_l2": 0.2, "wide_initial_accumulator": 0.5},
    ],
)
def test_what_was_learned_stays_at_the_next_update(changed, num_replicas):
    old, new = by_other_rates(num_replicas, **changed)
    learned = wide(old)
    np.testing.assert_array_equal(wide(new), learned)
    new.train(NO_ROW)
    np.testing.assert_allclose(wide(new)[:5], learned[:5], rtol=0, atol=1e-6)  # id 5 and the padding: never seen
    np.testing.assert_array_equal(wide(new)[5:7], learned[5:7])


def test_without_it_the_weights_jump():
    old, _ = by_other_rates(wide_learning_rate=0.005)
    new = make_learner(rates=dataclasses.replace(RATES, wide_learning_rate=0.005))
    for mine, theirs in zip(new.variables, old.variables, strict=True):
        mine.assign(theirs)
    new.train(NO_ROW)
    np.testing.assert_allclose(wide(new)[:5] / wide(old)[:5], 0.1, rtol=1e-4)


def test_it_goes_on_at_the_new_rate():
    """One coordinate by hand: w = -0.5, n = 4, z = 0.5 sqrt(4) / 0.1, then a gradient of 2 at rate 0.1."""
    learner = make_learner(rates=dataclasses.replace(RATES, wide_learning_rate=0.1, wide_l1=0.0, wide_l2=0.0))
    bias, n, z = learner.model.bias, learner.wide_optimizer.accumulators[1], learner.wide_optimizer.linears[1]
    bias.assign(-0.5)
    n.assign(4.0)
    z.assign(0.5 * 2 / 0.7)  # as learned by rate 0.7
    learner.carry_over({**learner.rates, "wide_learning_rate": 0.7})
    np.testing.assert_allclose(z.numpy(), 10.0, rtol=1e-6)
    learner.wide_optimizer._update(bias, n, z, np.float32(2.0))
    by_hand = 10 + 2 + (8**0.5 - 2) / 0.1 * 0.5
    np.testing.assert_allclose(bias.numpy(), -by_hand / (8**0.5 / 0.1), rtol=1e-6)


def test_a_weight_that_l1_holds_at_zero_stays_there():
    learner = make_learner(rates=dataclasses.replace(RATES, wide_l1=0.25))
    bias, z = learner.model.bias, learner.wide_optimizer.linears[1]
    bias.assign(0.0)
    z.assign(-0.75)  # within an l1 of 1
    learner.carry_over({**learner.rates, "wide_l1": 1.0})
    assert z.numpy() == -0.25
    learner.wide_optimizer._update(bias, learner.wide_optimizer.accumulators[1], z, np.float32(0.0))
    assert bias.numpy() == 0.0


def test_the_same_rates_touch_nothing():
    learner = make_learner(rates=RATES)
    learner.train(examples(IDS, [1, 0, 0, 0]))
    before = [v.numpy().tobytes() for v in learner.variables]
    assert not learner.carry_over(learner.rates)
    assert not learner.carry_over({})
    assert [v.numpy().tobytes() for v in learner.variables] == before


def test_the_documented_flags_are_those_that_are_kept():
    assert set(make_learner().rates) == set(CONVERTED)
