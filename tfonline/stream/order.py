"""The order of rows, made in one place for every reader: the rows of a window in chunks, the partitions in turns, then batches.

A journal is replayed in this order, so nothing of it may depend on the reader or on how a read went. It stands here twice: as a
tf.data graph, for readers that give graphs, and in Python, for readers that give rows. tests/stream/test_order.py holds one against
the other.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfonline.stream.raw import Origin, RawBatch
from tfonline.stream.readers import Reader, RowReader
from tfonline.stream.windows import Window

# Part of the order of rows: partitions take turns by chunks, so another size trains the same rows in another order.
CHUNK_ROWS = 512


def make_raw_batches(
    planner: Iterable[Window | None],
    reader: Reader | RowReader,
    batch_size: int,
    groups: int = 1,
    own: int | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> tf.data.Dataset:
    """Gives the rows of the planner's windows: `(RawBatch, window int64, last bool)`.

    Each window ends with an empty batch marked last, so that a window is seen to end whatever rows it turned out to hold. A tick
    is an empty batch of window -1.

    With several groups, a partition belongs to the group of its number modulo `groups`, and each group gives `batch_size // groups`
    rows to each batch of a window, for as long as it has any. A batch then holds the same rows wherever the groups are read: all
    here, or each by a worker of its own.

    Args:
      planner: gives `Window` or, for a tick, None.
      reader: reads the ranges.
      batch_size: rows a batch; only the last ones of a window are short.
      groups: of partitions.
      own: the group that is read here, its part of each batch by itself; None: all of them.
      stopped: whether a window of which nothing was handed on yet need not be read any more; the rows then end. A Reader cannot be
        asked to end, so this is for a RowReader.
    """
    if isinstance(reader, RowReader):
        return _from_python(planner, reader, batch_size, groups, own, stopped)
    return _in_graph(planner, reader, batch_size, groups, own)


# In a graph


def _in_graph(planner: Iterable[Window | None], reader: Reader, batch_size: int, groups: int, own: int | None) -> tf.data.Dataset:
    def plan():
        for w in planner:
            if w is None:
                yield -1, [], [], []
            else:
                yield w.number, w.read, [w.start[p] for p in w.read], [w.stop[p] for p in w.read]

    def rows_of(partition, start, stop):
        # Cut anew, whatever pieces the reader gives: the bounds of the chunks count from the window's start.
        chunks = reader.rows(partition, start, stop).rebatch(CHUNK_ROWS)

        def batch(message, offset):
            unknown = tf.fill(tf.shape(message), tf.constant(-1, tf.int64))
            origin = Origin(tf.fill(tf.shape(message), tf.cast(partition, tf.int32)), offset, unknown)
            return RawBatch(message, origin, tf.zeros(tf.shape(message), tf.bool))

        return chunks.map(batch)

    def group(number, partitions, starts, stops):
        mine = partitions % groups == number
        ranges = tf.data.Dataset.from_tensor_slices(tuple(tf.boolean_mask(t, mine) for t in (partitions, starts, stops)))
        # As many reads in flight as partitions: with fewer, some starve. The window says how many: a topic may get more.
        in_flight = tf.maximum(tf.math.count_nonzero(mine), 1)
        rows = ranges.interleave(rows_of, cycle_length=in_flight, num_parallel_calls=in_flight, deterministic=True)
        return rows.rebatch(batch_size // groups)

    @tf.autograph.experimental.do_not_convert  # generators inside; nothing here needs converting
    def window(number, partitions, starts, stops):
        origin = Origin(tf.zeros([0], tf.int32), tf.zeros([0], tf.int64), tf.zeros([0], tf.int64))
        nothing = RawBatch(tf.zeros([0], tf.string), origin, tf.zeros([0], tf.bool))
        parts = [group(g, partitions, starts, stops) for g in (range(groups) if own is None else [own])]
        batches = parts[0] if len(parts) == 1 else _side_by_side(parts, nothing)
        end = tf.data.Dataset.from_tensors((nothing, number, True))
        return batches.map(lambda raw: (raw, number, False)).concatenate(end)

    vector = tf.TensorSpec([None], tf.int64)
    windows = tf.data.Dataset.from_generator(plan, output_signature=(tf.TensorSpec([], tf.int64), vector, vector, vector))
    return windows.flat_map(window)


def _side_by_side(parts: Sequence[tf.data.Dataset], nothing: RawBatch) -> tf.data.Dataset:
    """The first batches of all parts as one, then the second ones, and so on until the longest part ends."""
    padding = tf.data.Dataset.from_tensors(nothing).repeat()
    rows = tf.data.Dataset.zip(tuple(part.concatenate(padding) for part in parts))
    rows = rows.map(lambda *parts: tf.nest.map_structure(lambda *x: tf.concat(x, axis=0), *parts))
    return rows.take_while(lambda raw: tf.size(raw.message) > 0)


# In Python. A None among rows or batches says that the next ones have not come yet.


class _Columns:
    """Rows of any partitions, one behind the other: a list a column."""

    def __init__(self) -> None:
        self.columns: tuple[list, ...] = ([], [], [], [])  # message, partition, offset, time

    def __len__(self) -> int:
        return len(self.columns[0])

    def add(self, columns: Sequence[list]) -> None:
        """Appends rows."""
        for mine, more in zip(self.columns, columns, strict=True):
            mine += more

    def first(self, count: int) -> tuple[list, ...]:
        """Takes away the first rows, as many as there are of `count`."""
        taken = tuple(column[:count] for column in self.columns)
        for column in self.columns:
            del column[:count]
        return taken


def _in_turns(reader: RowReader, ranges: list[tuple[int, int]]) -> Iterator[tuple[list, ...] | None]:
    """Chunks of the ranges `(partition, stop)`, as columns, the partitions in turns."""
    while ranges:
        left = []
        for partition, stop in ranges:
            while (rows := reader.take(partition, stop, CHUNK_ROWS)) is None:
                yield None
                reader.wait()
            count = len(rows.offsets)
            if count:
                yield rows.values, [partition] * count, rows.offsets, rows.times
            if count == CHUNK_ROWS:
                left.append((partition, stop))
        ranges = left


def _rebatched(chunks: Iterable[tuple[list, ...] | None], rows: int) -> Iterator[tuple[list, ...] | None]:
    """The same rows, so many at a time."""
    held = _Columns()
    for chunk in chunks:
        if chunk is None:
            yield None
            continue
        held.add(chunk)
        while len(held) >= rows:
            yield held.first(rows)
    if held:
        yield held.first(rows)


def _beside(parts: Sequence[Iterator[tuple[list, ...] | None]]) -> Iterator[tuple[list, ...] | None]:
    """The first batches of all parts as one, then the second ones, and so on until the longest part ends."""
    while True:
        batch = _Columns()
        for part in parts:
            while (columns := next(part, ())) is None:
                yield None
            if columns:
                batch.add(columns)
        if not batch:
            return
        yield batch.columns


def batches_of(
    window: Window, reader: RowReader, batch_size: int, groups: int = 1, own: int | None = None
) -> Iterator[tuple[list, ...] | None]:
    """The batches of a window in Python: (messages, partitions, offsets, times), or None while rows have not come."""
    mine = [p for p in range(len(window.start)) if own in (None, p % groups)]
    if window.read:
        reader.begin({p: window.start[p] for p in mine})  # those that this window leaves out, too: their rows come meanwhile
    parts = [
        _rebatched(_in_turns(reader, [(p, window.stop[p]) for p in window.read if p % groups == g]), batch_size // groups)
        for g in (range(groups) if own is None else [own])
    ]
    return parts[0] if len(parts) == 1 else _beside(parts)


def _from_python(
    planner: Iterable[Window | None],
    reader: RowReader,
    batch_size: int,
    groups: int,
    own: int | None,
    stopped: Callable[[], bool],
) -> tf.data.Dataset:
    # Few arrays, and each batch by itself: an array costs a step of the generator as much as many rows, and a graph that takes
    # several batches apart costs more than it saves.
    def element(columns: Sequence[list], window: int, last: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values, *numbers = columns
        message = np.array(values, object)  # never numpy's fixed width, which loses trailing zero bytes
        tombstone = np.equal(message, None).astype(bool)
        if tombstone.any():
            message[tombstone] = b""
        return message, np.array([*numbers, tombstone], np.int64), np.array([window, last], np.int64)

    nothing = ([], [], [], [])

    def generate():
        for window in planner:
            if window is None:
                yield element(nothing, -1, True)
                continue
            begun = False
            for batch in batches_of(window, reader, batch_size, groups, own):
                if batch is not None:
                    begun = True
                    yield element(batch, window.number, False)
                elif not begun and stopped():
                    return
            yield element(nothing, window.number, True)

    def batch(message, numbers, bounds):
        partition, offset, time_ms, tombstone = tf.unstack(numbers)
        raw = RawBatch(message, Origin(tf.cast(partition, tf.int32), offset, time_ms), tf.cast(tombstone, tf.bool))
        return raw, bounds[0], tf.cast(bounds[1], tf.bool)

    spec = (tf.TensorSpec([None], tf.string), tf.TensorSpec([4, None], tf.int64), tf.TensorSpec([2], tf.int64))
    return tf.data.Dataset.from_generator(generate, output_signature=spec).map(batch)
