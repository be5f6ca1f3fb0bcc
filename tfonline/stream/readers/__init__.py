"""Readers: each gives the rows of a range of offsets, from one kind of stream.

What a reader promises, whatever it reads from:

- The rows of `[start, stop)` of a partition that the stream holds, each once, in offset order, the same ones every time.
- Pieces of any size, empty ones too: the order of rows and the size of chunks are made above the readers, in stream/order.py.
- A message to the byte. One without a value (a tombstone) is told from an empty one where the stream knows the difference.
- An end, though offsets are missing (gaps of transactions, aborted records) or the range holds no row at all.
- An error where rows of the range cannot be read: a range is never cut short in silence.

There are two kinds. A `Reader` gives a tf.data graph, and reads partitions side by side in threads of tf.data. A `RowReader` gives
rows in Python, when it is asked for them, from one thread, as lists or packed (packed.py). The same windows give the same rows in
the same order by either.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import tensorflow as tf

    from tfonline.stream.readers.packed import PackedRows

# The time of a row that has none.
NO_TIME = -1


class Rows(NamedTuple):
    """Some rows of one partition, in the order of offsets.

    Attributes:
      message: their bytes; None for a tombstone.
      offset: of each.
      time_ms: of each, milliseconds since 1970; NO_TIME where there is none.
      key: the key of each message, where the reader is asked for keys; None for none.
    """

    message: list[bytes | None]
    offset: list[int]
    time_ms: list[int]
    key: list[bytes | None] = []  # noqa: RUF012 - of a tuple, and never changed


class Reader(Protocol):
    """Reads ranges of offsets inside a tf.data graph.

    Attributes:
      error: what failed in Python under a read, if anything did. tf.data makes a text of its own of it.
    """

    error: Exception | None

    def rows(self, partition: "tf.Tensor", start: "tf.Tensor", stop: "tf.Tensor") -> "tf.data.Dataset":
        """Pieces `(message string [k], offset int64 [k])` with `start <= offset < stop`; k is any number.

        Called while a graph is traced, once a window and partition: the arguments are scalar int64 tensors. A partition is read by
        one window at a time.
        """

    def close(self) -> None:
        """Gives back what it holds. Nothing is read afterwards."""


class RowReader(Protocol):
    """Reads ranges of offsets in Python.

    Attributes:
      error: what failed under a read, if anything did; it is set by who asks for the rows.
    """

    error: Exception | None

    def place(self, ranges: Mapping[int, tuple[int, int]]) -> None:
        """Has partitions stand at the beginnings of these ranges, `[start, stop)`, which are read next."""

    def take(self, partition: int, most: int) -> "Rows | PackedRows":
        """The next rows of the range in which a partition was placed: `most`, and fewer only where the range has no more."""

    def close(self) -> None:
        """Ends a wait for rows, in whatever thread it is. Nothing is read afterwards."""
