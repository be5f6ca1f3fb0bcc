"""Which rows of the tables belong to which values, where values come with the stream: a part of the model, as its weights are.

A value comes as a 64-bit key. The rows are the places of a set-associative hash table, as processors' caches are: a key belongs to
one set of 8 places, and has the row of the place at which it stands. One read of its set's keys finds it, or that it has none.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfonline.features.hashes import GOLDEN, to_int64
from tfonline.features.spec import VocabularySpec
from tfonline.model.tables.replicas import own

WAYS = 8  # places a set: their keys are a line of a processor's cache


class Vocabulary(keras.layers.Layer):
    """Keys to ids.

    Args:
      spec: which ids are its rows, and which fields have keys.

    Attributes:
      spec: as above.
      num_sets: S, of 8 places each.
      keys: int64 [S, 8], whose each place is; 0 where it is free. The row of place p is `first_id + p`, the place of way w of set s
        is `8 s + w`.
    """

    def __init__(self, spec: VocabularySpec, **kwargs):
        super().__init__(**kwargs)
        self.spec, self.num_sets = spec, spec.rows // WAYS

    def build(self, _=None) -> None:
        """Makes the table; under a strategy's scope, it is mirrored. int64, as TensorFlow keeps int32 in the host's memory."""
        self.keys = tf.Variable(tf.zeros([self.num_sets, WAYS], tf.int64), trainable=False, name="keys")
        self.built = True

    def ids(self, ids: tf.Tensor, keys: tf.Tensor) -> tf.Tensor:
        """Ids of all places, int [B, P], with those of keys that have a row: by this replica's copy.

        Args:
          ids: at a place with a key, the id of one without a row.
          keys: int64 [B, K], of K places; 0 for none, as of a missing value.
        """
        flat = tf.reshape(keys, [-1])
        sets = self.sets_of(flat)
        # A tile and a product: each takes less than the broadcast that it stands for.
        hit = tf.equal(tf.gather(own(self.keys), sets), tf.tile(flat[:, None], [1, WAYS]))
        ways = tf.linalg.matvec(tf.cast(hit, tf.float32), tf.range(1.0, WAYS + 1.0))  # 0: at none
        row = self.spec.first_id - 1 + sets * WAYS + tf.cast(ways, tf.int64)
        found = tf.reshape((ways > 0) & (flat != 0), tf.shape(keys))
        of_keys = tf.where(found, tf.cast(tf.reshape(row, tf.shape(keys)), ids.dtype), self.spec.keyed(ids))
        return self.spec.with_keyed(ids, of_keys)

    def sets_of(self, keys: tf.Tensor) -> tf.Tensor:
        """int64 [n] to the set of each, int64 [n]: the highest bits of a product. Of twice the sets, s becomes 2 s or 2 s + 1."""
        bits = self.num_sets.bit_length() - 1
        high = tf.bitwise.right_shift(keys * to_int64(GOLDEN), tf.constant(64 - bits, tf.int64))
        return tf.bitwise.bitwise_and(high, self.num_sets - 1)  # the shift brings copies of the sign


def rows_for(num_keys: int) -> int:
    """The rows, a power of 2, of which so many keys use a quarter to a half. Of a set's 8 places all are then wanted seldom."""
    return 1 << max(4, (2 * num_keys - 1).bit_length())


def sets_of(keys: np.ndarray, num_sets: int) -> np.ndarray:
    """As Vocabulary.sets_of, of numpy's."""
    high = (keys.astype(np.uint64) * np.uint64(GOLDEN)) >> np.uint64(64 - (num_sets.bit_length() - 1))
    return high.astype(np.int64)


def places_of(keys: np.ndarray, num_sets: int) -> np.ndarray:
    """Puts keys into an empty table, those that stand first before others.

    Args:
      keys: int64 [n], no two alike, none 0.
      num_sets: S of the table, a power of 2.

    Returns:
      int64 [n], the place of each; -1 for one whose set was full.
    """
    sets = sets_of(keys, num_sets)
    order = np.argsort(sets, kind="stable")
    in_order = sets[order]
    way = np.arange(len(keys)) - np.searchsorted(in_order, in_order)  # how many of its set stand before it
    places = np.empty(len(keys), np.int64)
    places[order] = np.where(way < WAYS, in_order * WAYS + way, -1)
    return places


def table_of(keys: np.ndarray, places: Sequence[int], num_sets: int) -> np.ndarray:
    """`Vocabulary.keys`, int64 [S, 8], with each key at its place; a place of -1 is none."""
    table, placed = np.zeros(num_sets * WAYS, np.int64), np.asarray(places) >= 0
    table[np.asarray(places)[placed]] = keys[placed]
    return table.reshape(num_sets, WAYS)
