"""Steps that XLA compiles: those of TensorFlow's operations, to rounding."""

import numpy as np
import pytest
import tensorflow as tf
from learner_helpers import as_one, learner_by_flags, random_batches, values_of
from rows import make_rows

from tfonline.config import of_flags
from tfonline.evaluate.progressive import PREDICTION
from tfonline.features.kinds.integer import numeric_input
from tfonline.features.spec import Spec
from tfonline.lifecycle import UserError
from tfonline.model.tables import exchange, replicas, xla, xla_steps
from tfonline.model.tables.optimizers import Ftrl
from tfonline.model.tables.packed import Packed
from tfonline.model.tables.replicas import make_strategy

FIELDS, NUMBERS, PAIRS, ROWS = 3, 2, 3, 12
ALL = {"history": True, "cross_buckets": 50, "average_rows": 50, "l2": 1e-3}


def learner_of(jit_compile, num_ids, num_replicas=1, **flags):
    config = of_flags(
        batch_size=ROWS, embedding_dim=5, deep_layers="16,4", jit_compile=jit_compile, num_replicas=num_replicas, **flags
    )
    spec = Spec.of(num_ids, FIELDS, numeric_input(NUMBERS), cross_buckets=config.features.cross_buckets)
    return learner_by_flags(make_strategy(num_replicas, "cpu"), config, spec)


def batches_of(count, num_ids, flags=ALL):
    draw = np.random.default_rng(3)
    for b in random_batches(count, ROWS, num_ids, FIELDS):  # some padded, down to one row
        numeric = draw.normal(size=(ROWS, NUMBERS)).astype(np.float32)
        crosses = np.where(b.weight[:, None] > 0, draw.integers(0, 50, [ROWS, PAIRS]), 50).astype(np.int32)
        more = {"numeric": tf.constant(numeric), "crosses": tf.constant(crosses)}
        yield b._replace(features=b.features | (more if flags is ALL else {"numeric": more["numeric"]}))


# 36 ids a batch, 18 a replica: fewer than there are, more, and more only of both replicas.
@pytest.mark.parametrize(
    ("num_ids", "num_replicas", "flags"),
    [
        (1000, 1, ALL),
        (20, 1, {"wide_reduction": "mean", "wide_l1": 0.01}),
        (1000, 2, {"wide_reduction": "mean", "wide_l1": 0.01}),
        (10, 2, ALL),
        (30, 2, ALL),
    ],
    ids=[
        "few of many",
        "many of few",
        "two replicas, few of many",
        "two replicas, many of few",
        "two replicas, together many of few",
    ],
)
def test_compiled_steps_learn_what_the_others_learn(monkeypatch, num_ids, num_replicas, flags):
    monkeypatch.setattr(xla, "_FEW_IDS", 0)  # as large batches are added up
    plain, compiled = (learner_of(jit, num_ids, num_replicas, **flags) for jit in (False, True))
    batches = list(batches_of(8, num_ids, flags))
    # A call of nothing but steps, and one whose third batch is none.
    for num_steps, which, group in ((4, [0, 1, 2, 3], batches[:4]), (3, [0, 1, 3, 2], batches[4:])):
        want, got = (x.train_steps(tf.constant(num_steps), tf.constant(which), as_one(group)) for x in (plain, compiled))
        for a, b in zip(*map(tf.nest.flatten, (want, got)), strict=True):
            np.testing.assert_allclose(b, a, rtol=2e-5, atol=2e-6)
    assert compiled._train_steps.experimental_get_tracing_count() == 1
    for variable, a, b in zip(plain.variables, values_of(plain), values_of(compiled), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=2e-5, err_msg=variable.name)


@pytest.mark.parametrize(("num_ids", "jit_compile"), [(1000, False), (10, True)])
def test_many_replicas_exchange_by_a_collective_what_few_send_each_other(monkeypatch, num_ids, jit_compile):
    direct, reduced = (learner_of(jit_compile, num_ids, 2, **ALL) for _ in range(2))
    batches = list(batches_of(4, num_ids))
    want = [direct.train(b) for b in batches]
    monkeypatch.setattr(exchange, "_MOST_DIRECT", 1)
    got = [reduced.train(b) for b in batches]
    np.testing.assert_allclose([r.losses["deep_loss"] for r in got], [r.losses["deep_loss"] for r in want], rtol=1e-6)
    for variable, a, b in zip(direct.variables, values_of(direct), values_of(reduced), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6, err_msg=variable.name)


@pytest.mark.parametrize("num_ids", [1000, 10, 30])  # 18 ids a replica: as above
def test_replicas_that_exchange_within_their_step_learn_what_the_others_learn(monkeypatch, num_ids):
    plain, order = learner_of(False, num_ids, 2, **ALL), []
    learner, packed = as_on_gpus(monkeypatch, num_ids, order), []
    pack = learner._steps._exchange.pack
    monkeypatch.setattr(learner._steps._exchange, "pack", lambda learned: packed.append(pack(learned)) or packed[-1])
    batches = list(batches_of(7, num_ids))
    # A call of one, a full one, and one whose second batch is no step.
    for steps, which, group in (([0], [0], batches[:1]), ([0, 1, 2], [0, 1, 2], batches[1:4]), ([0, 2], [0, 2, 1], batches[4:])):
        want, order[:] = [plain.train(group[i]) for i in steps], steps
        got = learner.train_steps(tf.constant(len(steps)), tf.constant(which), learner.inputs(as_one(group)))
        logits = got.logits.numpy().reshape(len(which), ROWS)
        np.testing.assert_allclose(logits[steps], [r.logits for r in want], rtol=2e-5, atol=2e-6)
        np.testing.assert_allclose(got.losses["deep_loss"].numpy()[steps], [r.losses["deep_loss"] for r in want], rtol=2e-5)
        np.testing.assert_array_equal(np.delete(logits, steps, axis=0), 0)
    for i in range(2):
        for variable, a, b in zip(plain.variables, values_of(plain), values_of(learner, i), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=2e-5, err_msg=variable.name)
    assert learner._train_steps.experimental_get_tracing_count() == 3
    assert {bool(p.tables) for p in packed} == {num_ids == 1000}  # else a row an id


def as_on_gpus(monkeypatch, num_ids, order):
    """A learner of two replicas with what XLA compiles for several GPUs, but for exchange and loop: on CPUs XLA has no exchange.

    Args:
      order: the steps of the call that comes next: TensorFlow itself exchanges in no loop of its own, so that it has none.
    """
    in_turn = xla_steps.in_turn

    def unrolled(do_step, num_losses, num_heads, num_steps, which, *args):
        n = num_steps if which is None else which.shape[0]
        if n in (None, 1):
            return in_turn(do_step, num_losses, num_heads, num_steps, which, *args)
        found = {i: do_step(tf.constant(i), *args) for i in order}
        of = lambda i: found.get(i) or map(tf.zeros_like, found[order[0]])  # noqa: E731
        logits, *losses = zip(*map(of, range(n)), strict=True)
        return tf.concat(logits, axis=0), *map(tf.stack, losses)

    without_nccl(monkeypatch)
    monkeypatch.setattr(xla_steps, "in_turn", unrolled)
    monkeypatch.setattr(replicas.Replicas, "on_gpu", True)
    learner = learner_of(True, num_ids, 2, **ALL)
    steps = learner._steps
    del steps._of_replica  # the compiled one
    learner._train_steps = tf.function(steps._of_all, autograph=False)
    steps._tell, steps._learn = map(xla.compiled, (steps._tell, steps._learn))
    return learner


def without_nccl(monkeypatch):
    add_up = lambda x, _: tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, x)  # noqa: E731
    monkeypatch.setattr(xla_steps, "add_up", add_up)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("in_tables", [True, False], ids=["few rows", "all rows"])
def test_gradients_meet_in_the_type_of_the_products_and_all_else_as_it_is(monkeypatch, precision, in_tables):
    without_nccl(monkeypatch)
    dense, logits, wide, deep, ids = to_tell()
    learner, packed, scores = met(precision, in_tables, dense, logits, wide, deep, ids)
    rounded = lambda x: tf.cast(tf.cast(x, precision), tf.float32).numpy()  # noqa: E731
    copies = learner._strategy.experimental_local_results
    for of_all in copies(scores):
        np.testing.assert_array_equal(of_all, logits.ravel())
    for sums in copies(packed.dense[0]):
        np.testing.assert_array_equal(sums[0], dense[0, 0] + dense[1, 0])
        np.testing.assert_array_equal(sums[1:], rounded(rounded(dense[0, 1:]) + rounded(dense[1, 1:])))
        assert (precision == "float32") == np.array_equal(sums, dense[0] + dense[1])
    assert len(packed.tables) == 2 * in_tables
    for i, tables in enumerate(packed.tables):
        for sent, received in zip((wide, deep), tables, strict=True):
            for table in copies(received):
                np.testing.assert_array_equal(table.indices, ids[i])
                np.testing.assert_array_equal(table.values, rounded(sent[i]))


def test_xla_compiles_how_they_meet(monkeypatch):
    monkeypatch.setattr(xla_steps, "add_up", lambda x, _: x)  # nothing of the other: on CPUs XLA has no exchange
    dense, logits, wide, deep, ids = to_tell()
    learner, packed, scores = met("bfloat16", True, dense, logits, wide, deep, ids, jit_compile=True)
    copies = learner._strategy.experimental_local_results
    for i in range(2):
        np.testing.assert_array_equal(copies(scores)[i].numpy().reshape(2, -1)[i], logits[i])
        np.testing.assert_allclose(copies(packed.dense[0])[i], dense[i], rtol=2**-8)
        np.testing.assert_array_equal(copies(packed.tables[i][0])[i].indices, ids[i])


def to_tell():
    """Of two replicas: loss and gradients, logits, the tables' gradients and their ids."""
    draw = np.random.default_rng(5)
    dense, logits, wide, deep = (draw.normal(size=[2, *shape]).astype(np.float32) for shape in ([9], [4], [3, 1], [3, 5]))
    logits[0, :2] = np.nan, np.inf
    return dense, logits, wide, deep, np.array([[7, 2**24 + 1, 2**31 - 1], [0, 255, 65_536]])


def met(precision, in_tables, dense, logits, wide, deep, ids, jit_compile=False):
    """A learner, and what its replicas know when each has told the other its part."""
    learner = learner_of(True, 1000, 2, precision=precision)

    def of_replica():
        i = replicas.this_replica()
        tables = tuple(tf.IndexedSlices(tf.constant(x[i]), tf.constant(ids[i])) for x in (wide, deep))
        told = Packed((tf.constant(dense[i]),), (tables,) if in_tables else ())
        return xla_steps.meet(told, tf.constant(logits[i]), 2, tf.as_dtype(learner.model.gradient_dtype))

    of_replica = xla.compiled(of_replica) if jit_compile else of_replica
    return learner, *tf.function(lambda: learner._strategy.run(of_replica), autograph=False)()


def test_a_full_call_is_given_nothing_from_the_host(monkeypatch):
    monkeypatch.setattr(replicas.Replicas, "on_gpu", True)
    learner = learner_of(True, 1000, 2, **ALL)
    inputs = learner.inputs(as_one(list(batches_of(3, 1000))))
    outer = learner._train_steps.get_concrete_function(3, None, inputs).graph  # not run: on CPUs XLA has no exchange
    assert {x.dtype for x in outer.inputs} == {tf.resource, tf.float32, tf.int64}
    assert not outer.deferred_external_captures


def test_no_replica_waits_for_another_outside_of_their_exchange(monkeypatch):
    monkeypatch.setattr(replicas.Replicas, "on_gpu", True)
    monkeypatch.setattr(xla_steps, "meet", lambda packed, logits, **_: (packed, tf.tile(logits, [2])))  # none
    learner = learner_of(True, 1000, 2)
    batches = list(batches_of(3, 1000, {}))
    learner.train_steps(tf.constant(3), tf.range(3), learner.inputs(as_one(batches)))
    outer = learner._train_steps.get_concrete_function(3, None, learner.inputs(as_one(batches))).graph
    assert not [op.name for op in outer.get_operations() if op.control_inputs]
    # Yet each has learned, the second too, whose results nobody takes.
    assert [int(x) for x in learner._strategy.experimental_local_results(learner.deep_optimizer.step)] == [3, 3]


def test_replicas_stay_alike():
    learner = learner_of(True, 1000, 2, **ALL)
    for b in batches_of(5, 1000):
        learner.train(b)
    for variable in learner.variables:
        one, other = learner._strategy.experimental_local_results(variable)
        np.testing.assert_array_equal(one, other, err_msg=variable.name)


def test_the_padding_stays_zero():
    learner = learner_of(True, 20, **ALL)
    start = values_of(learner)
    for b in batches_of(5, 20):
        learner.train(b)
    for variable, before, now in zip(learner.variables, start, values_of(learner), strict=True):
        if before.ndim and len(before) == 21:  # a table's weights, slots and counts
            np.testing.assert_array_equal(now[20], before[20], err_msg=variable.name)


@pytest.mark.parametrize("few", [100_000, 0], ids=["in one place", "in several places"])
# More than ids are asked for; fewer; more, but fewer than both replicas ask for.
@pytest.mark.parametrize(("num_rows", "replicas"), [(10, 1), (5, 1), (10, 2)])
def test_distinct_ids_of_fixed_size(monkeypatch, num_rows, replicas, few):
    monkeypatch.setattr(xla, "_FEW_IDS", few)
    last = num_rows - 1
    ids = tf.constant([3, 1, last, 1, num_rows, 3], tf.int64)  # one is of no row
    values = tf.constant([[1.0], [2.0], [4.0], [8.0], [0.0], [16.0]])

    @tf.function(jit_compile=True)
    def find():
        found = xla.FixedDistinct.of(ids, num_rows, replicas)
        return found.ids, found.places, found.sums(values), found.sums_of([values[:3], values[3:]]), tf.constant(found.copies)

    found, places, sums, of_parts, copies = find()
    np.testing.assert_array_equal(of_parts, sums)
    assert (copies > 1) == (few == 0)
    assert len(found) == (num_rows if 6 * replicas >= num_rows else 6)
    assert places[4] >= len(found)
    np.testing.assert_array_equal(found.numpy()[np.delete(places, 4)], np.delete(ids, 4))
    assert sorted(i for i in found.numpy() if i < num_rows) == [1, 3, last]
    of_ids = {i: s for i, s in zip(found.numpy().tolist(), sums.numpy().ravel().tolist(), strict=True) if i < num_rows}
    assert of_ids == {1: 10.0, 3: 17.0, last: 4.0}


def test_a_compiled_ftrl_step_by_hand():
    table = tf.Variable([[0.0], [0.5]])
    optimizer = Ftrl([table], learning_rate=0.1, l1=0.0, l2=0.0, initial_accumulator=1.0, jit_compile=True)
    optimizer.apply([table], [tf.IndexedSlices(tf.constant([[3.0]]), tf.constant([0]))])
    np.testing.assert_allclose(table, [[-3 / (10**0.5 / 0.1)], [0.5]], rtol=1e-6)


def test_where_xla_does_not_work_is_said(monkeypatch):
    function = tf.function

    def without_cudnn(f, **kwargs):
        if not kwargs.get("jit_compile"):
            return function(f, **kwargs)

        def fail(_):
            raise tf.errors.FailedPreconditionError(None, None, "DNN library initialization failed.\nAnd more.")

        return fail

    monkeypatch.setattr(tf, "function", without_cudnn)
    with pytest.raises(
        UserError, match=r"--jit_compile: XLA cannot compile for .*CPU:0 \(DNN library initialization failed.\)"
    ) as e:
        learner_of(True, 20)
    assert e.value.code == 64


def test_what_xla_cannot_compile_is_named_without_tensorflows_own_names(monkeypatch):
    monkeypatch.setattr(tf.Tensor, "__matmul__", lambda x, _: tf.strings.as_string(x))
    with pytest.raises(UserError, match=r"--jit_compile: XLA cannot compile for .*CPU:0 \(Detected unsupported operations"):
        learner_of(True, 20)


def test_a_run_with_it_learns_what_a_run_without_it_learns(topic, start, tmp_path):
    name = topic([make_rows(730)])
    flags = {"topic": name, "history": True, "l2": 1e-3, "save_predictions": True, "batch_size": 32, "steps_per_call": 3}
    for jit_compile in (False, True):
        start(model_dir=str(tmp_path / str(jit_compile)), jit_compile=jit_compile, **flags)
    plain, compiled = (np.fromfile(tmp_path / str(jit) / "predictions.bin", PREDICTION) for jit in (False, True))
    np.testing.assert_array_equal(compiled[["partition", "offset", "label"]], plain[["partition", "offset", "label"]])
    np.testing.assert_allclose(compiled["logit"], plain["logit"], atol=1e-4)
