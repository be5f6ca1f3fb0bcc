"""Points that the trainer's own command is run for, on a real broker: partitions, windows and workers.

Each point is two runs, of some rows and of more. What the second takes more than the first is what its rows more have cost: start
and end of a run are the same in both.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from typing import NamedTuple

from benchmarks.commands import ROOT, tool
from benchmarks.growth.traffic import Sent

_POLL_SECS = 0.01


class Run(NamedTuple):
    """What a run has taken.

    Attributes:
      rows: trained.
      cpu_secs: user and system, of all its processes.
      memory_mb: at most resident, of the largest process.
      row_secs: wall time a row, between the first step's end and the last one's.
      checkpoint_secs: of the last save: from the end of the last window to the file on disk.
      checkpoint_mb: of the newest checkpoint.
      sent: bytes a step between workers, of all together; 0 where they were not looked at.
    """

    rows: int
    cpu_secs: float
    memory_mb: float
    row_secs: float
    checkpoint_secs: float
    checkpoint_mb: float
    sent: float


class Topic:
    """A topic whose rows go to its partitions in turn.

    Args:
      context: `bootstrap` and `folder`.
      name: of the topic.
      rows_file: whose lines are sent, again and again where the topic has more.
      partitions: how many.
      rows: how many.
    """

    def __init__(self, context: dict, name: str, rows_file: pathlib.Path, partitions: int, rows: int):
        self._context, self._name, self._rows, self._partitions = context, name, rows, partitions
        link = [f"--bootstrap_servers={context['bootstrap']}", f"--topic={name}"]
        tool("topic.py", "create", *link, f"--partitions={partitions}")
        tool("produce.py", rows_file, "--loop", f"--limit={rows}", *link)

    def flags(self, rows: int) -> list[str]:
        """Of a run over the last rows, so many."""
        if rows % self._partitions or self._rows % self._partitions:
            raise ValueError(f"{rows} of {self._rows} rows do not divide over {self._partitions} partitions")
        offset = (self._rows - rows) // self._partitions
        start = pathlib.Path(self._context["folder"]) / f"start-{self._name}-{rows}.json"
        start.write_text(json.dumps({str(p): offset for p in range(self._partitions)}))
        flags = [f"--bootstrap_servers={self._context['bootstrap']}", f"--topic={self._name}"]
        return [*flags, f"--start=offsets:{start}", "--stop_at=latest"]


def point(topic: Topic, flags: list[str], rows: tuple[int, int], folder: pathlib.Path, workers: int = 1) -> dict[str, float]:
    """The figures of a point.

    Args:
      topic: whose last rows are trained.
      flags: of the trainer, beside those of the stream.
      rows: of the two runs.
      folder: for models and logs.
      workers: how many.
    """
    few, many = (train([*flags, *topic.flags(n)], folder / "model", workers) for n in rows)
    if (few.rows, many.rows) != rows:
        sys.exit(f"{few.rows} and {many.rows} rows trained, of {rows}")
    found = {
        "cpu_us": 1e6 * (many.cpu_secs - few.cpu_secs) / (many.rows - few.rows),
        "wall_us": 1e6 * many.row_secs,
        "memory_mb": many.memory_mb,
        "checkpoint_mb": many.checkpoint_mb,
        "checkpoint_secs": many.checkpoint_secs,
    }
    return found | ({"sent a step and worker, kB": many.sent / workers / 1e3} if many.sent else {})


def train(flags: list[str], model_dir: pathlib.Path, workers: int = 1) -> Run:
    """Runs the trainer, or tools/launch.py where there are several workers, until the stream's end: a new model."""
    shutil.rmtree(model_dir, ignore_errors=True)
    logs = model_dir.parent / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    command = [sys.executable, "-m", "tfonline.train"]
    if workers > 1:
        command = [sys.executable, str(ROOT / "tools" / "launch.py"), f"--num_workers={workers}", f"--log_dir={logs}"]
        command += ["--max_restarts=0", "--"]
    command += [*flags, f"--model_dir={model_dir}", "--report_secs=3600", "--checkpoint_every_steps=0", "--checkpoint_secs=3600"]
    with (logs / "command.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        watch = _Watch(model_dir / "status", process.pid if workers > 1 else 0)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            watch.look()
            time.sleep(_POLL_SECS)
    watch.look()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        said = "".join(path.read_text(errors="replace")[-3000:] for path in sorted(logs.iterdir()))
        sys.exit(f"{' '.join(command)} ended with exit code {process.returncode}\n{said}")
    summary = json.loads((model_dir / "summary.json").read_text())
    newest = pathlib.Path(summary["checkpoint"])
    return Run(
        summary["rows_this_run"],
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1e3,
        summary["timed_secs"] / max(1, summary["timed_rows"]),
        watch.save_secs,
        sum(f.stat().st_size for f in newest.parent.glob(f"{newest.name}.*")) / 1e6,
        watch.sent_a_step,
    )


class _Watch:
    """Looks at a run from outside: when it saved last and, of workers, how many bytes they have sent at which step.

    Args:
      status: the trainer's line.
      launcher: the process that has started workers; 0: there are none.
    """

    def __init__(self, status: pathlib.Path, launcher: int):
        self._status, self._launcher, self._sent, self._step = status, launcher, None, 0
        self._saving = self._saved = 0.0
        self._first = self._last = (0, 0)  # step, bytes

    @property
    def save_secs(self) -> float:
        """How long the last save took."""
        return max(0.0, self._saved - self._saving)

    @property
    def sent_a_step(self) -> float:
        """Bytes between workers, of all together."""
        (first, before), (last, after) = self._first, self._last
        return (after - before) / (last - first) if last > first else 0.0

    def look(self) -> None:
        """At what the line says now."""
        try:
            words = self._status.read_text().split()
        except FileNotFoundError:
            return
        if len(words) < 8:
            return
        phase, step, now = words[3], int(words[7]), time.monotonic()
        if phase == "saving" and self._saved >= self._saving:
            self._saving = now
        elif phase in ("committing", "ended") and self._saved < self._saving:
            self._saved = now
        # As a step begins: what the one before it has sent is all there, and nothing of its own.
        if self._launcher and step and step != self._step and phase in ("reading", "training"):
            self._sent = self._sent or Sent(_ports(self._launcher))
            self._last = (step, self._sent.look())
            self._first = self._first if self._first[0] else self._last
        self._step = step


def _ports(launcher: int) -> set[int]:
    """At which workers listen: they are told it by the launcher."""
    for child in pathlib.Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        for word in pathlib.Path(f"/proc/{child}/cmdline").read_text().split("\0"):
            if word.startswith("--workers="):
                return {int(address.rpartition(":")[2]) for address in word.partition("=")[2].split(",")}
    raise RuntimeError("the launcher has no worker")
