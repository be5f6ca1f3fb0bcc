"""Texts of columns as values of an Avro schema, for the tools that write messages. Imports no TensorFlow."""

import decimal
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfonline.formats.avro_schema import Parsed, types_at

if TYPE_CHECKING:
    from tfonline.features.column import Column

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
_TOO_LARGE = {"int": 2**31, "long": 2**63}
# The types of a column where nobody gives a schema, by its kind: each text has a form of its own in one of them.
_TYPES = {
    "number": ["null", "double", "long", "string"],
    "integer": ["null", "long", "string"],
    "time": ["null", "long", "string"],
    "label": ["null", "long", "string"],
    "weight": ["null", "double", "long", "string"],
    "categories": ["null", {"type": "array", "items": "string"}, "string"],
}


def schema_of_columns(columns: "Sequence[Column]") -> str:
    """A schema for messages of these columns, as JSON: all may be missing, and those of numbers may be any text, too."""
    top: dict[str, Any] = {}
    for column in columns:
        *inside, name = column.steps
        at = top
        for each in inside:
            at = at.setdefault(each, {})
        at[name] = _TYPES.get(column.kind, ["null", "string"])
    return json.dumps(_record("Row", top))


def _record(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    made = []
    for field, inside in fields.items():
        kind = inside if isinstance(inside, list) else ["null", _record(f"{name}_{field}", inside)]
        made.append({"name": field, "type": kind, "default": None})
    return {"type": "record", "name": name, "fields": made}


def write(parsed: Parsed, fields: Sequence[str], columns: "Sequence[Column]") -> bytes:
    """The message of a row without a frame.

    Raises:
      ValueError: a field cannot be written; its number, its text and why.
    """
    import io

    import fastavro

    row: dict[str, Any] = {}
    for number, (column, field) in enumerate(zip(columns, fields, strict=True), start=1):
        path = column.key
        *inside, key = path.split(".")
        types = types_at(parsed, [*inside, key])
        if types is None:
            raise ValueError(f"the schema has no field {path}")
        value = _value(field, types, getattr(column, "separator", ""))
        if value is _NONE:
            kinds = ", ".join(t["type"] if isinstance(t, dict) else t for t in types)
            raise ValueError(f"field {number}, {field!r}, is no value of {path}, which is {kinds}")
        if value is None and inside:
            continue  # the record may be missing, too
        at = row
        for name in inside:
            at = at.setdefault(name, {})
        at[key] = value
    written = io.BytesIO()
    try:
        fastavro.schemaless_writer(written, parsed.schema, row)
    except (ValueError, TypeError, AttributeError) as e:
        raise ValueError(f"the schema has a field that no column gives a value: {e}") from e
    return written.getvalue()


_NONE = object()


def _value(text: str, types: Sequence[Any], separator: str) -> Any:
    """The value that is read as this text or, where no type has it, as the same number; _NONE: there is none."""
    for exact in (True, False):
        for kind in types:
            value = _list(text, kind, separator) if _is_array(kind) else _value_of(text, kind, exact)
            if value is not _NONE:
                return value
    return _NONE


def _is_array(kind: Any) -> bool:
    return isinstance(kind, dict) and kind["type"] == "array"


def _list(text: str, kind: Any, separator: str) -> Any:
    """The list that is read as this text."""
    texts = text.split(separator) if separator else []
    items = kind["items"] if isinstance(kind["items"], list) else [kind["items"]]
    values = [_value(each, items, "") for each in texts]
    return values if texts and all(texts) and _NONE not in values else _NONE


def _value_of(text: str, kind: Any, exact: bool) -> Any:
    name, logical = (kind["type"], kind.get("logicalType")) if isinstance(kind, dict) else (kind, None)
    if name == "null":
        return None if not text else _NONE
    if logical == "decimal":
        return _decimal(text, kind.get("scale", 0))
    match name:
        case "boolean" if text in ("true", "false"):
            return text == "true"
        case "boolean" if not exact and text in ("0", "1"):
            return text == "1"
        case "int" | "long" if _WHOLE.fullmatch(text) and -_TOO_LARGE[name] <= int(text) < _TOO_LARGE[name]:
            return int(text)
        case "float" | "double":
            return _float(text, exact)
        case "string":
            return text
        case "bytes":
            return text.encode()
        case "fixed" if len(text.encode()) == kind["size"]:
            return text.encode()
        case "enum" if text in kind["symbols"]:
            return text
    return _NONE


def _decimal(text: str, scale: int) -> Any:
    try:
        found = decimal.Decimal(text)
    except decimal.InvalidOperation:
        return _NONE
    return found if found.is_finite() and -found.as_tuple().exponent <= scale else _NONE


def _float(text: str, exact: bool) -> Any:
    try:
        found = float(text)
    except ValueError:
        return _NONE
    return found if not exact or repr(found) == text else _NONE
