"""The keys `<column>_<value>` of a dictionary, by the million: of which column each is, and its value.

Imports no TensorFlow, and pyarrow where there are many keys: to load it takes as long as a hundred thousand keys do one by one.
"""

from collections.abc import Container, Sequence
from typing import NamedTuple

import numpy as np

MANY = 100_000


class Entries(NamedTuple):
    """Keys taken apart.

    Attributes:
      column: of which column each is, an index into the columns, int64 [n]; -1: of none.
      size: bytes of each value in UTF-8, int64 [n]; 0 where it is of no column.
      content: the values, one behind the other.
    """

    column: np.ndarray
    size: np.ndarray
    content: bytes


def take_apart(keys: Sequence[str], columns: Sequence[str]) -> Entries:
    """Takes keys apart. Of the columns' names none may be the beginning of another's values, see dictionaries.check_names."""
    if len(keys) < MANY or any("_" in name for name in columns):
        return _one_by_one(keys, columns)
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = pc.split_pattern(pa.array(keys, pa.large_string()), "_", max_splits=1)
    begins, texts = parts.offsets.to_numpy(), parts.values  # of each key one text, or two
    names = texts.take(pa.array(begins[:-1]))
    column = pc.fill_null(pc.index_in(names, pa.array(columns, pa.large_string())), -1).to_numpy().astype(np.int64)
    column[np.diff(begins) < 2] = -1
    known = column >= 0
    values = texts.take(pa.array(begins[:-1][known] + 1))
    size = np.zeros(len(keys), np.int64)
    size[known] = pc.binary_length(values).to_numpy()
    _, ends, content = values.buffers()
    first, last = np.frombuffer(ends, np.int64)[[values.offset, values.offset + len(values)]]
    return Entries(column, size, content[first:last].to_pybytes() if last > first else b"")


def _one_by_one(keys: Sequence[str], columns: Sequence[str]) -> Entries:
    places = {name: i for i, name in enumerate(columns)}
    names = [_column_of(key, places) for key in keys]
    values = [key[len(name) + 1 :].encode() if name else b"" for key, name in zip(keys, names, strict=True)]
    column = np.fromiter((places.get(name, -1) for name in names), np.int64, len(keys))
    return Entries(column, np.fromiter(map(len, values), np.int64, len(keys)), b"".join(values))


def _column_of(key: str, columns: Container[str]) -> str:
    """Which of the columns a key is of; '' where of none."""
    end = key.find("_")
    while end >= 0:
        if (name := key[:end]) in columns:
            return name
        end = key.find("_", end + 1)
    return ""
