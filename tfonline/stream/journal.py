"""The window journal: which rows taught the model, in which order. One JSON object a line in `<model_dir>/windows.jsonl`.

It is only ever appended to. A line takes the place of all lines before it from its number on: a window that no saved model has
learned from can be planned anew.
"""

import datetime
import errno
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from tfonline.lifecycle import Exit, UserError, flush_to_disk
from tfonline.stream.window import UNREAD, Labels, Window


class _Window(Protocol):
    number: int


Numbered = TypeVar("Numbered", bound=_Window)
_NAME = "windows.jsonl"
_MAX_BYTES = 64_000_000  # about 400,000 windows over two partitions
_KEEP_PARTS = 10


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


class Journal:
    """Appends windows before they are trained, and reads them back after a crash.

    A full file becomes `windows-<its first number>.jsonl`. The newest parts are kept, and all that a kept checkpoint needs.

    Args:
      folder: the model folder.
      now: the time written beside a window, RFC 3339.
      max_bytes: size at which a new file is begun.
      files: the list of files that the offsets are of, where files are trained from. It stands in the first line that is appended,
        and in the first of each new part: offsets alone do not say which rows taught the model.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        now: Callable[[], str] = _now,
        max_bytes: int = _MAX_BYTES,
        files: Sequence[dict[str, Any]] = (),
    ):
        self._folder, self._now, self._max_bytes, self._files = pathlib.Path(folder), now, max_bytes, list(files)
        self._named = not files
        self._path = self._folder / _NAME
        self._cut_torn_line()
        self._open()

    def append(self, window: Window) -> None:
        """Writes one window and has it on disk before it returns; a line that does not fit is taken back.

        Raises:
          OSError: the disk is full, for example.
        """
        files = {} if self._named else {"files": self._files}
        line = window.data | {"rows": window.rows, "time": self._now()} | files
        data, length = json.dumps(line, separators=(",", ":")).encode() + b"\n", self._file.tell()
        try:
            if self._file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            os.fsync(self._file.fileno())
        except OSError as e:
            self._file.truncate(length)
            raise OSError(e.errno, e.strerror, str(self._path)) from e
        self._named = True

    def since(self, number: int) -> list[Window]:
        """The windows from `number` on, in order."""
        parts = _parts(self._folder)
        begin_later = [_first_number(p) > number for p in parts[1:]] + [True] if parts else []
        needed = [part for part, needed in zip(parts, begin_later, strict=True) if needed]  # a part ends where the next one begins
        return [w for w in latest(w for part in [*needed, self._path] for w in _read_part(part)) if w.number >= number]

    def rotate(self, oldest_needed: int) -> None:
        """Begins a new file if this one is full; drops old parts, but none with a window from `oldest_needed` on."""
        if self._file.tell() < self._max_bytes:
            return
        first = next(_read_part(self._path)).number
        self._file.close()
        self._path.rename(self._folder / f"windows-{first:012d}.jsonl")
        self._open()
        self._named = not self._files
        parts = _parts(self._folder)
        ends = [_first_number(p) for p in parts[1:]]
        for part, end in zip(parts[:-_KEEP_PARTS], ends, strict=False):
            if end <= oldest_needed:
                part.unlink()

    def _open(self) -> None:
        """Has the file's name on disk, too: a line in a file without a name is lost with it."""
        self._file = self._path.open("ab", buffering=0)
        flush_to_disk(self._folder)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _cut_torn_line(self) -> None:
        """A line that a crash cut short was never trained from: its window was not handed out yet."""
        if self._path.exists():
            data = self._path.read_bytes()
            if data and not data.endswith(b"\n"):
                with self._path.open("r+b") as f:
                    f.truncate(data.rfind(b"\n") + 1)


def read_journal(path: str | os.PathLike) -> list[Window]:
    """All windows of a journal, its older parts beside it included; a torn last line is left out.

    Raises:
      UserError: the file is missing or a line of it is not a window (exit 66).
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise UserError(f"the journal {path} is missing. Expected the windows.jsonl of a model folder.", Exit.NO_INPUT)
    return latest(window for part in _with_older_parts(path) for window in _read_part(part))


def files_in_journal(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The list of files that a journal's offsets are of: the last one in it, for a list is only ever added to. Empty where it has
    none, or does not exist.
    """
    for part in reversed(_with_older_parts(pathlib.Path(path))):
        lines = part.read_bytes().split(b"\n")[:-1] if part.exists() else []  # a torn last line was never trained from
        for line in reversed(lines):
            if b',"files":[' in line:
                return json.loads(line)["files"]
    return []


def unread_since(folder: str | os.PathLike, offsets: Sequence[int]) -> list[Window]:
    """The windows of a model folder's journal that have passed over rows behind these offsets, in order."""
    found: list[Window] = []
    for part in reversed(_with_older_parts(pathlib.Path(folder) / _NAME)):
        found = [*(_read_part(part) if part.exists() else ()), *found]
        if found and all(start <= o for start, o in zip(found[0].start, offsets, strict=False)):
            break
    return [window for window in latest(found) if window.trigger in UNREAD]


def _with_older_parts(path: pathlib.Path) -> list[pathlib.Path]:
    return [*(_parts(path.parent) if path.name == _NAME else []), path]


def latest(windows: Iterable[Numbered]) -> list[Numbered]:
    """In order of number, each as it was written last: a line takes the place of all before it from its number on."""
    kept: list[Numbered] = []
    for window in windows:
        while kept and kept[-1].number >= window.number:
            kept.pop()
        kept.append(window)
    return kept


def _first_number(part: pathlib.Path) -> int:
    return int(part.stem.partition("-")[2])


def _parts(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(folder.glob("windows-*.jsonl"))


def window_of(line: bytes) -> Window:
    """A line of a journal.

    Raises:
      ValueError, KeyError, TypeError: it is none.
    """
    w = json.loads(line)
    labels = Labels(**{name: tuple(offsets) for name, offsets in w["labels"].items()}) if "labels" in w else None
    window = Window(w["number"], tuple(w["start"]), tuple(w["stop"]), w["trigger"], labels)
    if not all(type(n) is int and 0 <= n < 2**63 for n in (window.number, *window.start, *window.stop, *sum(labels or (), ()))):
        raise ValueError("number, start and stop are whole numbers from 0 on")  # -1 means the end to Kafka
    if any(s > e for s, e in zip(window.start, window.stop, strict=True)):
        raise ValueError("a start is above its stop")
    return window


def _read_part(path: pathlib.Path) -> Iterator[Window]:
    with path.open("rb") as f:
        for n, line in enumerate(f, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield window_of(line)
            except (ValueError, KeyError, TypeError) as e:
                raise UserError(
                    f"{path}:{n} is not a window ({e}). Expected lines such as "
                    '{"number":0,"start":[0,0],"stop":[500,500],"trigger":"rows"}.',
                    Exit.NO_INPUT,
                ) from e
