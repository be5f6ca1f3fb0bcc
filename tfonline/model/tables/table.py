"""A table of weights, a row an id, as a Keras layer."""

import keras
import tensorflow as tf

from tfonline.model.tables.replicas import own


def read_rows(table: tf.Variable, ids: tf.Tensor) -> tf.Tensor:
    """int [...] to float32 [..., width], from this replica's copy of the table; the gradient is IndexedSlices.

    On a mirrored variable tf.gather would read, and after a sparse write copy, the whole table: its sparse read fails, and that is
    caught without a word.
    """
    return tf.gather(own(table), ids)


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
