"""Rows of texts as one Arrow IPC stream, for the tools that write messages. Imports no TensorFlow."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from tfonline.formats.arrow_reader import stream_of

if TYPE_CHECKING:
    from tfonline.features.column import Column

# Columns by name, and where a path goes on, columns inside them.
_Tree = dict[str, "pa.Array | _Tree"]


def write(rows: Sequence[Sequence[str]], columns: "Sequence[Column]") -> bytes:
    """See Arrow.encode_rows."""
    top: _Tree = {}
    for column, texts in zip(columns, zip(*rows, strict=True), strict=True):
        *inside, name = column.steps
        at = top
        for each in inside:
            at = at.setdefault(each, {})
        at[name] = _typed(list(texts), column.kind, getattr(column, "separator", ""))
    return stream_of(pa.table({name: _array(of) for name, of in top.items()}))


def _array(of: "pa.Array | _Tree") -> pa.Array:
    if not isinstance(of, dict):
        return of
    arrays = [_array(inside) for inside in of.values()]
    return pa.StructArray.from_arrays(arrays, names=list(of))


def _typed(texts: list[str], kind: str, separator: str = "") -> pa.Array:
    """Texts of a column as the values that most programs would write, and as texts where one of them is none such.

    Args:
      texts: '' where missing.
      kind: of the column.
      separator: of a list.
    """
    some = [text or None for text in texts]
    if kind == "categories":
        if all(all(text.split(separator)) for text in some if text):
            return pa.array([text and text.split(separator) for text in some], pa.list_(pa.string()))
        return pa.array(some, pa.string())
    for make, of_type in _TYPES.get(kind, ()):
        if (values := _made(some, make)) is not None:
            return pa.array(values, of_type)
    strings = pa.array(some, pa.string())
    return strings.dictionary_encode() if kind == "category" and len(texts) > 1 else strings


def _made(texts: list[str | None], make: Callable[[str], object]) -> list | None:
    """The values, or None where one of them would be written otherwise."""
    try:
        values = [None if text is None else make(text) for text in texts]
    except (ValueError, OverflowError):
        return None
    return values if all(value is None or str(value) == text for value, text in zip(values, texts, strict=True)) else None


def _int64(text: str) -> int:
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise OverflowError
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise OverflowError
    return value


_NUMBER = ((_int64, pa.int64()),)
_DECIMAL = (*_NUMBER, (_finite, pa.float64()))
_TYPES = {"label": _NUMBER, "integer": _NUMBER, "time": _NUMBER, "number": _DECIMAL, "weight": _DECIMAL}
