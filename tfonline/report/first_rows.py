"""The first rows that a run would read, looked at before anything is made: a stream of something else is told at once."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import tensorflow as tf

from tfonline.features.parse import Fields
from tfonline.features.schema import Schema
from tfonline.formats import Format
from tfonline.formats.reasons import IN_WORDS, REASONS
from tfonline.formats.recognise import guess, shown
from tfonline.lifecycle import Exit, UserError
from tfonline.stream.planner import Source
from tfonline.stream.records import RowsGone

_ROWS = 100
_PARTITIONS = 4  # that share them: each is a question to its broker
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


class Fetching(Source, Protocol):
    """A stream of which a few rows can be had at once, without a reader and its graph."""

    def fetch(self, ranges: Mapping[int, tuple[int, int]]) -> dict[int, list[tuple[int, bytes]]]:
        """The rows of a half-open range of offsets of each partition: offset and message, in order.

        Raises:
          UserError: they cannot be read.
          RowsGone: they are in the stream no more.
        """


def read_first_rows(source: Fetching, position: list[int], parse: Callable[[tf.Tensor], Fields]) -> FirstRows:
    """Reads up to a hundred rows from a position on; where the stream has none yet, it waits for none.

    Raises:
      UserError: they cannot be read (exit 75, or as the stream says).
    """
    ranges = _ranges(position, source.begins(), source.ends())
    try:
        found = source.fetch(ranges) if ranges else {}
    except RowsGone as e:
        raise UserError(f"the first rows were removed while they were read: {e}. Start again.", Exit.TRY_AGAIN) from e
    rows = [(partition, offset, message) for partition in sorted(found) for offset, message in found[partition]]
    fields = parse(tf.constant([message for _, _, message in rows], tf.string))
    if fields.place:  # messages have many rows
        rows = [rows[i] for i in fields.place.message.numpy().tolist()]
    refused = [(*row, reason) for row, reason in zip(rows, fields.reason.numpy().tolist(), strict=True) if reason]
    return FirstRows([message for _, _, message in rows], [(p, offset, reason, m) for p, offset, m, reason in refused])


def describe(first: FirstRows, schema: Schema, form: Format) -> str:
    """How many of them are rows, the first that is none as it came, and what they look like."""
    if not first.messages:
        return "the stream has no row there yet"
    if not first.refused:
        return f"of the first {len(first.messages)} rows all are good"
    partition, offset, reason, message = first.refused[0]
    looks = guess([row[3] for row in first.refused], schema, form)
    good = len(first.messages) - len(first.refused)
    return (
        f"of the first {len(first.messages)} rows {good or 'none'} {'is' if good < 2 else 'are'} good. The first that is not: "
        f"partition {partition}, offset {offset}, {REASONS[reason]} ({IN_WORDS[REASONS[reason]]}): {shown(message)}.{looks and ' '}"
        f"{looks}"
    )


def check(first: FirstRows, schema: Schema, form: Format, where: str) -> None:
    """Ends a run of which nothing could be learned.

    Args:
      first: the first rows.
      schema: the columns.
      form: the messages' format.
      where: the flag that names the stream.

    Raises:
      UserError: none of the rows is one, and there are more than a few of them (exit 65).
    """
    if len(first.messages) < _ENOUGH or len(first.refused) < len(first.messages):
        return
    raise UserError(
        f"nothing here could be learned from: {describe(first, schema, form)} Check {where}, --columns and "
        "--message_format, or mend the producer. Nothing was made; --max_rejected_ratio=1 would go on all the same.",
        Exit.DATA,
    )


def _ranges(position: list[int], begins: list[int], ends: list[int]) -> dict[int, tuple[int, int]]:
    """A hundred offsets from the position on, spread over the first partitions that have any: of each a half-open range."""
    # A journal may be of a topic with more partitions, or fewer.
    position = [*position, *[0] * (len(begins) - len(position))][: len(begins)]
    there = [(p, max(n, begin), end) for p, (n, begin, end) in enumerate(zip(position, begins, ends, strict=True))]
    ranges, left = {}, _ROWS
    read = [(p, start, end) for p, start, end in there if end > start][:_PARTITIONS]
    for i, (p, start, end) in enumerate(read):
        ranges[p] = (start, min(end, start + -(-left // (len(read) - i))))
        left -= ranges[p][1] - start
    return ranges
