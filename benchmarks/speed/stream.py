"""The whole way, and how fresh the model is; on a real broker on the same machine."""

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


def end_to_end(context: dict) -> dict[str, float]:
    """Rows/s from Kafka to trained by the command line, checkpoints on, beside training alone by the same flags, in turns."""
    from benchmarks.speed.data import median_secs
    from benchmarks.speed.training import make_learner, tensors

    kafka, alone = [], []
    learner, ready = make_learner(), tensors(_BATCH_ROWS)
    options = ["--flagfile=configs/mindrec.flags", f"--batch_size={_BATCH_ROWS}", f"--dictionary_dir={context['dictionaries']}"]
    for _ in range(2):
        kafka.append(kafka_to_trained(context, options))
        secs = median_secs(lambda i: learner.train(ready[i % 8]).logits.numpy(), secs=6)
        alone.append(_BATCH_ROWS / secs)
    return {"Kafka to trained, rows/s": float(np.median(kafka)), "training alone beside it, rows/s": float(np.median(alone))}


def kafka_to_trained(context: dict, options: list[str]) -> float:
    """Rows/s of the trainer's command over all rows of a topic, checkpoints on: a new model.

    Args:
      context: `bootstrap`, `topic`, and the `folder` for the model.
      options: of the command: flag file, batch size, dictionaries.
    """
    model_dir = pathlib.Path(context["folder"]) / "model"
    shutil.rmtree(model_dir, ignore_errors=True)
    command = [sys.executable, "-m", "tfonline.train", *options]
    command += [f"--bootstrap_servers={context['bootstrap']}", f"--topic={context['topic']}", f"--model_dir={model_dir}"]
    command += ["--stop_at=latest", "--window_rows=10000", "--report_secs=3600"]
    command += ["--checkpoint_every_steps=0", "--checkpoint_secs=15"]  # by default every minute
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((model_dir / "summary.json").read_text())["rows_per_sec"]


def freshness(context: dict) -> dict[str, float]:
    """Milliseconds from a row's timestamp at the producer to the end of the step that learned from it, at 1,000 rows/s."""
    from confluent_kafka import Consumer, Producer, TopicPartition

    from tfonline import loop, train
    from tfonline.config import parse
    from tfonline.lifecycle import Stop

    # Each turn has a topic and a model of its own.
    named = f"fresh_{context['reader']}_{os.getpid()}"
    topic, rows_per_sec, secs = f"{context['topic']}_{named}", 1000, 20
    tool("topic.py", "create", f"--bootstrap_servers={context['bootstrap']}", f"--topic={topic}")
    lines = pathlib.Path(context["rows"]).read_bytes().splitlines()[: rows_per_sec * secs]
    trained: dict[tuple[int, int], float] = {}
    learn = loop._learn

    def timed(rows, *args):
        begun, now = learn(rows, *args), time.time()
        origin = rows.element.batch.origin
        for place in zip(origin.partition.numpy().tolist(), origin.offset.numpy().tolist(), strict=True):
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
    flags += [f"--dictionary_dir={context['dictionaries']}", f"--model_dir={context['folder']}/{named}", "--window_secs=0.1"]
    flags += [f"--reader={context['reader']}", "--report_secs=3600", "--checkpoint_every_steps=0", "--checkpoint_secs=10"]
    train.run(parse(["", *flags]), stop)
    thread.join()
    consumer = Consumer({"bootstrap.servers": context["bootstrap"], "group.id": "benchmark", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, p, 0) for p in range(2)])
    waited = []
    while len(waited) < len(lines):
        some = consumer.consume(1000, 5.0)
        waited += [1000 * trained[m.partition(), m.offset()] - m.timestamp()[1] for m in some]
    consumer.close()
    name = f"produced to trained, {context['reader']}"
    return {f"{name}, p{q}, ms": float(np.percentile(waited, q)) for q in (50, 95, 99)} | {f"{name}, most, ms": float(max(waited))}


def measure(context: dict) -> dict[str, float]:
    """One of them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parts = {"end_to_end": end_to_end, "freshness": freshness}
    return parts[context["part"]](context)
