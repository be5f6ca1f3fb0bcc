"""Rows of one partition without a Python object for each: between processes, and on their way to a tensor."""

from collections.abc import Sequence

import numpy as np

from tfonline.lifecycle import Exit, UserError
from tfonline.stream.readers import Rows
from tfonline.string_tensor import serialized

TOMBSTONE = -1


class PackedRows:
    """Some rows of one partition, in the order of offsets, column by column.

    Args:
      message: all messages, one behind the other.
      size: bytes of each message, int32 [k]; TOMBSTONE for one without a value.
      offset: of each, int64 [k].
      time_ms: of each, int64 [k], milliseconds since 1970; NO_TIME where there is none.
      outcome: an Outcome of each, int8 [k]; None where rows have their labels.
    """

    __slots__ = ("_first", "_stops", "message", "offset", "outcome", "size", "time_ms")

    def __init__(
        self,
        message: bytes | memoryview,
        size: np.ndarray,
        offset: np.ndarray,
        time_ms: np.ndarray,
        outcome: np.ndarray | None = None,
    ):
        self.message, self.size, self.offset, self.time_ms, self.outcome = message, size, offset, time_ms, outcome
        # Where each message ends, and where the first one begins: in what these rows were cut from, if they were.
        self._stops: np.ndarray | None = None
        self._first = 0

    def __len__(self) -> int:
        return len(self.offset)

    def part(self, start: int, stop: int) -> "PackedRows":
        """The rows `[start, stop)` of these, and no more than there are. However many there are, it costs the same."""
        if start == 0 and stop >= len(self):
            return self
        if self._stops is None:
            self._stops = np.cumsum(np.maximum(self.size, 0), dtype=np.int64)
        columns = (None if c is None else c[start:stop] for c in (self.size, self.offset, self.time_ms, self.outcome))
        begin, end = (int(self._stops[min(row, len(self)) - 1]) if row else self._first for row in (start, stop))
        found = PackedRows(memoryview(self.message)[begin - self._first : end - self._first], *columns)
        found._stops, found._first = self._stops[start:stop], begin
        return found


def pack(rows: Rows) -> PackedRows:
    """The same rows."""
    message = rows.message
    if None in message:
        size = [TOMBSTONE if m is None else len(m) for m in message]
        message = [m or b"" for m in message]
    else:
        size = list(map(len, message))
    return PackedRows(
        b"".join(message), np.array(size, np.int32), np.array(rows.offset, np.int64), np.array(rows.time_ms, np.int64)
    )


def join(parts: Sequence[PackedRows]) -> PackedRows:
    """The rows of all parts, one part behind the other."""
    return parts[0] if len(parts) == 1 else PackedRows(b"".join([part.message for part in parts]), *columns_of(parts))


def columns_of(parts: Sequence[PackedRows]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """`size`, `offset`, `time_ms` and `outcome` of the rows of all parts, one part behind the other."""
    columns = ([getattr(part, name) for part in parts] for name in ("size", "offset", "time_ms"))
    size, offset, time_ms = (np.concatenate([np.zeros(0, dtype), *c]) for c, dtype in zip(columns, _DTYPES, strict=True))
    outcomes = [part.outcome for part in parts if part.outcome is not None]
    return size, offset, time_ms, np.concatenate(outcomes) if outcomes else None


_DTYPES = (np.int32, np.int64, np.int64)


def messages(rows: PackedRows) -> list[bytes | None]:
    """Each message by itself; None for a tombstone."""
    whole, stops = bytes(rows.message), np.cumsum(np.maximum(rows.size, 0)).tolist()
    return [None if size == TOMBSTONE else whole[stop - size : stop] for size, stop in zip(rows.size.tolist(), stops, strict=True)]


def string_tensor(size: np.ndarray, parts: Sequence[PackedRows]) -> bytes:
    """The messages of all parts as string_tensor.serialized has texts, '' for a tombstone. Each is copied once.

    Args:
      size: of all of them, as columns_of gives it.
      parts: one behind the other.

    Raises:
      UserError: they are too large for it (exit 64).
    """
    try:
        return serialized(np.maximum(size, 0), *(part.message for part in parts))
    except OverflowError as e:
        raise UserError(
            f"{len(size):,} rows are trained at once, and their messages have {e}; 2 GiB are the most. Use a smaller --batch_size "
            "or --steps_per_call.",
            Exit.FLAGS,
        ) from None
