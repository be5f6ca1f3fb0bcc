"""A large table of counts to score by: in few bytes a number in memory, and compressed in a SavedModel.

A row has 1, 2 or 4 bytes a number, as many as the table needs when it is given (small_counts). Which rows are beside is looked up
where a code says so. Stock TensorFlow reads such a SavedModel: the codes are a resource, which the SavedModel's initialiser fills.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfonline.model.tables import small_counts
from tfonline.model.tables.small_counts import ROWS_AT_ONCE

_PARTS = {"codes", "packed", "rows", "values"}
_numbers = itertools.count()


class ServedCounts(tf.Module):
    """float32 [R, w], zeros at first.

    Args:
      num_rows: R.
      columns: w.
    """

    dtype = tf.float32

    def __init__(self, num_rows: int, columns: int):
        super().__init__(name="served_counts")
        self.shape = tf.TensorShape([num_rows, columns])
        with tf.device("CPU:0"):  # a GPU looks up no bytes
            self.packed = tf.Variable([""], shape=[None], trainable=False)
            self.codes = _Codes(self.packed, num_rows)
            self.rows = tf.Variable(tf.zeros([0], tf.int32), shape=[None], trainable=False)  # those that are beside, ascending
            self.values = tf.Variable(tf.zeros([0, columns]), shape=[None, columns], trainable=False)
            self._make_room(1)

    def read_rows(self, ids: tf.Tensor) -> tf.Tensor:
        """int [...] to float32 [..., w]."""
        return _read(self.codes.resource_handle, self.rows, self.values, ids)

    def read_value(self) -> tf.Tensor:
        """All of it."""
        return tf.concat([self.read_rows(ids) for ids in _ids(self.shape[0])], axis=0)

    def assign(self, parts: Iterable[np.ndarray]) -> None:
        """Takes over all rows, float32 [n, w], some after the other.

        Raises:
          ValueError: they are others than R.
        """
        encoded = [small_counts.encode(values) for values in parts]
        begins = np.cumsum([0, *(len(part.codes) for part in encoded)]).tolist()
        if begins[-1] != self.shape[0] or any(part.codes.shape[1:] != self.shape[1:] for part in encoded):
            raise ValueError(f"it has {begins[-1]} rows of counts, for {self.shape}")
        width = max(part.width for part in encoded)
        if width != self._width:
            self._make_room(width)
        rows, values = [], []
        for begin, part in zip(begins, encoded, strict=False):
            if part.width != width:
                part = small_counts.encode_by(small_counts.decode(part), width)
            self.codes.write(np.arange(begin, begin + len(part.codes)), part.codes)
            rows.append(part.rows + begin)
            values.append(part.values)
        self.rows.assign(np.concatenate(rows))
        self.values.assign(np.concatenate(values))

    def pack(self) -> None:
        """Before a SavedModel is written: it holds the codes compressed."""
        gathered = (_codes_of(self.codes.resource_handle, ids) for ids in _ids(self.shape[0]))
        self.packed.assign([small_counts.compress(codes.numpy()) for codes in gathered])

    def unpack(self) -> None:
        """After it was written: what is compressed is not needed here."""
        self.packed.assign([""])

    def _make_room(self, width: int) -> None:
        self._width = width
        zeros = tf.zeros([self.shape[0], self.shape[1] * width], tf.uint8)
        tf.raw_ops.AssignVariableOp(resource=self.codes.resource_handle, value=zeros)


class _Codes(tf.saved_model.experimental.TrackableResource):
    """uint8 [R, bytes a row]. A variable would stand in a SavedModel as it is."""

    def __init__(self, packed: tf.Variable, num_rows: int):
        super().__init__(device="CPU:0")
        self._packed, self._num_rows, self._shared_name = packed, num_rows, f"served_counts_{next(_numbers)}"

    def write(self, ids: np.ndarray, codes: np.ndarray) -> None:
        """Sets rows to whole numbers or floats, [n, w]."""
        _write(self.resource_handle, ids, codes)

    def _create_resource(self) -> tf.Tensor:
        return tf.raw_ops.VarHandleOp(dtype=tf.uint8, shape=[self._num_rows, None], shared_name=self._shared_name)

    def _initialize(self) -> None:
        # Part by part, so that it takes little memory beside the codes.
        packed, handle, first = self._packed.read_value(), self.resource_handle, min(ROWS_AT_ONCE, self._num_rows)

        def of_part(i: int | tf.Tensor) -> tf.Tensor:
            return tf.io.decode_raw(tf.io.decode_compressed(packed[i], "ZLIB"), tf.uint8)

        size = tf.size(of_part(0)) // first
        tf.raw_ops.AssignVariableOp(resource=handle, value=tf.zeros([self._num_rows, size], tf.uint8))

        def write_part(i: tf.Tensor) -> tuple[tf.Tensor]:
            codes = tf.reshape(of_part(i), [-1, size])
            ids = i * ROWS_AT_ONCE + tf.range(tf.shape(codes)[0])
            tf.raw_ops.ResourceScatterUpdate(resource=handle, indices=ids, updates=codes)
            return (i + 1,)

        tf.while_loop(lambda i: i < tf.size(packed), write_part, [tf.constant(0)], parallel_iterations=1)


class LoadedCounts:
    """A ServedCounts of a SavedModel that was loaded, which deltas move on.

    Args:
      loaded: what tf.saved_model.load has made of it.
    """

    dtype = tf.float32

    def __init__(self, loaded: Any):
        self._handle, self._rows, self._values = loaded.codes.resource_handle, loaded.rows, loaded.values
        num_rows, size = tf.raw_ops.VariableShape(input=self._handle).numpy().tolist()
        self.shape = tf.TensorShape([num_rows, self._values.shape[1]])
        self._width = size // self.shape[1]
        loaded.packed.assign([""])  # it has been read

    def gather(self, ids: np.ndarray) -> np.ndarray:
        """float32 [n, w], of ids, int64 [n]."""
        return _read(self._handle, self._rows, self._values, tf.constant(ids, tf.int32)).numpy()

    def release(self) -> None:
        """Gives the codes' memory back; rows are scored by the SavedModel no more. By itself TensorFlow keeps it for good."""
        tf.raw_ops.DestroyResourceOp(resource=self._handle, ignore_lookup_error=True)

    def numpy(self) -> np.ndarray:
        """All of it."""
        return np.concatenate([self.gather(ids) for ids in _ids(self.shape[0])])

    def assign(self, values: np.ndarray) -> None:
        """Sets all rows, float32 [R, w]."""
        self.scatter(np.arange(self.shape[0]), values)

    def scatter(self, ids: np.ndarray, values: np.ndarray) -> None:
        """Sets rows, int64 [n], ascending, to float32 [n, w]."""
        part, rows = small_counts.encode_by(values, self._width), self._rows.numpy()
        _write(self._handle, ids, part.codes)
        stay = ~np.isin(rows, ids)
        both = np.concatenate([rows[stay], ids[part.rows].astype(np.int32)])
        order = np.argsort(both)
        self._values.assign(np.concatenate([self._values.numpy()[stay], part.values])[order])
        self._rows.assign(both[order])


def as_stored(values: np.ndarray) -> dict[str, np.ndarray]:
    """The variables of a SavedModel by name that hold counts, float32 [R, w]."""
    part = small_counts.encode(values)
    packed = [small_counts.compress(part.codes[ids]) for ids in _ids(len(values))]
    return {"packed": np.array(packed, object), "rows": part.rows, "values": part.values}


def is_served_counts(children: Iterable[str]) -> bool:
    """Whether an object with these attributes is a ServedCounts of a SavedModel that was loaded."""
    return set(children) >= _PARTS


def _ids(num_rows: int) -> Iterator[np.ndarray]:
    return (np.arange(i, min(i + ROWS_AT_ONCE, num_rows), dtype=np.int32) for i in range(0, num_rows, ROWS_AT_ONCE))


def _codes_of(handle: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.ResourceGather(resource=handle, indices=ids, dtype=tf.uint8)


def _write(handle: tf.Tensor, ids: np.ndarray, codes: np.ndarray) -> None:
    updates = np.ascontiguousarray(codes).view(np.uint8)
    with tf.device("CPU:0"):
        tf.raw_ops.ResourceScatterUpdate(resource=handle, indices=tf.constant(ids, tf.int32), updates=tf.constant(updates))


def _read(handle: tf.Tensor, rows: tf.Variable, values: tf.Variable, ids: tf.Tensor) -> tf.Tensor:
    """int [...] to float32 [..., w]."""
    with tf.device("CPU:0"):
        ids, columns = tf.cast(ids, tf.int32), values.shape[1]
        codes, shape = _codes_of(handle, ids), tf.concat([tf.shape(ids), [columns]], axis=0)

        def whole_numbers(dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
            each = codes if dtype == tf.uint8 else tf.bitcast(tf.reshape(codes, tf.concat([shape, [dtype.size]], axis=0)), dtype)
            each = tf.reshape(each, shape)
            return tf.cast(each, tf.float32), tf.reduce_any(tf.equal(each, tf.constant(dtype.max, dtype)), axis=-1)

        def floats() -> tuple[tf.Tensor, tf.Tensor]:
            each = tf.bitcast(tf.reshape(codes, tf.concat([shape, [4]], axis=0)), tf.float32)
            return each, tf.zeros(tf.shape(ids), tf.bool)

        width = tf.shape(codes)[-1] // columns
        ways = [lambda: whole_numbers(tf.uint8), lambda: whole_numbers(tf.uint16), floats]
        found, beside = tf.switch_case(width // 2, ways)

        def with_those_beside() -> tf.Tensor:
            place = tf.reshape(tf.searchsorted(rows, tf.reshape(ids, [-1])), tf.shape(ids))
            return tf.where(beside[..., None], tf.gather(values, tf.where(beside, place, 0)), found)

        found = tf.cond(tf.reduce_any(beside), with_those_beside, lambda: found)
        return tf.ensure_shape(found, [*ids.shape, columns])
