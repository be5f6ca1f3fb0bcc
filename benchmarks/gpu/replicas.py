"""Several GPUs of one host: speed against one, what the exchange of the tables' rows costs, and whether the weights are equal."""

import functools
import itertools
import pathlib

import numpy as np

from benchmarks.gpu.sizes import how, make_inputs, make_learner, on_host, rows_per_sec

# The first have more ids than the tables have rows, the second fewer.
_EQUAL_ROWS, _EQUAL_STEPS = (32_768, 4_096), 5


def measure(context: dict) -> dict[str, float]:
    """Samples/s by rows a replica; then the weights after some steps, against those of one replica.

    Args:
      context: `exchange`: `own`, the trainer's, or `strategy`: as if the strategy's collectives gathered all rows; or none, of one
        replica and not of `replicas`.
    """
    import tensorflow as tf

    exchange, jit_compile = context["exchange"], context["jit_compile"]
    n = context["replicas"] if exchange else 1
    named = f"{n} replicas, rows exchanged by the {'trainer' if exchange == 'own' else 'strategy'}" if n > 1 else "1 replica"
    named += how(1, jit_compile)
    found = {}
    learner = _make(n, exchange, "bfloat16", jit_compile)
    for rows, steps in ((16_384, 1), (16_384, 16), (65_536, 1), (65_536, 16)):
        rows = rows // context["shrink"]
        ready = make_inputs(learner, "default", rows * n * steps, 1 if steps > 1 else 2)
        call = functools.partial(_call, learner, (tf.constant(steps), tf.range(steps)), ready)
        what = f"{named}, {rows:,} rows a replica{how(steps, False)}"
        found[f"{what}, samples/s"] = rows_per_sec(call, rows * n * steps, lambda x: x.numpy(), context["secs"])
    del ready, call
    call = _copied_meanwhile(learner, steps, rows * n * steps)
    found[f"{what}, copied from the host meanwhile, samples/s"] = rows_per_sec(call, rows * n * steps, np.asarray, context["secs"])
    del learner, call
    return found | _equal(context, n, exchange, jit_compile, named)


def _call(learner, steps: tuple, ready: list[tuple], i: int):
    return learner.train_steps(*steps, ready[i % len(ready)]).losses["deep_loss"]


def _copied_meanwhile(learner, steps: int, rows: int):
    """As the training loop goes: a call's batches are copied, and the results of the one before read, while it runs.

    So that a turn ends a call too early, as it began one too late.
    """
    import tensorflow as tf

    from tfonline.ahead import ahead

    calls = itertools.cycle(on_host("default", rows, 2))
    pairs, before = ahead(calls, lambda batch: learner.inputs(batch), threaded=learner.on_gpu), []

    def call(_: int):
        result = learner.train_steps(tf.constant(steps), tf.range(steps), next(pairs)[1])
        before.append(result.losses["deep_loss"])
        return before.pop(0).numpy() if len(before) > 1 else result.losses["deep_loss"]

    return call


def _make(n: int, exchange: str, precision: str, jit_compile: bool, **changed: object):
    import tensorflow as tf

    gpus = len(tf.config.list_physical_devices("GPU"))
    if 0 < gpus < n:
        raise SystemExit(f"{n} replicas need {n} GPUs; TensorFlow sees {gpus}")
    learner = make_learner("default", precision, num_replicas=n, batch_size=n, jit_compile=jit_compile, **changed)
    if exchange == "strategy":
        _exchange_by_strategy(learner)
    return learner


def _exchange_by_strategy(learner) -> None:
    """Each replica sends the gradients of all its rows, repeated ids or not, and adds up what has come from all."""
    import tensorflow as tf

    from tfonline.model.tables.distinct import Distinct
    from tfonline.model.tables.packed import Packed

    def all_unlike(ids):
        return Distinct(ids, tf.range(tf.size(ids, ids.dtype), dtype=ids.dtype))

    variables = [table.table for table in learner.model.tables.values()]

    def gathered(packed):
        (dense,), (tables,) = packed
        pairs = list(zip((dense, *tables), (variables[0], *variables), strict=True))
        dense, *tables = learner._strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)
        return Packed((dense,), (tuple(tables),))

    learner._lookup.distinct, learner._steps._exchange.between = all_unlike, gathered


def _equal(context: dict, n: int, exchange: str, jit_compile: bool, named: str) -> dict[str, float]:
    """Beside how far apart replicas are: how far one is from itself where it sees a batch's rows in another order."""
    start, *ends = _learn(context, n, exchange, jit_compile)
    file = pathlib.Path(context["folder"]) / "weights_of_one_replica.npz"
    found = {f"{named}: furthest that a weight moved": _furthest(start, ends[0])}
    if n == 1 and not jit_compile:
        want = ends[0]
        np.savez(file, *want)
        _, *ends = _learn(context, n, exchange, jit_compile, backwards=True)
        named += ", each batch's rows backwards"
    else:
        with np.load(file) as one:
            want = [one[f"arr_{i}"] for i in range(len(start))]
    found[f"{named}: furthest from the weights of one replica, not compiled"] = _furthest(want, ends[0])
    found[f"{named}: distance from them, as a share of how far they moved"] = _norm(want, ends[0]) / _norm(start, want)
    if n > 1:
        found[f"{named}: furthest of one replica from another"] = max(_furthest(ends[0], end) for end in ends[1:])
    return found


def _learn(context: dict, n: int, exchange: str, jit_compile: bool, backwards: bool = False) -> list[list[np.ndarray]]:
    """The weights before, and those of each replica after some steps."""
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    # With what follows a step, too: it wants all replicas' rows and scores.
    learner = _make(n, exchange, "float32", jit_compile, history=True, average_rows=100_000)
    model = learner.model
    compared = [*learner.all_weights[: -len(model.statistics)], *(w.value for w in model.average.weights)]
    weights = lambda i: [learner._strategy.experimental_local_results(v)[i].numpy() for v in compared]  # noqa: E731
    start = weights(0)
    for rows in _EQUAL_ROWS:
        rows = rows // context["shrink"] // context["replicas"] * context["replicas"]
        ready = make_inputs(learner, "default", rows * _EQUAL_STEPS, 1)
        if backwards:
            order = tf.reshape(tf.range(rows * _EQUAL_STEPS), [_EQUAL_STEPS, rows])[:, ::-1]
            ready = [tuple(tf.gather(x, tf.reshape(order, [-1])) for x in ready[0])]
        _call(learner, (tf.constant(_EQUAL_STEPS), tf.range(_EQUAL_STEPS)), ready, 0)
    return [start, *map(weights, range(n))]


def _furthest(some: list[np.ndarray], others: list[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(some, others, strict=True))


def _norm(some: list[np.ndarray], others: list[np.ndarray]) -> float:
    return sum(float(np.square(a - b).sum()) for a, b in zip(some, others, strict=True)) ** 0.5
