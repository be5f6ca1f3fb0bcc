"""Values of category columns to ids by their hash, beside columns whose values have ids of their own."""

import functools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfonline.features.hashes import modulo
from tfonline.features.kinds.category import Hashed
from tfonline.features.kinds.category_keys import CategoryKeys, salts_of
from tfonline.features.kinds.category_ops import CategoryOp, ColumnIds
from tfonline.features.spec import Inputs

if TYPE_CHECKING:
    from tfonline.features.kinds.category import CategoryColumn


class SomeHashed(tf.Module):
    """See kinds.Op. The fields of the columns that are not hashed stand first, as theirs may have keys.

    A hashed column has an id for a missing value, and one a bucket. All values are 1; a column's key is the hash of its name and
    value.

    Args:
      others: makes the inputs of the columns that are not hashed; there may be none.
      columns: all, in the order of the values.
      first_id: the first of the ids of the hashed ones, behind those of `others`.

    Raises:
      UserError: two columns would have the same keys for the same values (exit 65).
    """

    scaled_fields, lists = 0, ()

    def __init__(self, others: CategoryOp | CategoryKeys, columns: "Sequence[CategoryColumn]", first_id: int):
        super().__init__(name="some_hashed")
        self._others, self.inputs, self.keyed = others, others.inputs, others.keyed
        hashed = [i for i, column in enumerate(columns) if column.hash_buckets]
        others_at = [i for i in range(len(columns)) if i not in hashed]
        self._other_places, self._places = (np.array(places, np.int32) for places in (others_at, hashed))
        self._hashed = tuple(columns[i].name for i in hashed)
        self._salts = np.array(salts_of(self._hashed), np.int64)
        self._buckets = [columns[i].hash_buckets for i in hashed]
        self._first = np.cumsum([first_id, *(n + 1 for n in self._buckets)])[:-1]
        self.num_fields, self.num_ids = len(columns), others.num_ids + sum(self._buckets) + len(hashed)

    def __call__(self, values: Hashed) -> Inputs:
        """See Op."""
        first = self._others(_gather(values, self._other_places))
        of_columns = [self._look_up(i, Hashed(*(t[:, place] for t in values))) for i, place in enumerate(self._places)]
        ids, keys = (tf.stack(found, axis=1) for found in zip(*of_columns, strict=True))
        second = Inputs(ids, tf.ones_like(ids, tf.float32), keys, {})
        joined = (tf.concat(pair, axis=1) for pair in zip(first[:3], second[:3], strict=True))
        return Inputs(*joined, first.own)

    def column(self, name: str) -> ColumnIds:
        """The ids of one of the columns."""
        if name in self._hashed:
            return ColumnIds(functools.partial(self._look_up, self._hashed.index(name)), keyed=False)
        return self._others.column(name)

    def _look_up(self, i: int, values: Hashed) -> tuple[tf.Tensor, tf.Tensor]:
        """Values of hashed column i, [...], to ids, int32 [...], and keys, int64 [...]."""
        keys = values.number + self._salts[i]
        bucket = 1 + modulo(keys, self._buckets[i])
        return tf.cast(self._first[i] + tf.where(values.missing, tf.constant(0, tf.int64), bucket), tf.int32), keys

    def shares(self, values: Hashed) -> dict[str, tf.Tensor]:
        """See Op. That a hashed value is unknown nobody can say."""
        found = {"missing": values.missing}
        order = np.argsort([*self._other_places, *self._places])
        for what, holds in self._others.shares(_gather(values, self._other_places)).items():
            nowhere = tf.zeros_like(tf.gather(values.missing, self._places, axis=1))
            found.setdefault(what, tf.gather(tf.concat([holds, nowhere], axis=1), order, axis=1))
        return found

    def keep_in(self, folder: str | os.PathLike) -> None:
        """See Op: what the others keep."""
        self._others.keep_in(folder)


def _gather(values: Hashed, places: np.ndarray) -> Hashed:
    """The values of some of the columns."""
    return Hashed(*(tf.gather(t, places, axis=1) for t in values))
