"""Values of category columns to ids."""

import functools
import hashlib
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfonline.features.dictionaries import Dictionaries
from tfonline.features.hashes import GOLDEN, hash_texts, modulo, to_int64
from tfonline.features.kinds.category import Hashed
from tfonline.features.spec import Inputs
from tfonline.lifecycle import Exit, UserError, flush_to_disk

# Of the file that holds a table; without a digest, as it was once.
_TABLE_FILE, _DIGITS = "category_ids", 16
_IS_TABLE_FILE = re.compile(rf"{_TABLE_FILE}(-[0-9a-f]{{{_DIGITS}}})?\.tsv")


class ColumnIds(NamedTuple):
    """The ids of one column's values, for a column that shares them.

    Attributes:
      look_up: hashed texts [...] to ids, int32 [...], and to `keys`, int64 [...], 0 where missing; without keys, any number.
      keyed: whether values have keys.
    """

    look_up: Callable[[Hashed], tuple[tf.Tensor, tf.Tensor]]
    keyed: bool


class CategoryLookup(tf.Module):
    """Values of the category columns to ids, by one table over 64-bit hashes of (column, value).

    A value that the dictionary does not hold becomes its column's OOV id, or one of `oov_buckets`; a missing one is its column's
    OOV id. That a foreign value has a dictionary value's hash happens with probability (dictionary size) / 2^63.

    Raises:
      UserError: two entries of the dictionary have the same hash (exit 65); expected once in 2^63 / n^2 dictionaries.

    Args:
      dictionaries: the ids.
      columns: their names, in the order of the values.
      oov_buckets: values that the dictionary does not hold share so many ids, by their hash; 0: their column's OOV id.
      first_bucket: the first of these ids.
    """

    def __init__(self, dictionaries: Dictionaries, columns: Sequence[str], oov_buckets: int = 0, first_bucket: int = 0):
        super().__init__(name="category_lookup")
        self._oov_buckets, self._first_bucket = oov_buckets, first_bucket
        values, ids = dictionaries.values_of(columns)
        self._salts = tf.constant([[to_int64((c + 1) * GOLDEN) for c in range(len(columns))]], tf.int64)
        self._oov = tf.constant([dictionaries.cat2id[f"OOV{c}"] for c in columns], tf.int32)
        keys = hash_texts(values.size, values.content) + tf.gather(self._salts[0], values.column)
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

    def __call__(self, values: Hashed) -> tuple[tf.Tensor, tf.Tensor]:
        """Values [b, k] to their ids, int32 [b, k], and keys, int64 [b, k]: a number for each (column, value), known or not."""
        keys = values.number + self._salts
        return self._ids(values.missing, keys, self._oov), keys

    def of_column(self, i: int, values: Hashed) -> tuple[tf.Tensor, tf.Tensor]:
        """Values of column i, [...], to their ids, int32 [...], and keys, int64 [...]."""
        keys = values.number + self._salts[0, i]
        return self._ids(values.missing, keys, self._oov[i]), keys

    def _ids(self, missing: tf.Tensor, keys: tf.Tensor, oov: tf.Tensor) -> tf.Tensor:
        found, unknown = self._table.lookup(keys), oov
        if self._oov_buckets:
            bucket = self._first_bucket + tf.cast(modulo(keys, self._oov_buckets), tf.int32)
            unknown = tf.where(missing, oov, bucket)  # a missing value is no unknown one
        return tf.where(found < 0, unknown, found)

    def unknown(self, values: Hashed) -> tf.Tensor:
        """Values [b, k] to bool [b, k]: which are there, and not in the dictionary."""
        ids, _ = self(values)
        return ~values.missing & ((ids == self._oov) | (ids >= self._first_bucket))


class CategoryOp(tf.Module):
    """See kinds.Op. All values are 1; a column's key is the hash of its column and value.

    Args:
      lookup: gives the ids.
      columns: their names, in the order of the values.
      num_ids: the lookup's buckets.
    """

    scaled_fields, lists, keyed = 0, (), ()

    def __init__(self, lookup: CategoryLookup, columns: Sequence[str], num_ids: int):
        super().__init__(name="category")
        self._lookup, self._columns, self.num_ids, self.inputs = lookup, tuple(columns), num_ids, {}
        self.num_fields = len(self._columns)

    def __call__(self, values: Hashed) -> Inputs:
        """See Op."""
        ids, keys = self._lookup(values)
        return Inputs(ids, tf.ones_like(ids, tf.float32), keys, {})

    def column(self, name: str) -> ColumnIds:
        """The ids of one of the columns."""
        return ColumnIds(functools.partial(self._lookup.of_column, self._columns.index(name)), keyed=False)

    def shares(self, values: Hashed) -> dict[str, tf.Tensor]:
        """See Op."""
        return {"missing": values.missing, "unknown": self._lookup.unknown(values)}

    def keep_in(self, folder: str | os.PathLike) -> None:
        """See Op: the lookup's table."""
        self._lookup.keep_in(folder)
