"""What the trainer is doing right now, in one line of `<model_dir>/status`. Imports no TensorFlow."""

import datetime
import os
import time

_LINE_BYTES = 120


class Status:
    """Keeps a line such as `2026-01-31T10:00:00.000Z pid 1234 training window 12 step 340`, always of the same length.

    It is rewritten in place, a system call each time, so it is cheap enough for every batch, and is as old as what it says: a
    line that stays `reading` for minutes is a stream that stands still.

    ` writing` at its end tells that a checkpoint is being written meanwhile.

    Phases: `starting`, `reading` (waiting for rows), `training`, `saving`, `committing` (saved; the broker is told), `ended`.

    Args:
      path: None: nothing is kept.

    Attributes:
      writing: whether a checkpoint is being written, from the next line on.
    """

    def __init__(self, path: str | os.PathLike | None):
        self.writing = False
        self._fd = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)

    def set(self, phase: str, window: int = 0, step: int = 0) -> None:
        """The trainer is in this phase from now on."""
        if self._fd is None:
            return
        now = datetime.datetime.fromtimestamp(time.time(), datetime.UTC)
        line = f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03}Z pid {os.getpid()} {phase} window {window} step {step}"
        line += " writing" if self.writing else ""
        os.pwrite(self._fd, line.ljust(_LINE_BYTES - 1).encode() + b"\n", 0)

    def close(self) -> None:
        """Leaves the line as it stands."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
