"""Rows of counts in few bytes: most are small whole numbers, and few bytes hold those exactly.

A number takes 1, 2 or 4 bytes: an unsigned whole number, or all of the float32. Rows that so few bytes do not hold stand beside.
"""

import functools
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

ROWS_AT_ONCE = 1 << 18
_TYPES = {1: np.uint8, 2: np.uint16}  # by bytes a number


class Part(NamedTuple):
    """Some rows, one after the other.

    Attributes:
      codes: uint8 [n, w], uint16 [n, w] or float32 [n, w]; the largest whole number stands for a row that is beside.
      rows: int32 [m], ascending, which rows are beside; with float32 none.
      values: float32 [m, w], those rows.
    """

    codes: np.ndarray
    rows: np.ndarray
    values: np.ndarray

    @property
    def width(self) -> int:
        """Bytes a number."""
        return self.codes.itemsize

    @property
    def nbytes(self) -> int:
        """All of it."""
        return self.codes.nbytes + self.rows.nbytes + self.values.nbytes


def encode(values: np.ndarray, width: int = 1) -> Part:
    """float32 [n, w] in as few bytes as hold it, from a width on: exact to the bit, whatever the numbers are."""
    part = encode_by(values, width)
    # With twice the width, the codes alone would take less.
    return encode(values, 2 * width) if part.nbytes > 2 * part.codes.nbytes else part


def encode_by(values: np.ndarray, width: int) -> Part:
    """float32 [n, w] by so many bytes a number, however many rows are beside then."""
    if width == 4:
        return Part(values, np.zeros([0], np.int32), np.zeros([0, values.shape[1]], np.float32))
    most = np.iinfo(_TYPES[width]).max
    with np.errstate(invalid="ignore"):  # what does not fit becomes any number, which is another one
        codes = values.astype(_TYPES[width])
    other = (codes != values) | (codes == most)
    if values.view(np.int32).min(initial=0) < 0:  # -0 equals 0
        other |= np.signbit(values)
    rows = np.unique(np.flatnonzero(other) // values.shape[1]).astype(np.int32)  # other.any(axis=1) takes ten times as long
    codes[rows] = most
    return Part(codes, rows, values[rows])


def decode(part: Part) -> np.ndarray:
    """float32 [n, w], as it was."""
    values = part.codes.astype(np.float32)
    values[part.rows] = part.values
    return values


def compress(codes: np.ndarray) -> bytes:
    """Codes as a zlib stream. Counts of hashed values have no pattern that repeats: only that some are frequent."""
    return _compressed(np.ascontiguousarray(codes)) if codes.any() else _zeros(codes.nbytes)


@functools.cache
def _zeros(num_bytes: int) -> bytes:
    """Of a new model's counts, one for all parts."""
    return _compressed(np.zeros(num_bytes, np.uint8))


def _compressed(codes: np.ndarray) -> bytes:
    stream = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_HUFFMAN_ONLY)
    return stream.compress(codes) + stream.flush()


def parts_of(table: tf.Variable) -> Iterator[Part]:
    """All rows of a variable, float32 [R, w], of one replica, some at once. It is never copied as a whole."""
    width, num_rows = 1, table.shape[0]
    for begin in range(0, num_rows, ROWS_AT_ONCE):
        part = encode(read(table, begin, min(begin + ROWS_AT_ONCE, num_rows)).numpy(), width)
        width = part.width
        yield part


def read(table: tf.Variable, begin: int | tf.Tensor, end: int | tf.Tensor) -> tf.Tensor:
    """Some rows of a variable of one replica. A slice would copy the whole variable first, once a step has written rows of it."""
    return tf.raw_ops.ResourceGather(resource=table.handle, indices=tf.range(begin, end), dtype=table.dtype)


def write(table: tf.Variable, begin: int, values: np.ndarray) -> None:
    """Sets some rows of a variable of one replica, [n, w], from a row on."""
    rows = tf.range(begin, begin + len(values))
    tf.raw_ops.ResourceScatterUpdate(resource=table.handle, indices=rows, updates=tf.constant(values))


def all_finite(variable: tf.Variable) -> tf.Tensor:
    """Whether no number of a variable is NaN or infinite, bool []; of a large one some rows at once, so that it is not copied."""
    first = tf.distribute.get_strategy().experimental_local_results(variable)[0]
    if not first.shape.rank or first.shape[0] <= ROWS_AT_ONCE:
        return tf.reduce_all(tf.math.is_finite(first))

    def look(begin: tf.Tensor, finite: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        end = tf.minimum(begin + ROWS_AT_ONCE, first.shape[0])
        return end, finite & tf.reduce_all(tf.math.is_finite(read(first, begin, end)))

    loop_vars = tf.constant(0), tf.constant(True)
    return tf.while_loop(lambda begin, _: begin < first.shape[0], look, loop_vars, parallel_iterations=1)[1]
