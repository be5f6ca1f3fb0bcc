"""Trainer and servers are restarted one by one while rows come and clients ask: is a request or a row lost?

    python -m benchmarks.serving.rolling [--restarts=2]

A real broker, a producer, the trainer and two servers, all on this machine. Clients keep their connections, and take the next
server that is ready where one was closed, as a balancer sends them; nothing is asked twice. Each server, and then the trainer, is
ended by SIGTERM and started again, --restarts times. At the end each row of the topic must have been learned from once. The last
line has what was found; exit code 1 where something was lost.
"""

import argparse
import itertools
import os
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from benchmarks.commands import ROOT, emptied, free_port, tool
from benchmarks.serving.clients import Clients

sys.path.insert(0, str(ROOT / "tools"))

import broker

from tfonline.evaluate.progressive import PREDICTION
from tfonline.publish.versions import Versions

_TOPIC, _PARTITIONS = "tfonline_rolling", 2
_LAME_DUCK_SECS = 3
_ROWS_A_REQUEST = 5


class _Process:
    """A command that is ended and started again.

    Args:
      log: where it writes, all its lives.
      command: of Python.
    """

    def __init__(self, log: pathlib.Path, *command: object):
        self._log, self._command = log, [sys.executable, *map(str, command)]
        self.codes: list[int] = []
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as out:
            self.process = subprocess.Popen(self._command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)

    def stop(self) -> None:
        """By SIGTERM; notes the exit code."""
        self.process.terminate()
        self.codes.append(self.process.wait(120))

    def wait_for(self, what: str, ready: Callable[[], object]) -> None:
        while not ready():
            if self.process.poll() is not None:
                sys.exit(f"{what}: ended with exit code {self.process.returncode}\n{self._log.read_text()[-2000:]}")
            time.sleep(0.1)


class _Server(_Process):
    """`port` is where it listens, in all its lives."""

    def __init__(self, folder: pathlib.Path, name: str):
        self.port, self._name = free_port(), name
        flags = [f"--export_dir={folder / 'models'}", f"--port={self.port}", "--poll_secs=0.2"]
        super().__init__(folder / f"{name}.log", "-m", "tfonline.serve", *flags, f"--lame_duck_secs={_LAME_DUCK_SECS}")

    def wait_until_ready(self) -> None:
        self.wait_for(self._name, self.ready)

    def ready(self) -> bool:
        """As a balancer asks."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=10) as response:
                return response.status == 200
        except (urllib.error.URLError, OSError):
            return False


def main() -> int:
    """Restarts all; returns 0 if nothing was lost."""
    args = _parse()
    os.umask(0o077)
    folder, running = emptied(args.folder), []
    try:
        _say("Apache Kafka, dictionaries, a producer")
        bootstrap = broker.start(folder / "kafka").bootstrap
        tool("synthetic.py", "--rows=20000", f"--output={folder / 'rows.tsv'}")
        tool("process_data.py", folder / "rows.tsv", f"--output_dir={folder / 'dictionaries'}")
        tool("topic.py", "create", f"--bootstrap_servers={bootstrap}", f"--topic={_TOPIC}", f"--partitions={_PARTITIONS}")
        producer = _producer(folder, bootstrap, args.rows_per_sec)
        running.append(producer)
        _say("the trainer, and two servers once there is a version")
        trainer = _Process(folder / "trainer.log", "-m", "tfonline.train", *_flags(folder, bootstrap))
        running.append(trainer)
        trainer.wait_for("trainer", lambda: Versions(folder / "models").numbers)
        servers = [_Server(folder, name) for name in ("server-1", "server-2")]
        running += servers
        for server in servers:
            server.wait_until_ready()
        clients = _ask(folder, servers, args.clients)
        for turn in range(args.restarts):
            _say(f"restarts, turn {turn + 1}")
            for each in (*servers, trainer):
                _restart(each, folder, trainer)
            print(f"answered={len(clients.answers)} failed={len(clients.failures)} versions={Versions(folder / 'models').numbers}")
        clients.stop()
        producer.stop()
        trainer.stop()
        _say("the rest of the topic")
        last = _Process(folder / "trainer.log", "-m", "tfonline.train", *_flags(folder, bootstrap), "--stop_at=latest")
        running.append(last)
        if last.process.wait(300):
            sys.exit((folder / "trainer.log").read_text()[-2000:])
        lost, doubled, rows = _held_against_topic(folder, bootstrap)
    finally:
        for each in running:
            if each.process.poll() is None:
                each.process.kill()
        broker.stop(folder / "kafka")
    for failure in clients.failures[:10]:
        print(f"failed: {failure}")
    codes = {code for each in (*servers, trainer) for code in each.codes}
    answers, failed = clients.answers, len(clients.failures)
    secs = np.array([a.secs for a in answers])
    print(
        f"rolling: restarts={args.restarts * 3} requests={len(answers) + failed} failed={failed} "
        f"p99_ms={np.percentile(secs, 99) * 1000:.0f} max_ms={secs.max() * 1000:.0f} versions={len({a.version for a in answers})} "
        f"rows={rows} lost={lost} doubled={doubled} exit_codes={','.join(map(str, sorted(codes)))}"
    )
    return 0 if not failed and not lost and not doubled and codes == {0} else 1


def _restart(each: _Process, folder: pathlib.Path, trainer: _Process) -> None:
    each.stop()
    newest = Versions(folder / "models").numbers[-1]
    each.start()
    if isinstance(each, _Server):
        each.wait_until_ready()
    else:  # until it has published again
        trainer.wait_for("trainer", lambda: Versions(folder / "models").numbers[-1] > newest)


def _ask(folder: pathlib.Path, servers: list[_Server], threads: int) -> Clients:
    turn = itertools.count()

    def pick() -> int:
        for number in turn:
            server = servers[number % len(servers)]
            if server.ready():
                return server.port
            time.sleep(0.05)
        raise AssertionError

    with (folder / "rows.tsv").open() as file:
        rows = [line.rstrip("\n").partition("\t")[2] for line in file]
    clients = Clients(pick, rows, _ROWS_A_REQUEST, threads, signature="unlabelled")
    clients.start()
    return clients


def _flags(folder: pathlib.Path, bootstrap: str) -> list[str]:
    flags = {
        "flagfile": "configs/demo.flags", "bootstrap_servers": bootstrap, "topic": _TOPIC, "model_dir": folder / "model",
        "dictionary_dir": folder / "dictionaries", "export_dir": folder / "models", "window_rows": 2000, "window_secs": 1,
        "checkpoint_secs": 2, "export_every_secs": 5, "gate_rows": 2000, "gate_max_regression": 1, "gate_calibration": 0,
        "gate_min_auc": 0, "stop_at": "never", "save_predictions": True,
    }  # fmt: skip
    return [f"--{name}={value}" for name, value in flags.items()]


def _producer(folder: pathlib.Path, bootstrap: str, rows_per_sec: int) -> _Process:
    flags = [f"--bootstrap_servers={bootstrap}", f"--topic={_TOPIC}", f"--rows_per_sec={rows_per_sec}", "--loop"]
    return _Process(folder / "producer.log", "tools/produce.py", *flags, folder / "rows.tsv")


def _held_against_topic(folder: pathlib.Path, bootstrap: str) -> tuple[int, int, int]:
    """How many rows of the topic were not learned from, how many more than once, and how many there are."""
    seen = np.fromfile(folder / "model" / "predictions.bin", PREDICTION)
    trained = np.stack([seen["partition"].astype(np.int64), seen["offset"]], axis=1)
    once = len(np.unique(trained, axis=0))
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "rolling"})
    rows = sum(consumer.get_watermark_offsets(TopicPartition(_TOPIC, p), 10)[1] for p in range(_PARTITIONS))
    consumer.close()
    return rows - once, len(trained) - once, rows


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=2, help="of each server and of the trainer (default 2)")
    parser.add_argument("--clients", type=int, default=4, help="threads that ask (default 4)")
    parser.add_argument("--rows_per_sec", type=int, default=500, help="that are produced (default 500)")
    parser.add_argument("--folder", default=str(ROOT / "runs" / "rolling"), help="emptied first (default runs/rolling)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
