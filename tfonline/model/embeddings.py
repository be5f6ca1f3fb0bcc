"""A table of weights, a row an id, as a Keras layer, and how to reach the copies of a mirrored variable."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf


def read_rows(table: tf.Variable, ids: tf.Tensor) -> tf.Tensor:
    """int [...] to float32 [..., width], from this replica's copy of the table; the gradient is IndexedSlices.

    On a mirrored variable tf.gather would read, and after a sparse write copy, the whole table: its sparse read fails, and that is
    caught without a word.
    """
    context = tf.distribute.get_replica_context()
    replica = tf.get_static_value(context.replica_id_in_sync_group) if context else 0
    copies = tf.distribute.get_strategy().experimental_local_results(table)  # this worker's
    return tf.gather(copies[replica % len(copies)], ids)


def on_each_replica(*columns: Sequence) -> Iterator[tuple]:
    """Each replica's own copies of mirrored variables and values, a tuple of one of each column, on its device.

    Not by strategy.extended.update: it hands over slots as mirrored variables, and to gather from one reads it whole.
    """
    copies_of = tf.distribute.get_strategy().experimental_local_results
    for mirrored in zip(*columns, strict=True):
        for copies in zip(*map(copies_of, mirrored), strict=True):
            with tf.device(copies[0].device):
                yield copies


class Distinct(NamedTuple):
    """Ids, each once (on the CPU in the order of first appearance).

    Attributes:
      ids: int [U].
      places: int32 [n], where in `ids` each of them is.
    """

    ids: tf.Tensor
    places: tf.Tensor

    @classmethod
    def of(cls, ids: tf.Tensor) -> "Distinct":
        """Those of ids, int [n]."""
        return cls(*tf.unique(ids))

    def sums(self, values: tf.Tensor) -> tf.Tensor:
        """float32 [n, width], a row an id as they came, to [U, width]: those of the same id added up."""
        return tf.math.unsorted_segment_sum(values, self.places, tf.size(self.ids))


class Table(keras.layers.Layer):
    """`[num_ids + 1, width]` weights, read by id; the last row is the padding's and stays zero.

    The table is a plain tf.Variable: Keras's own optimizers and layers treat a table as dense (its moments, its reads after a
    sparse write), which costs time in proportion to its size. As such it is in checkpoints and not in `trainable_variables`.

    Args:
      num_ids: rows without the padding.
      width: numbers a row.
      stddev: of the normal distribution that the initial weights are drawn from.
      seed: of the initial weights.
    """

    def __init__(self, num_ids: int, width: int, stddev: float, seed: int, **kwargs):
        super().__init__(**kwargs)
        self.padding_id, self._width, self._stddev, self._seed = num_ids, width, stddev, seed

    def build(self, _) -> None:
        """Makes the table; under a strategy's scope, it is mirrored."""
        start = tf.random.stateless_normal([self.padding_id, self._width], [self._seed, self._width], stddev=self._stddev)
        self.table = tf.Variable(tf.concat([start, tf.zeros([1, self._width])], axis=0), trainable=True, name=f"{self.name}_table")

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        """int32 [B, F] to float32 [B, F, width]; the gradient is IndexedSlices."""
        return read_rows(self.table, ids)
