"""The first rows that a run would read, looked at before anything is made: a stream of something else is told at once."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfonline.config import Config
from tfonline.features.parse import Fields
from tfonline.features.schema import Schema
from tfonline.formats.reasons import IN_WORDS, REASONS
from tfonline.formats.recognise import guess, shown
from tfonline.lifecycle import Exit, UserError
from tfonline.stream.order import make_raw_batches
from tfonline.stream.readers import Reader
from tfonline.stream.windows import Source, Window

_ROWS = 100
_PARTITIONS = 4  # that share them: each has to be opened
# With fewer, all of them refused is no proof that the topic holds something else: its first rows may be somebody's trial.
_ENOUGH = 10


class FirstRows(NamedTuple):
    """Some rows from a position on.

    Attributes:
      messages: as they came.
      refused: of those that are no rows: partition, offset, reason as an index into REASONS, message.
    """

    messages: list[bytes]
    refused: list[tuple[int, int, int, bytes]]


def read_first_rows(source: Source, reader: Reader, position: list[int], parse: Callable[[tf.Tensor], Fields]) -> FirstRows:
    """Reads up to a hundred rows from a position on, as the run will; where the stream has none yet, it waits for none.

    Raises:
      UserError: they cannot be read (exit 75).
    """
    window = _window(position, source.begins(), source.ends())
    try:
        batches = [raw for raw, _, _ in make_raw_batches([window], reader, _ROWS)]
    except tf.errors.OpError as e:
        if reader.error:
            raise reader.error from e
        raise UserError(f"the first rows could not be read: {e.message}", Exit.TRY_AGAIN) from e
    message, origin, tombstone = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *batches)
    reason = tf.where(tombstone, REASONS.index("tombstone"), parse(message).reason)
    rows = zip(*(t.numpy().tolist() for t in (origin.partition, origin.offset, reason, message)), strict=True)
    return FirstRows(message.numpy().tolist(), [row for row in rows if row[2]])


def describe(first: FirstRows, schema: Schema, message_format: str) -> str:
    """How many of them are rows, the first that is none as it came, and what they look like."""
    if not first.messages:
        return "the stream has no row there yet"
    if not first.refused:
        return f"of the first {len(first.messages)} rows all are good"
    partition, offset, reason, message = first.refused[0]
    looks = guess([row[3] for row in first.refused], schema, message_format)
    good = len(first.messages) - len(first.refused)
    return (
        f"of the first {len(first.messages)} rows {good or 'none'} {'is' if good < 2 else 'are'} good. The first that is not: "
        f"partition {partition}, offset {offset}, {REASONS[reason]} ({IN_WORDS[REASONS[reason]]}): {shown(message)}.{looks and ' '}"
        f"{looks}"
    )


def check(config: Config, first: FirstRows, schema: Schema) -> None:
    """Ends a run of which nothing could be learned.

    Raises:
      UserError: none of the rows is one (exit 65). Not where there are but a few of them, nor where --max_rejected_ratio=1 accepts
        that, nor where --lag_policy=skip may pass over them.
    """
    accepted = config.max_rejected_ratio >= 1 or config.lag_policy == "skip"
    if accepted or len(first.messages) < _ENOUGH or len(first.refused) < len(first.messages):
        return
    where = "--input_files" if config.input_files else "--topic"
    raise UserError(
        f"nothing here could be learned from: {describe(first, schema, config.message_format)} Check {where}, --columns and "
        "--message_format, or mend the producer. Nothing was made; --max_rejected_ratio=1 would go on all the same.",
        Exit.DATA,
    )


def _window(position: list[int], begins: list[int], ends: list[int]) -> Window:
    """A hundred offsets from the position on, spread over the first partitions that have any."""
    position = [*position, *[0] * (len(begins) - len(position))][: len(begins)]  # the topic may have got more partitions
    start = [max(n, begin) for n, begin in zip(position, begins, strict=True)]
    stop = list(start)
    read = [p for p, end in enumerate(ends) if end > start[p]][:_PARTITIONS]
    left = _ROWS
    for i, p in enumerate(read):
        stop[p] = min(ends[p], start[p] + -(-left // (len(read) - i)))
        left -= stop[p] - start[p]
    return Window(0, tuple(start), tuple(stop), "rows")
