"""What the model has seen so far, as inputs of its deep side: each id's rows and clicks, and the spread of the numbers.

Nothing here is learned by gradients: it is counted after a batch was scored. A row never sees its own label or one of its batch.
"""

import keras
import tensorflow as tf

from tfonline.model.embeddings import on_each_replica, read_rows

# An id's share of clicks is smoothed as if it had been seen so often more, with everybody's share.
_PRIOR_ROWS = 5.0
# Counts are halved there: float32 counts on, and what happened long ago is forgotten.
_MOST_ROWS = 2.0**20
_LARGEST = 5.0  # standard deviations; a wild number must not swamp the layers


class IdHistory(keras.layers.Layer):
    """Two numbers an id: how its share of clicks differs from everybody's, and how often it was seen.

    With v rows and c clicks of the id, p everybody's share of clicks and k = 5: `logit((c + k p) / (v + k)) - logit(p)`, the
    smoothed target statistic of Micci-Barreca (SIGKDD Explorations 3(1), 2001), and `ln(1 + v) / 10`.

    Args:
      num_ids: ids are 0 to num_ids - 1; num_ids is the padding, which is never counted.
    """

    def __init__(self, num_ids: int, **kwargs):
        super().__init__(**kwargs)
        self._num_ids = num_ids

    def build(self, _) -> None:
        """Makes the counts; under a strategy's scope, they are mirrored."""
        self.counts = tf.Variable(tf.zeros([self._num_ids + 1, 2]), trainable=False, name="counts")  # rows, clicks
        self.total = tf.Variable([4.0, 1.0], trainable=False, name="total")  # of all rows; the start is a guess that soon fades

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        """int32 [B, F] to float32 [B, 2 F], by the counts from before the batch."""
        rows, clicks = tf.unstack(read_rows(self.counts, ids), axis=2)
        share = self.total[1] / self.total[0]
        smoothed = (clicks + _PRIOR_ROWS * share) / (rows + _PRIOR_ROWS)
        return tf.concat([_logit(smoothed) - _logit(share), tf.math.log1p(rows) / 10], axis=1)

    def count(self, ids: tf.Tensor, label: tf.Tensor, weight: tf.Tensor) -> None:
        """Counts a global batch that has been scored; in cross-replica context.

        Args:
          ids: int32 [B, F].
          label: float32 [B].
          weight: float32 [B]; rows with 0 are not counted.
        """
        row = tf.stack([weight, weight * label], axis=1)
        unique, places = tf.unique(tf.reshape(ids, [-1]))
        sums = tf.math.unsorted_segment_sum(tf.repeat(row, ids.shape[1], axis=0), places, tf.size(unique))
        for counts, total in on_each_replica([self.counts], [self.total]):
            now = _capped(tf.gather(counts, unique) + sums)
            tf.raw_ops.ResourceScatterUpdate(resource=counts.handle, indices=unique, updates=now)
            total.assign(_capped(total + tf.reduce_sum(row, axis=0)))


class Standardise(keras.layers.Layer):
    """Numbers to mean 0 and variance 1 over the rows so far, beside a 1 for each that is missing.

    Args:
      width: numbers a row.
    """

    def __init__(self, width: int, **kwargs):
        super().__init__(**kwargs)
        self._width = width

    def build(self, _) -> None:
        """Makes the sums; under a strategy's scope, they are mirrored."""
        self.sums = tf.Variable(tf.zeros([self._width, 3]), trainable=False, name="sums")  # numbers, their sum, of their squares

    def call(self, numeric: tf.Tensor) -> tf.Tensor:
        """float32 [B, N], NaN where missing, to float32 [B, 2 N], by the sums from before the batch."""
        count, first, second = tf.unstack(self.sums, axis=1)
        mean = tf.math.divide_no_nan(first, count)
        variance = tf.math.divide_no_nan(second, count) - tf.square(mean)
        deviation = tf.where(count > 0, tf.sqrt(tf.maximum(variance, 0.01)), 1.0)
        missing = tf.math.is_nan(numeric)
        scaled = tf.clip_by_value((numeric - mean) / deviation, -_LARGEST, _LARGEST)
        return tf.concat([tf.where(missing, 0.0, scaled), tf.cast(missing, tf.float32)], axis=1)

    def count(self, numeric: tf.Tensor, weight: tf.Tensor) -> None:
        """Counts a global batch that has been scored: float32 [B, N] and [B]; in cross-replica context."""
        there = tf.cast(~tf.math.is_nan(numeric), tf.float32) * weight[:, None]
        number = tf.where(there > 0, numeric, 0.0)
        sums = tf.reduce_sum(tf.stack([there, number, tf.square(number)], axis=2), axis=0)
        for (own,) in on_each_replica([self.sums]):
            own.assign(_capped(own + sums))


def _capped(counts: tf.Tensor) -> tf.Tensor:
    """[..., k] sums whose first is the number of rows: halved where that has become large."""
    return tf.where(counts[..., :1] > _MOST_ROWS, counts / 2, counts)


def _logit(share: tf.Tensor) -> tf.Tensor:
    return tf.math.log(share) - tf.math.log1p(-share)
