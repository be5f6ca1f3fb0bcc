"""Readers: each gives the rows of a range of offsets, as a tf.data graph, from one kind of stream.

What a reader promises, whatever it reads from:

- The rows of `[start, stop)` of a partition that the stream holds, each once, in offset order, the same ones every time.
- Pieces of any size, empty ones too: the order of rows and the size of chunks are made above the readers, in stream/order.py.
- A message to the byte. One without a value (a tombstone) is an empty message.
- An end, though offsets are missing (gaps of transactions, aborted records) or the range holds no row at all.
- An error, as tf.errors.OpError, where rows of the range cannot be read: a range is never cut short in silence.
- Partitions are read side by side, each in threads of tf.data. A partition is read by one window at a time.
"""

from typing import Protocol

import tensorflow as tf


class Reader(Protocol):
    """Reads ranges of offsets inside a tf.data graph.

    Attributes:
      error: what failed in Python under a read, if anything did. tf.data makes a text of its own of it.
    """

    error: Exception | None

    def rows(self, partition: tf.Tensor, start: tf.Tensor, stop: tf.Tensor) -> tf.data.Dataset:
        """Pieces `(message string [k], offset int64 [k])` with `start <= offset < stop`; k is any number.

        Called while a graph is traced, once a window and partition: the arguments are scalar int64 tensors.
        """
