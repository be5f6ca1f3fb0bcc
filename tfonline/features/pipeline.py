"""From raw batches to what the model learns from: parse, look up, scale, pad. The same Features object serves and trains."""

import os

import tensorflow as tf

from tfonline.features.batch import Batch, Element, Rejected, Row
from tfonline.features.dictionaries import Dictionaries
from tfonline.features.parse import Fields, Parse
from tfonline.features.schema import Schema
from tfonline.features.spec import Spec
from tfonline.features.transforms import CategoryLookup, Crosses, log_numbers, make_numeric, row_fingerprints
from tfonline.formats.reasons import REASONS
from tfonline.stream.raw import Origin, RawBatch

_CORES = len(os.sched_getaffinity(0))
# More than the cores: most of them wait, for the planner's clock or for the broker.
_THREADS = 14 + 2 * _CORES


class Features(tf.Module):
    """Messages to features. For b rows of F columns, integer columns first, then categories:

    - `ids`: int32 [b, F], one a column.
    - `values`: float32 [b, F], by which an id's weights are multiplied; 1 for a category.
    - `numeric`: float32 [b, N], the logarithms of the N integer columns, NaN where missing; only with numeric=bucket.
    - `crosses`: int32 [b, W], the W pairs of columns; only with cross_buckets, and where there are two columns.

    Args:
      schema: the columns.
      dictionaries: ids and ranges.
      numeric: minmax, log or bucket.
      message_format: the name of the messages' format.
      oov_buckets: see CategoryLookup.
      cross_buckets: see Crosses; 0: no crosses. A single column has none either.
      vocab_size: so many ids the model has; 0: as many as there are.

    Attributes:
      num_ids: ids are 0 to num_ids - 1.
      spec: what a network gets. The model's weights for an id that is padding stay zero.
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
        vocab_size: int = 0,
    ):
        super().__init__(name="features")
        self.parse = Parse(schema, message_format)
        self.numeric = make_numeric(numeric, dictionaries, schema)
        known = dictionaries.num_ids + self.numeric.num_ids
        self.lookup = CategoryLookup(dictionaries, schema, oov_buckets, known)
        self.num_ids = known + oov_buckets
        num_integers = len(schema.integers)
        self.spec = Spec.of(
            vocab_size or self.num_ids,
            num_fields=num_integers + len(schema.categories),
            num_numeric=num_integers if numeric == "bucket" else 0,
            scaled_fields=self.numeric.scaled_fields,
            cross_buckets=cross_buckets,
            heads=(schema.label,),
        )
        self.crosses = Crosses(self.spec.num_fields, cross_buckets) if self.spec.cross_buckets else None

    def __call__(self, message: tf.Tensor) -> Row:
        """Messages, string [b], to rows."""
        return self.of_fields(self.parse(message))

    def of_fields(self, fields: Fields) -> Row:
        """Parsed messages to rows."""
        ids, values = self.numeric(fields.integers, fields.missing)
        category_ids = self.lookup(fields.categories)
        features = {
            "ids": tf.concat([ids, category_ids], axis=1),
            "values": tf.concat([values, tf.ones_like(category_ids, tf.float32)], axis=1),
        }
        if self.spec.num_numeric:
            features["numeric"] = log_numbers(fields.integers, fields.missing)
        if self.crosses:
            keys = tf.concat([tf.cast(ids, tf.int64), self.lookup.keys(fields.categories)], axis=1)
            features["crosses"] = self.crosses(keys)
        return Row(dict.fromkeys(self.spec.heads, fields.label), features, fields.reason)


def make_batches(raw: tf.data.Dataset, features: Features, batch_size: int) -> tf.data.Dataset:
    """Turns `(RawBatch, window, last)` into Elements with static shapes, several at a time, in order.

    Args:
      raw: batches of at most `batch_size` rows.
      features: the definition of the features.
      batch_size: B; with --steps_per_call, the rows of a call.
    """

    @tf.autograph.experimental.do_not_convert  # nothing here needs converting, which takes a second
    def transform(raw_batch: RawBatch, window, last):
        message, origin, tombstone = raw_batch
        row = features(message)
        row = row._replace(reason=tf.where(tombstone, REASONS.index("tombstone"), row.reason))
        valid = row.reason == 0
        rows = Batch(row.label, tf.cast(valid, tf.float32), valid, row.features, origin)
        nothing = Batch(dict.fromkeys(row.label, 0.0), 0.0, False, features.spec.padding, Origin(-1, -1, -1))
        kept = tf.nest.map_structure(lambda x, padding: _where(valid, x, padding), rows.features, nothing.features)
        batch = tf.nest.map_structure(lambda x, padding: _pad(x, batch_size, padding), rows._replace(features=kept), nothing)
        refused = tf.where(~valid)[:, 0]
        rejected = tf.nest.map_structure(lambda x: tf.gather(x, refused), Rejected(origin, row.reason, message))
        fingerprints = row_fingerprints(message, origin.partition, origin.offset)
        fingerprint = tf.reduce_sum(tf.where(valid, fingerprints, tf.zeros_like(fingerprints)))
        return Element(batch, rejected, fingerprint, message, window, last)

    # Threads of its own: a read that waits for the broker, inside C++, must not keep the train step or a save from running.
    options = tf.data.Options()
    options.threading.private_threadpool_size = _THREADS
    # Two raw batches wait while others are transformed: reading and features overlap. More would plan windows too far ahead.
    batches = raw.prefetch(2).map(transform, num_parallel_calls=max(2, _CORES), deterministic=True)
    return batches.prefetch(4).with_options(options)


def _where(valid: tf.Tensor, x: tf.Tensor, padding: float) -> tf.Tensor:
    """[b, ...] with the padding in the rows that are not valid, bool [b]."""
    return tf.where(tf.reshape(valid, [-1] + [1] * (x.shape.rank - 1)), x, tf.constant(padding, x.dtype))


def _pad(x: tf.Tensor, rows: int, padding: float) -> tf.Tensor:
    """[b, ...] to [rows, ...]."""
    paddings = [[0, rows - tf.shape(x)[0]]] + [[0, 0]] * (x.shape.rank - 1)
    return tf.ensure_shape(tf.pad(x, paddings, constant_values=tf.constant(padding, x.dtype)), [rows, *x.shape[1:]])
