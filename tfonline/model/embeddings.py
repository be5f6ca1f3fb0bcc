"""A table of weights, a row an id, as a Keras layer, and how to reach a replica's copy of a mirrored variable."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

# Of `Distinct.sums` on a GPU.
_MOST_COPIES, _FEW_IDS = 8, 100_000


def this_replica() -> int:
    """Its number, in a replica's context; 0 where no replica runs."""
    context = tf.distribute.get_replica_context()
    return tf.get_static_value(context.replica_id_in_sync_group) if context else 0


def own(mirrored: Any) -> Any:
    """This replica's copy of a mirrored variable, on its device; the first one where no replica runs."""
    copies = tf.distribute.get_strategy().experimental_local_results(mirrored)  # this worker's
    return copies[this_replica() % len(copies)]


def read_first(variable: Any) -> tf.Tensor:
    """A variable's value, read outside of any replica; of a mirrored one, the first replica's."""
    variable = variable if isinstance(variable, tf.Variable) else getattr(variable, "value", variable)
    return tf.distribute.get_strategy().experimental_local_results(variable)[0].read_value()


def read_rows(table: tf.Variable, ids: tf.Tensor) -> tf.Tensor:
    """int [...] to float32 [..., width], from this replica's copy of the table; the gradient is IndexedSlices.

    On a mirrored variable tf.gather would read, and after a sparse write copy, the whole table: its sparse read fails, and that is
    caught without a word.
    """
    return tf.gather(own(table), ids)


class Distinct(NamedTuple):
    """Ids, each once (on the CPU in the order of first appearance).

    Attributes:
      ids: int [U]; where `fixed_size` found fewer, some are of no row: XLA reads the last row for them, and writes none.
      places: int [n], where in `ids` each of them is; beyond it where one is of no row.
      copies: of fixed_size: `sums` adds up in so many places, then these: threads that add to one row wait for each other.
    """

    ids: tf.Tensor
    places: tf.Tensor
    copies: int = 0

    @classmethod
    def of(cls, ids: tf.Tensor, fixed_rows: int | None = None, replicas: int = 1) -> "Distinct":
        """Those of ids, int [n]; of a table of so many rows by `fixed_size`, where that is said."""
        return cls(*tf.unique(ids)) if fixed_rows is None else cls.fixed_size(ids, fixed_rows, replicas)

    @classmethod
    def fixed_size(cls, ids: tf.Tensor, num_rows: int, replicas: int = 1) -> "Distinct":
        """Those of ids, int [n], as XLA, which wants to know shapes beforehand, can find them.

        U is n; or num_rows, where all replicas together have as many ids.

        Args:
          ids: those that are not below num_rows are of no row.
          num_rows: of the table.
          replicas: so many exchange sums by n ids each.
        """
        # A scatter of int32 that puts any one of several values is plain stores on a GPU; a minimum or a bool would be atomics.
        ids, n = tf.cast(ids, tf.int32), ids.shape[0]
        order = tf.range(n)
        one_of = tf.tensor_scatter_nd_update(tf.fill([num_rows], n), ids[:, None], order)
        copies = min(_MOST_COPIES, 2 * n // min(n, num_rows)) if n > _FEW_IDS else 1
        if n * replicas >= num_rows:  # each id that there is has its place
            return cls(tf.where(one_of < n, tf.range(num_rows), num_rows), ids, copies)
        places = tf.where(ids < num_rows, tf.gather(one_of, ids), n)
        return cls(tf.where(places == order, ids, num_rows), places, copies)

    def sums(self, values: tf.Tensor) -> tf.Tensor:
        """float32 [n, width], a row an id as they came, to [U, width]: those of the same id added up."""
        if not self.copies:
            return self._sums(values, self.places, tf.size(self.ids))
        n, most = self.places.shape[0], self.ids.shape[0]
        places = tf.where(self.places < most, self.places + tf.range(n) % self.copies * most, self.copies * most)
        sums = self._sums(values, places, self.copies * most)
        return tf.reduce_sum(tf.reshape(sums, [self.copies, most, values.shape[1]]), axis=0)

    def sums_of(self, parts: Sequence[tf.Tensor]) -> tf.Tensor:
        """`sums` of parts, one after the other, each of which has an id once at most; or of a single part.

        Each is laid out by itself, where no two threads add to one row, and then all are added up in this order: every GPU that
        does so gets the same, to the last bit.
        """
        places, begin, found = tf.cast(self.places, tf.int64), 0, []  # TensorFlow cuts up int32 in the host's memory
        for values in parts:
            n = tf.shape(values)[0]
            found.append(self._sums(values, tf.slice(places, [begin], [n]), tf.size(self.ids)))
            begin += n
        return tf.add_n(found)

    def _sums(self, values: tf.Tensor, places: tf.Tensor, num_places: tf.Tensor | int) -> tf.Tensor:
        if not self.copies:
            return tf.math.unsorted_segment_sum(values, places, num_places)
        # With a third axis, or XLA lays the sums out as it does `[n, 1]` ids: column by column.
        return tf.math.unsorted_segment_sum(values[:, :, None], places, num_places)[:, :, 0]


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
