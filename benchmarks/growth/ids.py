"""Tables of so many ids: a step, a save, memory. Each batch has as many different ids, anywhere in the table, whatever its size."""

import os
import pathlib
import resource
import time

from benchmarks.growth.saves import save

_BATCH_ROWS, _FIELDS = 1000, 26
_IDS_A_BATCH = 5000
# Together they touch more than a cache holds. All are learned from once before the clock begins: the system gives memory
# to a slot when it is first written to.
_BATCHES = 512
_SECS = 6.0


def measure(context: dict, size: int) -> dict[str, float]:
    """The figures of a point; `variant` is the embedding's width."""
    import tensorflow as tf

    from tfonline.config import parse
    from tfonline.features.spec import Spec
    from tfonline.model.learner import make_learner
    from tfonline.model.tables.replicas import make_strategy

    width = int(context["variant"].removeprefix("embedding "))
    config = parse(["", f"--embedding_dim={width}", "--deep_layers=64", f"--vocab_size={size}"])
    strategy, spec = make_strategy(1, "cpu"), Spec.of(size, _FIELDS, scaled_fields=0)
    learner = make_learner(strategy, spec, config.model, config.optimizers)
    batches = [_batch(i, size) for i in range(_BATCHES)]
    steps, began, cpu = 0, 0.0, 0.0
    while steps < 2 * _BATCHES or time.monotonic() - began < _SECS:
        if steps == _BATCHES:
            began, cpu = time.monotonic(), _cpu_secs()
        learner.train(batches[steps % _BATCHES]).logits.numpy()
        steps += 1
    rows = (steps - _BATCHES) * _BATCH_ROWS
    wall_us, cpu_us = 1e6 * (time.monotonic() - began) / rows, 1e6 * (_cpu_secs() - cpu) / rows
    saved = save(learner, pathlib.Path(context["folder"]))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    # A weight of the wide side and an embedding, with two slots each: what the tables alone take.
    reckoned = size * (width + 1) * 3 * tf.float32.size / 1e6
    return {"cpu_us": cpu_us, "wall_us": wall_us, "memory_mb": memory, **saved, "tables with slots, reckoned, MB": reckoned}


def _batch(number: int, size: int):
    """A batch whose ids are a few thousand of the table's, some of them in many rows."""
    import numpy as np
    import tensorflow as tf

    from tfonline.features.batch import Examples

    random = np.random.default_rng(number)
    some = random.integers(0, size, _IDS_A_BATCH)
    ids = some[random.zipf(1.2, (_BATCH_ROWS, _FIELDS)) % _IDS_A_BATCH].astype(np.int32)
    ids.flat[:_IDS_A_BATCH] = some
    label = tf.constant(random.integers(0, 2, _BATCH_ROWS).astype(np.float32))
    features = {"ids": tf.constant(ids), "values": tf.ones(ids.shape)}
    return Examples({"label": label}, tf.ones_like(label), features)


def _cpu_secs() -> float:
    times = os.times()
    return times.user + times.system
