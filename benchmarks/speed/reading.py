"""Reading alone: from Kafka to the tensors of a RawBatch, by both readers, in turns; on a real broker on the same machine."""

import os
import time

import numpy as np

from benchmarks.commands import tool

_BATCH_ROWS = 1000
_LONG_ROWS, _WIDE_ROWS = 1_000_000, 200_000
_WIDE_PARTITIONS, _WIDE_WINDOW = 64, 10_000
_TURNS = 3
_PROCESSES = (0, 1, 2)  # --reader_processes


def readers(context: dict) -> dict[str, float]:
    """Rows/s of each reader, and of confluent-kafka's `consume` by hand, plain and turned into the same tensors."""
    servers = context["bootstrap"]
    long, wide = topic_of(context, "long", 2, _LONG_ROWS), topic_of(context, "wide_64", _WIDE_PARTITIONS, _WIDE_ROWS)
    cases = {f"windows of {rows:,}": (long, cut(long.ends(), rows)) for rows in (100, 1000, 10_000)}
    cases[f"{_WIDE_PARTITIONS} partitions"] = (wide, cut(wide.ends(), _WIDE_WINDOW))
    rates: dict[str, list[float]] = {}
    for _ in range(_TURNS):
        for case, (topic, windows) in cases.items():
            for reader in ("tfio", "consumer"):
                rates.setdefault(f"{case}, {reader}, rows/s", []).append(
                    read_rows_per_sec(reader, servers, topic, windows, secs=3.0)
                )
        for to_tensors in (False, True):
            name = "consume to tensors, rows/s" if to_tensors else "consume, rows/s"
            rates.setdefault(name, []).append(_consume(servers, long, to_tensors))
        for reader in ("tfio", "consumer"):
            whole = cut(long.ends(), _LONG_ROWS)
            rates.setdefault(f"one window, {reader}, rows/s", []).append(read_rows_per_sec(reader, servers, long, whole))
        for rows in (10_000, _LONG_ROWS):
            windows = cut(long.ends(), rows)
            for processes in _PROCESSES:
                rate = read_rows_per_sec("consumer", servers, long, windows, secs=3.0, processes=processes, started=True)
                rates.setdefault(f"windows of {rows:,}, {processes} processes, rows/s", []).append(rate)
    return {name: float(np.median(each)) for name, each in rates.items()}


def _consume(servers: str, topic, to_tensors: bool) -> float:
    """Rows/s of a loop by hand over the whole topic."""
    import tensorflow as tf
    from confluent_kafka import Consumer, TopicPartition

    ends = topic.ends()
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "benchmark", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic.name, p, 0) for p in range(len(ends))])
    rows = 0
    began = time.perf_counter()
    while rows < sum(ends):
        some = consumer.consume(_BATCH_ROWS, 1.0)
        rows += len(some)
        if to_tensors:
            tf.constant([m.value() for m in some])
            tf.constant([m.partition() for m in some], tf.int32)
            tf.constant([m.offset() for m in some], tf.int64)
            tf.constant([m.timestamp()[1] for m in some], tf.int64)
            tf.constant([m.value() is None for m in some])
    secs = time.perf_counter() - began
    consumer.close()
    return rows / secs


def growth(context: dict) -> dict[str, float]:
    """Rows/s of reading alone as the number of partitions grows, and as windows do."""
    found = {}
    for partitions in (1, 4, 16, 64):
        topic = topic_of(context, f"wide_{partitions}", partitions, _WIDE_ROWS)
        windows = cut(topic.ends(), _WIDE_WINDOW)
        found[f"{partitions} partitions: reading, rows/s"] = read_rows_per_sec("consumer", context["bootstrap"], topic, windows)
    topic = topic_of(context, "long", 2, _LONG_ROWS)
    for rows in (100, 1000, 10_000, 100_000, 1_000_000):
        rate = read_rows_per_sec("consumer", context["bootstrap"], topic, cut(topic.ends(), rows), secs=4)
        found[f"windows of {rows:,}: reading, rows/s"] = rate
    return found


def topic_of(context: dict, name: str, partitions: int, rows: int, used: int = 0):
    """A topic of synthetic rows, made where it is not there yet; of so many partitions only the first `used` have rows (0: all)."""
    from confluent_kafka.admin import AdminClient, NewPartitions

    from tfonline.stream.broker import KafkaTopic

    servers, name, used = context["bootstrap"], f"{context['topic']}_{name}", used or partitions
    admin = AdminClient({"bootstrap.servers": servers})
    if name not in admin.list_topics(timeout=10).topics:
        tool("topic.py", "create", f"--bootstrap_servers={servers}", f"--topic={name}", f"--partitions={used}")
        tool("produce.py", f"--bootstrap_servers={servers}", f"--topic={name}", f"--synthetic={rows}")
        if used < partitions:
            admin.create_partitions([NewPartitions(name, partitions)])[name].result()
    return KafkaTopic(servers, name, "benchmark", {}, 10, None, print)


def cut(ends: list[int], rows: int) -> list:
    """Windows of so many rows, alike in all partitions."""
    from tfonline.stream.window import Window

    count = max(1, sum(ends) // rows)
    bounds = [tuple(end * i // count for end in ends) for i in range(count + 1)]
    return [Window(i, *bounds[i : i + 2], "rows") for i in range(count)]


def read_rows_per_sec(
    reader: str, servers: str, topic, planned: list, secs: float = float("inf"), processes: int = 0, started: bool = False
) -> float:
    """Rows/s of reading the windows, all or for so many seconds.

    Args:
      reader: tfio or consumer.
      servers: of the broker.
      topic: the admin side.
      planned: the windows.
      secs: at most so long.
      processes: as --reader_processes.
      started: counts from the first rows on, when the processes are there, and connected.
    """
    import tensorflow as tf

    from tfonline.stream.order import make_raw_batches
    from tfonline.stream.readers.tfio import TfioReader

    made = _consumer(servers, topic, processes) if reader == "consumer" else TfioReader(topic, servers, "benchmark", {})
    rows, began = 0, time.perf_counter()
    # Counted in the graph, where the features would be made of them: to hand each batch to Python costs more than to read it.
    sizes = make_raw_batches(planned, made, _BATCH_ROWS).map(lambda raw, window, last: tf.size(raw.message)).batch(20).prefetch(2)
    before = 0
    for size in sizes:
        rows += int(tf.reduce_sum(size))
        if started and not before:
            before, began = rows, time.perf_counter()
        if time.perf_counter() - began > secs:
            break
    else:
        if rows != (expected := sum(w.rows for w in planned)):
            raise RuntimeError(f"{rows} rows read of {expected}")
    rate = (rows - before) / (time.perf_counter() - began)
    made.close()
    return rate


def _consumer(servers: str, topic, processes: int):
    from tfonline.stream.readers.consumer import ConsumerReader
    from tfonline.stream.readers.processes import ProcessReader
    from tfonline.stream.readers.worker import Source

    if not processes:
        return ConsumerReader(topic)
    source = Source(servers, topic.name, "benchmark", {}, topic.timeout_secs, topic.num_partitions)
    return ProcessReader(source, processes, 1, topic.events, print)


def measure(context: dict) -> dict[str, float]:
    """One of the parts."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return {"readers": readers, "growth": growth}[context["part"]](context)
