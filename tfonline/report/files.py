"""Files beside the checkpoint: refused rows, the loss log and predictions. On resuming they are cut back to the checkpoint."""

import contextlib
import json
import os
import pathlib

import numpy as np

_MESSAGE_BYTES = 1000  # of a refused row, in rejected.jsonl


class SideFile:
    """An append-only file that belongs to the checkpoint: its length is saved there, and a resumed run cuts it back to it.

    Args:
      path: made where it is missing.
      length: in bytes, from the checkpoint; what stands beyond belongs to windows that will be trained again.
      max_bytes: the file is full there and takes no more; None: never.
    """

    def __init__(self, path: str | os.PathLike, length: int = 0, max_bytes: int | None = None):
        self._path, self._max_bytes = pathlib.Path(path), max_bytes
        self._file = self._path.open("ab")
        if self._file.tell() > length:
            self._file.truncate(length)
            self._file.seek(0, os.SEEK_END)
        self.full = False

    def write(self, data: bytes) -> None:
        """Appends; nothing once the file is full."""
        if self.full or (self._max_bytes is not None and self._file.tell() + len(data) > self._max_bytes):
            self.full = True
        else:
            self._file.write(data)

    def flushed_length(self) -> int:
        """Writes out what is buffered and gives the length in bytes."""
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Closes the file. What does not fit on the disk any more stands beyond the last checkpoint: the next run writes it."""
        with contextlib.suppress(OSError):
            self._file.close()


def rejected_line(window: int, partition: int, offset: int, reason: str, message: bytes) -> bytes:
    """A line of rejected.jsonl with the first 1,000 bytes of the message; bytes that are not UTF-8 stand as \\xNN."""
    record = {
        "window": window,
        "partition": partition,
        "offset": offset,
        "reason": reason,
        "message": message[:_MESSAGE_BYTES].decode("utf-8", "backslashreplace"),
    }
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def loss_line(step: int, wide_loss: float, deep_loss: float) -> bytes:
    """A line of loss.log, as the replaced system prints it; a stream has one epoch."""
    return f"epoch: 1, step: {step}, wide_loss: {np.float32(wide_loss)!s}, deep_loss: {np.float32(deep_loss)!s}\n".encode()
