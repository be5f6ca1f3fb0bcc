"""Reads Arrow IPC streams. Imports no TensorFlow."""

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from tfonline.features.kinds import KINDS
from tfonline.formats.arrow import Rows
from tfonline.formats.arrow_columns import Coded, Numbers, coded, find, numbers_of
from tfonline.formats.by_python import Refused
from tfonline.formats.reasons import REASONS

if TYPE_CHECKING:
    from tfonline.features.column import Column

_FILE_MAGIC = b"ARROW1"
_Found = TypeVar("_Found", Coded, Numbers)


def batches_of(message: bytes) -> list[pa.RecordBatch]:
    """The record batches of a message.

    Raises:
      Refused: its bytes make no sense.
    """
    if message.startswith(_FILE_MAGIC):
        raise Refused("arrow", "it is an Arrow file, expected is a stream, as pyarrow.ipc.new_stream writes one")
    try:
        with pa.ipc.open_stream(message) as stream:
            batches = list(stream)
        for batch in batches:
            batch.validate(full=True)  # what a producer says of lengths and places is not to be believed
    except (pa.ArrowException, OSError, UnicodeDecodeError) as e:
        said = str(e).splitlines() or [type(e).__name__]
        raise Refused("arrow", f"it is no whole Arrow IPC stream: {said[0]}") from None
    return batches


def read(messages: Sequence[bytes], columns: "Sequence[Column]", numbers: Collection[str]) -> Rows:
    """See Arrow.read."""
    rows = _Rows()
    for message in messages:
        try:
            if not message:
                raise Refused("empty", "")
            rows.take(batches_of(message))
        except Refused as e:
            rows.refuse(e)
    return rows.of_columns(columns, numbers)


def alone(message: bytes, rows: Sequence[int] | None) -> list[bytes]:
    """See Arrow.alone."""
    try:
        table = pa.Table.from_batches(batches_of(message))
    except (Refused, pa.ArrowInvalid):  # what it is not, or a stream without a batch
        return [message] * (1 if rows is None else len(rows))
    return [_alone(table.slice(row, 1)) for row in (range(table.num_rows) if rows is None else rows)]


def _alone(row: pa.Table) -> bytes:
    # Not with all values of the message's dictionaries.
    plain = [c.cast(c.type.value_type) if pa.types.is_dictionary(c.type) else c for c in row.columns]
    return stream_of(pa.table(plain, names=row.schema.names))


def stream_of(table: pa.Table) -> bytes:
    """A table as one message."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def contents(message: bytes) -> list[dict[str, Any]]:
    """What each row holds, whatever the columns.

    Raises:
      Refused: the message cannot be read.
    """
    return [row for batch in batches_of(message) for row in batch.to_pylist()]


class _Rows:
    """Collects the rows of messages, one message after the other."""

    def __init__(self) -> None:
        self._num_rows = 0
        self._sizes: list[int] = []  # rows of each message
        self._runs: list[tuple[int, list[pa.RecordBatch]]] = []  # rows of one schema that stand together, and the first one's place
        self._reason: dict[int, int] = {}
        self._why: dict[int, str] = {}

    def take(self, batches: list[pa.RecordBatch]) -> None:
        """The rows of the next message."""
        self._sizes.append(sum(batch.num_rows for batch in batches))
        for batch in batches:
            begin, run = self._runs[-1] if self._runs else (0, [])
            follows = run and begin + sum(b.num_rows for b in run) == self._num_rows
            if follows and run[0].schema.equals(batch.schema):
                run.append(batch)
            else:
                self._runs.append((self._num_rows, [batch]))
            self._num_rows += batch.num_rows

    def refuse(self, error: Refused) -> None:
        """The next message, as one row."""
        self._reason[self._num_rows], self._why[self._num_rows] = error.reason, str(error)
        self._sizes.append(1)
        self._num_rows += 1

    def of_columns(self, columns: "Sequence[Column]", numbers: Collection[str]) -> Rows:
        """The rows with the values of these columns, see Arrow.read."""
        texts, of_kinds = [], {kind: [] for kind in numbers}
        for column in columns:
            if column.kind in numbers:
                of_kinds[column.kind].append(self._numbers(column))
            else:
                texts.append(self._texts(column))
        place = np.stack([place for _, place in texts]) if texts else np.zeros((0, self._num_rows), np.int32)
        first = np.cumsum([0, *(sum(map(len, distinct)) for distinct, _ in texts)])
        reason = np.zeros(self._num_rows, np.int32)
        reason[list(self._reason)] = list(self._reason.values())
        message = np.repeat(np.arange(len(self._sizes), dtype=np.int32), self._sizes)
        row = np.arange(self._num_rows) - np.repeat(np.cumsum([0, *self._sizes])[:-1], self._sizes)
        distinct = pa.concat_arrays([pa.array([], pa.string()), *(array for arrays, _ in texts for array in arrays)])
        made = {kind: tuple(np.stack(of) for of in zip(*found, strict=True)) for kind, found in of_kinds.items() if found}
        return Rows(distinct, first, place, made, reason, message, row.astype(np.int32), self._why)

    def _texts(self, column: "Column") -> tuple[list[pa.StringArray], np.ndarray]:
        """The distinct texts of a column, and where each row has its own among them, counted from 1."""
        place, distinct, count = None, [], 0
        for rows, found in self._found(column, coded):
            if len(found.place) == self._num_rows:  # the usual case
                return [found.distinct], found.place
            place = np.zeros(self._num_rows, np.int32) if place is None else place
            place[rows] = found.place + (found.place > 0) * np.int32(count)
            distinct.append(found.distinct)
            count += len(found.distinct)
        return distinct, np.zeros(self._num_rows, np.int32) if place is None else place

    def _numbers(self, column: "Column") -> tuple[np.ndarray, np.ndarray]:
        """The numbers of a column, and which are there."""
        number, valid = np.zeros(self._num_rows, KINDS[column.kind].numbers), np.zeros(self._num_rows, bool)
        for rows, found in self._found(column, numbers_of):
            number[rows], valid[rows] = found.number, found.valid
        return number, valid

    def _found(self, column: "Column", read: Callable[[pa.ChunkedArray, "Column"], _Found]) -> Iterator[tuple[slice, _Found]]:
        """What the runs hold of a column, and which rows they are; where that is nothing, they are left out."""
        for begin, table in self._tables:
            values = None
            try:
                if (values := find(table, column)) is None:
                    continue
                found = read(values, column)
            except Refused as e:
                there = np.arange(table.num_rows) if values is None else values.is_valid().to_numpy().nonzero()[0]
                for row in there.tolist():
                    self._refuse(begin + row, e.reason, str(e))
                continue
            for row, (reason, why) in found.refused.items():
                self._refuse(begin + row, REASONS.index(reason), why)
            yield slice(begin, begin + table.num_rows), found

    @functools.cached_property
    def _tables(self) -> list[tuple[int, pa.Table]]:
        return [(begin, _in_one(run)) for begin, run in self._runs]

    def _refuse(self, row: int, reason: int, why: str) -> None:
        # The first reason that fits counts, as for other formats.
        if row not in self._reason or reason < self._reason[row]:
            self._reason[row], self._why[row] = reason, why


def _in_one(run: list[pa.RecordBatch]) -> pa.Table:
    """Batches of one schema as a table, if possible of one chunk: what Python does for a chunk it does with its lock."""
    table = pa.Table.from_batches(run)
    if len(run) == 1:
        return table
    try:
        return table.unify_dictionaries().combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # dictionaries with nulls, inside structs, or of too small an index
        return table
