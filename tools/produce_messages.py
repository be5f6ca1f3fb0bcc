"""What produce.py sends: messages of a format, made of lines of TSV."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from produce_rows import Rows

from tfonline.features.schema import load_schema

if TYPE_CHECKING:
    from tfonline.features.column import Column
    from tfonline.formats import Format
    from tfonline.settings.stream import StreamSettings

_PATIENCE_SECS = 10.0  # of a registry that does not answer


class Message(NamedTuple):
    """One message.

    Attributes:
      key: of it.
      value: likewise.
      num_rows: that it holds.
    """

    key: bytes | None
    value: bytes
    num_rows: int


class Messages:
    """Makes messages of lines.

    Args:
      form: their format; None: lines are messages as they are.
      columns: of a row.
      most: rows a message, where the format has room for many.

    Attributes:
      name: of the format.
      together: so many rows are one message at most.
    """

    def __init__(self, form: "Format | None" = None, columns: "Sequence[Column]" = (), most: int = 1):
        self.name, self.together = form.name if form else "tsv", most if form and form.many else 1
        self._form, self._columns = form, columns
        # Messages of json have the key of the program that tfonline replaces: a list of the columns.
        self._key = json.dumps([column.name for column in columns]).encode() if form and form.name == "json" else None

    def of_rows(self, rows: Rows, refuse: Callable[[str], None]) -> Iterator[Message]:
        """The messages of rows, in order. Of a row that has none, `refuse` is told which and why."""
        if self._form is None or rows.are_messages:
            yield from (Message(None, line, 1) for line in rows.lines)
            return
        for first in range(0, len(rows.lines), self.together):
            part, texts, value = rows.part(first, first + self.together), [], None
            for line, number in zip(part.lines, part.numbers, strict=True):
                try:
                    fields = _fields(line)
                    if self._form.many:
                        self._form.check(fields, self._columns)
                    else:
                        value = self._form.encode(fields, self._columns)
                    texts.append(fields)
                except ValueError as e:
                    refuse(f"{rows.source}, line {number}: {e}")
            if texts:
                yield Message(self._key, value or self._form.encode_rows(texts, self._columns), len(texts))


def messages_of(args: argparse.Namespace, plain_columns: str) -> Messages:
    """What makes the messages that the arguments ask for.

    Args:
      args: of produce.py.
      plain_columns: the file of columns that says nothing of the format.

    Raises:
      UserError: the file of columns cannot be read (exit 66) or is wrong (64); or see Registry.register.
    """
    if (args.format or "tsv") == "tsv" and args.columns == plain_columns:
        return Messages()
    from tfonline.formats.make import format_of
    from tfonline.formats.of_batches import OfBatches
    from tfonline.settings.stream import StreamSettings

    schema = load_schema(args.columns)
    flags = {"registry_url": args.registry_url, "registry_properties_file": args.registry_properties_file}
    stream = StreamSettings(message_format=args.format, **flags)
    form = format_of(stream, schema, args.columns)
    if form.name == "tsv":
        return Messages()
    if isinstance(form, OfBatches) and form.framing == "confluent":
        form.own_id = _registered(stream, f"{args.topic}-value", form.kind, form.schema_of(schema.columns))
    return Messages(form, schema.columns, args.rows_a_message)


def _fields(line: bytes) -> list[str]:
    try:
        return line.decode().split("\t")
    except UnicodeDecodeError as e:
        raise ValueError(f"it is not UTF-8 text (byte {e.start + 1} is 0x{line[e.start]:02x})") from e


def _registered(stream: "StreamSettings", subject: str, kind: str, text: str) -> int:
    """The id of a schema, which is registered if the subject lacks it."""
    from tfonline.formats.registry import Registry

    registry = Registry(stream.registry_url, stream.registry_properties, _PATIENCE_SECS, lambda line: print(line, file=sys.stderr))
    number = registry.register(subject, kind, text)
    print(f"registry: the schema of subject {subject} has id {number}", file=sys.stderr)
    return number
