"""From raw batches to what the model learns from: parse, look up, scale, pad. The same Features object serves and trains."""

import os
from typing import NamedTuple

import tensorflow as tf

from tfonline.features.dictionaries import Dictionaries
from tfonline.features.parse import Fields, Parse
from tfonline.features.schema import Schema
from tfonline.features.transforms import CategoryLookup, Crosses, log_numbers, make_numeric, row_fingerprints

_CORES = len(os.sched_getaffinity(0))
# More than the cores: most of them wait, for the planner's clock or for the broker.
_THREADS = 14 + 2 * _CORES


class Batch(NamedTuple):
    """B rows, padded to the batch size; padding stands last. Refused rows and padding have weight 0 and the padding id.

    Attributes:
      label: float32 [B], 0 or 1.
      ids: int32 [B, F], one a column: the integer columns, then the categories.
      values: float32 [B, F]; 1 for a category.
      numeric: float32 [B, N]: with --numeric=bucket the integers' logarithms, NaN where missing; else N is 0.
      crosses: int32 [B, W]: with --cross_buckets the pairs of columns; else W is 0.
      weight: float32 [B], 1 for a row to learn from, else 0.
      partition: int32 [B], -1 for padding.
      offset: int64 [B], -1 for padding.
    """

    label: tf.Tensor
    ids: tf.Tensor
    values: tf.Tensor
    numeric: tf.Tensor
    crosses: tf.Tensor
    weight: tf.Tensor
    partition: tf.Tensor
    offset: tf.Tensor


class Shape(NamedTuple):
    """What a model has to know of the rows in a Batch.

    Attributes:
      num_fields: F.
      num_numeric: N.
      scaled_fields: of so many fields, the first, the id is the field's number, and the value any; of the others the value is 1.
        (Padding has its own id and value 0.) None: ids and values are any.
    """

    num_fields: int
    num_numeric: int = 0
    scaled_fields: int | None = None


class Rejected(NamedTuple):
    """The refused rows of a batch, k of them.

    Attributes:
      partition: int32 [k].
      offset: int64 [k].
      reason: int32 [k], an index into parse.REASONS.
      message: string [k], as they came.
    """

    partition: tf.Tensor
    offset: tf.Tensor
    reason: tf.Tensor
    message: tf.Tensor


class Row(NamedTuple):
    """What Features makes of b messages; the fields are those of Batch, unpadded.

    Attributes:
      reason: int32 [b], an index into parse.REASONS; 0 for a good row.
    """

    label: tf.Tensor
    ids: tf.Tensor
    values: tf.Tensor
    numeric: tf.Tensor
    crosses: tf.Tensor
    reason: tf.Tensor


class Element(NamedTuple):
    """What the pipeline hands to the training loop.

    Attributes:
      batch: the rows.
      rejected: those of them that were refused.
      fingerprint: int64 [], the sum of the row fingerprints of the good rows, wrapping around.
      message: string [b], the rows as they came, without padding.
      window: int64 [], the window's number; -1 for a tick.
      last: bool [], the window ends here; such an element holds no rows.
    """

    batch: Batch
    rejected: Rejected
    fingerprint: tf.Tensor
    message: tf.Tensor
    window: tf.Tensor
    last: tf.Tensor


class Features(tf.Module):
    """Messages to features.

    Args:
      schema: the columns.
      dictionaries: ids and ranges.
      numeric: minmax, log or bucket.
      message_format: tsv or json.
      oov_buckets: see CategoryLookup.
      cross_buckets: see Crosses; 0: no crosses. A single column has none either.

    Attributes:
      num_ids: ids are 0 to num_ids - 1.
      shape: of its rows.
      crosses: makes the crosses, or None.
    """

    def __init__(
        self,
        schema: Schema,
        dictionaries: Dictionaries,
        numeric: str,
        message_format: str = "tsv",
        oov_buckets: int = 0,
        cross_buckets: int = 0,
    ):
        super().__init__(name="features")
        self.parse = Parse(schema, message_format)
        self.numeric = make_numeric(numeric, dictionaries, schema)
        known = dictionaries.num_ids + self.numeric.num_ids
        self.lookup = CategoryLookup(dictionaries, schema, oov_buckets, known)
        self.num_ids = known + oov_buckets
        num_integers = len(schema.integers)
        self.shape = Shape(
            num_fields=num_integers + len(schema.categories),
            num_numeric=num_integers if numeric == "bucket" else 0,
            scaled_fields=self.numeric.scaled_fields,
        )
        self.crosses = Crosses(self.shape.num_fields, cross_buckets) if cross_buckets and self.shape.num_fields > 1 else None

    def __call__(self, message: tf.Tensor) -> Row:
        """Messages, string [b], to rows."""
        return self.of_fields(self.parse(message))

    def of_fields(self, fields: Fields) -> Row:
        """Parsed messages to rows."""
        ids, values = self.numeric(fields.integers, fields.missing)
        category_ids = self.lookup(fields.categories)
        return Row(
            label=fields.label,
            ids=tf.concat([ids, category_ids], axis=1),
            values=tf.concat([values, tf.ones_like(category_ids, tf.float32)], axis=1),
            numeric=self._numbers(fields),
            crosses=self._cross(ids, fields.categories),
            reason=fields.reason,
        )

    def _numbers(self, fields: Fields) -> tf.Tensor:
        if not self.shape.num_numeric:
            return tf.zeros([tf.shape(fields.integers)[0], 0])
        return log_numbers(fields.integers, fields.missing)

    def _cross(self, integer_ids: tf.Tensor, categories: tf.Tensor) -> tf.Tensor:
        if not self.crosses:
            return tf.zeros([tf.shape(integer_ids)[0], 0], tf.int32)
        return self.crosses(tf.concat([tf.cast(integer_ids, tf.int64), self.lookup.keys(categories)], axis=1))


def make_batches(raw: tf.data.Dataset, features: Features, batch_size: int, padding_id: int) -> tf.data.Dataset:
    """Turns `(RawBatch, window, last)` into Elements with static shapes, several at a time, in order.

    Args:
      raw: batches of at most `batch_size` rows.
      features: the definition of the features.
      batch_size: B; with --steps_per_call, the rows of a call.
      padding_id: the id of refused rows and of padding; the model keeps its weights at zero.
    """

    @tf.autograph.experimental.do_not_convert  # nothing here needs converting, which takes a second
    def transform(raw_batch, window, last):
        message, partition, offset = raw_batch
        row = features(message)
        good = row.reason == 0
        weight = tf.cast(good, tf.float32)
        no_cross = features.crosses.buckets if features.crosses else 0
        batch = Batch(
            label=_pad(row.label, batch_size, 0.0),
            ids=_pad(tf.where(good[:, None], row.ids, padding_id), batch_size, padding_id),
            values=_pad(row.values * weight[:, None], batch_size, 0.0),
            numeric=_pad(tf.where(good[:, None], row.numeric, float("nan")), batch_size, float("nan")),
            crosses=_pad(tf.where(good[:, None], row.crosses, no_cross), batch_size, no_cross),
            weight=_pad(weight, batch_size, 0.0),
            partition=_pad(partition, batch_size, -1),
            offset=_pad(offset, batch_size, -1),
        )
        refused = tf.where(~good)[:, 0]
        rejected = Rejected(*(tf.gather(t, refused) for t in (partition, offset, row.reason, message)))
        fingerprints = row_fingerprints(message, partition, offset)
        fingerprint = tf.reduce_sum(tf.where(good, fingerprints, tf.zeros_like(fingerprints)))
        return Element(batch, rejected, fingerprint, message, window, last)

    # Threads of its own: a read that waits for the broker, inside C++, must not keep the train step or a save from running.
    options = tf.data.Options()
    options.threading.private_threadpool_size = _THREADS
    # Two raw batches wait while others are transformed: reading and features overlap. More would plan windows too far ahead.
    batches = raw.prefetch(2).map(transform, num_parallel_calls=max(2, _CORES), deterministic=True)
    return batches.prefetch(4).with_options(options)


def _pad(x: tf.Tensor, rows: int, value: float) -> tf.Tensor:
    paddings = [[0, rows - tf.shape(x)[0]]] + [[0, 0]] * (x.shape.rank - 1)
    return tf.ensure_shape(tf.pad(x, paddings, constant_values=value), [rows, *x.shape[1:]])
