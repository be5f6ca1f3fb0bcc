"""The rows of Arrow messages as arrays and one text, as the graph gets them. Imports no TensorFlow."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfonline.formats.arrow import Arrow
from tfonline.formats.by_python import messages_of
from tfonline.string_tensor import serialized

if TYPE_CHECKING:
    import pyarrow as pa

    from tfonline.features.column import Column


def arrays_of(form: Arrow, sizes: np.ndarray, content: bytes, columns: "Sequence[Column]", numbers: Sequence[str]) -> tuple:
    """What coded.decode makes tensors of, see Arrow.read.

    Returns:
      Of all columns with texts '' and their distinct texts as string_tensor.serialized has them, how many of these each column has,
      int64 [n], and of Rows: place, reason, message, row, and for each kind of `numbers` the numbers and which are there.
    """
    rows = form.read(messages_of(sizes, content), columns, numbers)
    of_numbers = (array for kind in numbers for array in rows.numbers[kind])
    text = serialized(*_texts(rows.distinct, rows.first))
    return text, np.diff(rows.first) + 1, rows.place, rows.reason, rows.message, rows.row, *of_numbers


def _texts(distinct: "pa.StringArray", first: np.ndarray) -> tuple[np.ndarray, bytes | memoryview]:
    """The sizes of the texts in bytes, with '' before those of each column, and the texts one behind the other."""
    _, offsets, content = distinct.buffers()
    ends = np.frombuffer(offsets, np.int32)[distinct.offset : distinct.offset + len(distinct) + 1]
    sizes = np.insert(np.diff(ends), first[:-1], 0)
    return sizes, memoryview(content)[ends[0] : ends[-1]] if content else b""
