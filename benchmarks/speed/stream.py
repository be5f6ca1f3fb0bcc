"""How reading grows, the whole way, and how fresh the model is; on a real broker on the same machine."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import numpy as np

from benchmarks.commands import tool

_BATCH_ROWS = 1000
READ_ROWS = 1_000_000
WIDE_ROWS = 200_000


def windows(context: dict) -> dict[str, float]:
    """Rows/s of reading alone as the number of partitions grows, and as windows do."""
    found = {}
    for partitions in (1, 4, 16, 64):
        topic = make_topic(context, f"wide_{partitions}", partitions, WIDE_ROWS)
        found[f"{partitions} partitions: reading, rows/s"] = read_rows_per_sec(
            topic, context["bootstrap"], windows_of(topic.ends(), 10_000)
        )
    topic = make_topic(context, "long", 2, READ_ROWS)
    for rows in (100, 1000, 10_000, 100_000, 1_000_000):
        rate = read_rows_per_sec(topic, context["bootstrap"], windows_of(topic.ends(), rows), secs=4)
        found[f"windows of {rows:,}: reading, rows/s"] = rate
    return found


def make_topic(context: dict, name: str, partitions: int, rows: int):
    """A topic of synthetic rows, made where it is not there yet."""
    from confluent_kafka.admin import AdminClient

    from tfonline.stream.broker import KafkaTopic

    servers, name = context["bootstrap"], f"{context['topic']}_{name}"
    if name not in AdminClient({"bootstrap.servers": servers}).list_topics(timeout=10).topics:
        tool("topic.py", "create", f"--bootstrap_servers={servers}", f"--topic={name}", f"--partitions={partitions}")
        tool("produce.py", f"--bootstrap_servers={servers}", f"--topic={name}", f"--synthetic={rows}")
    return KafkaTopic(servers, name, "benchmark", {}, 10, None, print)


def windows_of(ends: list[int], rows: int) -> list:
    """Windows of so many rows, alike in all partitions."""
    from tfonline.stream.windows import Window

    count = max(1, sum(ends) // rows)
    bounds = [tuple(end * i // count for end in ends) for i in range(count + 1)]
    return [Window(i, *bounds[i : i + 2], "rows") for i in range(count)]


def read_rows_per_sec(topic, servers: str, planned: list, secs: float = float("inf")) -> float:
    """Rows/s of reading the windows as --reader=auto does, all or for so many seconds."""
    from tfonline.stream.order import make_raw_batches
    from tfonline.stream.readers.choose import open_reader

    rows, began = 0, time.perf_counter()
    reader = open_reader("auto", topic, servers, "benchmark", {}, 1, print)
    for raw, _, _ in make_raw_batches(planned, reader, _BATCH_ROWS).prefetch(2):
        rows += len(raw.message)
        if time.perf_counter() - began > secs:
            break
    else:
        if rows != (expected := sum(w.rows for w in planned)):
            raise RuntimeError(f"{rows} rows read of {expected}")
    return rows / (time.perf_counter() - began)


def end_to_end(context: dict) -> dict[str, float]:
    """Rows/s from Kafka to trained by the command line, checkpoints on, beside training alone by the same flags, in turns."""
    from benchmarks.speed.data import median_secs
    from benchmarks.speed.training import make_learner, tensors

    kafka, alone = [], []
    learner, ready = make_learner(), tensors(_BATCH_ROWS)
    for _ in range(2):
        model_dir = pathlib.Path(context["folder"]) / "model"
        shutil.rmtree(model_dir, ignore_errors=True)
        command = [sys.executable, "-m", "tfonline.train", "--flagfile=configs/mindrec.flags", f"--batch_size={_BATCH_ROWS}"]
        command += [f"--bootstrap_servers={context['bootstrap']}", f"--topic={context['topic']}", f"--model_dir={model_dir}"]
        command += [f"--dictionary_dir={context['dictionaries']}", "--stop_at=latest", "--window_rows=10000", "--report_secs=3600"]
        command += ["--checkpoint_every_steps=0", "--checkpoint_secs=15"]  # by default every minute
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        kafka.append(json.loads((model_dir / "summary.json").read_text())["rows_per_sec"])
        secs = median_secs(lambda i: learner.train(ready[i % 8]).logits.numpy(), secs=6)
        alone.append(_BATCH_ROWS / secs)
    return {"Kafka to trained, rows/s": float(np.median(kafka)), "training alone beside it, rows/s": float(np.median(alone))}


def freshness(context: dict) -> dict[str, float]:
    """Milliseconds from a row's timestamp at the producer to the end of the step that learned from it, at 1,000 rows/s."""
    from confluent_kafka import Consumer, Producer, TopicPartition

    from tfonline import loop, train
    from tfonline.config import parse
    from tfonline.lifecycle import Stop

    topic, rows_per_sec, secs = f"{context['topic']}_fresh", 1000, 20
    tool("topic.py", "create", f"--bootstrap_servers={context['bootstrap']}", f"--topic={topic}")
    lines = pathlib.Path(context["rows"]).read_bytes().splitlines()[: rows_per_sec * secs]
    trained: dict[tuple[int, int], float] = {}
    learn = loop._learn

    def timed(rows, *args):
        begun, now = learn(rows, *args), time.time()
        for place in zip(*(x.numpy().tolist() for x in rows.element.batch.origin[:2]), strict=True):
            trained[place] = now
        return begun

    loop._learn = timed
    stop = Stop()

    def produce():
        producer = Producer({"bootstrap.servers": context["bootstrap"], "linger.ms": 5})
        time.sleep(8)  # the trainer is up and idle by then
        began = time.perf_counter()
        for i, line in enumerate(lines):
            producer.produce(topic, line, partition=i % 2)
            if i % 10 == 9:
                producer.poll(0)
                time.sleep(max(0, began + i / rows_per_sec - time.perf_counter()))
        producer.flush()
        time.sleep(3)
        stop.request("the benchmark")

    thread = threading.Thread(target=produce)
    thread.start()
    flags = [
        "--flagfile=configs/mindrec.flags",
        "--batch_size=100",
        f"--bootstrap_servers={context['bootstrap']}",
        f"--topic={topic}",
    ]
    flags += [f"--dictionary_dir={context['dictionaries']}", f"--model_dir={context['folder']}/fresh", "--window_secs=0.1"]
    flags += ["--report_secs=3600", "--checkpoint_every_steps=0", "--checkpoint_secs=10"]
    train.run(parse(["", *flags]), stop)
    thread.join()
    consumer = Consumer({"bootstrap.servers": context["bootstrap"], "group.id": "benchmark", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, p, 0) for p in range(2)])
    waited = []
    while len(waited) < len(lines):
        some = consumer.consume(1000, 5.0)
        waited += [1000 * trained[m.partition(), m.offset()] - m.timestamp()[1] for m in some]
    consumer.close()
    return {f"produced to trained, p{q}, ms": float(np.percentile(waited, q)) for q in (50, 95, 99)} | {
        "produced to trained, most, ms": float(max(waited))
    }


def measure(context: dict) -> dict[str, float]:
    """One of them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parts = {"windows": windows, "end_to_end": end_to_end, "freshness": freshness}
    return parts[context["part"]](context)
