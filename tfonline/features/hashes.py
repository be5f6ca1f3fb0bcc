"""Numbers of 64 bits for texts, pairs of columns and rows, in integers that wrap around."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfonline.features.spec import Pairs
from tfonline.string_tensor import serialized

# to_hash_bucket_fast is FarmHash Fingerprint64 modulo the number of buckets; as many as an int64 can name.
_HASH_BUCKETS = 2**63 - 1
_TEXTS_AT_ONCE = 2**20
# Odd 64-bit constants of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
GOLDEN = 0x9E3779B97F4A7C15
_MIX = 0xBF58476D1CE4E5B9


def to_int64(n: int) -> int:
    """The signed number with the low 64 bits of n."""
    return (n + 2**63) % 2**64 - 2**63


def hash_text(text: tf.Tensor) -> tf.Tensor:
    """string [...] to int64 [...], 0 to 2^63 - 2."""
    return tf.strings.to_hash_bucket_fast(text, _HASH_BUCKETS)


def hash_texts(size: np.ndarray, content: bytes) -> tf.Tensor:
    """`hash_text` of texts that lie one behind the other, int64 [k], without a Python object for each.

    Args:
      size: bytes of each text, int64 [k].
      content: all texts.
    """
    found, at, content = [tf.zeros([0], tf.int64)], 0, memoryview(content)
    for first in range(0, len(size), _TEXTS_AT_ONCE):
        sizes = size[first : first + _TEXTS_AT_ONCE]
        stop = at + int(sizes.sum())
        found.append(hash_text(tf.io.parse_tensor(serialized(sizes, content[at:stop]), tf.string)))
        at = stop
    return tf.concat(found, axis=0)


def modulo(x: tf.Tensor, n: int) -> tf.Tensor:
    """int64 [...] to the remainder of its division by n > 0, from 0 to n - 1."""
    if n & (n - 1) == 0:  # a power of 2, a tenth of the work
        return tf.bitwise.bitwise_and(x, tf.constant(n - 1, tf.int64))
    return tf.math.floormod(x, n)


@dataclasses.dataclass(frozen=True)
class Crosses:
    """Pairs of columns as features of their own, hashed: for keys a and b of columns i < j, `mix(a m1 + b) mod buckets`.

    Attributes:
      pairs: which columns have some, W pairs.
      buckets: ids that all pairs share.
    """

    pairs: Pairs
    buckets: int

    def __call__(self, keys: tf.Tensor) -> tf.Tensor:
        """int64 [b, k], unlike between columns, to int32 [b, W]."""
        left, right = self.pairs.fields
        # A column a row: TensorFlow then copies whole columns. Single numbers, one by one, took it half of all the features' time.
        # Each column's keys are multiplied once, and not once a pair.
        columns = tf.transpose(keys)
        x = tf.gather(columns * to_int64(_MIX), left) + tf.gather(columns, right)
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(31, tf.int64))) * to_int64(GOLDEN)
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(29, tf.int64)))
        return tf.transpose(tf.cast(modulo(x, self.buckets), tf.int32))


def row_fingerprints(message: tf.Tensor, partition: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """A number for each (partition, offset, message), int64 [b]; their sum mod 2^64 says which rows were trained.

    `x = farmhash64(message) mod (2^63 - 1)  xor  (offset g + partition m)`, then `x m xor (x m >> 32)`, in int64 that wraps
    around, with g = 0x9E3779B97F4A7C15, m = 0xBF58476D1CE4E5B9 and an arithmetic shift.
    """
    place = offset * to_int64(GOLDEN) + tf.cast(partition, tf.int64) * to_int64(_MIX)
    return _mix(tf.bitwise.bitwise_xor(hash_text(message), place))


def fingerprints_inside(message: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
    """A number for each row of messages of many rows, int64 [b]: `x = message + row g`, mixed as those of messages are.

    Args:
      message: int64 [b], the fingerprint of each row's message.
      row: int64 [b], its number there.
    """
    return _mix(message + row * to_int64(GOLDEN))


def _mix(x: tf.Tensor) -> tf.Tensor:
    x *= to_int64(_MIX)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(32, tf.int64)))
