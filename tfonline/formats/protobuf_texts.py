"""Protobuf messages whose fields are all texts: read from field to field, the next one of each message at a time. No TensorFlow.

Most messages lack other fields than the one before. So all go one field on, whichever that is, in half a dozen operations of numpy,
and which fields those were is asked once, at the end. See protobuf_reader for all other messages.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tfonline.formats.cursor import Cursor

_LENGTH = 2  # the wire type of texts
MOST_NUMBER = 2047  # of a field; greater ones take more than two bytes
_MOST_LENGTH = 127  # bytes of a text whose length stands in one byte


def _of_two_bytes() -> tuple[np.ndarray, np.ndarray]:
    """Of the first two bytes of a field, by the number that they are, the lower one first: bytes before its text; and its tag, 0
    where it is no text or has a number of 2048 or more."""
    first, second = np.arange(2**16) & 255, np.arange(2**16) >> 8
    tag = np.where(first < 128, first, np.where(second < 128, (first & 127) | second << 7, 0))
    return np.where(first < 128, 2, 3), np.where((tag & 7 == _LENGTH) & (tag > 7), tag, 0)


_BEFORE, _TAG = _of_two_bytes()


class Texts:
    """Reads messages of a type whose fields are all texts or messages, of which texts are wanted.

    Args:
      columns: by the number of a field, MOST_NUMBER at most, those that it is for.
      most: so many fields of a message are read here.
    """

    def __init__(self, columns: Mapping[int, Sequence[int]], most: int):
        self._most = most
        self._column = np.full(MOST_NUMBER + 1 << 3, -1)  # by tag; -1: nobody wants the field
        for number, (first, *_) in columns.items():
            self._column[number << 3 | _LENGTH] = first
        self._others = [(first, others) for first, *others in columns.values() if others]

    def read(self, cursor: Cursor, rows: np.ndarray) -> np.ndarray:
        """Reads rows up to their ends.

        Returns:
          int64 [k], those of rows that have to be read otherwise: a text of 128 bytes or more, more fields, or bytes that make no
          sense. The cursor stands where it stood in them.
        """
        end, data = cursor.end[rows], cursor.data
        two = data[1:].astype(np.uint16) << 8 | data[:-1]
        before = np.append(np.uint8(0), data)  # the byte before each place
        # Of each step and row: where the field begins, what its first two bytes are, where its text begins and ends, and its bytes.
        at, start, stop = (np.empty((self._most + 1, len(rows)), np.int64) for _ in range(3))
        field, length = np.empty(start.shape, np.uint16), np.empty(start.shape, np.uint8)
        at[0], steps, last = cursor.at[rows], 0, end.sum()
        while steps < self._most and at[steps].sum() < last:
            # Of a row that is at its end these are another one's, and of no matter. Behind the buffer it is the last byte.
            two.take(at[steps], out=field[steps], mode="clip")
            np.add(at[steps], _BEFORE.take(field[steps]), out=start[steps])
            before.take(start[steps], out=length[steps], mode="clip")
            np.add(start[steps], length[steps], out=stop[steps])
            np.minimum(stop[steps], end, out=at[steps + 1])
            steps += 1
        there, tag, length = at[:steps] < end, _TAG.take(field[:steps]), length[:steps]
        wrong = (tag == 0) | (length > _MOST_LENGTH) | (stop[:steps] > end)
        odd = (wrong & there).any(axis=0) | (at[steps] < end)
        # Of a field that is there twice the last text counts, as the specification says.
        cursor.put_all(np.where(there, self._column.take(tag), -1), rows, start[:steps], length)
        for first, others in self._others:
            cursor.copy(first, others, rows)
        if odd.any():
            cursor.take_back(rows[odd])
        cursor.at[rows[~odd]] = end[~odd]
        return rows[odd]
