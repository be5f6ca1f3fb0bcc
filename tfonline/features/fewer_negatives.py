"""Leaves out rows without a click before they are parsed or looked up, and cuts batches anew of those that are kept."""

from collections.abc import Callable

import tensorflow as tf

from tfonline.features.cut import cut_anew
from tfonline.features.negatives import Negatives
from tfonline.features.parse import Parse
from tfonline.stream.raw import Outcome, RawBatch


def make_kept(raw: tf.data.Dataset, parse: Parse, negatives: Negatives, batch_size: int, parallel: int) -> tf.data.Dataset:
    """Turns `(RawBatch, window, last)` into `(RawBatch, window, last, left_out)`: batches of kept rows, see cut_anew.

    Args:
      raw: messages of one row each.
      parse: says what a negative is, where messages say their labels themselves.
      negatives: which are kept.
      batch_size: rows a batch.
      parallel: so many raw batches are looked at at a time.
    """
    joined = raw.element_spec[0].outcome != ()
    says = _looks_at_label(parse) if not joined else None

    def is_negative(rows: RawBatch) -> tf.Tensor:
        return tf.equal(rows.outcome, Outcome.NEGATIVE) if joined else says(rows.message)

    @tf.autograph.experimental.do_not_convert
    def kept(raw_batch: RawBatch, window: tf.Tensor, last: tf.Tensor) -> tuple:
        keep = negatives.keeps(raw_batch.origin) | raw_batch.tombstone | ~is_negative(raw_batch)
        return _each(lambda t: tf.boolean_mask(t, keep), raw_batch), window, last, tf.math.count_nonzero(~keep)

    return cut_anew(
        raw.map(kept, num_parallel_calls=parallel, deterministic=True),
        batch_size,
        parallel,
        count=lambda sizes: sizes.message,
        behind=lambda rows, sizes: rows,
        part=lambda rows, start, stop: _each(lambda t: t[start:stop], rows),
    )


_each = tf.nest.map_structure


def _looks_at_label(parse: Parse) -> Callable[[tf.Tensor], tf.Tensor]:
    """Says which messages, string [b], are good rows without a click, bool [b]: by the first bytes, if the label stands there."""
    first, form = parse.schema.columns[0], parse.form

    def by_first_bytes(message: tf.Tensor) -> tf.Tensor:
        return (tf.strings.substr(message, 0, 2) == "0\t") | (tf.strings.substr(message, 0, 6) == "false\t")

    def by_all(message: tf.Tensor) -> tf.Tensor:
        fields = parse(message)
        return (fields.reason == 0) & (fields.values["label"][:, 0] == 0)

    return by_first_bytes if form.name == "tsv" and first.kind == "label" and not first.positive else by_all
