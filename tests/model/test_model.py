"""The seed's formulas in plain numpy against the train step, and the number of replicas against one."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from learner_helpers import SEED_RATES, examples, make_learner, random_batches, values_of

from tfonline.lifecycle import UserError
from tfonline.model.tables.distinct import Distinct
from tfonline.model.tables.optimizers import Ftrl, LazyAdam
from tfonline.model.tables.replicas import make_strategy


class SeedInNumpy:
    """Wide & Deep with one hidden layer, FTRL and Adam as the replaced system states them, float64."""

    def __init__(self, learner, rates):
        model = learner.model
        as64 = lambda v: v.numpy().astype(np.float64)  # noqa: E731
        self.w, self.b = as64(model.wide.table), as64(model.bias)
        self.deep = [as64(model.embedding.table)] + [as64(w) for w in model.tower.weights]
        self.r, self.t = rates, 0
        self.n, self.z = np.ones_like(self.w), np.zeros_like(self.w)
        self.nb, self.zb = 1.0, 0.0
        self.m, self.v = [np.zeros_like(x) for x in self.deep], [np.zeros_like(x) for x in self.deep]

    def ftrl(self, w, n, z, g):
        lr, l1, l2 = self.r.wide_learning_rate, self.r.wide_l1, self.r.wide_l2
        new_n = n + g**2
        z = z + g - (np.sqrt(new_n) - np.sqrt(n)) / lr * w
        w = np.where(np.abs(z) > l1, (np.sign(z) * l1 - z) / (np.sqrt(new_n) / lr + 2 * l2), 0.0)
        return w, new_n, z

    def step(self, label, ids, values):
        e, k1, b1, k2, b2 = self.deep
        batch_size = len(label)
        x = (e[ids] * values[:, :, None]).reshape(batch_size, -1)
        h = np.maximum(x @ k1.T + b1, 0)  # kernels are [units, inputs]
        logit = (self.w[ids, 0] * values).sum(1) + self.b + (h @ k2.T + b2)[:, 0]
        wide_loss = np.mean(np.logaddexp(0, logit) - label * logit)
        deep_loss = wide_loss + self.r.l2 / 2 * (e[:-1] ** 2).sum()  # the padding row is no part of the table
        g = (1 / (1 + np.exp(-logit)) - label) / batch_size
        gw, ge = np.zeros_like(self.w), np.zeros_like(e)
        np.add.at(gw, ids, (g[:, None] * values)[:, :, None])
        gh = (g[:, None] @ k2) * (h > 0)
        gx = (gh @ k1).reshape(*ids.shape, -1) * values[:, :, None]
        np.add.at(ge, ids, gx)
        ge[:-1] += self.r.l2 * e[:-1]
        gradients = [ge, gh.T @ x, gh.sum(0), g[:, None].T @ h, g.sum(keepdims=True)]
        self.w, self.n, self.z = self.ftrl(self.w, self.n, self.z, gw)
        self.b, self.nb, self.zb = self.ftrl(self.b, self.nb, self.zb, g.sum())
        self.t += 1
        rate = self.r.deep_learning_rate * np.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
        for i, gi in enumerate(gradients):
            self.m[i] = 0.9 * self.m[i] + 0.1 * gi
            self.v[i] = 0.999 * self.v[i] + 0.001 * gi**2
            self.deep[i] = self.deep[i] - rate * self.m[i] / (np.sqrt(self.v[i]) + 1e-8)
        return wide_loss, deep_loss


def test_three_steps_are_the_formulas_of_the_replaced_system():
    learner = make_learner()
    plain = SeedInNumpy(learner, SEED_RATES)
    random = np.random.default_rng(7)
    for _ in range(3):
        ids = np.array([[0, 1, 2], [3, 4, 5], [5, 4, 0], [1, 1, 2]])  # every row of the table, some repeatedly
        label, values = random.integers(0, 2, 4).astype(float), random.random((4, 3)).round(2)
        want_wide, want_deep = plain.step(label, ids, values)
        result = learner.train(examples(ids, label, values))
        assert float(result.losses["wide_loss"]) == pytest.approx(want_wide, rel=1e-6)
        assert float(result.losses["deep_loss"]) == pytest.approx(want_deep, rel=1e-6)
    model = learner.model
    got = [model.wide.table, model.bias, model.embedding.table, *model.tower.weights]
    for g, want in zip(got, [plain.w, plain.b, *plain.deep], strict=True):
        np.testing.assert_allclose(g.numpy(), want, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_two_replicas_end_with_the_weights_of_one(reduction):
    rates = dataclasses.replace(SEED_RATES, wide_reduction=reduction)
    one, two = (make_learner(n, num_ids=30, rates=rates) for n in (1, 2))
    start = values_of(one)
    for b in random_batches(20):
        first, second = one.train(b), two.train(b)
        np.testing.assert_allclose(first.logits, second.logits, atol=1e-6)
        assert float(first.losses["wide_loss"]) == pytest.approx(float(second.losses["wide_loss"]), abs=1e-6)
        assert float(first.losses["deep_loss"]) == pytest.approx(float(second.losses["deep_loss"]), abs=1e-6)
    assert max(np.abs(a - b).max() for a, b in zip(start, values_of(one), strict=True)) > 1e-3
    weights = len(one.learned_by("ftrl")) + len(one.learned_by("adam"))
    assert [v.name for v in one.variables[:weights]] == [v.name for v in two.variables[:weights]]
    for i, (a, b) in enumerate(zip(values_of(one), values_of(two), strict=True)):
        np.testing.assert_allclose(a, b, rtol=0 if i < weights else 1e-5, atol=1e-6 if i < weights else 1e-5)  # slots are sums


def test_padding_changes_nothing():
    padded, plain = make_learner(), make_learner()
    ids, label = [[0, 1, 2], [3, 3, 4]], [1, 0]
    plain.train(examples(ids, label))
    padded.train(examples([*ids, [6, 6, 6], [6, 6, 6]], [*label, 0, 0], values=[[1] * 3] * 2 + [[0] * 3] * 2, weight=[1, 1, 0, 0]))
    for a, b in zip(values_of(plain), values_of(padded), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)
    assert not padded.model.embedding.table.numpy()[6].any()
    assert not padded.model.wide.table.numpy()[6].any()


def test_rows_that_a_batch_does_not_touch_keep_weights_and_slots():
    learner = make_learner()
    learner.train(examples([[0, 1, 2]], [1]))
    before = [v for v in values_of(learner) if v.shape[:1] == (7,)]
    learner.train(examples([[0, 1, 1]], [0]))
    after = [v for v in values_of(learner) if v.shape[:1] == (7,)]
    assert len(before) == 6  # two tables, each with two slots
    for b, a in zip(before, after, strict=True):
        np.testing.assert_array_equal(b[2:], a[2:])
        assert (b[:2] != a[:2]).any()


def test_a_row_is_scored_before_it_is_learned_from():
    learner = make_learner()
    clicks = examples([[0, 1, 2], [3, 4, 5]], [1, 1])
    before = learner.score(clicks.features).numpy()
    np.testing.assert_array_equal(learner.train(clicks).logits.numpy(), before)
    after = learner.score(clicks.features).numpy()
    assert (after > before).all()  # both were clicks
    np.testing.assert_array_equal(learner.score(clicks.features).numpy(), after)  # scoring learns nothing


def test_the_wide_sum_is_the_mean_times_the_rows():
    mean, total = (make_learner(rates=dataclasses.replace(SEED_RATES, wide_reduction=r)) for r in ("mean", "sum"))
    for learner in (mean, total):
        learner.train(examples([[0, 0, 0], [6, 6, 6]], [1, 0], weight=[1, 0]))
    np.testing.assert_array_equal(mean.model.wide.table.numpy(), total.model.wide.table.numpy())  # one row: the same
    mean, total = (make_learner(rates=dataclasses.replace(SEED_RATES, wide_reduction=r)) for r in ("mean", "sum"))
    accumulators = []
    for learner in (mean, total):
        learner.train(examples([[0, 0, 0]] * 4, [1] * 4))
        accumulators.append(learner.wide_optimizer.accumulators[0].numpy()[0, 0] - 1)
    assert accumulators[1] / accumulators[0] == pytest.approx(16, rel=1e-3)  # gradient times 4, its square times 16


def test_repeated_ids_are_added_up():
    distinct = Distinct.of(tf.constant([5, 3, 5]))
    values = tf.constant([[1.0, 0], [2, 0], [4, 1]])
    np.testing.assert_array_equal(distinct.ids, [5, 3])
    np.testing.assert_array_equal(distinct.sums(values), [[5.0, 1.0], [2.0, 0.0]])
    np.testing.assert_array_equal(distinct.sums_of([values[:2], values[2:]]), [[5.0, 1.0], [2.0, 0.0]])


def test_one_ftrl_step_by_hand():
    table = tf.Variable([[0.0], [0.5]])
    optimizer = Ftrl([table], learning_rate=0.1, l1=0.0, l2=0.0, initial_accumulator=1.0)
    optimizer.apply([table], [tf.IndexedSlices(tf.constant([[3.0]]), tf.constant([0]))])
    # n = 1 + 3^2 = 10, z = 3 - 0, w = -3 / (sqrt(10) / 0.1)
    np.testing.assert_allclose(table, [[-3 / (10**0.5 / 0.1)], [0.5]], rtol=1e-6)


def test_one_adam_step_by_hand():
    table = tf.Variable([[1.0], [5.0]])
    optimizer = LazyAdam([table], learning_rate=0.1, l2=0.5)
    optimizer.apply([table], [tf.IndexedSlices(tf.constant([[0.5]]), tf.constant([0]))])
    # g = 0.5 + 0.5 x 1 = 1; the first step of Adam is the learning rate against the gradient's sign.
    np.testing.assert_allclose(table, [[0.9], [5.0]], rtol=1e-6)


def test_gpus_that_are_not_there_are_an_error():
    with pytest.raises(UserError, match="TensorFlow sees 0 GPUs") as e:
        make_strategy(2, "gpu")
    assert e.value.code == 64


@pytest.mark.parametrize("num_replicas", [1, 2])
def test_a_step_never_reads_a_whole_table(num_replicas):
    """Its cost must not grow with the table: rows are gathered from it and scattered into it."""
    learner = make_learner(num_replicas, num_ids=777)
    step = learner._train_steps.get_concrete_function(None, None, examples([[0, 1, 2], [3, 4, 5]], [1, 0]))
    reads = [tuple(op.outputs[0].shape) for op in step.graph.get_operations() if op.type == "ReadVariableOp"]
    assert (4, 6) in reads  # a dense layer is read whole
    assert not [shape for shape in reads if shape[:1] == (778,)]


def test_a_checkpoint_holds_every_weight_and_slot_under_one_readable_name(tmp_path):
    learner = make_learner(2, layers=(4, 3))
    path = tf.train.Checkpoint(learner=learner).write(str(tmp_path / "ckpt"))
    names = [n.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE") for n in tf.train.load_checkpoint(path).get_variable_to_shape_map()]
    weights = ["bias", "wide/table", "embedding/table"]
    weights += [f"tower/dense_{i}/{w}" for i in range(3) for w in ("kernel", "bias")]
    assert sorted(n.removeprefix("learner/model/") for n in names if "/model/" in n) == sorted(weights)
    slots = {"wide_optimizer/accumulators": 2, "wide_optimizer/linears": 2, "deep_optimizer/means": 7, "deep_optimizer/squares": 7}
    for slot, number in slots.items():
        assert [f"learner/{slot}/{i}" in names for i in range(number)] == [True] * number
    assert "learner/deep_optimizer/step" in names
    assert len(names) == len(weights) + sum(slots.values()) + 2 == len(learner.variables) + 1  # and TensorFlow's object graph
