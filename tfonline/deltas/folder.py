"""The folder of deltas: `<epoch>-<number>.delta` each, and which epoch was the last. Imports no TensorFlow.

A trainer that makes deltas holds the folder's lock, so that no two of them count the same epoch.
"""

import contextlib
import os
import pathlib
import re
from typing import IO, NamedTuple

from tfonline.lifecycle import Exit, UserError, flush_to_disk, try_lock

_NAME = re.compile(r"(\d+)-(\d+)\.delta")
_EPOCH, _LOCK = ".epoch", ".lock"


class Key(NamedTuple):
    """Which delta: the epoch, and its number in it, from 1."""

    epoch: int
    number: int


class DeltaFolder:
    """The deltas of one export folder.

    Args:
      path: made by who writes; who only reads needs no right to write.
    """

    def __init__(self, path: str | pathlib.Path):
        self.path = pathlib.Path(path)
        self._lock: IO[str] | None = None

    @property
    def keys(self) -> list[Key]:
        """The deltas that are there, by their names, in order."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return []
        return sorted(Key(int(found[1]), int(found[2])) for name in names if (found := _NAME.fullmatch(name)))

    def file(self, key: Key) -> pathlib.Path:
        """Where a delta is."""
        return self.path / f"{key.epoch:06}-{key.number:06}.delta"

    def hold(self) -> None:
        """Makes the folder, and holds it for this process; what a killed one was writing is removed.

        Raises:
          UserError: it cannot be written (exit 73), or another trainer holds it (75).
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / _LOCK).open("w")
        except OSError as e:
            raise UserError(
                f"--delta_dir={self.path} cannot be written ({e.strerror}). Give another folder.", Exit.CANNOT_WRITE
            ) from e
        if not try_lock(self._lock, f"--delta_dir={self.path}"):
            self._lock.close()
            raise UserError(f"another trainer makes deltas in {self.path}. Give each a --delta_dir of its own.", Exit.TRY_AGAIN)
        for left in self.path.glob(".*.delta.tmp"):
            left.unlink()

    def release(self) -> None:
        """Others may hold it."""
        if self._lock:
            self._lock.close()

    def next_epoch(self) -> int:
        """A number above that of every epoch that was begun here; on disk when it is given.

        Raises:
          OSError: it cannot be written.
        """
        begun = [key.epoch for key in self.keys]
        with contextlib.suppress(FileNotFoundError, ValueError):
            begun.append(int((self.path / _EPOCH).read_text()))
        epoch, beside = max(begun, default=0) + 1, self.path / f"{_EPOCH}.new"
        beside.write_text(f"{epoch}\n")
        flush_to_disk(beside)
        beside.rename(self.path / _EPOCH)
        flush_to_disk(self.path)
        return epoch

    def remove_up_to(self, last: Key) -> None:
        """Removes the deltas up to this one: a version that is kept holds what they lead to."""
        for key in self.keys:
            if key <= last:
                self.file(key).unlink(missing_ok=True)
