"""A large table of counts as a checkpoint has it: compressed."""

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfonline.keep.variables import as_objects
from tfonline.model.tables import small_counts
from tfonline.model.tables.served_counts import ServedCounts
from tfonline.model.tables.small_counts import Part

# Behind the name of a variable in a checkpoint: packed, and as it is.
KEY, _KEY_AS_IT_IS = "/.ATTRIBUTES/py_state", "/.ATTRIBUTES/VARIABLE_VALUE"
# Smaller ones gain little.
_FEW_BYTES = 1 << 20


def is_packed(variable: Any) -> bool:
    """Whether a table of counts, float32 [R, w], is large enough to be written in this way."""
    return variable.dtype == tf.float32 and variable.shape.rank == 2 and variable.shape.num_elements() * 4 >= _FEW_BYTES


class PackedCounts(tf.train.experimental.PythonState):
    """A table of counts in a checkpoint, and a copy of it in memory, in few bytes.

    Args:
      table: float32 [R, w].
    """

    def __init__(self, table: tf.Variable):
        # The first replica's: in another thread a strategy does not say which it is.
        (self._table, *_), self._parts = tf.distribute.get_strategy().experimental_local_results(table), None

    def take(self) -> None:
        """Copies the table as it is now. What is counted afterwards does not reach the copy."""
        self._parts = list(small_counts.parts_of(self._table))

    def serialize(self) -> bytes:
        """What a checkpoint holds: the copy, which is given up; the table as it is now, where none was taken."""
        parts, self._parts = self._parts, None
        return pack(small_counts.parts_of(self._table) if parts is None else _given_up(parts))

    def deserialize(self, string_value: bytes) -> None:
        """Not called: tables are read by `read`, all replicas' copies of them."""
        raise NotImplementedError


def read(checkpoint: str, variables: Mapping[str, Any]) -> None:
    """Reads variables by name from a checkpoint, whether it holds them packed or as they are.

    Args:
      checkpoint: its path without a suffix, and without what TensorFlow takes for a pattern.

    Raises:
      tf.errors.OpError, IndexError: it is damaged.
      AssertionError, ValueError: it holds other variables.
    """
    reader = tf.train.load_checkpoint(checkpoint)
    packed = {name for name in variables if reader.has_tensor(name + KEY)}
    served = {name for name, v in variables.items() if isinstance(v, ServedCounts)}
    as_they_are = {name: v for name, v in variables.items() if name not in packed | served}
    # Not `restore`, which wants a save_counter. Only format 1 has one: it stays unread, and nobody is warned of that.
    # Made anew: a tf.train.Checkpoint that failed to read does not read another.
    read = tf.train.Checkpoint(**as_objects(as_they_are)).read(checkpoint)
    read.assert_existing_objects_matched().expect_partial()
    for name in packed | served:
        parts = unpack(reader.get_tensor(name + KEY)) if name in packed else [reader.get_tensor(name + _KEY_AS_IT_IS)]
        if name in served:
            variables[name].assign(parts)
        else:
            _assign(variables[name], parts)


def unpacked(reader: Any) -> dict[str, np.ndarray]:
    """What a checkpoint holds packed, by the variables' names: all of it, as numbers.

    Args:
      reader: of the checkpoint, as tf.train.load_checkpoint gives it.
    """
    names = (n.removesuffix(KEY) for n in reader.get_variable_to_shape_map() if n.startswith("learner/") and n.endswith(KEY))
    return {name: np.concatenate(list(unpack(reader.get_tensor(name + KEY)))) for name in names}


def pack(parts: Iterable[Part]) -> bytes:
    """A line of JSON with the sizes, and then each part's codes, compressed, its rows beside and their values."""
    sizes, content = [], []
    for part in parts:
        codes = small_counts.compress(part.codes)
        sizes.append([*part.codes.shape, part.codes.dtype.str, len(codes), len(part.rows)])
        content += [codes, part.rows.astype("<i4").tobytes(), part.values.astype("<f4").tobytes()]
    return b"\n".join([json.dumps(sizes).encode(), b"".join(content)])


def unpack(packed: bytes) -> Iterator[np.ndarray]:
    """The table's rows, float32 [n, w], some after the other.

    Raises:
      ValueError, zlib.error: it is something else.
    """
    sizes, _, content = packed.partition(b"\n")
    at = 0

    def next_bytes(count: int) -> bytes:
        nonlocal at
        at += count
        return content[at - count : at]

    for n, columns, dtype, size, beside in json.loads(sizes):
        codes = np.frombuffer(zlib.decompress(next_bytes(size)), dtype).reshape(n, columns)
        rows = np.frombuffer(next_bytes(4 * beside), "<i4")
        yield small_counts.decode(Part(codes, rows, np.frombuffer(next_bytes(4 * beside * columns), "<f4").reshape(-1, columns)))


def _assign(table: Any, parts: Iterable[np.ndarray]) -> None:
    """Gives a variable, all replicas' copies of it, its rows.

    Raises:
      ValueError: they are those of another shape.
    """
    copies, begin = table.values if isinstance(table, tf.distribute.DistributedValues) else [table], 0
    for values in parts:
        if begin + len(values) > table.shape[0] or values.shape[1:] != tuple(table.shape[1:]):
            raise ValueError(f"it has other counts: rows of {values.shape[1:]}, {begin + len(values)} at least, for {table.shape}")
        for copy in copies:
            small_counts.write(copy, begin, values)
        begin += len(values)
    if begin != table.shape[0]:
        raise ValueError(f"it has {begin} rows of counts, for {table.shape}")


def _given_up(parts: list[Part]) -> Iterator[Part]:
    """Each one, after which nobody holds it."""
    parts.reverse()
    while parts:
        yield parts.pop()
