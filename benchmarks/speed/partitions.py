"""What partitions cost a trainer: the same rows in few and in many, all used or all but two idle; and then a quiet topic."""

import functools
import json
import os
import pathlib
import threading
import time

from benchmarks.commands import tool
from benchmarks.speed.reading import topic_of

_ROWS, _USED = 100_000, 2
_QUIET_SECS = 15.0
_SETTLE_SECS = 5.0  # a topic that has just become quiet is still looked at often
_STATISTICS_MS = 1000
_WITHIN_SECS = 300.0


def measure(context: dict) -> dict[str, float]:
    """Rows/s from Kafka to trained, memory, and what the trainer asks of the broker and of the cores when no row comes.

    Args:
      context: beside the usual: `partitions` of the topic, and `idle`: whether all but two of them are without a row.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tfonline import loop, train
    from tfonline.config import parse
    from tfonline.lifecycle import Stop
    from tfonline.stream import client

    partitions, idle = context["partitions"], context["idle"]
    used = min(_USED, partitions) if idle else partitions
    topic = topic_of(context, f"wide_{partitions}_{used}", partitions, _ROWS, used)
    requests: dict[str, list[tuple[float, int]]] = {}
    client.Consumer = functools.partial(_counted, client.Consumer, requests)
    trained, learn, done, woken = [0], loop._learn, threading.Event(), threading.Event()

    def counted(rows, *args):
        begun = learn(rows, *args)
        if not trained[0]:
            found["began"] = time.monotonic()
        trained[0] += int(rows.element.batch.valid.numpy().sum())
        if trained[0] == _ROWS:
            found["ended"] = time.monotonic()
            done.set()
        elif trained[0] > _ROWS:
            woken.set()
        return begun

    loop._learn = counted
    found: dict[str, float] = {}
    stop = Stop()

    def watch():
        try:
            if not done.wait(_WITHIN_SECS):
                return
            time.sleep(_SETTLE_SECS)
            cpu, began = time.process_time(), time.monotonic()
            time.sleep(_QUIET_SECS)
            ended = time.monotonic()
            found["cpu"] = (time.process_time() - cpu) / (ended - began)
            # What the reader's consumer has counted meanwhile, it tells when it is read from again.
            tool("produce.py", f"--bootstrap_servers={context['bootstrap']}", f"--topic={topic.name}", "--synthetic=2")
            woken.wait(_WITHIN_SECS)
            found["requests"] = sum(_rate(told, began, ended) for told in requests.values())
        finally:
            stop.request("the benchmark")

    thread = threading.Thread(target=watch)
    thread.start()
    flags = ["--flagfile=configs/mindrec.flags", "--batch_size=1000", f"--bootstrap_servers={context['bootstrap']}"]
    flags += [f"--topic={topic.name}", f"--dictionary_dir={context['dictionaries']}", "--window_rows=10000", "--window_secs=2"]
    flags += [f"--model_dir={context['folder']}/wide_{partitions}_{used}", "--reader=consumer", "--report_secs=3600"]
    flags += ["--checkpoint_every_steps=0", "--checkpoint_secs=15"]
    train.run(parse(["", *flags]), stop)
    thread.join()
    if "cpu" not in found:
        raise RuntimeError(f"{trained[0]} rows trained of {_ROWS} within {_WITHIN_SECS:g} s")
    name = f"{partitions} partitions, {used} with rows"
    memory = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())["VmHWM"]
    return {
        f"{name}: Kafka to trained, rows/s": _ROWS / (found["ended"] - found["began"]),
        f"{name}: memory at most, MB": int(memory.split()[0]) / 1e3,
        f"{name}: requests a second, no rows": found["requests"],
        f"{name}: cores busy, no rows": found["cpu"],
    }


def _counted(make, requests: dict[str, list[tuple[float, int]]], config: dict):
    """A consumer that notes, by its name, when it had sent how many requests."""

    def note(statistics: str) -> None:
        told = json.loads(statistics)
        sent = sum(broker["tx"] for broker in told["brokers"].values())
        requests.setdefault(told["name"], []).append((told["ts"] / 1e6, sent))  # by the monotonic clock

    return make({**config, "statistics.interval.ms": _STATISTICS_MS, "stats_cb": note})


def _rate(told: list[tuple[float, int]], began: float, ended: float) -> float:
    """Requests a second between two moments of the monotonic clock."""
    meanwhile = [(at, sent) for at, sent in told if began <= at <= ended]
    if len(meanwhile) < 2:
        return 0.0
    return (meanwhile[-1][1] - meanwhile[0][1]) / (meanwhile[-1][0] - meanwhile[0][0])
