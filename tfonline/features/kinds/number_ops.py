"""Decimal numbers to ids and logarithms."""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfonline.features.kinds.integer import numeric_input
from tfonline.features.kinds.number import Numbers
from tfonline.features.spec import Inputs


class NumberOp:
    """See kinds.Op. A number's id is that of its bucket: missing, below the first boundary, then one from each boundary on.

    All values are 1, and a column's key is its id. Beside it the network gets `sign(v) ln(1 + |v|)`, which it standardises.

    Args:
      boundaries: where each column's buckets begin, in rising order.
      first_id: the first of the op's ids; each column has a range of its own.
    """

    scaled_fields, lists, keyed = 0, (), ()

    def __init__(self, boundaries: Sequence[Sequence[float]], first_id: int):
        self.num_fields, self.inputs = len(boundaries), numeric_input(len(boundaries))
        widths = [2 + len(of_column) for of_column in boundaries]
        self.num_ids = sum(widths)
        self._first = (first_id + np.cumsum([0, *widths])[:-1]).astype(np.int32)
        # One table for all columns: behind a column's own boundaries stand such as no number reaches.
        self._boundaries = np.full([len(boundaries), max(map(len, boundaries), default=0)], np.inf)
        for row, of_column in zip(self._boundaries, boundaries, strict=True):
            row[: len(of_column)] = of_column

    def __call__(self, values: Numbers) -> Inputs:
        """See Op."""
        number, missing = values
        if not self.num_fields:
            bucket = tf.zeros_like(missing, tf.int32)
        else:
            bucket = 1 + tf.transpose(tf.searchsorted(self._boundaries, tf.transpose(number), side="right"))
        ids = tf.where(missing, 0, bucket) + tf.constant(self._first)
        logarithm = tf.cast(tf.sign(number) * tf.math.log1p(tf.abs(number)), tf.float32)
        own = {name: tf.where(missing, float("nan"), logarithm) for name in self.inputs}
        return Inputs(ids, tf.ones_like(ids, tf.float32), tf.cast(ids, tf.int64), own)

    def shares(self, values: Numbers) -> dict[str, tf.Tensor]:
        """See Op."""
        return {"missing": values.missing}

    def keep_in(self, folder: str | os.PathLike) -> None:
        """See Op: there is nothing to keep."""
