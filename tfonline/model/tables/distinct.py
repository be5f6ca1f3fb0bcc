"""The distinct ids of a batch: each row of a table is looked up once, and has one gradient."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf


class Distinct(NamedTuple):
    """Ids, each once (on the CPU in the order of first appearance).

    Attributes:
      ids: int [U].
      places: int [n], where in `ids` each of them is.
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

    def sums_of(self, parts: Sequence[tf.Tensor]) -> tf.Tensor:
        """`sums` of parts, one after the other, each of which has an id once at most; or of a single part."""
        return sums_of_parts(parts, self.places, lambda values, places: self._replace(places=places).sums(values))

    def ids_behind(self, count: int) -> tf.Tensor:
        """`ids` with 0 to count - 1 before them, int [count + U]."""
        return tf.concat([tf.range(count, dtype=self.ids.dtype), self.ids], axis=0) if count else self.ids

    def sums_behind(self, first: tf.Tensor, sums: tf.Tensor) -> tf.Tensor:
        """Sums, [U, width], with those of the ids before them, float32 [count, width]."""
        return tf.concat([first, sums], axis=0) if first.shape[0] else sums


def sums_of_parts(parts: Sequence[tf.Tensor], places: tf.Tensor, sums: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Lays out each part by itself, where no two threads add to one row, then adds all up in this order.

    Every GPU that does so gets the same, to the last bit.

    Args:
      parts: float32 [n_i, width] each.
      places: int [n], the places of all parts' rows.
      sums: of a part and its places, to [U, width].
    """
    places, begin, found = tf.cast(places, tf.int64), 0, []  # TensorFlow cuts up int32 in the host's memory
    for values in parts:
        n = tf.shape(values)[0]
        found.append(sums(values, tf.slice(places, [begin], [n])))
        begin += n
    return tf.add_n(found)
