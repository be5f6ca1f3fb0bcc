"""What stands before a message: nothing, or Confluent's frame, which says by which schema it was written. Imports no TensorFlow.

The frame is a zero byte and the schema's id in four bytes, the highest first
(https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format).
"""

from collections.abc import Sequence

import numpy as np

from tfonline.formats.cursor import ALL, Cursor, Rows

FRAMINGS = ("none", "confluent")
_BYTES = 5


def header(schema_id: int) -> bytes:
    """The frame of messages that were written by this schema."""
    return b"\0" + schema_id.to_bytes(4, "big")


def read_ids(cursor: Cursor, rows: Rows) -> np.ndarray:
    """The schemas' ids, int64 [k]; moves behind the frames. Rows without one are refused: their id is -1."""
    begin, left = cursor.at[rows], cursor.end[rows] - cursor.at[rows]
    raw = cursor.data[begin[:, None] + np.arange(_BYTES)].astype(np.int64)
    wrong = (left < _BYTES) | (raw[:, 0] != 0)
    if wrong.any():

        def why(i: int) -> str:
            if left[i] < _BYTES:
                return f"it has {int(left[i])} bytes; Confluent's frame alone has {_BYTES}"
            return f"its first byte is 0x{int(raw[i, 0]):02x}; a message in Confluent's frame begins with 0x00"

        cursor.refuse(rows, wrong, "framing", why)
    cursor.at[rows] = np.where(wrong, begin, begin + _BYTES)
    return np.where(wrong, -1, raw[:, 1:] @ (256 ** np.arange(3, -1, -1)))


def varint(value: int) -> bytes:
    """A number that is not negative, in seven bits a byte, the lowest first."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def indexes(path: Sequence[int]) -> bytes:
    """What a frame of Protobuf has behind the id: where the messages' type is in its file. The first of a file has a short form."""
    if list(path) == [0]:
        return b"\0"
    found = bytearray()
    for number in (len(path), *path):
        found += varint(number << 1)  # zigzag, of numbers that are never negative
    return bytes(found)


def refuse_other_types(cursor: Cursor, rows: Rows, path: Sequence[int], name: str) -> np.ndarray:
    """The rows whose frame names this type, int64 [k], with the cursor behind it; those of another type are refused."""
    rows, wanted = cursor.numbers(rows), indexes(path)
    begin, expected = cursor.at[rows], np.frombuffer(wanted, np.uint8)
    same = cursor.end[rows] - begin >= len(wanted)
    for i, byte in enumerate(expected):
        same &= cursor.data[np.minimum(begin + i, len(cursor.data) - 1)] == byte
    if not same.all():
        why = f"its frame names another type of the schema than {name}, which is number {'.'.join(map(str, path))}"
        # A writer may have the long form of the first type.
        if list(path) == [0] and (long := cursor.data[begin] == 2).any():
            long &= (cursor.end[rows] - begin >= 2) & (cursor.data[begin + 1] == 0)
            begin, same = np.where(long, begin + 1, begin), same | long
        cursor.refuse(rows, ~same, "framing", lambda _: why)
    rows, begin = rows[same], begin[same]
    cursor.at[rows] = begin + len(wanted)
    return rows


def by_id(cursor: Cursor, rows: Rows) -> list[tuple[int, Rows]]:
    """The frames' ids, and of each the rows that have it; moves behind the frames and leaves out refused rows."""
    ids = read_ids(cursor, rows)
    if not len(ids):
        return []
    first = int(ids[0])
    if first >= 0 and (ids == first).all():  # the usual case
        return [(first, rows)]
    return [(int(i), cursor.some(rows, ids == i)) for i in np.unique(ids[ids >= 0])]


def not_empty(cursor: Cursor) -> Rows:
    """The rows that have a byte."""
    empty = cursor.at == cursor.end
    return np.flatnonzero(~empty) if empty.any() else ALL


def refuse_what_is_left(cursor: Cursor, rows: Rows, reason: str) -> None:
    """Refuses rows that have bytes behind what was read: they were written by another schema."""
    left = cursor.end[rows] - cursor.at[rows]
    over = (left > 0) & (cursor.reason[rows] == 0)
    if over.any():
        cursor.refuse(rows, over, reason, lambda i: f"{int(left[i])} bytes are left behind its last field: another schema wrote it")
