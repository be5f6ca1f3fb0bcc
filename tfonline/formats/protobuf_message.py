"""One Protobuf message at a time, by the library: the texts of columns in it, and a message of texts. Imports no TensorFlow."""

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfonline.formats.by_python import Refused, in_one
from tfonline.formats.protobuf_type import TIMESTAMP, fields_at, is_map, is_repeated

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

    from tfonline.features.column import Column

_UNITS = {"ms": 1000, "us": 1_000_000}


class Messages:
    """Reads and writes messages of a type.

    Args:
      type_: of the messages.
      columns: in them.
    """

    def __init__(self, type_: "Descriptor", columns: "Sequence[Column]"):
        from google.protobuf import message_factory

        self._class = message_factory.GetMessageClass(type_)
        self._type = type_
        self._columns = [(column, fields_at(type_, column.steps)) for column in columns]

    def texts(self, message: bytes) -> list[str]:
        """The columns' texts.

        Raises:
          Refused: it is no message of the type, or a value has no text.
        """
        from google.protobuf.message import DecodeError

        try:
            row = self._class.FromString(message)
        except DecodeError as e:
            raise Refused("protobuf", f"it is no message of type {self._type.full_name}: {e}") from None
        return [_text_at(row, column, fields) for column, fields in self._columns]

    def write(self, fields: Sequence[str]) -> bytes:
        """The message of a row.

        Raises:
          ValueError: a field cannot be written; its number, its text and why.
        """
        row = self._class()
        for number, ((column, path), text) in enumerate(zip(self._columns, fields, strict=True), start=1):
            if path is None:
                raise ValueError(f"type {self._type.full_name} has no field {'.'.join(column.steps)}")
            if not text:
                continue
            at = row
            for field in path[:-1]:
                at = getattr(at, field.name)
            try:
                _set(at, path[-1], text, column)
            except (ValueError, TypeError, OverflowError):
                what = f"{'.'.join(column.steps)} of type {self._type.full_name}"
                raise ValueError(f"field {number}, {text!r}, is no value of {what}") from None
        return row.SerializeToString(deterministic=True)


def _text_at(row: Any, column: "Column", path: "list[FieldDescriptor] | None") -> str:
    if path is None:
        return ""
    value, names = row, ".".join(column.steps)
    for field in path:
        if is_repeated(field):
            items = getattr(value, field.name)
            if column.kind == "categories" and field is path[-1] and not is_map(field):
                return in_one([_text(item, field, column, f"{names}[{i}]") for i, item in enumerate(items)], column, names)
            if len(items):
                raise Refused("type", f"{names} is a list, expected is a text, a number, true or false")
            return ""
        if field.has_presence and not value.HasField(field.name):
            return ""
        value = getattr(value, field.name)
    return _text(value, path[-1], column, names)


def _text(value: Any, field: "FieldDescriptor", column: "Column", names: str) -> str:
    match field.type:
        case field.TYPE_MESSAGE if field.message_type.full_name == TIMESTAMP:
            unit = getattr(column, "unit", "s")
            return str(value.seconds * _UNITS.get(unit, 1) + value.nanos * _UNITS.get(unit, 1) // 1_000_000_000)
        case field.TYPE_MESSAGE | field.TYPE_GROUP:
            raise Refused("type", f"{names} is a message, expected is a text, a number, true or false")
        case field.TYPE_BOOL:
            return "true" if value else "false"
        case field.TYPE_ENUM:
            known = field.enum_type.values_by_number.get(value)
            return known.name if known else str(value)
        case field.TYPE_BYTES:
            try:
                text = value.decode()
            except UnicodeDecodeError as e:
                raise Refused("encoding", f"byte {e.start + 1} of {names}, 0x{value[e.start]:02x}, is not UTF-8") from None
        case field.TYPE_FLOAT:
            import numpy as np

            text = str(np.float32(value))
        case field.TYPE_DOUBLE:
            text = repr(value)
        case _:
            text = str(value)
    if any(character in text for character in "\t\r\n"):
        raise Refused("type", f"{names} holds a tab or a line end, which no text of a column may")
    return text


def _set(at: Any, field: "FieldDescriptor", text: str, column: "Column") -> None:
    """Raises ValueError, TypeError or OverflowError where the text is no value of the field."""
    if is_repeated(field):
        if (
            column.kind != "categories"
            or is_map(field)
            or field.type not in (field.TYPE_STRING, field.TYPE_INT64, field.TYPE_INT32)
        ):
            raise ValueError
        values = text.split(column.separator)
        if not all(values):
            raise ValueError  # what is written must be read as the same
        getattr(at, field.name).extend(values if field.type == field.TYPE_STRING else map(int, values))
        return
    match field.type:
        case field.TYPE_STRING:
            setattr(at, field.name, text)
        case field.TYPE_BYTES:
            setattr(at, field.name, text.encode())
        case field.TYPE_BOOL:
            setattr(at, field.name, {"true": True, "false": False, "1": True, "0": False}.get(text))
        case field.TYPE_ENUM:
            setattr(at, field.name, text)
        case field.TYPE_DOUBLE:
            setattr(at, field.name, float(text))
        case field.TYPE_FLOAT:
            setattr(at, field.name, struct.unpack("<f", struct.pack("<f", float(text)))[0])
        case field.TYPE_MESSAGE if field.message_type.full_name == TIMESTAMP:
            whole, part = divmod(int(text), unit := _UNITS.get(getattr(column, "unit", "s"), 1))
            stamp = getattr(at, field.name)
            stamp.SetInParent()
            stamp.seconds, stamp.nanos = whole, part * (1_000_000_000 // unit)
        case field.TYPE_MESSAGE | field.TYPE_GROUP:
            raise ValueError
        case _:
            setattr(at, field.name, int(text))
