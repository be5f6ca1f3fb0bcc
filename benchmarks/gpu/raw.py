"""Raw rows in memory to trained: features on all cores, the step on the GPU; and the features alone."""

import json
import os
import sys
import time

from benchmarks.commands import run
from benchmarks.gpu.rows import make_dictionaries, make_rows
from benchmarks.gpu.sizes import how, make_config

_ROWS, _BUCKETS = 200_000, 10_000
_WARM_CALLS = 5  # then it is traced, and the queues are full
# numeric, rows a batch, batches a call, compiled, rows of a vocabulary that grows with the stream (0: the dictionaries)
_CASES = (
    ("minmax", 65_536, 1, False, 0),
    ("minmax", 65_536, 1, True, 0),
    ("bucket", 65_536, 1, False, 0),
    ("bucket", 65_536, 1, False, 1 << 18),
    ("bucket", 65_536, 1, True, 0),
    ("bucket", 65_536, 1, True, 1 << 18),
    ("bucket", 16_384, 1, True, 0),
    ("bucket", 16_384, 1, True, 1 << 18),
    ("bucket", 1000, 16, True, 0),
    ("bucket", 1000, 16, True, 1 << 18),
)


def measure(context: dict) -> dict[str, float]:
    """Rows/s of the features or of the whole way, see `part`."""
    return {"features": _features, "trained": _trained}[context["part"]](context)


def _features(context: dict) -> dict[str, float]:
    """Of the features on one core and on all, at batch 1,000, by the speed benchmark's own part."""
    rows = make_rows(context, _ROWS)
    told = {"rows": str(rows), "dictionaries": make_dictionaries(context, rows)}
    found = {"cores": float(len(os.sched_getaffinity(0)))}
    for cores in (1, 0):
        part = ["--part=features", f"--context={json.dumps({**told, 'cores': cores})}"]
        found |= json.loads(run([sys.executable, "-m", "benchmarks.speed", *part]).splitlines()[-1])
    return found


def _trained(context: dict) -> dict[str, float]:
    """Of messages to trained, by numeric mode and batch; and of the same without the step."""
    import tensorflow as tf

    from tfonline.features.dictionaries import load_dictionaries
    from tfonline.features.make import make_features
    from tfonline.features.pipeline import make_batches
    from tfonline.features.schema import load_schema
    from tfonline.model.learner import make_learner
    from tfonline.model.tables import replicas
    from tfonline.stream.raw import Origin, RawBatch

    strategy = replicas.make_strategy(1, "auto")
    path = make_rows(context, _ROWS)
    lines = path.read_bytes().splitlines()[:_ROWS]
    schema = load_schema("configs/criteo.yaml")
    dictionaries = load_dictionaries(make_dictionaries(context, path), schema)
    found = {}
    for numeric, batch, steps, jit_compile, vocabulary_rows in _CASES:
        if jit_compile and context["without_xla"]:
            continue
        batch = max(4, batch // context["shrink"])
        rows = batch * steps
        flags = {"numeric": numeric, "jit_compile": jit_compile, "vocabulary_rows": vocabulary_rows}
        config = make_config("default", "bfloat16", vocab_size=0, oov_buckets=_BUCKETS, **flags)
        features = make_features(schema, dictionaries, config.features, config.vocabulary)
        learner = make_learner(
            strategy, features.spec, config.model, config.optimizers, jit_compile=jit_compile, vocabulary=config.vocabulary
        )
        messages = (lines * (rows // len(lines) + 1))[:rows]
        offset = tf.range(rows, dtype=tf.int64)
        raw = RawBatch(tf.constant(messages), tf.fill([rows], False), Origin(tf.zeros([rows], tf.int32), offset, offset))
        batches = tf.data.Dataset.from_tensors((raw, tf.constant(0, tf.int64), tf.constant(False))).repeat()
        elements = make_batches(batches, features, rows)
        named = f"{numeric}{', growing' * bool(vocabulary_rows)}, batch {batch:,}{how(steps, jit_compile)}"
        for what, num_steps in (("to the device", 0), ("to trained", steps)):
            rate, busy = _follow(elements, learner, num_steps, 4 * context["secs"])
            found[f"raw rows {what}: {named}, rows/s"] = rate
            found[f"raw rows {what}: {named}, share of the cores' time"] = busy
    return found


def _follow(elements, learner, num_steps: int, secs: float) -> tuple[float, float]:
    """Rows a second as the training loop goes, and the share of all cores' time that it took; 0 steps: without learning."""
    import tensorflow as tf

    from tfonline.ahead import ahead
    from tfonline.evaluate.progressive import ProgressiveMetrics

    metrics, before, rows = ProgressiveMetrics(100_000), None, 0
    pairs = ahead(elements, lambda element: learner.inputs(element.batch.examples), threaded=learner.on_gpu)
    for number, (element, on_device) in enumerate(pairs):
        if number == _WARM_CALLS:
            began, used, rows = time.perf_counter(), _cpu_secs(), 0
        good = element.batch.valid.numpy()
        rows += int(good.sum())
        if num_steps:
            result = learner.train_steps(tf.constant(num_steps), tf.range(num_steps), on_device)
            if before:  # read while the next call runs
                metrics.add(before[0].logits.numpy()[before[2]], before[1].numpy()[before[2]])
            before = result, *element.batch.label.values(), good
        if number > _WARM_CALLS and time.perf_counter() - began > secs:
            break
    if before:
        before[0].logits.numpy()
    took = time.perf_counter() - began
    busy = (_cpu_secs() - used) / took / len(os.sched_getaffinity(0))
    pairs.close()
    return rows / took, busy


def _cpu_secs() -> float:
    times = os.times()
    return times.user + times.system
