"""The format of a delta: a digest, and then an Arrow IPC file, a row a tensor, with a header in JSON. Imports no TensorFlow.

docs/serving.md describes it for other programs. A reader finds a file that is cut, changed, or written by a newer tfonline. The
digest is held against all that follows before Arrow reads it: Arrow ends the process at some damages.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tfonline.lifecycle import flush_to_disk

FORMAT = 1
_MAGIC = b"tfdelta\n"
_HEADER = b"tfonline_delta"
_COMPRESSION = "zstd"


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


class Delta(NamedTuple):
    """A whole delta.

    Attributes:
      header: what it is.
      changes: by the variable's name.
      digest: SHA-256 in hex of the file behind it.
    """

    header: Header
    changes: dict[str, Change]
    digest: str


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

    tensors, index = _tensors(changes)
    about = {"format": FORMAT, **dataclasses.asdict(header), "variables": index}
    columns = {
        "name": pa.array(tensors, pa.string()),
        "dtype": pa.array([t.dtype.str for t in tensors.values()], pa.string()),
        "shape": pa.array([list(t.shape) for t in tensors.values()], pa.list_(pa.int64())),
        "planes": pa.array([planes(t) for t in tensors.values()], pa.large_binary()),
    }
    table = pa.table(columns).replace_schema_metadata({_HEADER: json.dumps(about).encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=_COMPRESSION)) as writer:
        writer.write_table(table)
    content = sink.getvalue()
    digest = hashlib.sha256(content)
    beside = path.with_name(f".{path.name}.tmp")
    with beside.open("wb") as file:
        file.writelines((_MAGIC, digest.digest(), content))
    flush_to_disk(beside)
    os.rename(beside, path)
    flush_to_disk(path.parent)
    return digest.hexdigest(), len(_MAGIC) + digest.digest_size + len(content)


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
    header, digest, about, tensors = _parsed(path, whole=True)
    changes = {}
    try:
        for i, (name, of_variable) in enumerate(about["variables"].items()):
            rows = None if of_variable["rows"] is None else np.cumsum(tensors[of_variable["rows"]], dtype=np.int64)
            changes[name] = Change(tensors[f"values/{i}"], rows, tuple(of_variable["shape"]))
    except (KeyError, TypeError) as e:
        raise Unreadable(f"its header and its tensors do not belong together ({e!r})") from e
    return Delta(header, changes, digest)


def planes(tensor: np.ndarray) -> bytes:
    """A tensor's bytes: the first byte of each number, then the second of each, and so on. So they compress better."""
    return np.ascontiguousarray(tensor).reshape(-1, 1).view(np.uint8).T.tobytes()


def of_planes(content: bytes, dtype: np.dtype, shape: list[int]) -> np.ndarray:
    """The tensor of such bytes."""
    return np.frombuffer(content, np.uint8).reshape(dtype.itemsize, -1).T.copy().view(dtype).reshape(shape)


def _tensors(changes: Mapping[str, Change]) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
    """The tensors of a file by name, and what the header says of each variable."""
    tensors: dict[str, np.ndarray] = {}
    names: dict[int, str] = {}  # of rows that variables share
    index = {}
    for i, (name, change) in enumerate(changes.items()):
        rows = None
        if change.rows is not None:
            rows = names.setdefault(id(change.rows), f"rows/{len(names)}")
            if rows not in tensors:  # the steps from each to the next one: most fit in a byte
                tensors[rows] = np.diff(change.rows, prepend=0).astype("<u4")
        tensors[f"values/{i}"] = change.values
        index[name] = {"rows": rows, "shape": list(change.shape)}
    return tensors, index


def _parsed(path: pathlib.Path, whole: bool = False) -> tuple[Header, str, dict[str, Any], dict[str, np.ndarray]]:
    import pyarrow as pa

    content = path.read_bytes()
    begin = len(_MAGIC) + hashlib.sha256().digest_size
    digest = hashlib.sha256(memoryview(content)[begin:])
    if content[: len(_MAGIC)] != _MAGIC or content[len(_MAGIC) : begin] != digest.digest():
        raise Unreadable("it is cut or damaged, or no delta: its digest is another")
    try:
        reader = pa.ipc.open_file(memoryview(content)[begin:])
        about = json.loads(reader.schema.metadata[_HEADER])
        if about["format"] != FORMAT:
            raise Unreadable(f"its format is {about['format']}, this tfonline reads {FORMAT}. Update the reader")
        names = {field.name for field in dataclasses.fields(Header)}
        header = Header(**{name: about[name] for name in names} | {"next": tuple(about["next"])})
        rows = reader.read_all().to_pylist() if whole else []
        tensors = {row["name"]: of_planes(row["planes"], np.dtype(row["dtype"]), row["shape"]) for row in rows}
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as e:  # another program's
        raise Unreadable(f"it is not what is expected of a delta: {e!r}") from e
    return header, digest.hexdigest(), about, tensors
