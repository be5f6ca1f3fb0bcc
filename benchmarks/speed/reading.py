"""Reading from Kafka to tensors: both readers beside each other and beside plain `consume`, in turns, on a real broker."""

import os
import time

import numpy as np

from benchmarks.speed.stream import READ_ROWS, WIDE_ROWS, make_topic, windows_of

_BATCH_ROWS = 1000
_SECS, _ROUNDS = 4.0, 3
# What is read: a name, the topic's rows and partitions, the rows of a window.
_CASES = (
    ("windows of 100", READ_ROWS, 2, 100),
    ("windows of 1,000", READ_ROWS, 2, 1000),
    ("windows of 10,000", READ_ROWS, 2, 10_000),
    ("64 partitions", WIDE_ROWS, 64, 10_000),
)


def measure(context: dict) -> dict[str, float]:
    """Rows/s of each, medians of rounds in which each has its turn."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tfonline.stream.readers.consumer import ConsumerReader
    from tfonline.stream.readers.tfio import TfioReader

    servers, found = context["bootstrap"], {}
    for what, rows, partitions, window_rows in _CASES:
        topic = make_topic(context, f"{partitions}_partitions", partitions, rows)
        planned = windows_of(topic.ends(), window_rows)
        ways = {
            f"{what}: tfio, rows/s": lambda t=topic, w=planned: read(w, TfioReader(t, servers, "benchmark", {})),
            f"{what}: consumer, rows/s": lambda t=topic, w=planned: read(w, ConsumerReader(t, servers, "benchmark", {})),
        }
        if what == "windows of 10,000":
            ways |= {
                "consume, rows/s": lambda t=topic: consume(t, servers, to_tensors=False),
                "consume to tensors, rows/s": lambda t=topic: consume(t, servers, to_tensors=True),
            }
        rates = {name: [] for name in ways}
        for _ in range(_ROUNDS):
            for name, way in ways.items():
                rates[name].append(way())
        found |= {name: float(np.median(rate)) for name, rate in rates.items()}
    return found


def read(planned: list, reader) -> float:
    """Rows/s of reading windows, all of them or for some seconds, from opening to the end of make_raw_batches."""
    from tfonline.stream.order import make_raw_batches

    rows, began = 0, time.perf_counter()
    for raw, _, _ in make_raw_batches(planned, reader, _BATCH_ROWS).prefetch(2):
        rows += len(raw.message)
        if time.perf_counter() - began > _SECS:
            break
    else:
        if rows != (expected := sum(w.rows for w in planned)):
            raise RuntimeError(f"{rows} rows read of {expected}")
    rate = rows / (time.perf_counter() - began)
    if hasattr(reader, "close"):
        reader.close()
    return rate


def consume(topic, servers: str, to_tensors: bool) -> float:
    """Rows/s of confluent-kafka's `consume`, plain, or turned into the tensors of a RawBatch as one would by hand."""
    import tensorflow as tf
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": servers, "group.id": "benchmark", "enable.auto.commit": False})
    ends, rows = topic.ends(), 0
    consumer.assign([TopicPartition(topic.name, p, 0) for p in range(len(ends))])
    began = time.perf_counter()
    while rows < sum(ends) and time.perf_counter() - began < _SECS:
        some = consumer.consume(_BATCH_ROWS, 1.0)
        rows += len(some)
        if to_tensors:
            tf.constant([m.value() for m in some])
            tf.constant([m.partition() for m in some], tf.int32)
            tf.constant([m.offset() for m in some], tf.int64)
            tf.constant([m.timestamp()[1] for m in some], tf.int64)
    rate = rows / (time.perf_counter() - began)
    consumer.close()
    return rate
