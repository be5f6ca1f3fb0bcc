"""Fewer negatives (--keep_negatives): which rows are kept, and what makes the model, and its metrics, speak of all of them.

Of rows without a click a share w is kept, the same ones at each reading. The clicks' odds among what is kept are 1 / w times those
of the stream, so the loss is taken of `logit - ln w`: the logits themselves stay those of the stream (King and Zeng, Logistic
Regression in Rare Events Data, Political Analysis 2001), and w may change at any time. Where rows are counted, a kept negative
stands for 1 / w rows.
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfonline.features.batch import Examples
from tfonline.stream.raw import Origin

_MOST_AT_ONCE = 100_000


class Negatives:
    """Which share of the negatives is kept.

    Args:
      share: w, above 0 and up to 1.

    Attributes:
      share: as given.
    """

    def __init__(self, share: float = 1.0):
        self.share = share

    @property
    def all(self) -> bool:
        """Whether all are kept."""
        return self.share >= 1

    def rows_to_read(self, rows: int) -> int:
        """So many rows are read at a time for so many to be learned from, about."""
        return min(round(rows / self.share), max(rows, _MOST_AT_ONCE))

    def importance(self, labels: np.ndarray) -> np.ndarray | None:
        """For how many rows of the stream each row stands: float32, as labels of 0 and 1; None: each for itself."""
        return None if self.all else np.where(labels == 1, 1, 1 / self.share).astype(np.float32)

    def logits_of_kept(self, logits: Any) -> Any:
        """The logits of the stream to those among the rows that are kept; of TensorFlow or numpy."""
        return logits if self.all else logits - math.log(self.share)

    def standing_for_all(self, examples: Examples) -> Examples:
        """The same rows, each with the weight of those that it stands for. The label is that of the only head."""
        if self.all:
            return examples
        (label,) = examples.label.values()
        return examples._replace(weight=examples.weight * tf.where(label == 1, 1.0, 1 / self.share))

    def keeps(self, origin: Origin, row: tf.Tensor | None = None) -> tf.Tensor:
        """Whether a row is kept if it is a negative: bool [n]. The same at each reading; a smaller share keeps fewer of the same.

        Args:
          origin: of each row, or of its message.
          row: int [n], the row's number in its message; None: each message is a row.
        """
        x = _mixed(_mixed(tf.cast(origin.partition, tf.int64)) + origin.offset)
        if row is not None:
            x = _mixed(x + tf.cast(row, tf.int64))
        return x < int(self.share * 2**63)


def _mixed(x: tf.Tensor) -> tf.Tensor:
    """int64 [n] to numbers below 2^63 that look like chance: the finaliser of SplitMix64 (Steele et al., OOPSLA 2014)."""
    x = tf.bitcast(x, tf.uint64) + tf.constant(0x9E3779B97F4A7C15, tf.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(shift, tf.uint64))) * tf.constant(factor, tf.uint64)
    x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, tf.constant(31, tf.uint64)))
    return tf.bitcast(tf.bitwise.right_shift(x, tf.constant(1, tf.uint64)), tf.int64)
