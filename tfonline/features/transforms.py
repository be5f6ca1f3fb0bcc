"""Feature ops: fields in, ids and values out. An op's repr is its configuration; serving runs the same op."""

import dataclasses
import hashlib
import math
import os
import pathlib
import re

import numpy as np
import tensorflow as tf

from tfonline.features.dictionaries import Dictionaries
from tfonline.features.schema import Schema
from tfonline.lifecycle import Exit, UserError, flush_to_disk

# to_hash_bucket_fast is FarmHash Fingerprint64 modulo the number of buckets; as many as an int64 can name.
_HASH_BUCKETS = 2**63 - 1
# Of the file that holds a table; without a digest, as it was once.
_TABLE_FILE, _DIGITS = "category_ids", 16
_IS_TABLE_FILE = re.compile(rf"{_TABLE_FILE}(-[0-9a-f]{{{_DIGITS}}})?\.tsv")
# Odd 64-bit constants of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
_GOLDEN = 0x9E3779B97F4A7C15
_MIX = 0xBF58476D1CE4E5B9


def _int64(n: int) -> int:
    """The signed number with the low 64 bits of n."""
    return (n + 2**63) % 2**64 - 2**63


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


def make_numeric(kind: str, dictionaries: Dictionaries, schema: Schema) -> MinMax | Log | Bucket:
    """The op that --numeric names, for the schema's integer columns.

    Raises:
      UserError: minmax, and a column's range is beyond 64 bits (exit 65).
    """
    low = tuple(int(dictionaries.min[c]) for c in schema.integers)
    high = tuple(int(dictionaries.max[c]) for c in schema.integers)
    ids = tuple(dictionaries.cat2id[c] for c in schema.integers)
    if kind == "minmax":
        ranges = zip(schema.integers, low, high, strict=True)
        if wide := [f"{c}: {a} to {b}" for c, a, b in ranges if a < -(2**63) or b >= 2**63]:
            raise UserError(
                f"the dictionaries have ranges beyond 64 bits ({', '.join(wide)}), which --numeric=minmax cannot scale by. "
                "Messages have up to 18 digits. Make the dictionaries anew with tools/process_data.py, or use another --numeric.",
                Exit.DATA,
            )
        return MinMax(low, high, ids)
    if kind == "log":
        return Log(tuple(max(-a, b) for a, b in zip(low, high, strict=True)), ids, dictionaries.num_ids)
    return Bucket(high, dictionaries.num_ids)


class CategoryLookup(tf.Module):
    """Values of the category columns to ids, by one table over 64-bit hashes of (column, value).

    A value that the dictionary does not hold becomes its column's OOV id, or one of `oov_buckets`; a missing one is its column's
    OOV id. That a foreign value has a dictionary value's hash happens with probability (dictionary size) / 2^63.

    Raises:
      UserError: two entries of the dictionary have the same hash (exit 65); expected once in 2^63 / n^2 dictionaries.

    Args:
      dictionaries: the ids.
      schema: the columns.
      oov_buckets: values that the dictionary does not hold share so many ids, by their hash; 0: their column's OOV id.
      first_bucket: the first of these ids.
    """

    def __init__(self, dictionaries: Dictionaries, schema: Schema, oov_buckets: int = 0, first_bucket: int = 0):
        super().__init__(name="category_lookup")
        self._oov_buckets, self._first_bucket = oov_buckets, first_bucket
        columns, values, ids = dictionaries.categories(schema)
        self._salts = tf.constant([[_int64((c + 1) * _GOLDEN) for c in range(len(schema.categories))]], tf.int64)
        self._oov = tf.constant([dictionaries.cat2id[f"OOV{c}"] for c in schema.categories], tf.int32)
        keys = _hash(tf.constant(values, tf.string, [len(ids)])) + tf.gather(self._salts[0], columns)
        if len(np.unique(keys)) != len(ids):
            raise UserError(
                "two entries of cat2id_dict.pkl have the same 64-bit hash. Build the dictionaries with a larger --min_count.",
                Exit.DATA,
            )
        if not len(ids):  # a table cannot be empty
            keys, ids = tf.zeros([1], tf.int64), [-1]
        self._entries = keys, tf.constant(ids, tf.int32)
        self._table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(*self._entries), default_value=-1)

    def keep_in(self, folder: str | os.PathLike) -> pathlib.Path:
        """Has the table read its hashes and ids from a file in `folder`: a SavedModel takes the file along as an asset.

        Call it before a graph uses the lookup. The file's name tells its content: TensorFlow finds a table again by its file's
        path for as long as the process lives, and would take one of the same name for this one, whatever it holds. Tables of
        other content are removed from the folder; SavedModels have copies of theirs.

        Returns:
          The file.

        Raises:
          OSError: it cannot be written.
        """
        folder = pathlib.Path(folder)
        beside = folder / f".{_TABLE_FILE}.tmp"
        try:
            np.savetxt(beside, np.stack(self._entries, axis=1), "%d", delimiter="\t")
            with beside.open("rb") as f:
                digest = hashlib.file_digest(f, "sha256").hexdigest()
            file = folder / f"{_TABLE_FILE}-{digest[:_DIGITS]}.tsv"
            flush_to_disk(beside)
            beside.replace(file)
        finally:
            beside.unlink(missing_ok=True)
        for other in folder.iterdir():
            if _IS_TABLE_FILE.fullmatch(other.name) and other != file:
                other.unlink()
        self._table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(str(file), tf.int64, 0, tf.int32, 1), default_value=-1
        )
        return file

    def keys(self, categories: tf.Tensor) -> tf.Tensor:
        """string [b, k] to int64 [b, k]: a number for each (column, value), known or not."""
        return _hash(categories) + self._salts

    def __call__(self, categories: tf.Tensor) -> tf.Tensor:
        """string [b, k] to ids int32 [b, k]."""
        keys = self.keys(categories)
        found, unknown = self._table.lookup(keys), self._oov
        if self._oov_buckets:
            bucket = self._first_bucket + tf.cast(tf.math.floormod(keys, self._oov_buckets), tf.int32)
            unknown = tf.where(categories == "", self._oov, bucket)  # a missing value is no unknown one
        return tf.where(found < 0, unknown, found)


@dataclasses.dataclass(frozen=True)
class Crosses:
    """All pairs of columns as features of their own, hashed: for keys a and b of columns i < j, `mix(a m1 + b) mod buckets`.

    Attributes:
      num_columns: columns a row.
      buckets: ids that all pairs share.
    """

    num_columns: int
    buckets: int

    @property
    def num_crosses(self) -> int:
        """W, the pairs of columns."""
        return self.num_columns * (self.num_columns - 1) // 2

    def __call__(self, keys: tf.Tensor) -> tf.Tensor:
        """int64 [b, k], unlike between columns, to int32 [b, W]."""
        left, right = np.triu_indices(self.num_columns, 1)
        x = tf.gather(keys, left, axis=1) * _int64(_MIX) + tf.gather(keys, right, axis=1)
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(31, tf.int64))) * _int64(_GOLDEN)
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(29, tf.int64)))
        return tf.cast(tf.math.floormod(x, self.buckets), tf.int32)


def row_fingerprints(message: tf.Tensor, partition: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """A number for each (partition, offset, message), int64 [b]; their sum mod 2^64 says which rows were trained.

    `x = farmhash64(message) mod (2^63 - 1)  xor  (offset g + partition m)`, then `x m xor (x m >> 32)`, in int64 that wraps
    around, with g = 0x9E3779B97F4A7C15, m = 0xBF58476D1CE4E5B9 and an arithmetic shift.
    """
    place = offset * _int64(_GOLDEN) + tf.cast(partition, tf.int64) * _int64(_MIX)
    x = tf.bitwise.bitwise_xor(_hash(message), place) * _int64(_MIX)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(32, tf.int64)))


def _hash(text: tf.Tensor) -> tf.Tensor:
    return tf.strings.to_hash_bucket_fast(text, _HASH_BUCKETS)
