"""Files beside the checkpoint: refused rows, the loss log and predictions. On resuming they are cut back to the checkpoint."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

_MESSAGE_BYTES = 1000  # of a refused row, in rejected.jsonl
_PRIVATE = 0o600
_NOT_PRIVATE = "loss.log"  # it says nothing of a single row


class SideFile:
    """An append-only file that belongs to the checkpoint: its length is saved there, and a resumed run cuts it back to it.

    Args:
      path: made where it is missing.
      length: in bytes, from the checkpoint; what stands beyond belongs to windows that will be trained again.
      max_bytes: the file is full there and takes no more; None: never.
      private: it holds rows of users, or what is known of each: only its owner may read it.
    """

    def __init__(self, path: str | os.PathLike, length: int = 0, max_bytes: int | None = None, private: bool = True):
        self._path, self._max_bytes = pathlib.Path(path), max_bytes
        self._file = open(path, "ab", opener=_open_private if private else None)  # noqa: SIM115 - closed by close()
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


class SideFiles:
    """The side files of a run, by name.

    Args:
      folder: the model folder.
      lengths: of the files in bytes, from the checkpoint, by name.
      limits: the files that this run writes, with the size at which each is full; None: never.
      left_behind: names of files that this run does not write, and that are cut back all the same.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        lengths: Mapping[str, int],
        limits: Mapping[str, int | None],
        left_behind: Iterable[str] = (),
    ):
        self._lengths = dict(lengths)
        self._files = {
            name: SideFile(folder / name, lengths.get(name, 0), limit, private=name != _NOT_PRIVATE)
            for name, limit in limits.items()
        }
        for name in left_behind:
            make_private(folder / name)
            os.truncate(folder / name, min((folder / name).stat().st_size, lengths.get(name, 0)))
        make_private(folder / "predictions.bin")  # of an older run, where this one writes none

    def __getitem__(self, name: str) -> SideFile:
        return self._files[name]

    def get(self, name: str) -> SideFile | None:
        """The file of this name, or None where this run does not write it."""
        return self._files.get(name)

    def lengths(self) -> dict[str, int]:
        """Of all files in bytes, by name, with what is buffered written out."""
        return self._lengths | {name: file.flushed_length() for name, file in self._files.items()}

    def close(self) -> None:
        """Closes all."""
        for file in self._files.values():
            file.close()


def make_private(file: str | os.PathLike | int) -> None:
    """Lets only its owner read and write a file, given by its path or descriptor, whatever an older version has allowed."""
    # A file of another user, or on a file system that keeps no permissions, stays as it is: neither is a reason to stop learning.
    with contextlib.suppress(OSError):
        os.chmod(file, _PRIVATE)


def _open_private(path: str, flags: int) -> int:
    file = os.open(path, flags, _PRIVATE)  # private from its first moment on
    make_private(file)
    return file


def rejected_line(window: int, partition: int, offset: int, row: int | None, reason: str, why: str, message: bytes) -> bytes:
    """A line of rejected.jsonl with the first 1,000 bytes of the message; bytes that are not UTF-8 stand as \\xNN.

    Args:
      window: its number.
      partition: of the message.
      offset: likewise.
      row: the row's number in its message; None where a message is a row.
      reason: its name.
      why: what is wrong, in words.
      message: as it came.
    """
    record = {
        "window": window,
        "partition": partition,
        "offset": offset,
        **({} if row is None else {"row": row}),
        "reason": reason,
        "why": why,
        "message": message[:_MESSAGE_BYTES].decode("utf-8", "backslashreplace"),
    }
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def loss_line(step: int, losses: Mapping[str, float]) -> bytes:
    """A line of loss.log, as the replaced system prints it; a stream has one epoch.

    Args:
      step: the number of the step.
      losses: by name, as they will stand there.
    """
    named = "".join(f", {name}: {np.float32(loss)!s}" for name, loss in losses.items())
    return f"epoch: 1, step: {step}{named}\n".encode()
