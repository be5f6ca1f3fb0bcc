"""Rows of so many columns, half integers and half categories: from messages in memory to the trained step, features included."""

import os
import pathlib
import resource
import time

from benchmarks.growth import rows
from benchmarks.growth.saves import save

_BATCH_ROWS = 1000
_LINES = 4000
_WARM_STEPS = 6  # by then all is traced, and the queues are full
_SECS, _LEAST_STEPS = 8.0, 12
# Of every column's pairs, and not of the first 64 columns' alone, as --cross_fields has it where nothing is said.
_PAIRS = {"no pairs": [], "10 partners": ["--cross_buckets=1048576", "--cross_partners=10", "--cross_fields=1000"]}


def measure(context: dict, size: int) -> dict[str, float]:
    """The figures of a point; `variant` is one of _PAIRS."""
    import tensorflow as tf

    from tfonline.config import parse
    from tfonline.features.make import load_known, make_features
    from tfonline.features.pipeline import make_batches
    from tfonline.features.schema import load_schema
    from tfonline.model.learner import make_learner
    from tfonline.model.tables.replicas import make_strategy
    from tfonline.stream.raw import Origin, RawBatch

    folder = pathlib.Path(context["folder"])
    integers, categories = size // 2, size - size // 2
    columns, dictionaries = rows.write_columns(folder, integers, categories)
    flags = [f"--columns={columns}", f"--dictionary_dir={dictionaries}", "--oov_buckets=200000", "--embedding_dim=8"]
    config = parse(["", *flags, "--deep_layers=64", *_PAIRS[context["variant"]]])
    strategy, schema = make_strategy(1, "cpu"), load_schema(columns)
    known = load_known(schema, config.features, config.vocabulary)
    features = make_features(schema, known, config.features, config.vocabulary, vocab_size=config.model.vocab_size)
    learner = make_learner(strategy, features.spec, config.model, config.optimizers)

    messages = tf.constant(rows.lines(_LINES, integers, categories))
    offset = tf.range(_LINES, dtype=tf.int64)
    raw = RawBatch(messages, tf.fill([_LINES], False), Origin(tf.zeros([_LINES], tf.int32), offset, offset))
    batches = tf.data.Dataset.from_tensor_slices(raw).batch(_BATCH_ROWS).cache().repeat()
    batches = batches.map(lambda raw: (raw, tf.constant(0, tf.int64), tf.constant(False)))
    began = ended = cpu = used = 0.0
    for step, element in enumerate(make_batches(batches, features, _BATCH_ROWS)):
        if step == _WARM_STEPS:
            began, cpu = time.monotonic(), _cpu_secs()
        learner.train(element.batch.examples).logits.numpy()
        ended, used = time.monotonic(), _cpu_secs()  # here, for the pipeline takes seconds to close
        if step >= _WARM_STEPS + _LEAST_STEPS and ended - began > _SECS:
            break
    trained = (step + 1 - _WARM_STEPS) * _BATCH_ROWS
    return {
        "cpu_us": 1e6 * (used - cpu) / trained,
        "wall_us": 1e6 * (ended - began) / trained,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        **save(learner, folder),
        "pairs a row": float(features.spec.pairs.count if features.spec.pairs else 0),
    }


def _cpu_secs() -> float:
    times = os.times()
    return times.user + times.system
