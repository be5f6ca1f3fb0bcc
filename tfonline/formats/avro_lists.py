"""Avro arrays and maps: passed over, or joined where a column takes lists. Imports no TensorFlow."""

from collections.abc import Callable, Mapping

import numpy as np

from tfonline.formats.cursor import Cursor, Rows

# Moves rows of a cursor behind a value, and puts the columns' texts that are in it.
Read = Callable[[Cursor, Rows], None]
_MOST_BYTES = 2**40  # more than a message has


def passing(item: Read, path: str, keys: bool, size: int | None) -> Read:
    """Passes over an array or a map.

    Args:
      item: reads one.
      path: of the array or map.
      keys: whether each has a key before it.
      size: the bytes of each, where all have as many: the items of an embedding are passed over at once.
    """

    def one(cursor: Cursor, rows: np.ndarray) -> None:
        if keys:
            cursor.counted(rows, True, path)
        item(cursor, rows)

    return lambda cursor, rows: _each(cursor, rows, path, one, size)


def joined(item: Read, path: str, separators: Mapping[int, str]) -> Read:
    """Reads an array whose items are texts of columns that take lists.

    Args:
      item: reads one, and puts its text in all of the columns.
      path: of the array.
      separators: what stands between the texts, by the columns' numbers.
    """
    first, *_ = columns = list(separators)

    def read(cursor: Cursor, rows: Rows) -> None:
        numbers = cursor.numbers(rows)
        found: dict[int, list[str]] = {row: [] for row in numbers.tolist()}

        def one(cursor: Cursor, rows: np.ndarray) -> None:
            cursor.put(columns, rows, np.int64(0), np.int64(0))  # an item that is null puts no text
            item(cursor, rows)
            for row, text in zip(rows.tolist(), cursor.texts(first, rows), strict=True):
                found[row].append(text)

        _each(cursor, rows, path, one, None, whole=True)
        for column, separator in separators.items():
            holds = np.fromiter((any(separator in text for text in found[row]) for row in found), bool, len(found))
            cursor.refuse(
                numbers, holds, "type", lambda _, s=separator: f"an item of {path} holds {s!r}, the separator of its column"
            )
            cursor.put_texts([column], rows, [separator.join(filter(None, texts)) for texts in found.values()])

    return read


def _each(
    cursor: Cursor, rows: Rows, path: str, one: Callable[[Cursor, np.ndarray], None], size: int | None, whole: bool = False
) -> None:
    """Has `one` read the items of all rows: blocks of items, each with their number before it; 0 ends them.

    A negative number is followed by the bytes of the block, which is passed over at once unless the items are wanted, `whole`.
    """
    open_rows = cursor.numbers(rows)
    open_rows = open_rows[cursor.reason[open_rows] == 0]
    while len(open_rows):
        count = cursor.zigzag(open_rows, path)
        sized = np.flatnonzero(count < 0)
        if len(sized):
            length = cursor.zigzag(open_rows[sized], path)
            if not whole:
                cursor.span(open_rows[sized], length, path)
        left = np.abs(count) if whole else count
        inside, left = open_rows[left > 0], left[left > 0]
        if size is not None:
            cursor.span(inside, np.minimum(left, _MOST_BYTES) * size, path)
            inside = inside[:0]
        while len(inside):
            before = cursor.at[inside]
            one(cursor, inside)
            # Items without a byte, such as null, may be any number.
            on = (cursor.at[inside] > before) & (cursor.reason[inside] == 0) & (left > 1)
            inside, left = inside[on], left[on] - 1
        open_rows = open_rows[(count != 0) & (cursor.reason[open_rows] == 0)]
