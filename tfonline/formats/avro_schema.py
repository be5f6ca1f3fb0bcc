"""Avro schemas: where a column is in one, and in that of another writer (schema resolution). Imports no TensorFlow."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tfonline.formats.fields import Field, merged
from tfonline.formats.schemas import Written
from tfonline.lifecycle import Exit, UserError

_WHOLE, _FLOATING = {"int", "long"}, {"float", "double"}
_RECORDS = ("record", "error")
# The unit of a column of kind time, by the logical type of a whole number.
_UNITS = {f"{local}timestamp-{unit}": unit_of for local in ("", "local-") for unit, unit_of in (("millis", "ms"), ("micros", "us"))}


class Wanted(NamedTuple):
    """The columns at a place of a schema.

    Attributes:
      columns: the numbers of those whose value is here.
      inside: those that are deeper, by the name of the field.
      as_float: whether whole numbers are to be written as floats, since the reader's schema has them so.
    """

    columns: list[int]
    inside: "dict[str, Wanted]"
    as_float: bool = False


def nothing() -> Wanted:
    """No column is here or deeper."""
    return Wanted([], {})


class Parsed(NamedTuple):
    """A schema.

    Attributes:
      schema: as fastavro.parse_schema makes it.
      named: the named types in it by their full names.
    """

    schema: Any
    named: dict[str, Any]


def parse(text: str, references: Mapping[str, str] | None = None) -> Parsed:
    """A schema of its JSON and of that of the schemas it refers to, each behind those that it needs itself.

    Raises:
      ValueError: it is none.
    """
    import fastavro
    from fastavro.schema import SchemaParseException, UnknownType

    named: dict[str, Any] = {}
    try:
        for reference in (references or {}).values():
            fastavro.parse_schema(json.loads(reference), named_schemas=named)
        return Parsed(fastavro.parse_schema(json.loads(text), named_schemas=named), named)
    except (json.JSONDecodeError, SchemaParseException, UnknownType, KeyError, TypeError) as e:
        raise ValueError(f"it is no Avro schema: {type(e).__name__}: {e}") from e


def parse_written(number: int, written: Written) -> Parsed:
    """A schema of a registry.

    Raises:
      UserError: it is of another kind (exit 64), or none (65).
    """
    if written.kind != "AVRO":
        kind = written.kind.lower()
        raise UserError(f"the schema with id {number} is one of {kind}, messages are read as avro. Mend the format.", Exit.FLAGS)
    try:
        return parse(written.schema, written.references)
    except ValueError as e:
        raise UserError(f"the schema with id {number} of the registry cannot be read: {e}", Exit.DATA) from e


def types_at(parsed: Parsed, path: Sequence[str]) -> list[Any] | None:
    """The types that a field may have, those of unions one by one; None where there is no such field."""
    types = list(_branches(parsed, parsed.schema))
    for name in path:
        fields = [field for record in types for field in _fields(record) if field["name"] == name]
        if not fields:
            return None
        types = [branch for field in fields for branch in _branches(parsed, field["type"])]
    return types


def fields_of(parsed: Parsed) -> dict[str, Field]:
    """What the schema says of each field, by its path."""
    return _fields_in(parsed, parsed.schema, "", (), "")


def _fields_in(parsed: Parsed, schema: Any, path: str, around: tuple[str, ...], default: str) -> dict[str, Field]:
    """Of a value at a path: the field there, or those inside. `around`: the records that it is in, by their names."""
    types = [branch for branch in _branches(parsed, schema) if _kind(branch) != "null"]
    records = [record for record in types if _kind(record) in _RECORDS]
    if not records:
        return {path: _field(parsed, types, default)}
    if len(records) < len(types):
        return {path: Field("", unfit="it is a record in some messages and none in others")}
    if any(record["name"] in around for record in records):
        return {path: Field("", unfit="its type holds itself")}
    before = path and f"{path}."
    return merged(
        _fields_in(parsed, field["type"], before + field["name"], (*around, record["name"]), _in_words(field.get("default")))
        for record in records
        for field in record["fields"]
    )


def _field(parsed: Parsed, types: Sequence[Any], default: str) -> Field:
    words = " or ".join(map(_type_in_words, types)) + default
    kinds = {_kind(each) for each in types}
    logical = {each.get("logicalType", "") if isinstance(each, dict) else "" for each in types}
    if "map" in kinds:
        return Field(words, unfit="it is a map, which no kind takes")
    if "array" in kinds:
        items = [_kind(item) for each in types if _kind(each) == "array" for item in _branches(parsed, each["items"])]
        if {*_RECORDS, "map", "array"} & {*items}:
            return Field(words, unfit="it holds records or lists inside a list, which no kind takes")
        return Field(words, is_list=True)
    if kinds and kinds <= {"enum", "boolean"}:
        return Field(words, "category")
    if len(logical) == 1 and (unit := _UNITS.get(*logical)):
        return Field(words, "time", unit)
    if logical == {"date"}:
        return Field(words, "ignore")
    if logical == {"decimal"} or (logical == {""} and kinds <= _WHOLE | _FLOATING and kinds & _FLOATING):
        return Field(words, "number")
    return Field(words)


def _type_in_words(schema: Any) -> str:
    kind = _kind(schema)
    if kind == "enum":
        return f"enum of {len(schema['symbols'])}"
    logical = schema.get("logicalType", "") if isinstance(schema, dict) else ""
    return f"{kind} {logical}" if logical else kind


def _in_words(default: Any) -> str:
    """The default of a field whose value is a text or a number; '' of all others."""
    return "" if default is None or isinstance(default, dict | list) else f", default {default!r}"


def resolve(written: Parsed, read: Parsed, paths: Sequence[Sequence[str]]) -> tuple[Wanted, dict[int, str], list[int]]:
    """Where columns are in what a writer has written.

    Args:
      written: the writer's schema.
      read: the reader's; it may be the same.
      paths: of the columns, in the reader's schema.

    Returns:
      the columns by their places in the writer's schema; the texts of those that the reader has a default for and the writer no
      field; and the columns that neither has.
    """
    wanted, defaults, missing = nothing(), {}, []
    for column, path in enumerate(paths):
        at, default = _in_written(written, read, path)
        if at is None:
            if default is None:
                missing.append(column)
            else:
                defaults[column] = default
            continue
        kinds = {_kind(t) for t in types_at(read, path) or []}
        node = wanted
        for name in at[:-1]:
            node = node.inside.setdefault(name, nothing())
        as_float = bool(kinds & _FLOATING) and not kinds & _WHOLE
        last = node.inside.setdefault(at[-1], nothing())
        last.columns.append(column)
        if as_float:
            node.inside[at[-1]] = last._replace(as_float=True)
    return wanted, defaults, missing


def _in_written(written: Parsed, read: Parsed, path: Sequence[str]) -> tuple[list[str] | None, str | None]:
    """The path in the writer's schema, or None and the reader's default as a text; of both None where there is none."""
    if read is written:
        return (list(path) if types_at(written, path) is not None else None), None
    found: list[str] = []
    ours, theirs = list(_branches(read, read.schema)), list(_branches(written, written.schema))
    for place, name in enumerate(path):
        field = next((f for record in ours for f in _fields(record) if f["name"] == name), None)
        names = [name, *(field.get("aliases", []) if field else [])]
        same = next((f for n in names for record in theirs for f in _fields(record) if f["name"] == n), None)
        if same is None:
            return None, _text_in(field["default"], path[place + 1 :]) if field and "default" in field else None
        found.append(same["name"])
        ours = list(_branches(read, field["type"])) if field else []
        theirs = list(_branches(written, same["type"]))
    return found, None


def _text_in(default: Any, path: Sequence[str]) -> str:
    """A default of a schema's JSON, or what is in it at a path, as a message's text would be."""
    for name in path:
        default = default.get(name) if isinstance(default, dict) else None
    if isinstance(default, bool):
        return "true" if default else "false"
    return "" if default is None or isinstance(default, dict | list) else str(default)


def _branches(parsed: Parsed, schema: Any) -> Iterator[Any]:
    """A type, or those of a union, with named types looked up."""
    for branch in schema if isinstance(schema, list) else [schema]:
        kind = branch["type"] if isinstance(branch, dict) else branch
        if isinstance(kind, dict | list):
            yield from _branches(parsed, kind)
        else:
            yield parsed.named.get(kind, branch)


def _kind(schema: Any) -> str:
    return schema["type"] if isinstance(schema, dict) else schema


def _fields(schema: Any) -> list[dict[str, Any]]:
    return schema["fields"] if _kind(schema) in _RECORDS else []
