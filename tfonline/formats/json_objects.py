"""JSON objects whose keys are the columns' names or paths, decoded by Python. Imports no TensorFlow until it decodes."""

import json
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from tfonline.features.kinds import KINDS
from tfonline.formats.by_python import EachByPython, Refused, in_one
from tfonline.formats.writing import check_writable, example_fields, one_a_column

if TYPE_CHECKING:
    from tfonline.features.column import Column
    from tfonline.features.schema import Schema

# From a list in JSON to the canonical row, which is TSV.
_TABS = bytes.maketrans(b",", b"\t")
_BACKSLASH, _U = b"\\u"
# What the canonical row has no place for.
_UNWRITABLE = re.compile(r"[\t\r\n]")
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
# By the kind of a column: the types that are read at once. Of all others it is a text or a whole number.
_FAST_TYPES = {
    "number": str | int | float | None,
    "weight": str | int | float | None,
    "label": bool | str | int | None,
    "categories": list[str | int | None] | str | int | None,
}
_LARGEST = 2.0**53  # from here on a float has no longer every whole number


class JsonObjects(EachByPython):
    """See Format. A column's value stands under its name, or its path: `item.price` is `price` in the object `item`.

    Keys that belong to no column are passed by. A missing key and null are a missing value. A value is a text, a number, true or
    false, and of a column of categories also a list of them; an integer may be written as 5.0. What is another object or list is
    refused, and so is a text with a tab or a line end.
    """

    name, named, lines = "json_objects", True, True

    def row_of(self, columns: "Sequence[Column]") -> Callable[[bytes], bytes]:
        """See EachByPython. Most messages are read at once, see _fast_reader. Where that fails, for any reason, `read` decides."""
        read_at_once = _fast_reader(columns, [column.steps for column in columns])

        def row_of(message: bytes) -> bytes:
            try:
                if row := read_at_once(message):
                    return row
            except (msgspec.MsgspecError, UnicodeError, AttributeError, OverflowError, Refused):
                pass
            return "\t".join(read(message, columns)).encode()

        return row_of

    def encode(self, fields: Sequence[str], columns: "Sequence[Column]") -> bytes:
        """See Format. Whole numbers are written as such where the column is one of numbers; missing values are left out."""
        check_writable(fields, _UNWRITABLE, self.name)
        row: dict[str, Any] = {}
        for column, field in zip(columns, one_a_column(list(fields), columns), strict=True):
            if field:
                *inside, key = column.steps
                at = row
                for name in inside:
                    at = at.setdefault(name, {})
                at[key] = _value(field, column)
        return json.dumps(row, ensure_ascii=False).encode()

    def texts(self, message: bytes, columns: "Sequence[Column]") -> list[str]:
        """See Format."""
        return read(message, columns)

    def contents(self, message: bytes) -> dict[str, Any]:
        """See Format."""
        return _object(message)

    def example(self, columns: "Sequence[Column]") -> bytes:
        """See Format."""
        return self.encode(example_fields(columns), columns)

    def expected(self, num_fields: int) -> str:
        """See Format."""
        return f"JSON objects of {num_fields} columns"

    def resembles(self, text: str, num_fields: int) -> str:
        """See Format."""
        stripped = text.strip()
        return "JSON objects" if stripped.startswith("{") and stripped.endswith("}") else ""

    def fault(self, text: str, schema: "Schema") -> str:
        """See Format."""
        try:
            keys = msgspec.json.decode(text.strip())
        except msgspec.MsgspecError:
            return "JSON objects that are cut or damaged"
        paths = {column.steps[0] for column in schema.columns}
        if paths & set(keys):
            return ""
        found, wanted = (", ".join(sorted(names)[:3]) for names in (keys, paths))
        return f"JSON objects with other keys ({found}, ...) than the columns' ({wanted}, ...)"


def _value(field: str, column: "Column") -> Any:
    """What `read` gives back as the field, which is not ''."""
    if column.kind == "categories" and all(values := field.split(column.separator)):
        return values
    return int(field) if KINDS[column.kind].reason and _WHOLE.fullmatch(field) else field


def read(message: bytes, columns: "Sequence[Column]") -> list[str]:
    """The columns' texts, one after the other.

    Raises:
      Refused: the message is no JSON object, or a value no text, number or truth; says the path and what was expected.
    """
    row = _object(message)
    return [_text_at(row, column) for column in columns]


def _object(message: bytes) -> dict[str, Any]:
    try:
        message.decode()
        row = msgspec.json.decode(message)
    except UnicodeDecodeError as e:
        raise Refused("encoding", f"byte {e.start + 1}, 0x{message[e.start]:02x}, is not UTF-8") from None
    except msgspec.MsgspecError as e:
        raise Refused("json", f"it is no JSON: {e}") from None
    if not isinstance(row, dict):
        raise Refused("json", f"it is JSON, but {_type_of(row)}, expected is an object")
    return row


def _text_at(row: dict[str, Any], column: "Column") -> str:
    value: Any = row
    path = column.steps
    for i, name in enumerate(path):
        if value is None:
            return ""
        if not isinstance(value, dict):
            raise Refused("type", f"{'.'.join(path[:i])} is {_type_of(value)}, expected is an object with {'.'.join(path[i:])}")
        value = value.get(name)
    where = ".".join(path)
    if isinstance(value, list) and column.kind == "categories":
        return in_one([_text_of(each, column, f"{where}[{i}]") for i, each in enumerate(value)], column, where)
    return _text_of(value, column, where)


def _text_of(value: Any, column: "Column", where: str) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if column.kind in ("integer", "time") and value.is_integer() and abs(value) < _LARGEST:
            return str(int(value))
        case int() | float():
            return str(value)
        case str() if not _UNWRITABLE.search(value):
            return value
        case str():
            raise Refused("type", f"{where} holds a tab or a line end, which no text of a column may")
    raise Refused("type", f"{where} is {_type_of(value)}, expected is a text, a number, true or false")


def _type_of(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number", bool: "a truth value"}
    return names.get(type(value), "null")


def _fast_reader(columns: "Sequence[Column]", paths: Sequence[Sequence[str]]) -> Callable[[bytes], bytes]:
    """Reads a message to its canonical row where each value is a text or a whole number, raises of all others.

    Of numbers it takes any, and of categories also a list of texts and whole numbers. A row that it does not read is b"".

    Where objects are inside others, one that is missing or null is an AttributeError.
    """
    values: dict[str, Any] = {}
    for column, path in zip(columns, paths, strict=True):
        at = values
        for name in path[:-1]:
            at = at.setdefault(name, {})
            if not isinstance(at, dict):
                return _never
        if isinstance(at.get(path[-1]), dict):
            return _never
        at[path[-1]] = _FAST_TYPES.get(column.kind, str | int | None)
    names: dict[str, str] = {}  # a field's name in the type, by its path

    def type_of(inside: dict[str, Any], before: str) -> type[msgspec.Struct]:
        fields, renamed = [], {}
        for key, value in inside.items():
            field = f"f{len(names)}"
            names[f"{before}{key}"], renamed[field] = field, key
            if isinstance(value, dict):
                fields.append((field, type_of(value, f"{before}{key}.") | None, None))
            else:
                fields.append((field, value, ""))
        return msgspec.defstruct("Row", fields, rename=renamed, gc=False)

    decode = msgspec.json.Decoder(type_of(values, "")).decode
    if all(len(path) == 1 for path in paths) and len(names) == len(columns):
        in_order = msgspec.structs.astuple
    else:
        getters = [".".join(names[".".join(path[: i + 1])] for i in range(len(path))) for path in paths]
        get = operator.attrgetter(*getters)
        in_order = get if len(getters) > 1 else lambda row: (get(row),)

    lists = [(i, column, ".".join(paths[i])) for i, column in enumerate(columns) if column.kind == "categories"]
    form, num_tabs, encode = "\t".join(["%s"] * len(columns)), len(columns) - 1, msgspec.json.Encoder().encode

    def read(message: bytes) -> bytes:
        values = in_order(decode(message))
        if lists:
            values = _lists_in_one(values, lists)
        # As a list in JSON the values are texts already, and Python need not make one of each. Where no text holds a comma, nor
        # what is written as \\, a comma stands between two values, and `null` behind a comma is a missing value.
        written = encode(values)
        if written.count(b",") == num_tabs and _BACKSLASH not in written:
            if _U in written and b"null" in written:  # a byte is found ten times as fast as a word
                written = (b",," + written[1:]).replace(b",null", b",")[1:]
            return written[1:-1].translate(_TABS, b'"')
        line = form % tuple(["" if v is None else str(v).lower() if v is True or v is False else v for v in values])
        return line.encode() if line.count("\t") == num_tabs and "\n" not in line and "\r" not in line else b""

    return read


def _lists_in_one(values: Iterable[Any], lists: "Sequence[tuple[int, Column, str]]") -> list[Any]:
    """Values with the lists among them as texts: the columns' numbers, the columns and their paths."""
    values = list(values)
    for i, column, path in lists:
        if isinstance(values[i], list):
            values[i] = in_one(["" if value is None else str(value) for value in values[i]], column, path)
    return values


def _never(message: bytes) -> bytes:
    return b""
