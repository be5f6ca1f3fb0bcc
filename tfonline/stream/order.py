"""The order of rows, made in one place for every reader: the rows of a window in chunks, the partitions in turns, then batches.

A journal is replayed in this order, so nothing of it may depend on the reader or on how a read went.
"""

from collections.abc import Iterable, Sequence

import tensorflow as tf

from tfonline.stream.raw import Origin, RawBatch
from tfonline.stream.readers import Reader

# Part of the order of rows: partitions take turns by chunks, so another size trains the same rows in another order.
CHUNK_ROWS = 512


def make_raw_batches(
    planner: Iterable, reader: Reader, batch_size: int, groups: int = 1, own: int | None = None
) -> tf.data.Dataset:
    """Follows the planner: `(RawBatch, window int64, last bool)`.

    Each window ends with an empty batch marked last, so that a window is seen to end whatever rows it turned out to hold. A tick
    is an empty batch of window -1.

    With several groups, a partition belongs to the group of its number modulo `groups`, and each group gives `batch_size // groups`
    rows to each batch of a window, for as long as it has any. A batch then holds the same rows wherever the groups are read: all
    here, or each by a worker of its own.

    Args:
      planner: gives `Window` or, for a tick, None.
      reader: reads a range of one partition.
      batch_size: rows a batch; only the last ones of a window are short.
      groups: of partitions.
      own: the group that is read here, its part of each batch by itself; None: all of them.
    """

    def plan():
        for w in planner:
            if w is None:
                yield -1, [], [], []
            else:
                yield w.number, w.read, [w.start[p] for p in w.read], [w.stop[p] for p in w.read]

    def rows_of(partition, start, stop):
        # Cut anew, whatever pieces the reader gives: the bounds of the chunks count from the window's start.
        chunks = reader.rows(partition, start, stop).rebatch(CHUNK_ROWS)
        return chunks.map(lambda m, o: RawBatch(m, Origin(tf.fill(tf.shape(m), tf.cast(partition, tf.int32)), o)))

    def group(number, partitions, starts, stops):
        mine = partitions % groups == number
        ranges = tf.data.Dataset.from_tensor_slices(tuple(tf.boolean_mask(t, mine) for t in (partitions, starts, stops)))
        # As many reads in flight as partitions: with fewer, some starve. The window says how many: a topic may get more.
        in_flight = tf.maximum(tf.math.count_nonzero(mine), 1)
        rows = ranges.interleave(rows_of, cycle_length=in_flight, num_parallel_calls=in_flight, deterministic=True)
        return rows.rebatch(batch_size // groups)

    @tf.autograph.experimental.do_not_convert  # generators inside; nothing here needs converting
    def window(number, partitions, starts, stops):
        nothing = RawBatch(tf.zeros([0], tf.string), Origin(tf.zeros([0], tf.int32), tf.zeros([0], tf.int64)))
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
