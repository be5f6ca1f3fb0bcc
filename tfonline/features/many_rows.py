"""Batches of messages that have many rows each: rows are parsed message by message, and then cut to batches anew."""

from typing import Any, NamedTuple

import tensorflow as tf

from tfonline.features.cut import cut_anew
from tfonline.features.hashes import fingerprints_inside, row_fingerprints
from tfonline.features.negatives import Negatives
from tfonline.features.parse import Fields, Parse, Place
from tfonline.formats.coded import rows_alone
from tfonline.formats.reasons import REASONS
from tfonline.stream.raw import Origin, RawBatch

# So many messages are parsed at once. It changes nothing of what is learned.
MESSAGES_AT_ONCE = 16


class Parsed(NamedTuple):
    """b rows that are parsed, and are no features yet.

    Attributes:
      values: as in Fields.
      reason: int32 [b], likewise.
      place: where each row stands among the messages beside it.
      origin: of each row's message.
      fingerprint: int64 [b], of each.
      alone: string [b], a refused row as a message of its own; '' for others.
    """

    values: dict[str, Any]
    reason: tf.Tensor
    place: Place
    origin: Origin
    fingerprint: tf.Tensor
    alone: tf.Tensor


class Piece(NamedTuple):
    """What becomes an Element.

    Attributes:
      rows: at most as many as a batch has.
      message: string [k], the messages that they are of.
      window: as in Element.
      last: likewise.
      left_out: likewise.
    """

    rows: Parsed
    message: tf.Tensor
    window: tf.Tensor
    last: tf.Tensor
    left_out: tf.Tensor


def make_pieces(
    raw: tf.data.Dataset, parse: Parse, batch_size: int, parallel: int, negatives: Negatives | None = None
) -> tf.data.Dataset:
    """Turns `(RawBatch, window, last)` into Pieces: of each window as many rows as a batch has, and behind them the rest.

    Args:
      raw: some messages each.
      parse: of a format with many rows a message.
      batch_size: rows a batch.
      parallel: so many are parsed at a time.
      negatives: which are kept; None: all.
    """
    negatives = negatives or Negatives()

    @tf.autograph.experimental.do_not_convert
    def parsed(raw_batch: RawBatch, window: tf.Tensor, last: tf.Tensor) -> tuple:
        rows, left_out = _without_negatives(_parsed(raw_batch, parse), negatives)
        return (rows, raw_batch.message), window, last, left_out

    return cut_anew(
        raw.map(parsed, num_parallel_calls=parallel, deterministic=True),
        batch_size,
        parallel,
        count=lambda sizes: sizes[0].reason,
        behind=lambda rows, sizes: (_behind(rows[0], num_messages=sizes[1]), rows[1]),
        part=lambda rows, start, stop: _part(*rows, start, stop),
    ).map(lambda rows, window, last, left_out: Piece(*rows, window, last, left_out))


def _parsed(raw: RawBatch, parse: Parse) -> Parsed:
    message, tombstone, origin, _ = raw
    fields: Fields = parse(message)
    place = fields.place
    reason = tf.where(tf.gather(tombstone, place.message), REASONS.index("tombstone"), fields.reason)
    of_messages = row_fingerprints(message, origin.partition, origin.offset)
    fingerprint = fingerprints_inside(tf.gather(of_messages, place.message), tf.cast(place.row, tf.int64))
    refused = tf.where(reason > 0)[:, 0]

    def alone() -> tf.Tensor:
        found = rows_alone(parse.form, message, tf.gather(place.message, refused), tf.gather(place.row, refused))
        return tf.tensor_scatter_nd_update(tf.fill(tf.shape(reason), ""), refused[:, None], found)

    of_rows = tf.nest.map_structure(lambda t: tf.gather(t, place.message), origin)
    messages_alone = tf.cond(tf.size(refused) > 0, alone, lambda: tf.fill(tf.shape(reason), ""))
    return Parsed(fields.values, reason, place, of_rows, fingerprint, messages_alone)


def _without_negatives(rows: Parsed, negatives: Negatives) -> tuple[Parsed, tf.Tensor]:
    """The rows but for the negatives that are not kept, and how many those are, int64 []."""
    if negatives.all:
        return rows, tf.constant(0, tf.int64)
    is_negative = (rows.reason == 0) & (rows.values["label"][:, 0] == 0)
    keep = ~is_negative | negatives.keeps(rows.origin, rows.place.row)
    return tf.nest.map_structure(lambda t: tf.boolean_mask(t, keep), rows), tf.math.count_nonzero(~keep)


def _behind(rows: Parsed, num_messages: tf.Tensor) -> Parsed:
    """The rows of messages that stand behind so many others."""
    return rows._replace(place=rows.place._replace(message=rows.place.message + num_messages))


def _part(rows: Parsed, message: tf.Tensor, start: tf.Tensor | int, stop: tf.Tensor) -> tuple[Parsed, tf.Tensor]:
    """The rows `[start, stop)`, and the messages that they are of."""
    part = tf.nest.map_structure(lambda t: t[start:stop], rows)
    of_message = part.place.message
    # The rows' messages stand one behind the other; no rows have none.
    first, past = tf.concat([of_message[:1], [0]], axis=0)[0], tf.concat([of_message[-1:] + 1, [0]], axis=0)[0]
    return part._replace(place=part.place._replace(message=of_message - first)), message[first:past]
