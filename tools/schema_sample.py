"""Rows for tools/schema.py, from files or a topic: what they hold, before anybody has said which columns there are."""

import collections
import contextlib
import dataclasses
import datetime
import decimal
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kafka_cli import Connection

from tfonline.formats import FORMATS, find
from tfonline.formats.fields import Field
from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.stream.messages import Wanted, is_parquet, open_messages
from tfonline.stream.row_files import find_files, open_rows

PARQUET = "parquet"  # beside the names of the messages' formats
OF_LINES = tuple(name for name, form in FORMATS.items() if form.lines)  # of the others see schema_described.py
_MESSAGES_OF_MANY = 100  # where each has many rows
_TRIED_ROWS = 100  # to find out which format they have
_BY_SEPARATOR = ("tsv", "csv")  # tried behind the others: there is little that they cannot be
_BAD_SHOWN = 5
_BROKER_SECS = 30.0
_NUMBER = re.compile(r"-?[0-9.]+(?:[eE][+-]?[0-9]+)?")
_WHOLE_BELOW = 2.0**53


class Message(NamedTuple):
    """One row's bytes and where it is from.

    Attributes:
      value: the bytes; b'' for a message without a value.
      source: a file, or a partition in words.
      number: the line, counted from 1, or the offset.
    """

    value: bytes
    source: str
    number: int

    @property
    def place(self) -> str:
        """In words."""
        return f"{self.source}, {'offset' if self.source.startswith('partition') else 'line'} {self.number}"


@dataclasses.dataclass
class Sample:
    """Rows of a stream, as columns of Python values.

    Attributes:
      source: where they are from, in words.
      form: the name of the messages' format, or PARQUET.
      named: whether the columns have names of their own: keys, or a header line.
      columns: by key, such as `item.price`, or c1, c2 ... where there are no names: a value a row, None where it is missing.
      places: of each row, in words.
      num_bad: messages that are no rows.
      bad: where the first of them are, and what is wrong with them.
      unreachable: keys that no column can be made of, and why.
      fields: what the messages' schemas say of each key; {} of messages without a schema.
    """

    source: str
    form: str
    named: bool
    columns: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    places: list[str] = dataclasses.field(default_factory=list)
    num_bad: int = 0
    bad: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    unreachable: dict[str, str] = dataclasses.field(default_factory=dict)
    fields: Mapping[str, Field] = dataclasses.field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        """Rows that are columns' values."""
        return len(self.places)

    def add(self, place: str, values: Iterable[tuple[str, Any]]) -> None:
        """Adds a row of keys and values."""
        row = len(self.places)
        for key, value in values:
            column = self.columns.setdefault(key, [])
            column.extend(itertools.repeat(None, row - len(column)))  # it was missing until now
            if len(column) == row:
                column.append(value)
        self.places.append(place)

    def refuse(self, place: str, why: str) -> None:
        """Counts a message that is no row."""
        self.num_bad += 1
        if len(self.bad) < _BAD_SHOWN:
            self.bad.append((place, why))

    def close(self) -> "Sample":
        """The sample, all its columns of one length. A key of objects is none of values: where one is missing, so is all inside."""
        around = {key[:i] for key in self.columns for i, character in enumerate(key) if character == "."}
        for key in around & self.columns.keys():
            if any(value is not None for value in self.columns.pop(key)):
                self.unreachable[key] = "some rows have an object there, and others none"
        for column in self.columns.values():
            column.extend(itertools.repeat(None, self.num_rows - len(column)))
        return self


def of_files(patterns: Sequence[str], form: str, num_rows: int) -> Sample:
    """The first rows of files, as many of each.

    Args:
      patterns: names and globs.
      form: the name of the messages' format, or PARQUET; '': found out from the first rows.
      num_rows: at most.

    Raises:
      UserError: a file is missing (exit 66), no whole file (65), or the rows have no format that is known (65).
    """
    files = find_files(patterns)
    each, source = -(-num_rows // len(files)), ", ".join(patterns)
    parquet = [path for path in files if is_parquet(path)]
    if parquet and (form not in ("", PARQUET) or len(parquet) < len(files)):
        raise UserError(
            f"{parquet[0]} is a Parquet file, and another of --input, or --format={form}, is not. Give one kind.", Exit.FLAGS
        )
    if form == PARQUET and not parquet:
        raise UserError(f"{files[0]} is no Parquet file: it does not begin as one.", Exit.DATA)
    if parquet:
        return _of_parquet(files, each, source)
    messages = [list(itertools.islice(_lines(path), each)) for path in files]
    return _of_messages(messages, form, source)


def of_topic(link: Connection, topic: str, form: str, num_rows: int) -> Sample:
    """Rows of a topic: of each partition half from its beginning and half from its end, so that a change in between shows.

    Raises:
      UserError: the topic is missing (exit 66), the broker does not answer (69, 77), or the format is not known (65).
    """
    return _of_messages([messages_of_topic(link, topic, num_rows, form)], form, f"topic {topic}")


def messages_of_files(patterns: Sequence[str], num_rows: int, wanted: Wanted) -> Iterator[Message]:
    """The first messages of files as the trainer has them, as many of each. Raises what open_messages raises."""
    files = find_files(patterns)
    for path in files:
        with contextlib.closing(open_messages(path, wanted)) as file:
            messages = file.take(-(-num_rows // len(files)))
            # Under a header the lines begin with the second one.
            yield from (Message(m, path, number) for number, m in enumerate(messages[file.header :], 1 + file.header))


def messages_of_topic(link: Connection, topic: str, num_rows: int, form: str = "") -> list[Message]:
    """Messages of a topic, see of_topic: those of the partitions' beginnings first. Raises the same.

    Messages of many rows are looked at row by row: each row is one here.
    """
    if form and find(form).many:
        few = messages_of_topic(link, topic, min(num_rows, _MESSAGES_OF_MANY))
        rows = (m._replace(value=row) for m in few for row in (find(form).alone(m.value) if m.value else [m.value]))
        return list(itertools.islice(rows, num_rows))
    from tfonline.stream.broker import KafkaTopic

    link.topic(admin := link.admin(), topic)
    del admin
    source = KafkaTopic(link.bootstrap, topic, "schema", link.properties, _BROKER_SECS, Stop(), lambda _: None)
    begins, ends = source.begins(), source.ends()
    half = max(1, num_rows // (2 * len(begins)))
    early = {p: (begin, min(begin + half, end)) for p, (begin, end) in enumerate(zip(begins, ends, strict=True))}
    late = {p: (max(early[p][1], end - half), end) for p, end in enumerate(ends)}
    found = []
    for ranges in (early, late):
        wanted = {p: (start, stop) for p, (start, stop) in ranges.items() if start < stop}
        records = source.fetch(wanted) if wanted else {}
        found += [Message(value, f"partition {p}", offset) for p, rows in records.items() for offset, value in rows]
    return found


def text_of(value: Any) -> str | None:
    """A value as a message's text has it; None for what is missing, a list or an object."""
    if type(value) is str:  # nearly always
        return value or None
    match value:
        case None | list() | dict():
            return None
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < _WHOLE_BELOW:
            return str(int(value))
        case datetime.datetime():
            return value.isoformat(" ")
        case decimal.Decimal():
            return format(value, "f")
    return str(value)


def _of_messages(files: list[list[Message]], form: str, source: str) -> Sample:
    first = [message for messages in files for message in messages[:_TRIED_ROWS] if message.value]
    if not first:
        raise UserError(f"{source} holds no row. Expected rows to look at.", Exit.NO_INPUT)
    form = form or _format_of(first[:_TRIED_ROWS], source)
    if find(form).named:
        sample = Sample(source, form, named=True)
        for message in itertools.chain.from_iterable(files):
            _add_object(sample, form, message)
        return sample.close()
    headers = [_header(form, messages) for messages in files]
    sample = Sample(source, form, named=any(headers))
    widths = collections.Counter(len(row) for message in first if (row := _contents(form, message)) is not None)
    for header, messages in zip(headers, files, strict=True):
        names = header or [f"c{i + 1}" for i in range(widths.most_common(1)[0][0])]
        for message in messages[1:] if header else messages:
            _add_list(sample, form, message, names)
    for i, name in enumerate(n for header in headers for n in header):
        if not name:
            sample.columns.pop("", None)
            sample.unreachable[f"column {i + 1}"] = "the header has no name for it"
    return sample.close()


def _add_object(sample: Sample, form: str, message: Message) -> None:
    if message.value:  # a tombstone is no row, and nothing to mend
        try:
            contents = find(form).contents(message.value)
        except ValueError as e:
            sample.refuse(message.place, str(e))
        else:
            sample.add(message.place, _flat(contents, "", sample.unreachable))


def _add_list(sample: Sample, form: str, message: Message, names: list[str]) -> None:
    if message.value:
        try:
            contents = find(form).contents(message.value)
        except ValueError as e:
            sample.refuse(message.place, str(e))
            return
        if len(contents) != len(names):
            sample.refuse(message.place, f"it has {len(contents)} fields, most have {len(names)}")
        else:
            sample.add(message.place, zip(names, contents, strict=True))


def _flat(inside: dict[str, Any], before: str, unreachable: dict[str, str]) -> Iterator[tuple[str, Any]]:
    for key, value in inside.items():
        if not key or "." in key:
            unreachable[before + key] = "no path leads to a key that is empty or has a dot"
        elif isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.", unreachable)
        else:
            yield before + key, value


def _contents(form: str, message: Message) -> Any:
    try:
        return find(form).contents(message.value)
    except ValueError:
        return None


def _format_of(messages: list[Message], source: str) -> str:
    """The format that most of the messages have; of those without names, the one that cuts them alike."""
    for name in (*reversed([name for name in OF_LINES if name not in _BY_SEPARATOR]), *_BY_SEPARATOR):
        found = [contents for message in messages if (contents := _contents(name, message)) is not None]
        if len(found) * 2 <= len(messages):
            continue
        if find(name).named:
            return name
        [(width, times)] = collections.Counter(map(len, found)).most_common(1)
        if width > 1 and times * 2 > len(messages):
            return name
    framed = sum(message.value[:1] == b"\0" for message in messages) * 2 > len(messages)
    hint = "They begin as Confluent's frame does: --format=avro or protobuf, and --registry_url." if framed else ""
    raise UserError(
        f"the rows of {source} have none of the formats {', '.join(OF_LINES)} and {PARQUET}: {messages[0].place} is no row of any. "
        f"{hint or 'Say which one they should have: --format.'}",
        Exit.DATA,
    )


def _header(form: str, messages: list[Message]) -> list[str]:
    """The names in the first line; [] where it is a row: then one of its fields is a number, or two are alike."""
    names = _contents(form, messages[0]) if messages else None
    if form not in _BY_SEPARATOR or not names or len(names) < 2:
        return []
    names = [name.removeprefix("\ufeff").strip() for name in names]
    is_header = len(set(names)) == len(names) and names.count("") <= 1 and not any(map(_NUMBER.fullmatch, names))
    return names if is_header else []


def _lines(path: str) -> Iterator[Message]:
    with open_rows(path) as file:
        for number, line in enumerate(file, 1):
            yield Message(line.rstrip(b"\r\n"), path, number)


def _of_parquet(files: list[str], each: int, source: str) -> Sample:
    import glob

    import duckdb

    sample = Sample(source, PARQUET, named=True)
    for path in files:
        try:
            with duckdb.connect() as con:
                result = con.execute(f"SELECT * FROM read_parquet(?) LIMIT {each}", [glob.escape(path)])
                names = [name for name, *_ in result.description]
                for number, row in enumerate(result.fetchall(), 1):
                    values = (pair for n, v in zip(names, row, strict=True) for pair in _of_struct(n, v))
                    sample.add(f"{path}, row {number}", values)
        except duckdb.Error as e:
            raise UserError(f"{path} is no whole Parquet file: {e}. Fetch it again, or leave it out.", Exit.DATA) from e
    return sample.close()


def _of_struct(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _of_struct(f"{name}.{key}", inner)
    else:
        yield name, value
