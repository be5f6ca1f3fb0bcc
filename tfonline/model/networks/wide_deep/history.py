"""What the model has seen so far, as inputs of its deep side: rows and clicks of ids and pairs, and the spread of the numbers.

Nothing here is learned by gradients: it is counted after a batch was scored. A row never sees its own label or one of its batch.
A row that is there once more, as its label came late (--late_labels), adds a click and no row: it was counted as a row before. Nor
does it see itself: else each such row would show that its values were there before without a click, and that would mean a click.
"""

import keras
import tensorflow as tf

from tfonline.features.spec import Pairs, Spec
from tfonline.model.tables.replicas import own
from tfonline.model.tables.served_counts import ServedCounts
from tfonline.model.tables.table import read_rows

# A share of clicks is smoothed as if the id had been seen so often more, with everybody's share.
_PRIOR_ROWS = 5.0
# Counts are halved there: float32 counts on, and what happened long ago is forgotten.
_MOST_ROWS = 2.0**20
# The first of each so many rows of a batch shows which counts are to be halved. What comes often comes in such a row soon: a count
# goes on by as many rows, give or take, and float32 would count 16 times further.
_LOOK_EACH = 16
_LARGEST_SHARE = 0.999  # of clicks among all rows
_LARGEST = 5.0  # standard deviations; a wild number must not swamp the layers


class _Shares(keras.layers.Layer):
    """Rows and clicks of ids, and what they say.

    Args:
      num_ids: ids are 0 to num_ids - 1; num_ids is the padding, which is never counted.
      padded: whether the padding may stand in a row that counts.
    """

    def __init__(self, num_ids: int, padded: bool = False, **kwargs):
        super().__init__(**kwargs)
        self._num_ids, self._padded = num_ids, padded
        self.only_scores = False  # whether nothing is counted, before it is built

    def build(self, _) -> None:
        """Makes the counts; under a strategy's scope, they are mirrored."""
        shape = self._num_ids + 1, 2  # rows, clicks
        self.counts = ServedCounts(*shape) if self.only_scores else tf.Variable(tf.zeros(shape), trainable=False, name="counts")
        self.total = tf.Variable([4.0, 1.0], trainable=False, name="total")  # of all rows; the start is a guess that soon fades

    def lift(self, ids: tf.Tensor, counted: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """int32 [B, K] to how each id's share of clicks differs from everybody's and its rows, float32 [B, K] each.

        With v rows and c clicks of the id, p everybody's share of clicks and k = 5: `logit((c + k p) / (v + k)) - logit(p)`, the
        smoothed target statistic of Micci-Barreca (SIGKDD Explorations 3(1), 2001). By the counts from before the batch.

        Args:
          ids: as above.
          counted: float32 [B], how much of each row itself is among the counts, as a row without a click; None: nothing.
        """
        rows, clicks = tf.unstack(read_rows(self.counts, ids), axis=2)
        if counted is not None:
            rows = tf.maximum(rows - counted[:, None], 0.0)
        share = tf.minimum(self.total[1] / self.total[0], _LARGEST_SHARE)
        # A late click may find its row gone: halved, or counted for the bucket that its value shared before it had a row.
        clicks = tf.minimum(clicks, rows)
        # A logarithm of the odds: a logit of the share would take two.
        odds = (clicks + _PRIOR_ROWS * share) / (rows - clicks + _PRIOR_ROWS * (1 - share))
        return tf.math.log(odds) - (tf.math.log(share) - tf.math.log1p(-share)), rows

    def count(self, ids: tf.Tensor, label: tf.Tensor, weight: tf.Tensor, first_weight: tf.Tensor | None = None) -> None:
        """Counts a global batch that has been scored, in this replica's copy.

        Args:
          ids: int32 [B, K].
          label: float32 [B].
          weight: float32 [B]; rows with 0 are not counted.
          first_weight: float32 [B], the same where rows are counted, and 0 where only their clicks are; None: the same.
        """
        row = tf.stack([weight if first_weight is None else first_weight, weight * label], axis=1)
        # A pair is repeated as one number of 64 bits: TensorFlow takes twenty times as long for two floats.
        rows = tf.reshape(tf.bitcast(tf.tile(tf.bitcast(row, tf.int64)[:, None], [1, ids.shape[1]]), tf.float32), [-1, 2])
        looked_at, ids = tf.reshape(ids[::_LOOK_EACH], [-1]), tf.reshape(ids, [-1])
        if self._padded:
            rows = tf.where((ids < self._num_ids)[:, None], rows, 0.0)
        counts, total = own(self.counts), own(self.total)
        tf.raw_ops.ResourceScatterAdd(resource=counts.handle, indices=ids, updates=rows)
        now = tf.gather(counts, looked_at)  # a repeated id has the same counts at all its places
        tf.cond(
            tf.reduce_any(now[:, 0] > _MOST_ROWS),
            lambda: tf.raw_ops.ResourceScatterUpdate(resource=counts.handle, indices=looked_at, updates=_capped(now)),
            tf.no_op,
        )
        total.assign(_capped(total + tf.reduce_sum(row, axis=0)))


class IdHistory(_Shares):
    """Two numbers a field: how its id's share of clicks differs from everybody's (lift), and `ln(1 + rows) / 10`.

    Of a list they are the means over its values.

    Args:
      spec: the ids, and which fields are lists.
    """

    def __init__(self, spec: Spec, **kwargs):
        super().__init__(spec.num_ids, padded=bool(spec.lists), **kwargs)
        self._spec = spec

    def call(self, ids: tf.Tensor, counted: tf.Tensor | None = None) -> tf.Tensor:
        """int32 [B, P] to float32 [B, 2 F]; `counted` as of `lift`."""
        lift, rows = self.lift(ids, counted)
        rows = tf.math.log1p(rows) / 10
        if self._spec.lists:
            holds = tf.cast(ids < self._num_ids, tf.float32)
            of_places = tf.stack([lift, rows, tf.ones_like(lift)], axis=2) * holds[:, :, None]
            lift, rows, count = tf.unstack(self._spec.by_field(of_places), axis=2)
            lift, rows = tf.math.divide_no_nan(lift, count), tf.math.divide_no_nan(rows, count)
        return tf.concat([lift, rows], axis=1)


class CrossHistory(_Shares):
    """A number a column: the mean lift of its pairs with other columns; and for a column with chosen pairs the mean of these.

    Args:
      buckets: the pairs' hashes are 0 to buckets - 1; buckets itself is the padding.
      pairs: W pairs.
    """

    def __init__(self, buckets: int, pairs: Pairs, **kwargs):
        super().__init__(buckets, **kwargs)
        self._mean = pairs.means  # of a field's lifts

    def call(self, crosses: tf.Tensor, counted: tf.Tensor | None = None) -> tf.Tensor:
        """int32 [B, W] to float32 [B, pairs.width]; `counted` as of `lift`."""
        lift, _ = self.lift(crosses, counted)
        return lift @ self._mean


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
        """Counts a global batch that has been scored, float32 [B, N] and [B], in this replica's copy."""
        there = tf.cast(~tf.math.is_nan(numeric), tf.float32) * weight[:, None]
        number = tf.where(there > 0, numeric, 0.0)
        sums = tf.reduce_sum(tf.stack([there, number, tf.square(number)], axis=2), axis=0)
        own(self.sums).assign(_capped(own(self.sums) + sums))


def _capped(counts: tf.Tensor) -> tf.Tensor:
    """[..., k] sums whose first is the number of rows: halved where that has become large."""
    return tf.where(counts[..., :1] > _MOST_ROWS, counts / 2, counts)
