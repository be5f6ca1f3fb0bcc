"""Messages to batches, without Kafka and without training."""

import os
import pathlib
import time
from collections.abc import Callable

_BATCH_ROWS = 1000
_SECS = 3.0


def measure(context: dict) -> dict[str, float]:
    """Rows/s of the feature ops for TSV, by numeric mode: on one core, and on all."""
    from tfonline.features.dictionaries import load_dictionaries
    from tfonline.features.pipeline import Features
    from tfonline.features.schema import load_schema

    one_core = context["cores"] == 1
    if one_core:
        take_one_core()
    schema = load_schema("configs/criteo.yaml")
    dictionaries = load_dictionaries(context["dictionaries"], schema)
    return {
        f"features {mode} ({'1 core' if one_core else 'all cores'}), rows/s": rows_per_sec(
            Features(schema, dictionaries, mode), pathlib.Path(context["rows"])
        )
        for mode in ("minmax", "log", "bucket")
    }


def take_one_core() -> None:
    """Keeps this process, whose TensorFlow has not run anything yet, on one core."""
    import tensorflow as tf

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def rows_per_sec(features: Callable, rows: pathlib.Path) -> float:
    """Of the features, on the cores that this process has, over the first rows of a TSV file again and again."""
    import tensorflow as tf

    lines = rows.read_bytes().splitlines()[: 20 * _BATCH_ROWS]
    messages = tf.data.Dataset.from_tensors(tf.constant(lines)).unbatch().batch(_BATCH_ROWS).cache().repeat()
    made = messages.map(features, num_parallel_calls=len(os.sched_getaffinity(0)), deterministic=True)
    iterator = iter(made.prefetch(2))
    for _ in range(25):
        next(iterator)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < _SECS:
        next(iterator)
        count += _BATCH_ROWS
    return count / (time.perf_counter() - began)
