"""What the trainer is doing right now, in one line of `<model_dir>/status`, and how long it did what. Imports no TensorFlow."""

import datetime
import os
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

_LINE_BYTES = 120
PHASES = ("starting", "reading", "training", "telling", "saving", "committing", "ended")


class Stage(NamedTuple):
    """What is done since when.

    Attributes:
      phase: one of PHASES.
      since: seconds, of the clock of Status.
      secs: how long each phase took before that, seconds, by name.
    """

    phase: str
    since: float
    secs: Mapping[str, float]

    def secs_until(self, now: float) -> dict[str, float]:
        """How long each phase has taken, the present one up to `now`."""
        return {**self.secs, self.phase: self.secs[self.phase] + max(0.0, now - self.since)}


class Status:
    """Keeps a line such as `2026-01-31T10:00:00.000Z pid 1234 training window 12 step 340`, always of the same length.

    It is rewritten in place, a system call each time, so it is cheap enough for every batch, and is as old as what it says: a
    line that stays `reading` for minutes is a stream that stands still.

    ` writing` at its end tells that a checkpoint is being written meanwhile.

    Phases: `starting`, `reading` (waiting for rows), `training`, `saving`, `committing` (saved; the broker is told), `ended`. One
    more is too short for a line: `telling` (rows that were learned from are counted and reported).

    Args:
      path: None: no line is kept.
      clock: seconds, monotonic.

    Attributes:
      writing: whether a checkpoint is being written, from the next line on.
      stage: what is done now. Replaced as a whole: another thread never sees half of a change.
    """

    def __init__(self, path: str | os.PathLike | None, clock: Callable[[], float] = time.monotonic):
        self.writing, self._clock = False, clock
        self.stage = Stage("starting", clock(), dict.fromkeys(PHASES, 0.0))
        self._fd = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)

    def set(self, phase: str, window: int = 0, step: int = 0) -> None:
        """The trainer is in this phase from now on; the line says so."""
        self.enter(phase)
        if self._fd is None:
            return
        now = datetime.datetime.fromtimestamp(time.time(), datetime.UTC)
        line = f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03}Z pid {os.getpid()} {phase} window {window} step {step}"
        line += " writing" if self.writing else ""
        os.pwrite(self._fd, line.ljust(_LINE_BYTES - 1).encode() + b"\n", 0)

    def enter(self, phase: str) -> None:
        """As `set`, but the line stays as it is."""
        now = self._clock()
        self.stage = Stage(phase, now, self.stage.secs_until(now))

    def close(self) -> None:
        """Leaves the line as it stands."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
