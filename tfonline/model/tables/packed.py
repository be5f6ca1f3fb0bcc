"""What a replica tells the others after its part of a batch."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf


class Learned(NamedTuple):
    """What a batch tells.

    Attributes:
      loss: float32 [].
      tables: the tables' gradients, each id once, the ids in the same order for all tables.
      dense: the gradients of all other variables.
    """

    loss: tf.Tensor
    tables: Sequence[tf.IndexedSlices]
    dense: Sequence[tf.Tensor]


class Packed(NamedTuple):
    """The same in few tensors, as each one more costs time between two steps; of one replica, or of several.

    Attributes:
      dense: of each replica, or their sum: float32 [T], the loss and then gradients: all but the tables'; and these too where they
        have a row for each id, with 1 for each that a batch has, else 0.
      tables: of each replica, where they are not in `dense`: the tables' gradients.
    """

    dense: tuple[tf.Tensor, ...]
    tables: tuple[tuple[tf.IndexedSlices, ...], ...]


def split(x: tf.Tensor, shapes: Sequence) -> list[tf.Tensor]:
    """[T] to float32 tensors of these shapes, one after the other."""
    parts = tf.split(x, [tf.TensorShape(shape).num_elements() for shape in shapes])
    return [tf.reshape(tf.cast(part, tf.float32), shape) for part, shape in zip(parts, shapes, strict=True)]
