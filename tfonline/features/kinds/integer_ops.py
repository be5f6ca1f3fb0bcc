"""Whole numbers to ids and values. An op's repr is its configuration; serving runs the same op."""

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tfonline.features.dictionaries import Dictionaries
from tfonline.features.kinds.integer import Integers, numeric_input
from tfonline.features.spec import Input, Inputs
from tfonline.lifecycle import Exit, UserError


@dataclasses.dataclass(frozen=True)
class MinMax:
    """Scales an integer column to [0, 1]: `(v - min) / (max - min)`, the replaced system's online scaling.

    The id is the column's own. A missing value has value 0, so the column says nothing. What lies outside the dictionary's range
    is clipped: a single wild number would otherwise swamp the weights for good.

    The difference is of whole numbers, and rounded to float32 afterwards: of two times in seconds float32 says no more than that
    they lie 128 s apart or do not.

    Attributes:
      minimum: a number a column, of 64 bits.
      maximum: likewise; a column with maximum == minimum is always 0.
      ids: a column's id.
    """

    minimum: tuple[int, ...]
    maximum: tuple[int, ...]
    ids: tuple[int, ...]
    num_ids = 0

    @property
    def scaled_fields(self) -> int:
        """As in spec.Spec."""
        return len(self.ids)

    def __call__(self, integers: tf.Tensor, missing: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """int64 [b, k] and bool [b, k] to ids int32 [b, k] and values float32 [b, k]."""
        low, high = np.array(self.minimum, np.int64), np.array(self.maximum, np.int64)
        # Clipped first, the difference lies between 0 and 2^64 - 1; as int64 it may have wrapped around.
        above = tf.bitcast(tf.clip_by_value(integers, low, high) - low, tf.uint64)
        ranges = np.array([b - a for a, b in zip(self.minimum, self.maximum, strict=True)], np.float32)
        scaled = tf.math.divide_no_nan(tf.cast(above, tf.float32), ranges)
        ids = tf.broadcast_to(tf.constant(self.ids, tf.int32), tf.shape(integers))
        return ids, tf.where(missing, 0.0, scaled)


@dataclasses.dataclass(frozen=True)
class Log:
    """Scales an integer column by its logarithm to [-1, 1]: `sign(v) ln(1 + |v|) / ln(1 + max |v|)`, clipped.

    A missing value has an id of its own with value 1. Numbers that lie close together for their size, such as times of one day,
    have the same logarithm in float32, and fall into the same Bucket: for them there is MinMax, by a dictionary with a
    minimum close to them.

    Attributes:
      largest: the largest |v| of a column.
      ids: a column's id.
      first_id: the first of the ids for missing values, one a column.
    """

    largest: tuple[int, ...]
    ids: tuple[int, ...]
    first_id: int
    scaled_fields = None

    @property
    def num_ids(self) -> int:
        """Ids beyond the dictionary's."""
        return len(self.ids)

    def __call__(self, integers: tf.Tensor, missing: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """int64 [b, k] and bool [b, k] to ids int32 [b, k] and values float32 [b, k]."""
        number = tf.cast(integers, tf.float32)
        # A product: TensorFlow makes one of a division in some graphs and not in others, and so moves the last bit.
        scale = (1 / np.log1p(np.maximum(np.array(self.largest, np.float64), 1))).astype(np.float32)
        scaled = tf.sign(number) * tf.math.log1p(tf.abs(number)) * scale
        missing_ids = tf.range(self.first_id, self.first_id + len(self.ids))
        ids = tf.where(missing, missing_ids, tf.constant(self.ids, tf.int32))
        return ids, tf.where(missing, 1.0, tf.clip_by_value(scaled, -1.0, 1.0))


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Makes an integer column a category: missing, negative, 0, 1, 2, then `floor(ln(v)^2)`, in float32, from 3 on.

    The bucketing of the winners of the Criteo challenge (Juan, Zhuang, Chin: 3 Idiots' approach, 2014). Values above the
    dictionary's maximum fall into the last bucket. All values are 1.

    Attributes:
      largest: the largest number of a column.
      first_id: the first of the op's ids; each column has a range of its own.
    """

    largest: tuple[int, ...]
    first_id: int
    scaled_fields = 0

    @property
    def widths(self) -> tuple[int, ...]:
        """Buckets of a column: those below 3, then one a whole number from floor(ln(3)^2) = 1 on."""
        return tuple(5 + math.floor(math.log(max(n, 3)) ** 2) for n in self.largest)

    @property
    def num_ids(self) -> int:
        """Ids beyond the dictionary's."""
        return sum(self.widths)

    def __call__(self, integers: tf.Tensor, missing: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """int64 [b, k] and bool [b, k] to ids int32 [b, k] and values float32 [b, k]."""
        logarithm = tf.math.log(tf.cast(tf.maximum(integers, 3), tf.float32))
        bucket = 4 + tf.cast(tf.floor(logarithm * logarithm), tf.int32)
        bucket = tf.where(integers <= 2, 2 + tf.cast(tf.clip_by_value(integers, -1, 2), tf.int32), bucket)
        bucket = tf.where(missing, 0, tf.minimum(bucket, np.array(self.widths, np.int32) - 1))
        first = self.first_id + np.concatenate([[0], np.cumsum(self.widths)[:-1]])
        return bucket + tf.constant(first, tf.int32), tf.ones_like(bucket, tf.float32)


def log_numbers(integers: tf.Tensor, missing: tf.Tensor) -> tf.Tensor:
    """`sign(v) ln(1 + |v|)`, NaN where missing: int64 [b, k] and bool [b, k] to float32 [b, k], for a model that standardises."""
    number = tf.cast(integers, tf.float32)
    return tf.where(missing, float("nan"), tf.sign(number) * tf.math.log1p(tf.abs(number)))


def make_numeric(numeric: str, dictionaries: Dictionaries, columns: Sequence[str], first_id: int) -> MinMax | Log | Bucket:
    """What --numeric names, for these columns; ids beyond the dictionaries' are `first_id` and on.

    Raises:
      UserError: minmax, and a column's range is beyond 64 bits (exit 65).
    """
    low = tuple(int(dictionaries.min[c]) for c in columns)
    high = tuple(int(dictionaries.max[c]) for c in columns)
    ids = tuple(dictionaries.cat2id[c] for c in columns)
    if numeric == "minmax":
        ranges = zip(columns, low, high, strict=True)
        if wide := [f"{c}: {a} to {b}" for c, a, b in ranges if a < -(2**63) or b >= 2**63]:
            raise UserError(
                f"the dictionaries have ranges beyond 64 bits ({', '.join(wide)}), which --numeric=minmax cannot scale by. "
                "Messages have up to 18 digits. Make the dictionaries anew with tools/process_data.py, or use another --numeric.",
                Exit.DATA,
            )
        return MinMax(low, high, ids)
    if numeric == "log":
        return Log(tuple(max(-a, b) for a, b in zip(low, high, strict=True)), ids, first_id)
    return Bucket(high, first_id)


@dataclasses.dataclass(frozen=True)
class IntegerOp:
    """See kinds.Op. A column's key is its id. Beside buckets the network gets the logarithms, too.

    Attributes:
      numeric: makes ids and values.
      num_fields: the columns.
    """

    lists: ClassVar[tuple[int, ...]] = ()
    keyed: ClassVar[tuple[str, ...]] = ()

    numeric: MinMax | Log | Bucket
    num_fields: int

    @property
    def num_ids(self) -> int:
        """See Op."""
        return self.numeric.num_ids

    @property
    def scaled_fields(self) -> int | None:
        """See Op; with Log they are any, also where there are no columns."""
        return self.numeric.scaled_fields

    @property
    def inputs(self) -> dict[str, Input]:
        """See Op."""
        return numeric_input(self.num_fields) if isinstance(self.numeric, Bucket) else {}

    def __call__(self, values: Integers) -> Inputs:
        """See Op."""
        ids, scaled = self.numeric(*values)
        own = {name: log_numbers(*values) for name in self.inputs}
        return Inputs(ids, scaled, tf.cast(ids, tf.int64), own)

    def shares(self, values: Integers) -> dict[str, tf.Tensor]:
        """See Op."""
        return {"missing": values.missing}

    def keep_in(self, folder: str | os.PathLike) -> None:
        """See Op: there is nothing to keep."""
