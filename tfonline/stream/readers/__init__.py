"""Readers: each gives the rows of ranges of offsets from one kind of stream. Imports no TensorFlow.

There are two kinds. A `Reader` gives a range as a tf.data graph; a `RowReader` gives rows in Python. The order of rows and the size
of chunks are made above both, in stream/order.py. What a reader promises, whatever it reads from:

- The rows of `[start, stop)` of a partition that the stream holds, each once, in offset order, the same ones every time.
- Pieces of any size, empty ones too.
- A message to the byte. A Reader gives one without a value (a tombstone) as an empty message, a RowReader as None.
- An end, though offsets are missing (gaps of transactions, aborted records) or the range holds no row at all.
- An error, as tf.errors.OpError at the iterator, where rows of the range cannot be read: a range is never cut short in silence.
- A partition is read by one window at a time.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import tensorflow as tf


class Reader(Protocol):
    """Reads ranges of offsets inside a tf.data graph, the partitions side by side, each in threads of tf.data.

    Attributes:
      error: what failed in Python under a read, if anything did. tf.data makes a text of its own of it.
    """

    error: Exception | None

    def rows(self, partition: "tf.Tensor", start: "tf.Tensor", stop: "tf.Tensor") -> "tf.data.Dataset":
        """Pieces `(message string [k], offset int64 [k])` with `start <= offset < stop`; k is any number.

        Called while a graph is traced, once a window and partition: the arguments are scalar int64 tensors.
        """


class Rows(NamedTuple):
    """Rows of one partition, in the order of offsets.

    Attributes:
      values: the messages; None for a tombstone.
      offsets: of each.
      times: the timestamp of each, in milliseconds since 1970; -1 where it is not known.
    """

    values: list[bytes | None]
    offsets: list[int]
    times: list[int]


@runtime_checkable
class RowReader(Protocol):
    """Reads ranges of offsets in Python. Used by one thread at a time, for one window after the other.

    Attributes:
      error: what failed under a read, where a person can be told what it is.
    """

    error: Exception | None

    def begin(self, starts: Mapping[int, int]) -> None:
        """A window begins: {partition: the offset from which on its rows are taken}."""

    def take(self, partition: int, stop: int, most: int) -> Rows | None:
        """The next `most` rows of a partition below `stop`; fewer only where there are no more. None: they have not come yet.

        Raises:
          Exception: they cannot be read.
        """

    def wait(self) -> None:
        """Waits for more rows, 0.2 s at most.

        Raises:
          Exception: the stream cannot be read.
        """
