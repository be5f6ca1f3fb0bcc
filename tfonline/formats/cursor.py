"""Many binary messages read side by side: a place in each, moved by whole-batch operations of numpy. Imports no TensorFlow.

Python needs about a microsecond for a value, and numpy some ten nanoseconds where it takes the same value of many messages. So a
reader walks through the fields of a schema once a batch, and not once a message.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from tfonline.formats.by_python import Refused
from tfonline.formats.reasons import REASONS

# Rows of a batch that a reader is at: all of them, or their numbers, int64 [k].
Rows = slice | np.ndarray
ALL = slice(None)

_PAD = bytes(16)  # behind the last message, so that a value which is cut short is read without an error, and refused afterwards
_VARINT_BITS = 64
_TAB, _LF = b"\t\n"
_UNWRITABLE = tuple(b"\t\n\r")  # in a text of a column
_TEN, _ZERO = np.uint64(10), np.uint64(48)
# The texts of 0 to 9999, of the same width each, with zeros before them; and how many of the digits count.
_SMALL_WIDTH = 4
_SMALL = np.frombuffer(b"".join(b"%04d" % number for number in range(10**_SMALL_WIDTH)), np.uint8)
_SMALL_DIGITS = np.array([len(str(number)) for number in range(10**_SMALL_WIDTH)], np.int64)
_SMALL_ZIGZAG = np.array([value >> 1 ^ -(value & 1) for value in range(256)], np.int64)
_TRUTH = np.frombuffer(b"falsetrue", np.uint8)


class Cursor:
    """Reads b messages and collects the texts of their n columns.

    A message whose bytes make no sense is refused: with `refuse`, or where a value ends behind its message's end. What is read of
    it afterwards means nothing, and is read within the bounds of the buffer.

    Args:
      messages: as they came, one behind the other.
      size: the bytes of each, whole numbers [b].
      num_columns: n.
      malformed: the reason, one of REASONS, of a message whose bytes make no sense.

    Attributes:
      data: uint8, the messages one behind the other, and some bytes more.
      at: int64 [b], the place of the next byte of each.
      end: int64 [b], the place behind the last byte of each.
      reason: int32 [b], an index into REASONS; 0: not refused so far.
      depth: how many values that may hold themselves are open; for readers.
      why: of refused messages, by number: what is wrong, in words.
    """

    def __init__(self, messages: bytes, size: np.ndarray, num_columns: int, malformed: str):
        self._malformed = malformed
        self.data = np.frombuffer(messages + _PAD, np.uint8)
        self.end = np.cumsum(size, dtype=np.int64)
        self._begin = self.end - size
        self.at = self._begin.copy()
        self.reason, self.depth = np.zeros(len(size), np.int32), 0
        self.why: dict[int, str] = {}
        # What the texts are cut from: the messages, and what was made of numbers.
        self._sources, self._source_bytes = [self.data], len(self.data)
        self._small_begin = -1
        self._numbers = np.arange(len(size))
        # The last is for texts that no column wants.
        self._start = np.zeros((num_columns + 1, len(size)), np.int64)
        self._length = np.zeros((num_columns + 1, len(size)), np.int64)

    def numbers(self, rows: Rows) -> np.ndarray:
        """The numbers of rows, int64 [k]."""
        return self._numbers if isinstance(rows, slice) else rows

    def some(self, rows: Rows, chosen: np.ndarray) -> np.ndarray:
        """Those of rows that are chosen, bool [k] or places in them."""
        return self.numbers(rows)[chosen]

    def refuse(self, rows: Rows, bad: np.ndarray, reason: str, why: Callable[[int], str]) -> None:
        """Refuses those of the rows that are bad, bool [k].

        Args:
          rows: k rows.
          bad: which of them.
          reason: one of REASONS.
          why: the words for one, given its place in `rows`.
        """
        for place in bad.nonzero()[0].tolist():
            row = int(self.numbers(rows)[place])
            if not self.reason[row]:
                self.reason[row], self.why[row] = REASONS.index(reason), why(place)
            self.at[row] = self._begin[row]

    def refuse_all(self, rows: Rows, reason: str, why: str) -> None:
        """Refuses all of the rows."""
        self.refuse(rows, np.ones(len(self.numbers(rows)), bool), reason, lambda _: why)

    def refuse_row(self, row: int, error: Refused) -> None:
        """Refuses a row for a reason that something else has found."""
        self.reason[row], self.why[row] = error.reason, str(error)

    def put_row(self, row: int, texts: Sequence[str]) -> None:
        """All texts of a row, which something else has read."""
        raw = [text.encode() for text in texts]
        length = sizes(raw)
        self._start[:-1, row] = self.add(np.frombuffer(b"".join(raw), np.uint8)) + np.cumsum(length) - length
        self._length[:-1, row] = length

    def move(self, rows: Rows, to: np.ndarray, path: str) -> None:
        """Moves rows behind a value; refuses those that do not have all of it.

        Args:
          rows: k rows.
          to: int64 [k], places.
          path: of the value.
        """
        self.at[rows] = to
        over = to > self.end[rows]
        if over.any():
            self.refuse(rows, over, self._malformed, lambda _: f"it ends in the middle of {path or 'a value'}")

    def varint(self, rows: Rows, path: str) -> np.ndarray:
        """Whole numbers in groups of seven bits, the lowest first, as Avro and Protobuf have them: uint64 [k]."""
        at = self.at[rows]
        byte = self.data[at]
        at = at + 1
        if not len(byte) or byte.max() < 128:  # the usual case, of lengths and counts
            self.move(rows, at, path)
            return byte.astype(np.uint64)
        value = (byte & 127).astype(np.uint64)
        more = (byte > 127).nonzero()[0]
        for shift in range(7, _VARINT_BITS, 7):
            if not len(more):
                break
            chosen = ALL if len(more) == len(at) else more
            byte = self.data[at[chosen]]
            value[chosen] |= (byte & 127).astype(np.uint64) << np.uint64(shift)
            at[chosen] += 1
            more = more[byte > 127]
        self.move(rows, at, path)
        if len(more):
            endless = np.isin(np.arange(len(at)), more)
            self.refuse(rows, endless, self._malformed, lambda _: f"{path} is a number of more than 64 bits")
        return value

    def zigzag(self, rows: Rows, path: str) -> np.ndarray:
        """Varints of whole numbers with a sign, the lowest bit: int64 [k]."""
        value = self.varint(rows, path)
        if len(value) and value.max() < len(_SMALL_ZIGZAG):
            return _SMALL_ZIGZAG[value]
        return (value >> np.uint64(1)).astype(np.int64) ^ -(value & np.uint64(1)).astype(np.int64)

    def fixed(self, rows: Rows, size: int, path: str) -> np.ndarray:
        """The next bytes, so many of each: uint8 [k, size]; size is at most 16."""
        at = self.at[rows]
        found = self.data[at[:, None] + np.arange(size)]
        self.move(rows, at + size, path)
        return found

    def span(self, rows: Rows, length: np.ndarray, path: str) -> np.ndarray:
        """Where the next `length` bytes of each begin, int64 [k]; moves behind them."""
        at = np.array(self.at[rows])  # of all rows it would be a view
        wrong = (length < 0) | (length > self.end[rows] - at)
        if wrong.any():
            left = self.end[rows] - at
            self.refuse(rows, wrong, self._malformed, lambda i: f"{path} has {int(length[i])} bytes, and {int(left[i])} are left")
            length[wrong] = 0
            at = np.array(self.at[rows])
        self.at[rows] = at + length
        return at

    def counted(self, rows: Rows, zigzag: bool, path: str) -> tuple[np.ndarray, np.ndarray]:
        """Where bytes begin that follow their number, and that number: int64 [k] each; moves behind them.

        Args:
          rows: k rows.
          zigzag: whether the number has a sign.
          path: of the value.
        """
        at = self.at[rows]
        byte = self.data[at]
        if len(byte) and byte.max() < 128 and not (zigzag and (byte & 1).any()):  # the usual case: fewer than 128, or 64
            start, length = at + 1, (byte >> 1 if zigzag else byte).astype(np.int64)
            self.move(rows, start + length, path)
            return start, length
        length = self.zigzag(rows, path) if zigzag else self.varint(rows, path).view(np.int64)
        return self.span(rows, length, path), length

    def put(self, columns: Iterable[int], rows: Rows, start: np.ndarray, length: np.ndarray) -> None:
        """The texts of rows in these columns: places in `data` or of what `add` has taken, and bytes."""
        for column in columns:
            self._start[column][rows], self._length[column][rows] = start, length

    def put_all(self, column: np.ndarray, rows: np.ndarray, start: np.ndarray, length: np.ndarray) -> None:
        """As `put`, of many texts of a row. Of several for one column the last one counts.

        Args:
          column: int64 [s, k], for which each is; -1: for none.
          rows: int64 [k].
          start: int64 [s, k].
          length: likewise, of any type.
        """
        place = column * len(self.end) + rows  # of column -1 it is negative, and counts from the end
        self._start.reshape(-1)[place], self._length.reshape(-1)[place] = start, length

    def copy(self, column: int, others: Sequence[int], rows: Rows) -> None:
        """The texts of rows in a column, in other columns, too."""
        for other in others:
            self.put([other], rows, self._start[column][rows], self._length[column][rows])

    def take_back(self, rows: np.ndarray) -> None:
        """As if nothing had been put of these rows."""
        self._length[:, rows] = 0

    def put_integers(self, columns: Sequence[int], rows: Rows, values: np.ndarray) -> None:
        """Whole numbers, int64 or uint64 [k], as texts."""
        if not columns or not len(values):
            return
        if self._small_begin < 0:
            self._small_begin = self.add(_SMALL)
        small = (values >= 0) & (values < len(_SMALL_DIGITS))
        if small.all():
            self._put_small(columns, rows, values)
            return
        self._put_small(columns, self.some(rows, small), values[small])
        values, rows = values[~small], self.some(rows, ~small)
        negative = values < 0
        left = np.where(negative, -values.view(np.int64), values.view(np.int64)).view(np.uint64)  # -(-2^63) is 2^63 there
        width = len(str(int(left.max()))) + 1
        digits = np.empty((len(values), width), np.uint8)
        length = np.ones(len(values), np.int64)
        for place in range(width - 1, 0, -1):
            tenth = left // _TEN
            digits[:, place] = left - tenth * _TEN + _ZERO
            left = tenth
            length += left > 0
        digits[negative.nonzero()[0], (width - 1 - length)[negative]] = 45  # a minus sign
        length += negative
        self.put(columns, rows, self.add(digits.reshape(-1)) + np.arange(1, len(values) + 1) * width - length, length)

    def _put_small(self, columns: Sequence[int], rows: Rows, values: np.ndarray) -> None:
        values = values.astype(np.int64)
        length = _SMALL_DIGITS[values]
        self.put(columns, rows, self._small_begin + (values + 1) * _SMALL_WIDTH - length, length)

    def put_truths(self, columns: Sequence[int], rows: Rows, values: np.ndarray) -> None:
        """bool [k] as texts."""
        if columns:
            self.put(columns, rows, self.add(_TRUTH) + np.where(values, 5, 0), np.where(values, 4, 5))

    def put_texts(self, columns: Sequence[int], rows: Rows, texts: Sequence[str]) -> None:
        """Texts that Python has made, one a row."""
        if columns:
            raw = [text.encode(errors="surrogateescape") for text in texts]
            length = sizes(raw)
            self.put(columns, rows, self.add(np.frombuffer(b"".join(raw), np.uint8)) + np.cumsum(length) - length, length)

    def texts(self, column: int, rows: Rows) -> list[str]:
        """What stands in a column so far; what is no UTF-8 is for the checks behind."""
        begins = np.cumsum([0, *map(len, self._sources[:-1])])
        start, length = self._start[column, rows], self._length[column, rows]
        which = np.searchsorted(begins, start, side="right") - 1
        spans = zip(which.tolist(), (start - begins[which]).tolist(), length.tolist(), strict=True)
        return [self._sources[i][s : s + n].tobytes().decode(errors="surrogateescape") for i, s, n in spans]

    def put_named(self, columns: Sequence[int], rows: Rows, names: Sequence[str], index: np.ndarray) -> None:
        """Texts out of a few, by their index [k]."""
        if columns:
            raw = [name.encode() for name in names]
            length = sizes(raw)
            start = self.add(np.frombuffer(b"".join(raw), np.uint8)) + np.cumsum(length) - length
            self.put(columns, rows, start[index], length[index])

    def add(self, source: np.ndarray) -> int:
        """Takes bytes that texts are cut from, and says where the first of them is found."""
        begin = self._source_bytes
        self._sources.append(source)
        self._source_bytes += len(source)
        return begin

    def texts_of_rows(self, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The columns' texts, '' in all columns of a refused message.

        Args:
          names: of the columns, for the words about a text that holds a tab or a line end: its message is refused.

        Returns:
          size: int64 [b * n], the bytes of each, message by message.
          content: uint8, all texts one behind the other.
        """
        columns = range(len(names))
        size, content = self._cut(columns)
        if content.min(initial=255) > max(_UNWRITABLE):  # the usual case
            return size, content
        unwritable = np.isin(content, _UNWRITABLE).nonzero()[0]
        if not len(unwritable):
            return size, content
        for field in np.unique(np.searchsorted(np.cumsum(size), unwritable, side="right")).tolist():
            row, column = divmod(field, len(names))
            self.refuse_all(np.array([row]), "type", f"{names[column]} holds a tab or a line end, which no text of a column may")
        return self._cut(columns)

    def lines(self, columns: Sequence[int]) -> bytes:
        """The texts of these columns with a line feed behind each, message by message."""
        return self._cut(columns, _LF)[1].tobytes()

    def rows(self, names: Sequence[str]) -> list[bytes]:
        """The columns' texts with a tab between them, of each message; b'' of a refused one. `names`: as above."""
        self.texts_of_rows(names)  # refuses what cannot be written so
        size, text = self._cut(range(len(names)), _TAB)
        lines, stops = text.tobytes(), np.cumsum(size)[len(names) - 1 :: len(names)].tolist()
        spans = zip([0, *stops], stops, self.reason.tolist(), strict=False)
        return [b"" if refused else lines[start : stop - 1] for start, stop, refused in spans]

    def _cut(self, columns: Sequence[int], end: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """See texts_of_rows; with a byte behind each text, which counts."""
        size, start = self._length[list(columns)], self._start[list(columns)].T.reshape(-1)
        if self.reason.any():
            size[:, self.reason > 0] = 0
        size = size.T.reshape(-1) + (end is not None)
        stop = np.cumsum(size)
        # Where each byte is taken from. Behind a text this may be the one behind the last.
        place = np.repeat(start - (stop - size), size)
        place += np.arange(len(place))
        text = (self.data if len(self._sources) == 1 else np.concatenate([*self._sources, np.zeros(1, np.uint8)]))[place]
        if end is not None:
            text[stop - 1] = end
        return size, text


def sizes(messages: Sequence[bytes]) -> np.ndarray:
    """The bytes of each, int64."""
    return np.fromiter(map(len, messages), np.int64, len(messages))


def is_utf8(size: np.ndarray, content: np.ndarray) -> bool:
    """Whether texts are UTF-8, each by itself. Args: as texts_of_rows has them."""
    if content.max(initial=0) < 128:  # the usual case
        return True
    # Of one text alone that begins with a byte that continues a character, the whole could be UTF-8 though.
    first = content[(np.cumsum(size) - size)[size > 0]]
    if (first & 0xC0 == 0x80).any():
        return False
    try:
        content.tobytes().decode()
    except UnicodeDecodeError:
        return False
    return True
