"""A reader of Avro messages, made of the schema that they were written by: all messages of a batch at once. Imports no TensorFlow.

It does what the specification says of binary encoding (https://avro.apache.org/docs/1.12.0/specification/#binary-encoding).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfonline.formats.avro_schema import Wanted, nothing
from tfonline.formats.cursor import Cursor, Rows

# Moves rows of a cursor behind a value, and puts the columns' texts that are in it.
Read = Callable[[Cursor, Rows], None]
# Types that hold themselves, such as the items of a tree, nest no deeper in a message.
_DEEPEST = 50
_MALFORMED = "avro"
_MOST_BYTES = 2**40  # more than a message has


def make_reader(schema: Any, named: Mapping[str, Any], wanted: Wanted) -> Read:
    """The reader of a value.

    Args:
      schema: of the value, as fastavro.parse_schema makes it.
      named: the schemas of named types by their full names.
      wanted: the columns in it.
    """
    return _Maker(named).make(schema, wanted, "")


class _Maker:
    def __init__(self, named: Mapping[str, Any]):
        self._named = named
        self._skipping: dict[str, Read] = {}  # readers of named types in which there is no column, as they may hold themselves
        self._depth = 0

    def make(self, schema: Any, wanted: Wanted, path: str) -> Read:
        """The reader of a value at a path."""
        if isinstance(schema, list):
            return self._union(schema, wanted, path)
        kind = schema["type"] if isinstance(schema, dict) else schema
        if isinstance(kind, dict | list):
            return self.make(kind, wanted, path)
        if kind in self._named:
            return self._by_name(kind, wanted, path)
        logical = schema.get("logicalType", "") if isinstance(schema, dict) else ""
        read = self._plain(kind, logical, schema, wanted, path)
        if wanted.inside and kind not in ("record", "error"):
            deeper = next(iter(wanted.inside))
            return _refusing(read, f"{path or 'the message'} is {_a(kind)}, expected is a record with {deeper}")
        return read

    def _by_name(self, name: str, wanted: Wanted, path: str) -> Read:
        if wanted.columns or wanted.inside:
            return self.make(self._named[name], wanted, path)
        if name not in self._skipping:
            self._skipping[name] = lambda cursor, rows: made[0](cursor, rows)
            made = [self.make(self._named[name], nothing(), path)]
        return self._nested(self._skipping[name], path)

    def _nested(self, read: Read, path: str) -> Read:
        def nested(cursor: Cursor, rows: Rows) -> None:
            depth = cursor.depth = cursor.depth + 1
            if depth > _DEEPEST:
                cursor.refuse_all(rows, _MALFORMED, f"{path} nests without end")
            else:
                read(cursor, rows)
            cursor.depth -= 1

        return nested

    def _union(self, branches: Sequence[Any], wanted: Wanted, path: str) -> Read:
        readers = [self.make(branch, nothing() if branch == "null" else wanted, path) for branch in branches]

        def union(cursor: Cursor, rows: Rows) -> None:
            branch = cursor.zigzag(rows, path)
            if not len(branch):
                return
            first = int(branch[0])
            if 0 <= first < len(readers) and (branch == first).all():  # the usual case: no value is missing, or all are
                readers[first](cursor, rows)
                return
            wrong = (branch < 0) | (branch >= len(readers))
            if wrong.any():
                cursor.refuse(rows, wrong, _MALFORMED, lambda i: f"{path} is of type {int(branch[i])} of {len(readers)}")
            for number, read in enumerate(readers):
                chosen = (branch == number).nonzero()[0]
                if len(chosen):
                    read(cursor, cursor.some(rows, chosen))

        return union

    def _plain(self, kind: str, logical: str, schema: Any, wanted: Wanted, path: str) -> Read:
        columns = wanted.columns
        match kind:
            case "null":
                return lambda cursor, rows: None
            case "boolean":
                return _boolean(columns, path)
            case "int" | "long":
                return _whole(columns, path, wanted.as_float)
            case "float":
                return _floating(columns, path, "<f4")
            case "double":
                return _floating(columns, path, "<f8")
            case "bytes" | "string" | "fixed":
                size = schema["size"] if kind == "fixed" else None
                scale = schema.get("scale", 0) if logical == "decimal" else None
                return _bytes(columns, path, size, scale)
            case "enum":
                return _enum(columns, path, schema["symbols"])
            case "array" | "map":
                item = self.make(schema["items" if kind == "array" else "values"], nothing(), f"{path}[]")
                read = _blocks(item, path, keys=kind == "map", size=_size(schema["items"]) if kind == "array" else None)
                # Here a list would be joined, for a kind of columns that takes lists.
                return _refusing(read, f"{path} is {_a(kind)}, expected is a text, a number, true or false") if columns else read
        fields = [
            (self.make(field["type"], wanted.inside.get(field["name"], nothing()), f"{path}{path and '.'}{field['name']}"))
            for field in schema["fields"]
        ]

        def record(cursor: Cursor, rows: Rows) -> None:
            for field in fields:
                field(cursor, rows)

        return _refusing(record, f"{path} is a record, expected is a text, a number, true or false") if columns else record


def _refusing(read: Read, why: str) -> Read:
    """Reads a value that no column takes."""

    def refusing(cursor: Cursor, rows: Rows) -> None:
        read(cursor, rows)
        cursor.refuse_all(rows, "type", why)

    return refusing


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _boolean(columns: list[int], path: str) -> Read:
    def boolean(cursor: Cursor, rows: Rows) -> None:
        value = cursor.fixed(rows, 1, path)[:, 0]
        if (value > 1).any():
            cursor.refuse(rows, value > 1, _MALFORMED, lambda i: f"{path} is {int(value[i])}, expected is 0 or 1 for a boolean")
        cursor.put_truths(columns, rows, value == 1)

    return boolean


def _whole(columns: list[int], path: str, as_float: bool) -> Read:
    def whole(cursor: Cursor, rows: Rows) -> None:
        value = cursor.zigzag(rows, path)
        if as_float:
            cursor.put_texts(columns, rows, [repr(float(v)) for v in value.tolist()] if columns else [])
        else:
            cursor.put_integers(columns, rows, value)

    return whole


def _floating(columns: list[int], path: str, dtype: str) -> Read:
    size = np.dtype(dtype).itemsize

    def floating(cursor: Cursor, rows: Rows) -> None:
        raw = cursor.fixed(rows, size, path)
        if columns:
            value = np.ascontiguousarray(raw).view(dtype)[:, 0]
            # The shortest text that is this number: of a float of 32 bits, numpy's.
            texts = list(map(repr, value.tolist())) if size == 8 else [str(v) for v in value]
            cursor.put_texts(columns, rows, texts)

    return floating


def _bytes(columns: list[int], path: str, size: int | None, scale: int | None) -> Read:
    """Texts and bytes. `size` of a fixed, else None. `scale` of a decimal, which is written as bytes."""

    def read(cursor: Cursor, rows: Rows) -> None:
        if size is None:
            start, length = cursor.counted(rows, True, path)
        else:
            length = np.full(len(cursor.numbers(rows)), size)
            start = cursor.span(rows, length, path)
        if columns and scale is not None:
            spans = zip(start.tolist(), length.tolist(), strict=True)
            numbers = (int.from_bytes(cursor.data[s : s + n].tobytes(), "big", signed=True) for s, n in spans)
            cursor.put_texts(columns, rows, [decimal_text(number, scale) for number in numbers])
        else:
            cursor.put(columns, rows, start, length)

    return read


def decimal_text(number: int, scale: int) -> str:
    """The decimal number `number` / 10^`scale`."""
    digits = str(abs(number)).rjust(scale + 1, "0")
    whole, part = (digits[:-scale], f".{digits[-scale:]}") if scale else (digits, "")
    return f"{'-' if number < 0 else ''}{whole}{part}"


def _enum(columns: list[int], path: str, symbols: list[str]) -> Read:
    def enum(cursor: Cursor, rows: Rows) -> None:
        index = cursor.zigzag(rows, path)
        wrong = (index < 0) | (index >= len(symbols))
        if wrong.any():
            cursor.refuse(rows, wrong, _MALFORMED, lambda i: f"{path} is symbol {int(index[i])} of {len(symbols)}")
        cursor.put_named(columns, rows, symbols, np.where(wrong, 0, index))

    return enum


def _size(schema: Any) -> int | None:
    """The bytes of a value, where all values of the type have as many."""
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "fixed":
        return schema["size"]
    return {"null": 0, "boolean": 1, "float": 4, "double": 8}.get(kind) if isinstance(kind, str) else None


def _blocks(item: Read, path: str, keys: bool, size: int | None) -> Read:
    """Arrays and maps, which are passed over: blocks of items, each with their number before it; 0 ends them.

    Args:
      item: reads one.
      path: of the array or map.
      keys: whether each has a key before it.
      size: the bytes of each, where all have as many: the items of an embedding are passed over at once.
    """

    def one(cursor: Cursor, rows: np.ndarray) -> None:
        if keys:
            cursor.counted(rows, True, path)
        item(cursor, rows)

    def blocks(cursor: Cursor, rows: Rows) -> None:
        open_rows = cursor.numbers(rows)
        open_rows = open_rows[cursor.reason[open_rows] == 0]
        while len(open_rows):
            count = cursor.zigzag(open_rows, path)
            # A negative number is followed by the bytes of the block: they are passed over at once.
            sized = np.flatnonzero(count < 0)
            if len(sized):
                cursor.span(open_rows[sized], cursor.zigzag(open_rows[sized], path), path)
            inside, left = open_rows[count > 0], count[count > 0]
            if size is not None:
                cursor.span(inside, np.minimum(left, _MOST_BYTES) * size, path)
                inside = inside[:0]
            while len(inside):
                before = cursor.at[inside]
                one(cursor, inside)
                # Items without a byte, such as null, may be any number.
                on = (cursor.at[inside] > before) & (cursor.reason[inside] == 0) & (left > 1)
                inside, left = inside[on], left[on] - 1
            open_rows = open_rows[(count != 0) & (cursor.reason[open_rows] == 0)]

    return blocks
