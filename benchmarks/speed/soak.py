"""Whether a trainer that runs for long grows: make soak, or python -m benchmarks.speed.soak [--windows=10000] [--warm_up=4000].

Much of what a week does in half an hour, once by each reader: short windows one after the other on a real broker, as many a second
as the machine manages, with ids that come and go, so that rows of the vocabulary change hands; a checkpoint and a published version
every five seconds, and the metrics asked ten times a second. Memory is the least resident set of a tenth of the run, so that
garbage that waits to be collected does not count.
"""

import argparse
import contextlib
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.chaos.trainer import ROOT, Trainer, command_of
from benchmarks.commands import free_port

sys.path.insert(0, str(ROOT / "tools"))

import broker
import topic as topic_tool
from kafka_cli import Connection

from benchmarks.speed.usage import usage
from tfonline.publish.versions import Versions

_WINDOW_ROWS, _ROWS_PER_SEC, _ID_LIFETIME = 40, 600, 20_000
_SCRAPE_EVERY_SECS = 0.1
_MOST_GROWTH = 0.02  # of resident memory
_FLAGS = {
    "vocabulary_rows": 4096, "oov_buckets": 1000, "admit_after": 2, "expire_rows": 5000, "admit_counters": 65_536,
    "window_rows": _WINDOW_ROWS, "window_secs": 60, "batch_size": _WINDOW_ROWS, "checkpoint_secs": 5, "report_secs": 10,
    "max_rejected_ratio": 1, "history": True, "average_rows": 10_000, "metrics_by": "C9", "rollback_on_regression": 10,
    "export_every_secs": 3, "gate_rows": 2000, "gate_max_regression": 10, "gate_min_auc": 0, "gate_calibration": 0,
}  # fmt: skip


class _Soaked(NamedTuple):
    """What a run has taken more of from its first tenth to its last one, and what it has done."""

    memory: float
    threads: int
    files: int
    exports: int
    scrapes: int

    @property
    def grew(self) -> bool:
        return self.memory > _MOST_GROWTH or self.threads > 0 or self.files > 0


def main() -> int:
    """Runs it and prints a line a tenth and the closing line; 1 if something grew."""
    args = _parse()
    began, found = time.monotonic(), {}
    for reader in args.readers.split(","):
        print(f"--reader={reader}", flush=True)
        found[reader] = soaked = _soak(reader, args.windows, args.warm_up)
        print(f"  memory {soaked.memory:+.2%} exports {soaked.exports} scrapes {soaked.scrapes}", flush=True)
    worst = max(found.values(), key=lambda of: of.memory)
    threads, files, exports, scrapes = (max(getattr(of, kind) for of in found.values()) for kind in _Soaked._fields[1:])
    print(
        f"soak: readers={','.join(found)} windows={args.windows} exports={exports} scrapes={scrapes} "
        f"memory_growth={worst.memory:.2%} threads={threads:+d} files={files:+d} seconds={time.monotonic() - began:.0f}"
    )
    return int(any(of.grew for of in found.values()))


def _soak(reader: str, windows: int, warm_up: int) -> _Soaked:
    with tempfile.TemporaryDirectory(prefix="tfonline-soak-") as name:
        folder = pathlib.Path(name)
        bootstrap = broker.start(folder / "kafka").bootstrap
        try:
            topic_tool.create(Connection(bootstrap, {}), "soak", 2, 1)
            port = free_port()
            flags = {
                "bootstrap_servers": bootstrap,
                "topic": "soak",
                "model_dir": folder / "model",
                "export_dir": folder / "models",
            }
            flags |= {"reader": reader, "monitor_port": port, **_FLAGS}
            with _fed(bootstrap), _asked(port) as answers:
                trainer = Trainer(command_of(""), flags, folder / "trainer.log")
                samples = _watch(trainer, windows, warm_up)
                trainer.terminate()
                trainer.wait_for_exit(0, 60, "SIGTERM")
            exports, scrapes = Versions(folder / "models").numbers[-1], len(answers)
        finally:
            broker.stop(folder / "kafka")
    first, last = samples[0], samples[-1]
    more = (last[kind] - first[kind] for kind in ("threads", "files"))
    return _Soaked(last["memory"] / first["memory"] - 1, *more, exports, scrapes)


@contextlib.contextmanager
def _fed(bootstrap: str) -> Iterator[None]:
    """Rows whose ids change come meanwhile."""
    command = [sys.executable, ROOT / "tools" / "produce.py", f"--bootstrap_servers={bootstrap}", "--topic=soak"]
    flags = ["--synthetic=100000000", f"--id_lifetime={_ID_LIFETIME}", f"--rows_per_sec={_ROWS_PER_SEC}"]
    producer = subprocess.Popen([*map(str, command), *flags], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        producer.kill()
        producer.wait()


@contextlib.contextmanager
def _asked(port: int) -> Iterator[list[int]]:
    """Metrics are asked for meanwhile; gives the sizes of the answers."""
    answers, end = [], threading.Event()

    def ask() -> None:
        while not end.wait(_SCRAPE_EVERY_SECS):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                answers.append(len(answer.read()))

    thread = threading.Thread(target=ask, name="scrapes")
    thread.start()
    try:
        yield answers
    finally:
        end.set()
        thread.join()


def _watch(trainer: Trainer, windows: int, warm_up: int) -> list[dict[str, int]]:
    """The least memory (kB), threads and open files of each tenth of the windows after the warm-up."""
    samples, part = [], []
    tenth = max(1, (windows - warm_up) // 10)
    while len(samples) < 10:
        _, window, _ = trainer.state()
        if window >= warm_up:
            part.append(usage(trainer.pid))
        if window >= warm_up + tenth * (len(samples) + 1):
            samples.append({kind: min(of[kind] for of in part) for kind in part[0]})
            print(f"window {window:>7,}  {samples[-1]}", flush=True)
            part = []
        trainer.wait_until(lambda *_: True, 60, "soaking")
        time.sleep(0.25)
    return samples


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=10_000, help="by each reader (default 10,000)")
    parser.add_argument("--warm_up", type=int, default=4_000, help="windows before the first sample (default 4,000)")
    parser.add_argument("--readers", default="consumer,tfio", help="comma separated (default consumer,tfio)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
