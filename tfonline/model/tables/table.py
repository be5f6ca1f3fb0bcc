"""A table of weights, a row an id, as a Keras layer."""

import dataclasses
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfonline.model.tables.replicas import own
from tfonline.model.tables.served_counts import ServedCounts

Initializer = Callable[[Sequence[int]], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class TableSpec:
    """A table that a network declares. It is looked up by the input `ids`, and has a row for each id.

    Attributes:
      width: numbers a row.
      optimizer: by which it learns, of settings.model.OPTIMIZERS.
      initializer: of a shape, [num_ids, width], to the initial weights, float32; `normal` makes one.
      dtype: `float32`; or `bfloat16`, to which rows are rounded where they are learned by. It saves time for a network that rounds
        them before anything else, and is for no other one: rows to score by come as they are.
    """

    width: int
    optimizer: str
    initializer: Initializer
    dtype: str = "float32"


def normal(stddev: float, seed: int) -> Initializer:
    """Makes an initializer: weights drawn from a normal distribution, by the seed and the table's width."""
    return lambda shape: tf.random.stateless_normal(shape, [seed, shape[-1]], stddev=stddev)


def read_rows(table: tf.Variable, ids: tf.Tensor) -> tf.Tensor:
    """int [...] to float32 [..., width], from this replica's copy of the table; the gradient is IndexedSlices. Or of ServedCounts.

    On a mirrored variable tf.gather would read, and after a sparse write copy, the whole table: its sparse read fails, and that is
    caught without a word.
    """
    return table.read_rows(ids) if isinstance(table, ServedCounts) else tf.gather(own(table), ids)


class Table(keras.layers.Layer):
    """`[num_ids + 1, width]` weights, read by id; the last row is the padding's and stays zero.

    The table is a plain tf.Variable: Keras's own optimizers and layers treat a table as dense (its moments, its reads after a
    sparse write), which costs time in proportion to its size. As such it is in checkpoints and not in `trainable_variables`.

    Args:
      num_ids: rows without the padding.
      spec: the table's.
    """

    def __init__(self, num_ids: int, spec: TableSpec, **kwargs):
        super().__init__(**kwargs)
        self.padding_id, self.spec = num_ids, spec

    @property
    def num_rows(self) -> int:
        """An id each, and the padding."""
        return self.padding_id + 1

    def build(self, _=None) -> None:
        """Makes the table; under a strategy's scope, it is mirrored."""
        start = self.spec.initializer([self.padding_id, self.spec.width])
        weights = tf.concat([start, tf.zeros([1, self.spec.width])], axis=0)
        self.table = tf.Variable(weights, trainable=True, name=f"{self.name}_table")

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        """int32 [B, P] to float32 [B, P, width]; the gradient is IndexedSlices."""
        return read_rows(self.table, ids)
