"""The format of a delta: a digest, and then an Arrow IPC file, a row a tensor, with a header in JSON. Imports no TensorFlow.

docs/serving.md describes it for other programs. A reader finds a file that is cut, changed, or written by a newer tfonline. The
digest is held against all that follows before Arrow reads it: Arrow ends the process at some damages. What has changed is written
and read in parts, so that a delta of all rows of a large table takes little memory.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfonline.lifecycle import flush_to_disk

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 2
_MAGIC = b"tfdelta\n"
_BEGIN = len(_MAGIC) + hashlib.sha256().digest_size  # of what the digest is of
_HEADER = b"tfonline_delta"
_COMPRESSION = "zstd"
_TO_READ_IT = "Update the older one of server and trainer; until then full versions are served"
_ROWS = ""  # the name of the rows' numbers, among the variables' names
_PART_BYTES = 1 << 22


class Unreadable(Exception):
    """It is no delta, or not a whole one, for the reason in the text."""


@dataclasses.dataclass(frozen=True)
class Header:
    """What a delta is.

    Attributes:
      epoch: of the trainer's run that made it; a later one voids what those before it have after `from_window`.
      number: counted from 1 in the epoch.
      from_window: it leads from the model before this window, or from any later one up to `to_window` ...
      to_window: ... to the model before this one: it has all rows that differ.
      step: train steps of the model that it leads to.
      rows: rows that this one has learned from.
      next: the next offset of each partition.
      root_version: the version that the epoch's first delta builds on.
      root_checksum: of that version, in hex; see checksum.
      checksum: of what it leads to.
      previous: digest of the delta before it in the epoch; '' of the first one.
      newest_row_time: when the newest row came that the model has learned from, seconds since 1970; None where it is not known.
      made: when the model was as it is there, seconds since 1970.
    """

    epoch: int
    number: int
    from_window: int
    to_window: int
    step: int
    rows: int
    next: tuple[int, ...]
    root_version: int
    root_checksum: str
    checksum: str
    previous: str
    newest_row_time: float | None
    made: float


class Change(NamedTuple):
    """What has changed of a variable.

    Attributes:
      values: [n, ...], its rows, or all of it.
      rows: int64 [n], ascending, their numbers; None: all of it.
      shape: of the whole variable.
    """

    values: np.ndarray
    rows: np.ndarray | None
    shape: tuple[int, ...]


class Delta:
    """A whole delta.

    Args:
      batches: of the file's table.

    Attributes:
      header: what it is.
      digest: SHA-256 in hex of the file behind it.
    """

    def __init__(self, header: Header, digest: str, shapes: Mapping[str, list[int]], batches: "pa.RecordBatchFileReader"):
        self.header, self.digest, self._shapes, self._batches = header, digest, shapes, batches

    def parts(self) -> Iterator[dict[str, Change]]:
        """What has changed, by the variable's name: some of it after the other, each row once.

        Raises:
          Unreadable: the file's parts do not belong together.
        """
        for i in range(self._batches.num_record_batches):
            with _of_another_program():
                tensors = {row["name"]: of_planes(row) for row in self._batches.get_batch(i).to_pylist()}
                steps = tensors.pop(_ROWS, None)
                rows = None if steps is None else np.cumsum(steps, dtype=np.int64)
                part = {name: Change(values, rows, tuple(self._shapes[name])) for name, values in tensors.items()}
            yield part

    @functools.cached_property
    def changes(self) -> dict[str, Change]:
        """All that has changed, by the variable's name.

        Raises:
          Unreadable: the file's parts do not belong together.
        """
        found: dict[str, list[Change]] = {name: [] for name in self._shapes}
        for part in self.parts():
            for name, change in part.items():
                found[name].append(change)
        return {name: _joined(changes) for name, changes in found.items()}


def write(path: pathlib.Path, header: Header, changes: Mapping[str, Change]) -> tuple[str, int]:
    """Writes a delta beside, and renames it when it is on disk; returns its digest and its size in bytes.

    Args:
      path: not there yet.
      header: what it is.
      changes: by the variable's name. Those whose `rows` are the same object share them in the file, too.

    Raises:
      OSError: it cannot be written.
    """
    import pyarrow as pa

    about = {"format": FORMAT, **dataclasses.asdict(header), "variables": {name: c.shape for name, c in changes.items()}}
    schema = pa.schema(
        [("name", pa.string()), ("dtype", pa.string()), ("shape", pa.list_(pa.int64())), ("planes", pa.large_binary())],
        {_HEADER: json.dumps(about).encode()},
    )
    beside = path.with_name(f".{path.name}.tmp")
    with beside.open("wb") as file:
        behind = _Digested(file)
        with pa.ipc.new_file(behind, schema, options=pa.ipc.IpcWriteOptions(compression=_COMPRESSION)) as writer:
            for part in _parts(changes):
                rows = [(name, t.dtype.str, list(t.shape), planes(t)) for name, t in part.items()]
                columns = [pa.array(column, of.type) for column, of in zip(zip(*rows, strict=True), schema, strict=True)]
                writer.write_batch(pa.record_batch(columns, schema))
        size = file.tell()
        file.seek(0)
        file.write(_MAGIC + behind.digest.digest())
    flush_to_disk(beside)
    os.rename(beside, path)
    flush_to_disk(path.parent)
    return behind.digest.hexdigest(), size


def read_header(path: pathlib.Path) -> tuple[Header, str]:
    """A whole delta's header and digest.

    Raises:
      Unreadable: it is none, or is not as it was written.
      OSError: it is gone, or cannot be read.
    """
    return _parsed(path)[:2]


def read(path: pathlib.Path) -> Delta:
    """A whole delta.

    Raises:
      Unreadable: it is none, or is not as it was written.
      OSError: it is gone, or cannot be read.
    """
    return Delta(*_parsed(path))


def planes(tensor: np.ndarray) -> bytes:
    """A tensor's bytes: the first byte of each number, then the second of each, and so on. So they compress better."""
    return np.ascontiguousarray(tensor).reshape(-1, 1).view(np.uint8).T.tobytes()


def of_planes(row: Mapping[str, Any]) -> np.ndarray:
    """The tensor of a row of the table."""
    dtype = np.dtype(row["dtype"])
    return np.frombuffer(row["planes"], np.uint8).reshape(dtype.itemsize, -1).T.copy().view(dtype).reshape(row["shape"])


class _Digested(io.RawIOBase):
    """What is written behind the place of the digest, with that."""

    def __init__(self, file: io.BufferedWriter):
        self._file, self.digest = file, hashlib.sha256()
        file.seek(_BEGIN)

    def writable(self) -> bool:
        """See io.IOBase."""
        return True

    def tell(self) -> int:
        """See io.IOBase."""
        return self._file.tell() - _BEGIN

    def write(self, content: Any) -> int:
        """See io.RawIOBase."""
        self.digest.update(content)
        return self._file.write(content)


def _parts(changes: Mapping[str, Change]) -> Iterator[dict[str, np.ndarray]]:
    """Tensors by the variable's name, and before them the steps between their rows' numbers, where they are not of all rows."""
    whole = {name: c.values for name, c in changes.items() if c.rows is None and c.values.nbytes <= _PART_BYTES}
    if whole:
        yield whole
    groups: dict[int, list[str]] = {}
    for name, change in changes.items():
        if name not in whole:
            groups.setdefault(id(change if change.rows is None else change.rows), []).append(name)
    for names in groups.values():
        values = {name: changes[name].values for name in names}
        n, numbers = len(values[names[0]]), changes[names[0]].rows
        size = max(1, _PART_BYTES // max(1, sum(v[:1].nbytes for v in values.values())))
        for begin in range(0, max(n, 1), size):
            some = slice(begin, min(begin + size, n))
            rows = np.arange(some.start, some.stop) if numbers is None else numbers[some]
            # Most steps fit in a byte, and so they compress well.
            yield {_ROWS: np.diff(rows, prepend=0).astype("<u4")} | {name: v[some] for name, v in values.items()}


def _joined(changes: list[Change]) -> Change:
    if len(changes) == 1:
        return changes[0]
    parts = [np.concatenate(arrays) for arrays in zip(*((c.values, c.rows) for c in changes), strict=True)]
    return Change(parts[0], parts[1], changes[0].shape)


def _parsed(path: pathlib.Path) -> "tuple[Header, str, dict[str, list[int]], pa.RecordBatchFileReader]":
    import pyarrow as pa

    content = memoryview(path.read_bytes())
    digest = hashlib.sha256(content[_BEGIN:])
    if content[: len(_MAGIC)] != _MAGIC or content[len(_MAGIC) : _BEGIN] != digest.digest():
        raise Unreadable("it is cut or damaged, or no delta: its digest is another")
    with _of_another_program():
        batches = pa.ipc.open_file(content[_BEGIN:])
        about = json.loads(batches.schema.metadata[_HEADER])
        if about["format"] != FORMAT:
            raise Unreadable(f"its format is {about['format']}, this tfonline reads {FORMAT}. {_TO_READ_IT}")
        names = {field.name for field in dataclasses.fields(Header)}
        header = Header(**{name: about[name] for name in names} | {"next": tuple(about["next"])})
        return header, digest.hexdigest(), about["variables"], batches


@contextlib.contextmanager
def _of_another_program() -> Iterator[None]:
    """What is within reads a file whose digest is right, though whoever wrote it may have had another mind."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError) as e:
        raise Unreadable(f"it is not what is expected of a delta: {e!r}") from e
