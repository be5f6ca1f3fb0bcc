"""--late_labels: weights, gradients and estimates by hand, what is counted once, and true scores though labels come late."""

import math

import numpy as np
import pytest
import tensorflow as tf
from growing import growing_learner, settings_of
from learner_helpers import as_one, examples, learner_by_flags, random_batches, values_of
from rows import SMALL_SCHEMA
from test_vocabulary import rows_of, values

from tfonline.config import of_flags
from tfonline.features.batch import Examples
from tfonline.features.dictionaries import Dictionaries
from tfonline.features.pipeline import Features
from tfonline.features.spec import Spec
from tfonline.keep.contract import check_contract
from tfonline.keep.learner import KeptLearner
from tfonline.lifecycle import UserError
from tfonline.model.tables.replicas import make_strategy
from tfonline.publish.servable import Servable

LATE = ("fnw", "fnc", "es_dfm")


def learner_of(policy, num_ids, fields=1, num_replicas=1, own=None, **flags):
    flags = {"embedding_dim": 3, "deep_layers": "8,4"} | flags
    config = of_flags(late_labels=policy, label_topic="outcomes", num_replicas=num_replicas, **flags)
    spec = Spec.of(num_ids, fields, own, cross_buckets=config.features.cross_buckets)
    return learner_by_flags(make_strategy(num_replicas, "cpu"), config, spec)


def logistic_of(policy, num_ids, fields=1, **flags):
    return learner_of(policy, num_ids, fields, network="logistic:make", **flags)


def with_late(batch, late):
    return batch._replace(late=tf.constant(np.asarray(late, bool)))


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def ftrl_sums(gradient, weight, rate=0.05, accumulator=1.0):
    """FTRL's linear sums after a first step, by its formula."""
    return gradient - (np.sqrt(accumulator + gradient**2) - np.sqrt(accumulator)) / rate * weight


# Seven rows with an id each: learned logits, labels, which are late, weights of a column.
LOGITS = np.array([-2.0, -2.0, -2.0, 0.4, 0.4, -0.5, -5.0])
LABEL = np.array([0.0, 1, 1, 1, 0, 0, 1])
LATE_ROWS = np.array([0, 0, 1, 1, 0, 0, 1], bool)
WEIGHT = np.array([1.0, 1, 1, 2, 1, 0.5, 1])
P = sigmoid(LOGITS)
BY_HAND = {
    "fnw": [(1 - P[0]) * (1 + P[0]), 1 + P[1], 1 + P[2], 1 + P[3], (1 - P[4]) * (1 + P[4]), (1 - P[5]) * (1 + P[5]), 1 + P[6]],
    "fnc": np.ones(7),
    # Nothing learned: half of p is late, of all rows and of the negatives.
    "es_dfm": np.where(LABEL == 1, 1 + P / 2, (1 + P / 2) * (1 - P / 2)),
}


def one_step(policy, kernel=None, bias=None):
    learner = logistic_of(policy, 7)
    learner.model.linear.table.assign(np.append(LOGITS, 0.0)[:, None])
    if kernel is not None:
        learner.late_labels.kernel.assign(kernel)
        learner.late_labels.bias.assign(bias)
    result = learner.train(with_late(examples(np.arange(7)[:, None], LABEL, weight=WEIGHT), LATE_ROWS))
    return learner, result


@pytest.mark.parametrize("policy", LATE)
def test_gradients_are_those_of_the_weights_by_hand(policy):
    learner, result = one_step(policy)
    weight = WEIGHT * np.array(BY_HAND[policy])
    want = ftrl_sums(weight * (P - LABEL), LOGITS)
    np.testing.assert_allclose(learner.ftrl.linears[0].numpy()[:7, 0], want, rtol=1e-4)
    cross_entropy = -np.where(LABEL == 1, np.log(P), np.log(1 - P))
    np.testing.assert_allclose(result.losses["loss"], (weight * cross_entropy).sum() / WEIGHT.sum(), rtol=1e-5)


def test_estimates_of_late_rows_are_of_those_that_they_say_and_bound_the_weights():
    kernel, bias = np.array([[0.3, -0.2], [0.1, 0.5]]), np.array([0.2, 1.4])
    learner, _ = one_step("es_dfm", kernel, bias)
    log_p = np.log(P)
    x = np.stack([LOGITS, log_p], axis=1)  # a row's weight, and ln p
    guesses = x @ kernel + bias + (log_p + math.log(0.5))[:, None]
    delayed, fake = np.minimum(np.exp(guesses), P[:, None]).T
    assert (fake == P).any()
    assert (fake < P).any()
    weight = WEIGHT * (1 + delayed) * np.where(LABEL == 1, 1, 1 - fake)
    np.testing.assert_allclose(learner.ftrl.linears[0].numpy()[:7, 0], ftrl_sums(weight * (P - LABEL), LOGITS), rtol=1e-4)
    among = np.stack([np.ones(7), LATE_ROWS | (LABEL == 0)], axis=1)  # row 1 was positive at first sight
    errors = WEIGHT[:, None] * among * (sigmoid(guesses) - LATE_ROWS[:, None])
    np.testing.assert_allclose(learner.ftrl.linears[1], ftrl_sums(x.T @ errors, kernel), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(learner.ftrl.linears[2], ftrl_sums(errors.sum(axis=0), bias), rtol=1e-4)


def test_scores_of_fnc_are_what_follows_of_the_biased_rate():
    learner = logistic_of("fnc", 4)
    biased = np.array([0.001, 0.2, 0.4, 0.7])  # at 0.7 no probability has this share: its end is 0.999
    learner.model.linear.table.assign(np.append(np.log(biased / (1 - biased)), 0.0)[:, None])
    batch = with_late(examples(np.arange(4)[:, None], [0, 1, 0, 1]), [False] * 4)
    want = [0.001 / 0.999, 0.25, 2 / 3, 0.999]
    np.testing.assert_allclose(sigmoid(learner.score(batch.features)), want, rtol=1e-5)
    scored = learner.score(batch.features).numpy()
    np.testing.assert_array_equal(learner.train(batch).logits, scored)


STREAM_ROWS, STEP, FIRST_WAIT = 160_000, 400, 3  # a row's outcome is looked for so many steps later under es_dfm


def stream():
    """Ids of two columns, the true probability of a click, clicks, and after how many steps each comes."""
    draw = np.random.default_rng(11)
    ids = np.stack([draw.integers(0, 4, STREAM_ROWS), 4 + draw.integers(0, 5, STREAM_ROWS)], axis=1)
    p = sigmoid(np.array([-2.2, -1.4, -0.9, -0.5, 0.3, 0.1, 0.0, -0.2, -0.6])[ids].sum(axis=1))
    delay = draw.geometric(np.array([0.4, 0.2, 0.1, 0.05])[ids[:, 0]])
    return ids, p, draw.random(STREAM_ROWS) < p, delay


def steps_of(policy, clicks, delay):
    """For each step its rows, their labels, and which are late, as --late_labels has them."""
    step = np.arange(STREAM_ROWS) // STEP
    known = clicks & (delay <= FIRST_WAIT) if policy == "es_dfm" else np.zeros(STREAM_ROWS, bool)
    first = step + FIRST_WAIT if policy == "es_dfm" else step
    for now in range(STREAM_ROWS // STEP):
        new, late = np.flatnonzero(first == now), np.flatnonzero(clicks & ~known & (step + delay == now))
        yield np.append(new, late), np.append(known[new], np.ones(len(late))), np.append(np.zeros(len(new)), np.ones(len(late)))


def learned(policy, ids, clicks, delay):
    learner, most = logistic_of("wait" if policy == "naive" else policy, 9, 2, wide_learning_rate=0.3), STEP * 2
    for rows, label, late in steps_of(policy, clicks, delay):
        if not len(rows):
            continue
        pad = most - len(rows)
        batch = examples(
            np.pad(ids[rows], ((0, pad), (0, 0)), constant_values=9), np.pad(label, (0, pad)), weight=np.arange(most) < len(rows)
        )
        learner.train(with_late(batch, np.pad(late, (0, pad))))
    return learner


@pytest.mark.parametrize("policy", [*LATE, "naive"])
def test_scores_are_true_though_labels_come_late(policy):
    ids, p, clicks, delay = stream()
    scores = sigmoid(learned(policy, ids, clicks, delay).score(examples(ids, clicks).features))
    off = scores.mean() / p.mean() - 1
    assert abs(off) > 0.1 if policy == "naive" else abs(off) < 0.02, off
    for i in range(9):  # and by each value, whatever its delays are
        off = scores[(ids == i).any(axis=1)].mean() / p[(ids == i).any(axis=1)].mean() - 1
        assert policy == "naive" or abs(off) < 0.1, (i, off)


ALL = {"history": True, "cross_buckets": 50, "average_rows": 50, "l2": 1e-3, "embedding_dim": 5, "deep_layers": "16,4"}


def batches_of(count, num_ids=30, rows=12, padding=0):
    """Random rows of three columns, some late, some padded down to one row; and more padding behind them."""
    draw = np.random.default_rng(3)
    for b in random_batches(count, rows, num_ids, 3):
        crosses = np.where(b.weight[:, None] > 0, draw.integers(0, 50, [rows, 3]), 50)
        late = draw.random(rows) < 0.3
        label = np.where(late, 1.0, b.label["label"]) * b.weight
        more = ((0, padding), (0, 0))
        ids, values = np.pad(b.features["ids"], more, constant_values=num_ids), np.pad(b.features["values"], more)
        crosses = tf.constant(np.pad(crosses, more, constant_values=50), tf.int32)
        batch = examples(ids, np.pad(label, (0, padding)), values, np.pad(b.weight, (0, padding)), crosses=crosses)
        yield with_late(batch, np.pad(late, (0, padding), constant_values=True))


def same(one, other, rtol=1e-4, atol=2e-5):
    for variable, a, b in zip(one.variables, values_of(one), values_of(other), strict=True):
        np.testing.assert_allclose(b, a, rtol=rtol, atol=atol, err_msg=variable.name)


@pytest.mark.parametrize("policy", LATE)
def test_neither_padding_nor_replicas_nor_xla_nor_several_steps_a_call_change_what_is_learned(policy):
    plain, padded, two, compiled, grouped = (
        learner_of(policy, 30, 3, replicas, jit_compile=jit, **ALL) for replicas, jit in ((1, 0), (1, 0), (2, 0), (1, 1), (1, 0))
    )
    batches = list(batches_of(6))
    want = [plain.train(b).logits.numpy() for b in batches]
    for other, others in ((padded, batches_of(6, padding=4)), (two, batches), (compiled, batches)):
        np.testing.assert_allclose([other.train(b).logits.numpy()[:12] for b in others], want, rtol=2e-4, atol=2e-5)
        same(plain, other)
    got = [grouped.train_steps(tf.constant(3), tf.constant([0, 1, 2]), as_one(part)) for part in (batches[:3], batches[3:])]
    np.testing.assert_array_equal(np.concatenate([g.logits.numpy() for g in got]), np.concatenate(want))
    same(plain, grouped, 0, 0)
    if policy == "es_dfm":
        assert plain.late_labels.kernel.numpy().all()


def test_under_wait_late_rows_are_rows_and_nothing_is_added():
    learner, other = (learner_of("wait", 30, 3, **ALL) for _ in range(2))
    for batch in batches_of(4):
        np.testing.assert_array_equal(learner.train(batch).logits, other.train(batch._replace(late=())).logits)
    same(learner, other, 0, 0)
    assert learner.inputs(batch).late == ()


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ({"keep_negatives": 0.5}, "--late_labels=fnw does not go with --keep_negatives: .* Leave one of them out."),
        ({"metrics_by": "C1"}, "--metrics_by=C1 counts rows by their labels"),
        ({"label_topic": ""}, "--late_labels=fnw is for labels of a topic of their own: give --label_topic"),
        ({"cluster": "tf_config"}, "--cluster=tf_config: --label_topic joins two topics in one process"),
        ({"reader": "tfio"}, "--reader=tfio: --label_topic joins"),
        ({"topic": "outcomes"}, "--label_topic=outcomes is --topic, too"),
        ({"late_labels": "es_dfm", "label_elapsed_secs": 3600.0}, "--label_elapsed_secs=3600 is not below --label_wait_secs=3600"),
    ],
)
def test_what_does_not_go_with_a_policy_is_refused(flags, why):
    with pytest.raises(UserError, match=why) as e:
        of_flags(**{"late_labels": "fnw", "label_topic": "outcomes", **flags})
    assert e.value.code == 64


def test_a_policy_that_is_not_told_which_rows_are_late_says_so():
    with pytest.raises(ValueError, match="--late_labels=fnw wants to know which rows are late"):
        learner_of("fnw", 30, 3).train(next(batches_of(1))._replace(late=()))


@pytest.mark.parametrize("policy", LATE)
def test_a_row_and_its_click_are_counted_once(policy):
    learner = learner_of(policy, 6, 3, own=None, history=True, cross_buckets=8, average_rows=10)
    crosses = tf.constant([[0, 1, 2], [3, 4, 5]])
    first = examples([[0, 1, 2], [0, 4, 5]], [0, 1 * (policy == "es_dfm")], crosses=crosses)
    learner.train(with_late(first, [False, False]))
    again = examples([[0, 1, 2], [6, 6, 6]], [1, 0], weight=[2, 0], crosses=tf.constant([[0, 1, 2], [8, 8, 8]]))
    learner.train(with_late(again, [True, False]))
    clicks = float(policy == "es_dfm")
    assert learner.model.history.counts.numpy().tolist() == [
        [2, 2 + clicks], [1, 2], [1, 2], [0, 0], [1, clicks], [1, clicks], [0, 0],
    ]  # fmt: skip
    assert learner.model.cross_history.counts.numpy()[:6].tolist() == [[1, 2]] * 3 + [[1, clicks]] * 3
    assert learner.model.history.total.numpy().tolist() == [6, 3 + clicks]
    assert learner.model.average.seen.numpy() == 2


def test_a_late_row_is_no_second_sighting_of_its_values():
    settings = settings_of(admit_after=2)
    learner = growing_learner(settings, late_labels="fnw")
    learner.train(with_late(rows_of([[7, 8]], [0]), [False]))
    learner.train(with_late(rows_of([[7, 8]], [1]), [True]))
    now, tally, counted = values(learner, learner.admission.now, learner.admission.tally, learner.admission.counted)
    assert (now, tally[0], counted) == (1, 0, 2)
    learner.train(with_late(rows_of([[7, 9]], [0]), [False]))
    assert values(learner, learner.admission.now, learner.admission.tally)[1][0] == 1


@pytest.mark.parametrize("policy", LATE)
def test_what_is_served_scores_as_the_trainer_and_lacks_what_it_alone_needs(policy, tmp_path):
    config = of_flags(late_labels=policy, label_topic="outcomes", embedding_dim=3, deep_layers="4", history=True, average_rows=50)
    features = Features(SMALL_SCHEMA, Dictionaries.without_values(SMALL_SCHEMA), "bucket", oov_buckets=7)
    learner = learner_by_flags(make_strategy(1, "cpu"), config, features.spec)
    messages = tf.constant([f"{int(i % 4 == 0)}\t{i}\t{i % 9}\ta{i % 5}\tb{i % 3}" for i in range(60)])
    row = features(messages)
    late = np.arange(60) % 8 == 0
    batch = with_late(Examples(row.label, row.weight, row.features), late)
    for _ in range(20):
        learner.train(batch)
    checkpoint = tf.train.Checkpoint(learner=learner).write(f"{tmp_path}/ckpt")
    servable = Servable(config.model, SMALL_SCHEMA, features)
    servable.load(checkpoint)
    want = learner.score(batch.features).numpy()
    assert len(np.unique(want)) > 10
    scored = learner.train(batch).logits.numpy()
    np.testing.assert_array_equal(scored[~late], want[~late])
    assert (scored[late] != want[late]).all()  # they do not see themselves in the past of their ids
    found = servable.score(messages)
    np.testing.assert_array_equal(found["logit"], want)
    np.testing.assert_allclose(found["probability"], sigmoid(want), rtol=1e-5)
    servable.write(tmp_path / "saved")
    saved = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_array_equal(saved.signatures["serving_default"](message=messages)["logit"], want)
    names = tf.train.load_checkpoint(str(tmp_path / "saved" / "variables" / "variables")).get_variable_to_shape_map()
    assert not [name for name in names if "late_labels" in name]
    kept = KeptLearner(learner).variables()
    assert ({"late_labels/kernel", "late_labels/bias"} <= set(kept)) == (policy == "es_dfm")


def test_a_model_goes_on_by_another_policy_where_its_logits_and_variables_stay_the_same():
    before = {"topic": "t"}
    check_contract("model", before, {"topic": "t", "late_labels": "wait or fnw"})
    for policy in ("fnc", "es_dfm"):
        with pytest.raises(UserError, match=f"late_labels: the checkpoint has 'wait or fnw', this run '{policy}'") as e:
            check_contract("model", before, {"topic": "t", "late_labels": policy})
        assert e.value.code == 78
        with pytest.raises(UserError, match=f"late_labels: the checkpoint has '{policy}', this run 'wait or fnw'"):
            check_contract("model", {"topic": "t", "late_labels": policy}, {"topic": "t", "late_labels": "wait or fnw"})


def test_a_late_row_does_not_see_itself_in_the_past_of_its_ids():
    late, alone = (learner_of("fnw", 6, 3, history=True, cross_buckets=8) for _ in range(2))
    crosses = tf.constant([[0, 1, 2]])
    before = with_late(examples([[0, 1, 2]], [1], crosses=crosses, weight=[1]), [False])
    row = examples([[0, 1, 2]], [0], crosses=crosses, weight=[3])
    again = with_late(row._replace(label={"label": tf.constant([1.0])}), [True])
    for learner in (late, alone):
        learner.train(before)
    late.model.history.count(row.features["ids"], row.label["label"], row.weight)
    late.model.cross_history.count(crosses, row.label["label"], row.weight)
    total = late.model.history.total
    total.assign(alone.model.history.total)
    late.model.cross_history.total.assign(total)
    assert late.score(row.features).numpy() != alone.score(row.features).numpy()
    np.testing.assert_array_equal(late.train(again).logits, alone.score(row.features))
