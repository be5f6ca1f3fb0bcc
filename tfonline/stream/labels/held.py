"""What waits for its other half: entries by key, in memory up to a number of them, and beyond in a SQLite file."""

import collections
import contextlib
import errno
import itertools
import os
import pathlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

# SQLite takes 32,766 parameters at most.
_KEYS_AT_ONCE = 10_000
_OF_THE_DISK = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
    sqlite3.SQLITE_READONLY: errno.EROFS,
}


class Entry(NamedTuple):
    """Something that waits.

    Attributes:
      partition: where it stands in its topic.
      offset: likewise.
      time_ms: when it was, milliseconds since 1970.
      message: its bytes; b'' where they are not needed.
    """

    partition: int
    offset: int
    time_ms: int
    message: bytes = b""


class Held:
    """Entries by key; a key may have several.

    Args:
      most: so many are held in memory; the file takes what comes when it is full.
      path: of the file. What another run has left there is removed: whoever fills this reads its topic again.

    All of it raises OSError where the disk is full, for example.
    """

    def __init__(self, most: int, path: str | os.PathLike):
        self._most, self._path = most, pathlib.Path(path)
        self._by_key: dict[bytes, list[Entry]] = {}
        self._in_order: dict[int, collections.deque[tuple[int, bytes]]] = {}  # by partition, offset and key
        self._in_memory = self._in_file = 0
        self._file: sqlite3.Connection | None = None
        for left in self._path.parent.glob(f"{self._path.name}*"):
            left.unlink()

    def __len__(self) -> int:
        return self._in_memory + self._in_file

    @property
    def in_file(self) -> int:
        """How many of them are not in memory."""
        return self._in_file

    def add(self, partition: int, entries: Iterable[tuple[bytes, Entry]]) -> None:
        """More of a partition, in the order of offsets."""
        order = self._in_order.setdefault(partition, collections.deque())
        entries = iter(entries)
        by_key = self._by_key
        for key, entry in itertools.islice(entries, max(0, self._most - self._in_memory)):
            if key in by_key:
                by_key[key].append(entry)
            else:
                by_key[key] = [entry]
            order.append((entry.offset, key))
            self._in_memory += 1
        rest = [(key, *entry) for key, entry in entries]
        if rest:
            with self._on_disk():
                self._opened().executemany("insert into held values (?, ?, ?, ?, ?)", rest)
            self._in_file += len(rest)

    def find(self, keys: Sequence[bytes]) -> list[list[Entry] | None]:
        """The entries of each key, those in memory first; None where there are none."""
        found = list(map(self._by_key.get, keys))
        if self._in_file:
            more = collections.defaultdict(list)
            for some in _by(list(dict.fromkeys(keys)), _KEYS_AT_ONCE):
                marks = ", ".join("?" * len(some))
                with self._on_disk():
                    rows = self._file.execute(f"select * from held where key in ({marks}) order by rowid", some).fetchall()
                for key, *entry in rows:
                    more[key].append(Entry(*entry))
            if more:
                found = [[*(held or ()), *more[key]] if key in more else held for key, held in zip(keys, found, strict=True)]
        return found

    def drop_below(self, offsets: Sequence[int]) -> list[tuple[int, int]]:
        """Forgets what stands before these offsets, one a partition; gives partition and offset of each."""
        dropped: list[tuple[int, int]] = []
        for partition, offset in enumerate(offsets):
            order = self._in_order.get(partition, ())
            while order and order[0][0] < offset:
                before, key = order.popleft()
                held = self._by_key[key]
                # One of the first, whatever the key: they are dropped in the order in which they came.
                del held[next(i for i, e in enumerate(held) if e.offset == before and e.partition == partition)]
                if not held:
                    del self._by_key[key]
                self._in_memory -= 1
                dropped.append((partition, before))
            if self._in_file:
                with self._on_disk():
                    delete = "delete from held where partition = ? and offset < ? returning partition, offset"
                    gone = self._file.execute(delete, (partition, offset)).fetchall()
                self._in_file -= len(gone)
                dropped += gone
        return dropped

    def close(self) -> None:
        """Closes the file, and removes it."""
        if self._file:
            self._file.close()
            self.remove()

    def remove(self) -> None:
        """Removes the file's name: another thread may be at work on it, and it is gone when that ends."""
        self._path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _on_disk(self) -> Iterator[None]:
        """What SQLite says of the disk as an error of the disk."""
        try:
            yield
        except sqlite3.OperationalError as e:
            code = _OF_THE_DISK.get(e.sqlite_errorcode & 0xFF)
            if code is None:
                raise
            raise OSError(code, os.strerror(code), str(self._path)) from e

    def _opened(self) -> sqlite3.Connection:
        if self._file is None:
            # One thread uses it at a time. What a crash leaves is never read: nothing is asked of the disk.
            self._file = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            for line in (
                "pragma journal_mode = off", "pragma synchronous = off",
                "create table held (key blob, partition integer, offset integer, time_ms integer, message blob)",
                "create index by_key on held (key)", "create index by_place on held (partition, offset)",
            ):  # fmt: skip
                self._file.execute(line)
        return self._file


def _by(keys: Sequence[bytes], most: int) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), most):
        yield keys[start : start + most]
