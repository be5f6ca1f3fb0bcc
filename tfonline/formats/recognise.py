"""What refused rows look like (CSV, JSON, Avro, a header line), for the words of an error. Imports no TensorFlow."""

import collections
import csv
import re
from collections.abc import Sequence

from tfonline.features.schema import Schema
from tfonline.formats import FORMATS, Format

_SEPARATORS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars", " ": "spaces"}
# By the first bytes: of a message, or of a file that was read as if it were text.
_BEGINNINGS = {
    b"\x1f\x8b": "gzip data (a file of it needs a name that ends in .gz)",
    b"Obj\x01": "an Avro file",
    b"PAR1": "a Parquet file",
    b"PK\x03\x04": "a ZIP file, such as Excel's",
    b"\x28\xb5\x2f\xfd": "Zstandard data",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_SHOWN_CHARACTERS = 200
_FRAME_BYTES = 5  # Confluent's: a zero byte, then the schema's id in four bytes, the highest first
_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_NAME = re.compile(r"[A-Za-z_][\w .:/-]*")


def guess(rows: Sequence[bytes], schema: Schema, form: Format) -> str:
    """One sentence that says what most of the rows look like and what was expected; '' where their form is the expected one.

    Args:
      rows: refused rows, or the first rows of a topic or a file; some of them may be good ones.
      schema: the columns that were expected.
      form: the expected format.
    """
    looks = collections.Counter(_look(row, schema, form) for row in rows if row)
    if not looks:
        return ""
    # Of a binary file only the first "line" shows what it is.
    look = _beginning(rows[0]) or looks.most_common(1)[0][0]
    header = _header(rows, schema)
    if not look and not header:
        return ""
    expected = form.expected(len(schema.columns))
    found = f"The rows look like {look}{header and ', with '}{header}" if look else f"One of the rows looks like {header}"
    return f"{found}; expected: {expected}, no header line."


def shown(message: bytes) -> str:
    """The beginning of a message, in quotes, and what cannot be seen is written out."""
    try:
        text: str | bytes = message.decode()
    except UnicodeDecodeError:
        text = message
    more = f"... ({len(message):,} bytes)" if len(text) > _SHOWN_CHARACTERS else ""
    return f"{text[:_SHOWN_CHARACTERS]!r}{more}"


def _look(row: bytes, schema: Schema, form: Format) -> str:
    """What one row looks like; '' for the expected form."""
    if beginning := _beginning(row):
        return beginning
    if not form.lines and (row[0] == 0 or _CONTROLS.search(row)):
        return ""  # binary as expected; the reasons say what is wrong with it
    if row[0] == 0 and len(row) > _FRAME_BYTES:
        number = int.from_bytes(row[1:_FRAME_BYTES], "big")
        return f"Avro or Protobuf messages with Confluent's framing (a zero byte, then schema id {number})"
    try:
        text = row.decode()
    except UnicodeDecodeError:
        return "binary data, such as Protobuf or Avro messages" if _CONTROLS.search(row) else "text that is not UTF-8"
    for other in reversed(FORMATS.values()):
        if look := other.resembles(text, len(schema.columns)):
            if other.name == form.name:
                return form.fault(text, schema)
            return f"{look} (the trainer reads such messages with --message_format={other.name})"
    separator, fields = _split(text, schema)
    if len(fields) != len(schema.columns) and _CONTROLS.search(row):
        return "binary data, such as Protobuf or Avro messages"
    return _look_of_fields(separator, fields, schema)


def _beginning(row: bytes) -> str:
    return next((look for begin, look in _BEGINNINGS.items() if row.startswith(begin)), "")


def _look_of_fields(separator: str, fields: list[str], schema: Schema) -> str:
    number = f"{len(fields)} fields separated by {_SEPARATORS[separator]}" if len(fields) > 1 else "text of a single field"
    if separator in ",;":
        number = f"CSV: {number}"
    if len(fields) == len(schema.columns) - 1:
        number += " (one is missing; the label?)"
    return number


def _split(text: str, schema: Schema) -> tuple[str, list[str]]:
    """A row's separator and fields: the separator that gives the expected number of them, else the most."""
    ways = {separator: _fields(text, separator) for separator in _SEPARATORS}
    if any(len(ways[separator]) > 1 for separator in ways.keys() - {" "}):
        del ways[" "]  # the spaces are inside the fields
    num_fields = len(schema.columns)
    # Half of the tabs is more than chance, whatever else a category holds.
    return max(
        ways.items(), key=lambda way: (len(way[1]) == num_fields, way[0] == "\t" and len(way[1]) * 2 > num_fields, len(way[1]))
    )


def _fields(text: str, separator: str) -> list[str]:
    if separator == " ":  # as an editor or a terminal writes tabs
        return text.split() or [""]
    if separator == "\t" or '"' not in text:
        return text.split(separator)
    try:
        return next(csv.reader([text], delimiter=separator), [""])
    except csv.Error:  # a field beyond the csv module's limit of 128 KiB, or a line end inside
        return text.split(separator)


def _header(rows: Sequence[bytes], schema: Schema) -> str:
    """`a header line (its first names)` where one of the rows names columns, else ''."""
    headers = {names for row in rows if (names := _names(row, schema))}
    # Rows of nothing but words are values: a header is the same in all files.
    if len(headers) != 1:
        return ""
    names = headers.pop()
    return f"a header line ({', '.join(names[:3])}, ...)"


def _names(row: bytes, schema: Schema) -> tuple[str, ...]:
    """The fields of a row that may name columns, else (): values hold empty fields, numbers, or one value twice."""
    try:
        separator, fields = _split(row.decode(), schema)
    except UnicodeDecodeError:
        return ()
    names = tuple(field.strip().strip('"') for field in fields)
    # Words between spaces are any text, unless they are as many as the columns.
    enough = len(names) == len(schema.columns) or (len(names) > 2 and separator != " ")
    return names if enough and len(set(names)) == len(names) and all(map(_NAME.fullmatch, names)) else ()
