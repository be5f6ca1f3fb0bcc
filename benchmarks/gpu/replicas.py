"""Several GPUs of one host: speed against one, what the exchange of the tables' rows costs, and whether the weights are equal."""

import pathlib

import numpy as np

from benchmarks.gpu.sizes import make_inputs, make_learner, rows_per_sec
from benchmarks.speed.data import NUMBERS

_EQUAL_ROWS, _EQUAL_STEPS = 32_768, 10


def measure(context: dict) -> dict[str, float]:
    """Samples/s by rows a replica; then the weights after ten steps on one global batch, against those of one replica.

    Args:
      context: `replicas`, and `exchange`: `own`, the trainer's, or `strategy`: as if the strategy's collectives gathered all rows.
    """
    n, exchange = context["replicas"], context["exchange"]
    named = f"{n} replicas, rows exchanged by the {'trainer' if exchange == 'own' else 'strategy'}" if n > 1 else "1 replica"
    found = {}
    for rows in (16_384, 65_536):
        rows = rows // context["shrink"]
        learner = _make(n, exchange, "bfloat16")
        ready = make_inputs(learner, "default", rows * n, 2)
        call = lambda i, learner=learner, ready=ready: learner.train(*ready[i % 2]).deep_loss  # noqa: E731
        found[f"{named}, {rows:,} rows a replica, samples/s"] = rows_per_sec(call, rows * n, lambda x: x.numpy(), context["secs"])
        del learner, ready, call
    return found | _equal(context, n, exchange, named)


def _make(n: int, exchange: str, precision: str):
    import tensorflow as tf

    if n > 1 and len(tf.config.list_physical_devices("GPU")) == 1:
        raise SystemExit(f"{n} replicas need {n} GPUs, and there is 1")
    learner = make_learner("default", precision, num_replicas=n, batch_size=n)
    if exchange == "strategy":
        _exchange_by_strategy(learner)
    return learner


def _exchange_by_strategy(learner) -> None:
    """Each replica sends the gradients of all its rows, repeated ids or not, and adds up what has come from all."""
    import tensorflow as tf

    from tfonline.model import optimizers
    from tfonline.model.embeddings import Distinct

    strategy = learner._strategy
    copies_of, devices = strategy.experimental_local_results, strategy.extended.worker_devices

    def all_unlike(ids):
        ids = tf.reshape(ids[:, NUMBERS:], [-1])
        return Distinct(ids, tf.range(tf.size(ids, ids.dtype), dtype=ids.dtype))

    learner.model.distinct = all_unlike

    def summed(wide, deep):
        pairs = list(zip([*wide, *deep], [*learner._wide, *learner._deep], strict=True))
        every = strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)
        wide, deep = every[: len(wide)], every[len(wide) :]

        def tables(replica):
            i = replica.replica_id_in_sync_group
            with tf.device(devices[i]):
                return tuple(optimizers.add_up_repeated(copies_of(wide[0])[i], copies_of(deep[0])[i]))

        wide[0], deep[0] = strategy.experimental_distribute_values_from_function(tables)
        return wide, deep

    learner._sum = summed


def _equal(context: dict, n: int, exchange: str, named: str) -> dict[str, float]:
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)
    learner = _make(n, exchange, "float32")
    weights = lambda i: [learner._strategy.experimental_local_results(v)[i].numpy() for v in learner.model.all_weights]  # noqa: E731
    start = weights(0)
    ready = make_inputs(learner, "default", _EQUAL_ROWS // context["shrink"] // 2 * 2, 2)
    for i in range(_EQUAL_STEPS):
        learner.train(*ready[i % 2])
    ends = [weights(i) for i in range(n)]
    file = pathlib.Path(context["folder"]) / "weights_of_one_replica.npz"
    found = {f"{named}: furthest that a weight moved": _furthest(start, ends[0])}
    if n == 1:
        np.savez(file, *ends[0])
        return found
    with np.load(file) as one:
        found[f"{named}: furthest from one replica's weights"] = _furthest([one[f"arr_{i}"] for i in range(len(start))], ends[0])
    return found | {f"{named}: furthest of one replica from another": max(_furthest(ends[0], end) for end in ends[1:])}


def _furthest(some: list[np.ndarray], others: list[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(some, others, strict=True))
