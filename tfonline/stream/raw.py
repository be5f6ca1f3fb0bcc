"""Rows as they come from a stream, many at a time."""

from typing import NamedTuple

import tensorflow as tf


class Origin(NamedTuple):
    """Where rows stand in their stream.

    Attributes:
      partition: int32 [b]; -1 for padding.
      offset: int64 [b]; -1 for padding.
      time_ms: int64 [b], milliseconds since 1970; -1 for padding, and where the reader gives no times.
    """

    partition: tf.Tensor
    offset: tf.Tensor
    time_ms: tf.Tensor


class RawBatch(NamedTuple):
    """Rows as they came. b is the batch size, or less at a window's end.

    Attributes:
      message: string [b].
      tombstone: bool [b], whether a message has no value, as one that marks its key as deleted; it is '' then. False where the
        reader does not tell them apart.
      origin: of each.
    """

    message: tf.Tensor
    tombstone: tf.Tensor
    origin: Origin


def raw_batch_spec() -> RawBatch:
    """The types of a RawBatch of any size."""
    origin = Origin(*(tf.TensorSpec([None], dtype) for dtype in (tf.int32, tf.int64, tf.int64)))
    return RawBatch(tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.bool), origin)
