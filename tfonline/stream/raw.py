"""Rows as they come from a stream, many at a time."""

from typing import NamedTuple

import tensorflow as tf


class Origin(NamedTuple):
    """Where rows stand in their stream.

    Attributes:
      partition: int32 [b]; -1 for padding.
      offset: int64 [b]; -1 for padding.
    """

    partition: tf.Tensor
    offset: tf.Tensor


class RawBatch(NamedTuple):
    """Rows as they came. b is the batch size, or less at a window's end.

    Attributes:
      message: string [b].
      origin: of each.
    """

    message: tf.Tensor
    origin: Origin
