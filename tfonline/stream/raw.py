"""Rows as they come from a stream, many at a time."""

import enum
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


class Outcome(enum.IntEnum):
    """What is known of a row whose label comes in a topic of its own, see --label_topic.

    Attributes:
      NO_KEY: the row has no key by which one could be its own.
      NEGATIVE: none has come in time.
      POSITIVE: one has.
      LATE: the row was learned from as a negative, and here it is once more, for its outcome has come.
    """

    NO_KEY = -1
    NEGATIVE = 0
    POSITIVE = 1
    LATE = 2


class RawBatch(NamedTuple):
    """Rows as they came. b is the batch size, or less at a window's end.

    Attributes:
      message: string [b].
      tombstone: bool [b], whether a message has no value, as one that marks its key as deleted; it is '' then. False where the
        reader does not tell them apart.
      origin: of each.
      outcome: int8 [b], an Outcome; () where messages say their labels themselves.
    """

    message: tf.Tensor
    tombstone: tf.Tensor
    origin: Origin
    outcome: tf.Tensor | tuple[()] = ()


def raw_batch_spec(joined: bool = False) -> RawBatch:
    """The types of a RawBatch of any size; `joined`: of one whose rows have outcomes."""
    origin = Origin(*(tf.TensorSpec([None], dtype) for dtype in (tf.int32, tf.int64, tf.int64)))
    outcome = tf.TensorSpec([None], tf.int8) if joined else ()
    return RawBatch(tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.bool), origin, outcome)
