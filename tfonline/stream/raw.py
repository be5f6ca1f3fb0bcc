"""Rows as they come from a stream, many at a time. Imports no TensorFlow."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import tensorflow as tf


class Origin(NamedTuple):
    """Where rows stand in their stream.

    Attributes:
      partition: int32 [b]; -1 for padding.
      offset: int64 [b]; -1 for padding.
      time_ms: int64 [b], the message's timestamp in milliseconds since 1970; -1 where the reader does not know it, and for padding.
    """

    partition: "tf.Tensor"
    offset: "tf.Tensor"
    time_ms: "tf.Tensor"


class RawBatch(NamedTuple):
    """Rows as they came. b is the batch size, or less at a window's end.

    Attributes:
      message: string [b]; empty for a tombstone.
      origin: of each.
      tombstone: bool [b], whether a message has no value at all; False where the reader cannot tell it from an empty value.
    """

    message: "tf.Tensor"
    origin: Origin
    tombstone: "tf.Tensor"
