"""The look-up of a batch's ids in all tables: which ids there are is found once, and each id's row is read and learned once."""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from tfonline.model.tables.distinct import Distinct
from tfonline.model.tables.table import Table
from tfonline.model.tables.xla import FixedDistinct


class Rows(NamedTuple):
    """The rows of one table that a batch needs, of P places. The loss is derived by them.

    Attributes:
      each: float32, or what the table's spec says, [B, P - S, width], of the places whose id changes from row to row.
      scaled: float32 [S, width], of the first S fields, whose id is their number: the same for the whole batch.
    """

    each: tf.Tensor
    scaled: tf.Tensor

    def times(self, values: tf.Tensor) -> tf.Tensor:
        """All places' rows, each times its value, float32 [B, P], to [B, P, width]. Of places Spec.by_field makes fields."""
        num_scaled = self.scaled.shape[0]
        each = tf.cast(self.each, values.dtype) * values[:, num_scaled:, None]
        return tf.concat([self.scaled * values[:, :num_scaled, None], each], axis=1) if num_scaled else each


class Lookup:
    """Tables that are looked up by the same ids.

    Args:
      tables: by name, with the same number of rows.
      scaled_fields: see Spec.
      fixed_for: the number of replicas, where XLA compiles what finds the distinct ids; else None.
    """

    def __init__(self, tables: Mapping[str, Table], scaled_fields: int | None, fixed_for: int | None = None):
        self._tables, self._scaled, self._fixed_for = dict(tables), scaled_fields or 0, fixed_for
        self.num_rows = next(iter(tables.values())).num_rows

    def rows(self, ids: tf.Tensor) -> dict[str, Rows]:
        """What the tables hold for ids, int [B, P]: to score by."""
        scaled, ids = self._scaled_ids(ids.dtype), ids[:, self._scaled :]
        return {name: Rows(table(ids), table(scaled)) for name, table in self._tables.items()}

    def distinct_rows(self, ids: tf.Tensor) -> tuple[Distinct | FixedDistinct, dict[str, Rows]]:
        """The same, to learn by: `gradients` takes both. Each distinct row is read once, and then laid out."""
        scaled, ids = self._scaled_ids(ids.dtype), ids[:, self._scaled :]
        distinct = self.distinct(tf.reshape(ids, [-1]))
        # Rounded here, few as they are.
        each = {name: tf.cast(table(distinct.ids), table.spec.dtype) for name, table in self._tables.items()}
        # Not the places' shape, which TensorFlow would change in the host's memory.
        shape = [tf.shape(ids)[0], ids.shape[1]]
        each = {name: tf.reshape(tf.gather(t, distinct.places), [*shape, t.shape[-1]]) for name, t in each.items()}
        return distinct, {name: Rows(each[name], table(scaled)) for name, table in self._tables.items()}

    def distinct(self, ids: tf.Tensor) -> Distinct | FixedDistinct:
        """Those of ids, int [n], of one replica."""
        return FixedDistinct.of(ids, self.num_rows, self._fixed_for) if self._fixed_for else Distinct.of(ids)

    def gradients(self, distinct: Distinct | FixedDistinct, of_rows: Mapping[str, Rows]) -> list[tf.IndexedSlices]:
        """The tables' gradients by those of `distinct_rows`, in the tables' order: each id once, in one order for all tables."""
        ids = distinct.ids_behind(self._scaled)

        def gradient(rows: Rows) -> tf.IndexedSlices:
            sums = distinct.sums(tf.cast(tf.reshape(rows.each, [-1, rows.each.shape[-1]]), tf.float32))
            return tf.IndexedSlices(distinct.sums_behind(rows.scaled, sums), ids)

        return [gradient(of_rows[name]) for name in self._tables]

    def sums_of(self, replicas: list[tuple[tf.IndexedSlices, ...]]) -> list[tf.IndexedSlices]:
        """Several replicas' `gradients` to their sums, a table each: which ids belong together is found once for all tables."""
        ids = tf.concat([tables[0].indices for tables in replicas], axis=0)
        distinct = FixedDistinct.of(ids, self.num_rows) if self._fixed_for else Distinct.of(ids)
        of_each = zip(*replicas, strict=True)
        return [tf.IndexedSlices(distinct.sums_of([t.values for t in table]), distinct.ids) for table in of_each]

    def of_all_ids(self, gradient: tf.IndexedSlices) -> bool:
        """Whether one of `gradients` has a row for each id that there is: `all_ids`, but for those that the batch has not."""
        return gradient.indices.shape[0] == self._scaled + self.num_rows

    def all_ids(self, dtype: tf.DType) -> tf.Tensor:
        """The ids of such rows, int [S + R]."""
        return tf.concat([self._scaled_ids(dtype), tf.range(self.num_rows, dtype=dtype)], axis=0)

    def _scaled_ids(self, dtype: tf.DType) -> tf.Tensor:
        return tf.range(self._scaled, dtype=dtype)  # of the ids' own type: what is int32 a GPU would be sent at each step
