"""Columns of Arrow tables: numbers as numbers, all else as texts, each distinct one once. Imports no TensorFlow.

A text is what a JSON object would give for the same value. What a thousand rows have in common is made a text once.
"""

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfonline.features.kinds import KINDS, texts_of
from tfonline.formats.by_python import Refused

if TYPE_CHECKING:
    from tfonline.features.column import Column

# From here on a float64 has no longer every whole number.
_LARGEST = 2**53
# What a message may hold as a text of digits: so many of them, and all numbers below.
_LARGEST_WHOLE, _LARGEST_NUMBER = 10**18, 1e139
_OF_A_LIST = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_DTYPES = {getattr(pa, name)(): name for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")}
_DTYPES |= {pa.float32(): "float32", pa.float64(): "float64"}
_OF_MOMENTS = (pa.types.is_timestamp, pa.types.is_date)
# Of these pyarrow itself makes the texts.
_PLAIN = (
    pa.types.is_integer, pa.types.is_boolean, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_decimal,
    pa.types.is_null,
)  # fmt: skip
# Microseconds of a unit in which a column of kind time may count.
_UNITS = {"s": 1_000_000, "ms": 1000, "us": 1}
_TEXT_OF_UNIT = {"iso": "%Y-%m-%dT%H:%M:%SZ", "yymmddhh": "%y%m%d%H"}
_UNWRITABLE = r"[\t\r\n]"


class Coded(NamedTuple):
    """A column's texts.

    Attributes:
      distinct: texts; one may stand there twice.
      place: int32 [R], where a row has its text in `distinct`, counted from 1; 0 where the value is missing.
      refused: of rows that have no text: the row, its reason and why, in words.
    """

    distinct: pa.StringArray
    place: np.ndarray
    refused: dict[int, tuple[str, str]]


class Numbers(NamedTuple):
    """A column's numbers.

    Attributes:
      number: [R] of the type that its kind says; 0 where missing.
      valid: bool [R], whether it is there.
      refused: as of Coded.
    """

    number: np.ndarray
    valid: np.ndarray
    refused: dict[int, tuple[str, str]]


def find(table: pa.Table, column: "Column") -> pa.ChunkedArray | None:
    """The values of a column: by its whole path, or by the parts of it, one struct inside the other. None: there are none.

    Raises:
      Refused: the table has it twice, or a part of the path is no struct.
    """
    first, *rest = [column.key] if column.key in table.schema.names else column.steps
    places = table.schema.get_all_field_indices(first)
    if len(places) > 1:
        raise Refused("type", f"its schema has {first} {len(places)} times")
    if not places:
        return None
    values, path = table.column(places[0]), first
    for name in rest:
        if pa.types.is_null(values.type):
            return None
        if not pa.types.is_struct(values.type):
            raise Refused("type", f"{path} is {values.type}, expected is a struct with {name}")
        if values.type.get_field_index(name) < 0:
            return None
        values, path = pc.struct_field(values, name), f"{path}.{name}"
    return values


def coded(values: pa.ChunkedArray, column: "Column") -> Coded:
    """The texts of a column's values.

    Raises:
      Refused: no column of its kind takes values of this type.
    """
    refused: dict[int, tuple[str, str]] = {}
    if column.kind == "categories" and any(is_list(values.type) for is_list in _OF_A_LIST):
        values, refused = _joined(values, column)
    is_coded = pa.types.is_dictionary(values.type)
    _check_type(values.type.value_type if is_coded else values.type, column)
    chunks = values.chunks if is_coded else _encoded(values)
    texts = pa.chunked_array([_texts(chunk.dictionary, column) for chunk in chunks], pa.string())
    indexes = [_plain(chunk.indices) for chunk in chunks]
    # Each chunk counts from its own first text.
    first = np.cumsum([1, *map(len, texts.chunks)]).tolist()
    places = [np.zeros(0, np.int32)]
    for (index, valid), begin in zip(indexes, first, strict=False):
        place = index.astype(np.int32)
        place += begin
        if valid is not None:
            place *= valid
        places.append(place)
    place = np.concatenate(places) if len(places) > 2 else places[-1]
    if texts.null_count:
        place = place * np.append([False], texts.is_valid().to_numpy())[place]
        texts = texts.fill_null("")
    return _without_unwritable(Coded(_whole(texts), place, refused), column.key)


def numbers_of(values: pa.ChunkedArray, column: "Column") -> Numbers:
    """The numbers of a column whose kind has such, see Kind.numbers.

    Raises:
      Refused: no column of its kind takes values of this type.
    """
    dtype = np.dtype(KINDS[column.kind].numbers)
    whole = pa.types.is_integer(values.type) and values.type != pa.uint64()
    if not whole and values.type not in (pa.float32(), pa.float64()):
        return _of_texts(coded(values, column), column, dtype)
    number, valid, wrong = _of_numbers(*_plain(_whole(values)), whole, dtype)
    return Numbers(number, valid, _refused(wrong, column))


def _of_numbers(number: np.ndarray, valid: np.ndarray | None, whole: bool, dtype: np.dtype) -> tuple[np.ndarray, ...]:
    """Numbers of this type, 0 where missing; whether one is there; whether it is none that a column takes."""
    if not whole:
        number = number.astype(np.float64, copy=False)  # a limit of a number may be beyond a float32
        there = ~np.isnan(number)  # what is no number is a missing value
        valid = there if valid is None else valid & there
    if valid is None:
        valid = np.ones(len(number), bool)
    else:
        number = np.where(valid, number, 0)
    if whole and number.itemsize < 8:
        return number.astype(dtype), valid, np.zeros(len(number), bool)
    if dtype != np.int64:
        wrong = np.abs(number) >= _LARGEST_NUMBER
    elif whole:
        wrong = (number <= -_LARGEST_WHOLE) | (number >= _LARGEST_WHOLE)
    else:
        wrong = (number != np.floor(number)) | (np.abs(number) >= _LARGEST)
    if wrong.any():
        number, valid = np.where(wrong, 0, number), valid & ~wrong
    return number.astype(dtype, copy=False), valid, wrong


def _of_texts(found: Coded, column: "Column", dtype: np.dtype) -> Numbers:
    pattern, make = re.compile(texts_of(column).pattern), int if dtype == np.int64 else float
    texts = ["", *found.distinct.to_pylist()]
    fits = np.array([bool(pattern.fullmatch(text)) for text in texts])
    number = np.array([make(text) if text and fit else 0 for text, fit in zip(texts, fits, strict=True)], dtype)
    valid = fits & np.array([text != "" for text in texts])
    wrong = _refused(~fits[found.place], column)
    return Numbers(number[found.place], valid[found.place], wrong | found.refused)


def _refused(wrong: np.ndarray, column: "Column") -> dict[int, tuple[str, str]]:
    """As of Coded, of numbers that the column does not take, bool [R]."""
    why = f"{column.key} is another value, expected is {texts_of(column).expected}"
    return {int(row): (KINDS[column.kind].reason, why) for row in wrong.nonzero()[0]}


def _plain(values: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
    """Numbers as numpy has them, without a copy, and which of them are there, bool; None: all."""
    bits, data = values.buffers()
    past = values.offset + len(values)
    numbers = np.frombuffer(data or b"", _DTYPES[values.type])[values.offset : past]
    if not values.null_count:
        return numbers, None
    valid = np.unpackbits(np.frombuffer(bits, np.uint8), count=past, bitorder="little")
    return numbers, valid[values.offset :].view(bool)


def _encoded(values: pa.ChunkedArray) -> list[pa.DictionaryArray]:
    return [_whole(values.cast(pa.string()) if pa.types.is_null(values.type) else values).dictionary_encode()]


def _whole(values: pa.ChunkedArray) -> pa.Array:
    """All chunks as one."""
    return values.chunk(0) if values.num_chunks == 1 else pa.concat_arrays([pa.array([], values.type), *values.chunks])


def _check_type(kind: pa.DataType, column: "Column") -> None:
    """Raises Refused where no column of its kind takes values of this type."""
    if any(is_one(kind) for is_one in (*_PLAIN, pa.types.is_string, pa.types.is_floating)):
        return
    if column.kind != "time" or not any(is_moment(kind) for is_moment in _OF_MOMENTS):
        expected = "a list of texts or numbers" if column.kind == "categories" else "a text, a number, true or false"
        raise Refused("type", f"{column.key} is {kind}, expected is {expected}")


def _texts(values: pa.Array, column: "Column") -> pa.StringArray:
    """Values of a type that was checked as texts, null where missing."""
    kind = values.type
    if pa.types.is_string(kind):
        return values
    if pa.types.is_floating(kind):
        return pa.array([_of_float(value, column) for value in values.cast(pa.float64()).to_pylist()], pa.string())
    if any(is_moment(kind) for is_moment in _OF_MOMENTS):
        return _of_moments(values, column.unit)
    return values.cast(pa.string())


def _of_float(value: float | None, column: "Column") -> str | None:
    if value is None or value != value:  # what is no number is a missing value
        return None
    whole = column.kind in ("integer", "time") and value.is_integer() and abs(value) < _LARGEST
    return str(int(value)) if whole else str(value)


def _of_moments(values: pa.Array, unit: str) -> pa.StringArray:
    """Moments, in UTC where they have no zone, as a column of kind time of this unit has them."""
    micros = values.cast(pa.timestamp("us"), safe=False)
    if unit in _UNITS:
        # Rounded down, as all moments are; pyarrow's own division rounds to zero.
        number = np.floor_divide(micros.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False), _UNITS[unit])
        return pc.if_else(values.is_valid(), pa.array(number).cast(pa.string()), pa.scalar(None, pa.string()))
    return pc.strftime(micros.cast(pa.timestamp("s"), safe=False), format=_TEXT_OF_UNIT[unit])


def _joined(values: pa.ChunkedArray, column: "Column") -> tuple[pa.ChunkedArray, dict[int, tuple[str, str]]]:
    """Lists as texts, with the column's separator between their values; and rows that have a value with the separator inside."""
    lists = _whole(values)
    flat, parent = lists.flatten(), pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    if pa.types.is_dictionary(flat.type):
        flat = flat.dictionary_decode()
    _check_type(flat.type, column)
    text = _texts(flat, column).fill_null("")
    inside = pc.match_substring(text, column.separator).to_numpy(zero_copy_only=False)
    why = f"{column.key} has a value that holds {column.separator!r}, the separator of column {column.name}; give it another one"
    refused = {int(row): ("type", why) for row in np.unique(parent[inside])}
    there = pc.not_equal(text, "").to_numpy(zero_copy_only=False)
    size = np.bincount(parent[there], minlength=len(lists))
    offsets = pa.array(np.concatenate([[0], np.cumsum(size)]), pa.int32())
    made = pa.ListArray.from_arrays(offsets, text.filter(pa.array(there)))
    return pa.chunked_array([pc.binary_join(made, column.separator)]), refused


def _without_unwritable(found: Coded, path: str) -> Coded:
    """Refuses rows whose text holds a tab or a line end: no text of a column may."""
    content = found.distinct.buffers()[2]
    raw = content.to_pybytes() if content else b""
    if not any(byte in raw for byte in (b"\t", b"\r", b"\n")):
        return found
    bad = np.append([False], pc.match_substring_regex(found.distinct, _UNWRITABLE).to_numpy(zero_copy_only=False))
    why = ("type", f"{path} holds a tab or a line end, which no text of a column may")
    return found._replace(refused=found.refused | {int(row): why for row in bad[found.place].nonzero()[0]})
