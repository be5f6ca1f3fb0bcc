"""Rows that are learned from again: which are kept, what the dense layers learn from them, and that nothing else does."""

import numpy as np
import pytest
import tensorflow as tf
from checkpoint_helpers import checkpoints_of, save
from config_helpers import refusal
from learner_helpers import FOUR_ROWS, as_one, learner_by_flags, make_learner, random_batches, values_of

from tfonline.config import of_flags
from tfonline.features.spec import Spec
from tfonline.lifecycle import UserError
from tfonline.model.past import Past, Replay
from tfonline.model.tables.replicas import make_strategy
from tfonline.state import Position


def replaying(times=2, rows=8, seed=1):
    return make_learner(replay=Replay(times, rows, seed))


def batch_of(first, weight):
    numbers = np.arange(first, first + len(weight), dtype=np.float32)
    return tf.constant(np.stack([numbers, numbers / 2], axis=1)), tf.constant(numbers % 2), tf.constant(weight, tf.float32)


def test_a_row_takes_the_place_of_the_oldest_and_padding_takes_none():
    past = Past(width=2, replay=Replay(times=1, rows=5, seed=1))
    past.keep(*batch_of(0, [1, 1, 0, 0.5]))
    assert past.written.numpy() == 3
    past.keep(*batch_of(10, [1, 0, 1, 1]))
    assert past.written.numpy() == 6
    assert past.remembered.numpy().tolist() == [[13, 6.5], [1, 0.5], [3, 1.5], [10, 5], [12, 6], [0, 0]]
    assert past.outcomes.numpy().tolist() == [[1, 1], [1, 1], [1, 0.5], [0, 1], [0, 1], [0, 0]]


def test_before_the_first_row_nothing_is_drawn_that_counts():
    past = Past(width=2, replay=Replay(times=1, rows=5, seed=1))
    assert past.draw(4).weight.numpy().tolist() == [0, 0, 0, 0]
    past.keep(*batch_of(7, [1, 1]))
    drawn = past.draw(50)
    assert set(drawn.remembered.numpy()[:, 0]) == {7, 8}
    assert drawn.weight.numpy().tolist() == [1] * 50


def test_which_rows_are_drawn_follows_from_the_seed_and_the_rows_so_far():
    def places(seed, written):
        past = Past(width=1, replay=Replay(times=1, rows=100, seed=seed))
        past.remembered.assign(np.arange(101, dtype=np.float16)[:, None])
        past.written.assign(written)
        return past.draw(20).remembered.numpy().ravel().tolist()

    assert places(1, 500) == places(1, 500)
    assert places(1, 500) != places(1, 600)
    assert places(1, 500) != places(2, 500)
    assert max(places(1, 3)) <= 2


def test_only_the_dense_layers_learn_from_the_past_and_the_gradient_is_the_sum_of_the_means():
    learner, alone = replaying(times=1, rows=3), make_learner()
    learner.train(FOUR_ROWS)
    alone.train(FOUR_ROWS)
    # The first step has no past: both have learned the same.
    for one, other in zip(values_of(alone), values_of(learner), strict=False):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)
    drawn = learner.past.draw(4)
    with tf.GradientTape() as tape:
        logits = learner.model.logits_of_remembered(drawn.remembered)["label"]
        loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(drawn.label, logits))
    of_past = tape.gradient(loss, [w.value for w in learner.model.tower.weights])
    weights, inputs = tf.reduce_sum(FOUR_ROWS.weight), FOUR_ROWS._replace(late=())
    _, with_past = learner._forward_backward(weights, inputs)
    _, without = alone._forward_backward(weights, inputs)
    assert with_past.loss == without.loss  # that of the new rows is told
    num_others = len(with_past.dense) - len(of_past)  # the bias, before them
    for i, (one, other) in enumerate(zip(with_past.dense, without.dense, strict=True)):
        more = of_past[i - num_others] if i >= num_others else 0.0
        np.testing.assert_allclose(one, other + more, rtol=1e-5, atol=1e-7)
    for one, other in zip(with_past.tables, without.tables, strict=True):
        np.testing.assert_allclose(one.values, other.values, rtol=1e-6, atol=1e-9)


def test_what_is_remembered_is_from_before_the_row_was_learned_from():
    learner = replaying()
    before = learner.model.embedding.table.numpy()
    learner.train(FOUR_ROWS)
    remembered = learner.past.remembered.numpy()[:3, :6].astype(np.float32)
    np.testing.assert_allclose(remembered, before[FOUR_ROWS.features["ids"][:3]].reshape(3, 6), rtol=1e-3)
    assert np.abs(learner.model.embedding.table.numpy() - before).max() > 1e-4


@pytest.mark.parametrize("other", [{"jit_compile": True}, {"at_once": True}], ids=["compiled", "several steps a call"])
def test_it_learns_the_same_in_other_ways(other):
    flags = {"replay": 3, "replay_rows": 25, "batch_size": 12, "embedding_dim": 5, "deep_layers": "16", "average_rows": 50}
    flags |= {"jit_compile": other.get("jit_compile", False)}
    spec = Spec.of(40, 3, scaled_fields=0)
    plain, changed = (
        learner_by_flags(make_strategy(1, "cpu"), of_flags(**f), spec) for f in (flags | {"jit_compile": False}, flags)
    )
    batches = list(random_batches(6, 12, 40, 3))
    for batch in batches:
        plain.train(batch)
    if "at_once" in other:
        changed.train_steps(tf.constant(6), tf.range(6), as_one(batches))
    else:
        for batch in batches:
            changed.train(batch)
    for one, two in zip(values_of(plain), values_of(changed), strict=True):
        np.testing.assert_allclose(one, two, rtol=2e-3, atol=1e-5)
    np.testing.assert_array_equal(plain.past.outcomes.numpy(), changed.past.outcomes.numpy())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--num_replicas=2"], "--replay=2 with --num_replicas=2"),
        (["--cluster=tf_config"], "--replay=2 with --cluster=tf_config"),
        (["--batch_size=200", "--replay_rows=100"], "--replay_rows=100 is less than --batch_size=200"),
        (["--late_labels=fnw", "--label_topic=outcomes"], "not with --late_labels=fnw"),
    ],
)
def test_what_it_does_not_go_with_is_refused(flags, words):
    assert words in refusal("--replay=2", *flags)[0]


@pytest.mark.parametrize(("network", "scaled"), [("deepfm", 0), ("wide_deep", 2)])
def test_a_network_that_remembers_nothing_is_refused(network, scaled):
    config = of_flags(network=network, replay=1, embedding_dim=2, deep_layers="4")
    with pytest.raises(UserError, match="--replay=1 goes with --network=wide_deep"):
        learner_by_flags(make_strategy(1, "cpu"), config, Spec.of(9, 3, scaled_fields=scaled))


def test_a_resume_draws_and_learns_what_the_run_would_have(tmp_path):
    learner, again = replaying(), replaying()
    for _ in range(3):
        learner.train(FOUR_ROWS)
    position = Position(next=[0], start=[0])
    save(checkpoints_of(tmp_path / "model", learner), 1, position)
    assert checkpoints_of(tmp_path / "model", again, position).restore() == []
    for _ in range(2):
        learner.train(FOUR_ROWS)
        again.train(FOUR_ROWS)
    for one, other in zip(values_of(learner), values_of(again), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.past.written.numpy() == 15
