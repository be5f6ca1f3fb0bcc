"""The order of rows, made in one place for every reader: the rows of a window in chunks, the partitions in turns, then batches.

A journal is replayed in this order, so nothing of it may depend on the reader or on how a read went. It is made twice, as a graph
for a Reader and in Python for a RowReader, and tests hold the two together.
"""

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfonline.stream.labels.join import Join
from tfonline.stream.raw import Origin, RawBatch, raw_batch_spec
from tfonline.stream.readers import NO_TIME, Reader, RowReader, Rows
from tfonline.stream.readers.packed import TOMBSTONE, PackedRows, columns_of, pack, string_tensor
from tfonline.stream.records import RowsGone
from tfonline.stream.window import Window

# Part of the order of rows: partitions take turns by chunks, so another size trains the same rows in another order.
CHUNK_ROWS = 512
# Python hands over so many rows, bytes or batches at once, where they are there. Each time costs half a millisecond.
_PACK_ROWS, _PACK_BYTES, _PACK_BATCHES = 4096, 1 << 22, 32
_PACKS_OPENED = 2
_WINDOWS_AHEAD = 8
# While a window's outcomes are read, a tick says so often that the run is alive.
_TICK_SECS = 0.5


def make_raw_batches(
    planner: Iterable[Window | None],
    reader: Reader | RowReader,
    batch_size: int,
    groups: int = 1,
    own: int | None = None,
    join: Join | None = None,
) -> tf.data.Dataset:
    """Follows the planner: `(RawBatch, window int64, last bool)`.

    Each window ends with an empty batch marked last, so that a window is seen to end whatever rows it turned out to hold. A tick
    is an empty batch of window -1.

    With several groups, a partition belongs to the group of its number modulo `groups`, and each group gives `batch_size // groups`
    rows to each batch of a window, for as long as it has any. A batch then holds the same rows wherever the groups are read: all
    here, or each by a worker of its own.

    Args:
      planner: gives `Window` or, for a tick, None.
      reader: reads ranges of partitions.
      batch_size: rows a batch; only the last ones of a window are short.
      groups: of partitions.
      own: the group that is read here, its part of each batch by itself; None: all of them.
      join: says the rows' labels, where they come in a topic of their own, and which rows are learned from once more. It wants a
        RowReader that gives keys.
    """
    read_here = range(groups) if own is None else [own]
    if hasattr(reader, "take"):
        return _from_python(lambda: _packs(planner, reader, batch_size // groups, groups, read_here, join), reader, bool(join))
    return _from_graph(planner, reader, batch_size // groups, groups, read_here)


# As a graph


def _from_graph(
    planner: Iterable[Window | None], reader: Reader, part_rows: int, groups: int, read_here: Sequence[int]
) -> tf.data.Dataset:
    def plan():
        for w in planner:
            if w is None:
                yield -1, [], [], []
            else:
                yield w.number, w.read, [w.start[p] for p in w.read], [w.stop[p] for p in w.read]

    def rows_of(partition, start, stop):
        # Cut anew, whatever pieces the reader gives: the bounds of the chunks count from the window's start.
        chunks = reader.rows(partition, start, stop).rebatch(CHUNK_ROWS)

        def raw(message, offset):
            origin = Origin(tf.fill(tf.shape(message), tf.cast(partition, tf.int32)), offset, tf.fill(tf.shape(message), _NO_TIME))
            return RawBatch(message, tf.fill(tf.shape(message), False), origin)

        return chunks.map(raw)

    def group(number, partitions, starts, stops):
        mine = partitions % groups == number
        ranges = tf.data.Dataset.from_tensor_slices(tuple(tf.boolean_mask(t, mine) for t in (partitions, starts, stops)))
        # As many reads in flight as partitions: with fewer, some starve. The window says how many: a topic may get more.
        in_flight = tf.maximum(tf.math.count_nonzero(mine), 1)
        rows = ranges.interleave(rows_of, cycle_length=in_flight, num_parallel_calls=in_flight, deterministic=True)
        return rows.rebatch(part_rows)

    @tf.autograph.experimental.do_not_convert  # generators inside; nothing here needs converting
    def window(number, partitions, starts, stops):
        nothing = tf.nest.map_structure(lambda spec: tf.zeros([0], spec.dtype), raw_batch_spec())
        parts = [group(g, partitions, starts, stops) for g in read_here]
        batches = parts[0] if len(parts) == 1 else _side_by_side(parts, nothing)
        end = tf.data.Dataset.from_tensors((nothing, number, True))
        return batches.map(lambda raw: (raw, number, False)).concatenate(end)

    vector = tf.TensorSpec([None], tf.int64)
    windows = tf.data.Dataset.from_generator(plan, output_signature=(tf.TensorSpec([], tf.int64), vector, vector, vector))
    return windows.flat_map(window)


_NO_TIME = np.int64(NO_TIME)


def _side_by_side(parts: Sequence[tf.data.Dataset], nothing: RawBatch) -> tf.data.Dataset:
    """The first batches of all parts as one, then the second ones, and so on until the longest part ends."""
    padding = tf.data.Dataset.from_tensors(nothing).repeat()
    rows = tf.data.Dataset.zip(tuple(part.concatenate(padding) for part in parts))
    rows = rows.map(lambda *parts: tf.nest.map_structure(lambda *x: tf.concat(x, axis=0), *parts))
    return rows.take_while(lambda raw: tf.size(raw.message) > 0)


# In Python


# Rows of any partitions: some of one partition, then some of another one or of the same. Or of each its partition, int32 [k].
_Parts = list[tuple[int | np.ndarray, PackedRows]]


class _Batch(NamedTuple):
    rows: _Parts
    window: int  # -1 for a tick
    last: bool


class _Pack(NamedTuple):
    """Batches one behind the other, as the graph gets them: first their rows, then what is said of each batch."""

    message: np.ndarray  # one object: a serialized tensor, which TensorFlow reads without Python's lock
    tombstone: np.ndarray
    partition: np.ndarray
    offset: np.ndarray
    time_ms: np.ndarray
    outcome: np.ndarray  # empty where rows have their labels
    num_rows: np.ndarray
    window: np.ndarray
    last: np.ndarray


def _from_python(begin: Callable[[], Iterator[_Pack]], reader: RowReader, joined: bool) -> tf.data.Dataset:
    packs: Iterator[_Pack] = iter(())

    def read(index: np.int64) -> tuple[np.ndarray, ...]:
        nonlocal packs
        if index == 0:
            packs = begin()
        try:
            return (*next(packs, _END),)
        except InterruptedError:  # closed: the run is over
            return (*_END,)
        except RowsGone:  # the training loop asks whose they are, and what is to be done
            raise
        except Exception as error:  # tf.data makes a text of its own of it; the training loop raises this one
            reader.error = reader.error or error
            raise

    def opened(message: tf.Tensor, *others: tf.Tensor) -> _Pack:
        message = tf.io.parse_tensor(tf.ensure_shape(message, []), tf.string)
        return _Pack(*(tf.ensure_shape(column, [None]) for column in (message, *others)))

    def batches(pack: _Pack) -> tf.data.Dataset:
        raw = RawBatch(
            pack.message, pack.tombstone, Origin(pack.partition, pack.offset, pack.time_ms), pack.outcome if joined else ()
        )
        stop = tf.cumsum(pack.num_rows)
        ranges = tf.data.Dataset.from_tensor_slices((stop - pack.num_rows, stop, pack.window, pack.last))

        def batch(start, stop, window, last):
            # A slice copies each message, also where it is all of them, as it is for large batches.
            whole = stop - start == tf.size(pack.message, tf.int64)
            rows = tf.nest.map_structure(lambda column: tf.cond(whole, lambda: column, lambda: column[start:stop]), raw)
            return rows, window, last

        return ranges.map(batch)

    types = [tf.string, tf.bool, tf.int32, tf.int64, tf.int64, tf.int8, tf.int64, tf.int64, tf.bool]
    # Not from_generator, which costs a millisecond an element.
    packed = tf.data.Dataset.counter().map(lambda index: tuple(tf.numpy_function(read, [index], types)))
    packed = packed.take_while(lambda *columns: tf.size(columns[-1]) > 0)
    # The texts of a pack are made beside the reading of the next one.
    return packed.map(opened, num_parallel_calls=_PACKS_OPENED, deterministic=True).flat_map(batches)


def _packs(
    planner: Iterable[Window | None],
    reader: RowReader,
    part_rows: int,
    groups: int,
    read_here: Sequence[int],
    join: Join | None,
) -> Iterator[_Pack]:
    """Batches in packs, of one window or of several that are there already: a row is not kept waiting for more of them."""
    held: list[_Batch] = []
    num_rows = num_bytes = 0
    for window, more in _looking_ahead(planner):
        told = time.monotonic()
        if window is None:
            held.append(_Batch([], -1, last=True))
        else:
            reader.place({p: (window.start[p], window.stop[p]) for p in window.read if p % groups in read_here})
            for _ in join.begin(window) if join else ():
                if time.monotonic() - told >= _TICK_SECS:
                    yield _pack([*held, _Batch([], -1, last=True)])
                    held, num_rows, num_bytes, told = [], 0, 0, time.monotonic()
            for rows in _batches(window, reader, part_rows, groups, read_here, join):
                held.append(_Batch(rows, window.number, last=False))
                num_rows += _count(rows)
                num_bytes += sum(len(part.message) for _, part in rows)
                if num_rows >= _PACK_ROWS or num_bytes >= _PACK_BYTES:
                    yield _pack(held)
                    held, num_rows, num_bytes = [], 0, 0
            held.append(_Batch([], window.number, last=True))
        if not more() or len(held) >= _PACK_BATCHES:
            yield _pack(held)
            held, num_rows, num_bytes = [], 0, 0
    if held:
        yield _pack(held)


def _looking_ahead(planner: Iterable[Window | None]) -> Iterator[tuple[Window | None, Callable[[], bool]]]:
    """The planner's windows and ticks, planned in a thread, each with what says whether another one is there already."""
    planned: queue.Queue = queue.Queue(_WINDOWS_AHEAD)

    def plan() -> None:
        try:
            for window in planner:
                planned.put((window, None))
            planned.put((None, StopIteration()))
        except BaseException as error:
            planned.put((None, error))

    threading.Thread(target=plan, name="planner", daemon=True).start()
    while True:
        window, ended = planned.get()
        if isinstance(ended, StopIteration):
            return
        if ended is not None:
            raise ended
        yield window, lambda: not planned.empty()


def _batches(
    window: Window, reader: RowReader, part_rows: int, groups: int, read_here: Sequence[int], join: Join | None
) -> Iterator[_Parts]:
    """The rows of a window, in batches of equal parts of each group."""

    def rows_of(group: int) -> Iterator[tuple[int | np.ndarray, PackedRows]]:
        yield from _in_turns(reader, [p for p in window.read if p % groups == group], join)
        if join:
            yield from join.rest()

    parts = [_cut(rows_of(group), part_rows) for group in read_here]
    for of_groups in itertools.zip_longest(*parts, fillvalue=()):
        yield list(itertools.chain(*of_groups))


def _in_turns(reader: RowReader, partitions: Sequence[int], join: Join | None) -> Iterator[tuple[int | np.ndarray, PackedRows]]:
    """Chunks of the partitions' ranges, the partitions in turns until each range has ended."""
    while partitions:
        go_on = []
        for partition in partitions:
            rows = reader.take(partition, CHUNK_ROWS)
            count = len(rows.offset)
            if count and join:
                yield join.joined(partition, rows)
            elif count:
                yield partition, pack(rows) if isinstance(rows, Rows) else rows
            if count == CHUNK_ROWS:
                go_on.append(partition)
        partitions = go_on


def _cut(chunks: Iterable[tuple[int | np.ndarray, PackedRows]], num_rows: int) -> Iterator[_Parts]:
    """The rows of the chunks by so many; only the last ones are fewer."""
    held: _Parts = []
    room = num_rows
    for partition, rows in chunks:
        first = 0
        while len(rows) - first >= room:
            yield [*held, (_of(partition, first, first + room), rows.part(first, first + room))]
            first += room
            held, room = [], num_rows
        if first < len(rows):
            held.append((_of(partition, first, len(rows)), rows.part(first, len(rows))))
            room -= len(rows) - first
    if held:
        yield held


def _of(partition: int | np.ndarray, start: int, stop: int) -> int | np.ndarray:
    return partition[start:stop] if isinstance(partition, np.ndarray) else partition


def _count(parts: _Parts) -> int:
    return sum(len(rows) for _, rows in parts)


def _pack(batches: Sequence[_Batch]) -> _Pack:
    parts = [part for batch in batches for part in batch.rows]
    rows = [rows for _, rows in parts]
    size, offset, time_ms, outcome = columns_of(rows)
    message = np.empty((), object)  # numpy's own type of bytes would lose trailing zeros
    message[()] = string_tensor(size, rows)
    return _Pack(
        message,
        size == TOMBSTONE,
        _partitions(parts),
        offset,
        time_ms,
        np.zeros(0, np.int8) if outcome is None else outcome,
        num_rows=np.array([_count(batch.rows) for batch in batches], np.int64),
        window=np.array([batch.window for batch in batches], np.int64),
        last=np.array([batch.last for batch in batches], bool),
    )


def _partitions(parts: _Parts) -> np.ndarray:
    """Of each row, int32."""
    if any(isinstance(partition, np.ndarray) for partition, _ in parts):
        return np.concatenate([partition for partition, _ in parts])
    return np.repeat(np.array([partition for partition, _ in parts], np.int32), [len(rows) for _, rows in parts])


# Behind the last pack: no batch at all.
_END = _pack([])
