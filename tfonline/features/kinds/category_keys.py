"""Values of category columns to the keys by which a vocabulary, which grows with the stream, finds their ids."""

import functools
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfonline.features.dictionaries import Dictionaries
from tfonline.features.hashes import GOLDEN, hash_text, hash_texts, modulo, to_int64
from tfonline.features.kinds.category import Hashed
from tfonline.features.kinds.category_ops import ColumnIds
from tfonline.features.spec import Input, Inputs
from tfonline.lifecycle import Exit, UserError


class CategoryKeys:
    """See kinds.Op. All values are 1. A value's id is its bucket's, for as long as the vocabulary has none for its key.

    A key is the hash of the value and a number that is made of the column's name. So columns may be added, or change places, and
    the values of the others keep theirs. That two values of a million have one key happens once in ten million streams.

    Args:
      columns: their names, in the order of the values.
      missing: the id of a missing value, for each column.
      num_buckets: values without a row share so many ids, by their key; at least 1.
      first_bucket: the first of these ids.

    Raises:
      UserError: two columns would have the same keys for the same values (exit 65).
    """

    scaled_fields, lists = 0, ()

    def __init__(self, columns: Sequence[str], missing: Sequence[int], num_buckets: int, first_bucket: int):
        self.num_fields, self.num_ids, self._first_bucket, self.keyed = len(columns), num_buckets, first_bucket, tuple(columns)
        self._salts = np.array([salts_of(columns)], np.int64)
        self._missing = np.array([missing], np.int32).reshape(1, len(columns))
        # The inputs' names and the salts are those of the columns: no column, no keys.
        self.inputs = {"keys": Input(self.num_fields, "int64", 0)} if columns else {}

    def __call__(self, values: Hashed) -> Inputs:
        """See Op. A missing value has the key 0, which is none."""
        ids, keys, found = self._look_up(self._salts, self._missing, values)
        return Inputs(ids, tf.ones_like(ids, tf.float32), keys, {"keys": found} if self.inputs else {})

    def column(self, name: str) -> ColumnIds:
        """The ids of one of the columns."""
        i = self.keyed.index(name)
        look_up = functools.partial(self._look_up, self._salts[0, i], self._missing[0, i])
        return ColumnIds(lambda values: look_up(values)[::2], keyed=True)

    def _look_up(self, salts: np.ndarray, missing: np.ndarray, values: Hashed) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Values to ids, and to keys, for crosses and by which the vocabulary finds them."""
        keys = values.number + salts
        bucket = self._first_bucket + tf.cast(modulo(keys, self.num_ids), tf.int32)
        return tf.where(values.missing, missing, bucket), keys, tf.where(values.missing, tf.constant(0, tf.int64), keys)

    def shares(self, values: Hashed) -> dict[str, tf.Tensor]:
        """See Op."""
        return {"missing": values.missing}

    def keep_in(self, folder: str | os.PathLike) -> None:
        """See Op: there is nothing to keep."""


def salts_of(columns: Sequence[str]) -> list[int]:
    """What is added to the hashes of each column's values.

    Raises:
      UserError: two columns have the same (exit 65).
    """
    found = [to_int64((int(h) + 1) * GOLDEN) for h in hash_text(tf.constant(list(columns), tf.string)).numpy()]
    if alike := [(a, b) for i, a in enumerate(columns) for j, b in enumerate(columns[:i]) if found[i] == found[j]]:
        (a, b), *_ = alike
        raise UserError(
            f"the names of the columns {b} and {a} have the same hash, so that their values could not be told apart. Give one of "
            "them another name in --columns.",
            Exit.DATA,
        )
    return found


def keys_of(dictionaries: Dictionaries, columns: Sequence[str]) -> np.ndarray:
    """The keys of all values that the dictionaries hold of these columns, int64 [n], in the order of their ids."""
    values, _ = dictionaries.values_of(columns)
    salts = np.array(salts_of(columns), np.int64)
    return hash_texts(values.size, values.content).numpy() + salts[values.column]
