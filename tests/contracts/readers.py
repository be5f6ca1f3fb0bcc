"""What every reader has to hold to. check_reader(make_reader, rows) is for a reader of one's own, too."""

import random

import tensorflow as tf

from tfonline.stream.order import make_raw_batches
from tfonline.stream.readers import Rows
from tfonline.stream.readers.packed import messages
from tfonline.stream.window import Window

_SEED, _NUM_WINDOWS = 7, 8


def read_range(reader, partition, start, stop):
    """(offset, message) of a range, and the sizes of the pieces in which they came."""
    if hasattr(reader, "take"):
        return _taken(reader, partition, start, stop)
    # In a graph and by tensors, as the order of rows asks for them.
    ask = tf.data.Dataset.from_tensors(tuple(tf.constant(n, tf.int64) for n in (partition, start, stop)))
    pieces = list(ask.flat_map(reader.rows))
    for message, offset in pieces:
        assert (message.dtype, offset.dtype, message.shape) == (tf.string, tf.int64, offset.shape), (message, offset)
    rows = [(int(o), m) for message, offset in pieces for m, o in zip(message.numpy(), offset.numpy(), strict=True)]
    return rows, [len(offset) for _, offset in pieces]


def _taken(reader, partition, start, stop, most=100):
    """The same from a RowReader."""
    reader.place({partition: (start, stop)})
    rows, sizes = [], [most]
    while sizes[-1] == most:
        taken = unpacked(reader.take(partition, most))
        assert len(taken.message) == len(taken.offset) == len(taken.time_ms) <= most, taken
        rows += [(offset, message or b"") for offset, message in zip(taken.offset, taken.message, strict=True)]
        sizes.append(len(taken.offset))
    return rows, sizes[1:]


def unpacked(rows):
    """The rows in lists, however they came."""
    if isinstance(rows, Rows):
        return rows
    return Rows(messages(rows), rows.offset.tolist(), rows.time_ms.tolist())


def read_windows(reader, windows, batch_size=96, groups=1):
    """(window, partition, offset, message) in the order in which the trainer sees them."""
    found = []
    for raw, number, _ in make_raw_batches(windows, reader, batch_size, groups):
        columns = zip(*(t.numpy().tolist() for t in (raw.origin.partition, raw.origin.offset, raw.message)), strict=True)
        found += [(int(number), *row) for row in columns]
    return found


def chain(rows, seed=_SEED):
    """Windows over all rows, one behind the other, cut at random: some read one partition only, some end within a gap."""
    draw, ends = random.Random(seed), [max((o for o, _ in r), default=-1) + 1 for r in rows]
    cuts = [sorted(draw.randint(0, end) for _ in range(_NUM_WINDOWS - 1)) + [end] for end in ends]
    windows, at = [], (0,) * len(rows)
    for number, stop in enumerate(zip(*cuts, strict=True)):
        windows.append(Window(number, at, stop, "rows"))
        at = stop
    return windows


def each_row_of_a_range_comes_once_in_order(make_reader, rows):
    reader = make_reader()
    for partition, there in enumerate(rows):
        end = max((o for o, _ in there), default=-1) + 1
        for start, stop in {(0, end), (0, 1), (end // 3, end // 2 + 1), (max(0, end - 1), end)}:
            found, _ = read_range(reader, partition, start, min(stop, end))
            assert found == [(o, m) for o, m in there if start <= o < min(stop, end)], (partition, start, stop)


def windows_tile_the_stream(make_reader, rows):
    found = read_windows(make_reader(), chain(rows))
    of_stream = sorted((p, o, m) for p, there in enumerate(rows) for o, m in there)
    assert sorted((p, o, m) for _, p, o, m in found) == of_stream


def the_order_is_the_same_every_time(make_reader, rows):
    windows = chain(rows)
    assert read_windows(make_reader(), windows) == read_windows(make_reader(), windows)


def a_restart_equals_an_undisturbed_run(make_reader, rows):
    windows = chain(rows)
    undisturbed = read_windows(make_reader(), windows)
    for restart in (1, _NUM_WINDOWS // 2):
        again = read_windows(make_reader(), windows[:restart]) + read_windows(make_reader(), windows[restart:])
        assert again == undisturbed, restart


def the_order_is_that_of_any_other_reader(make_reader, rows):
    """Of a reader over lists, which is given the same rows."""
    windows = chain(rows, seed=_SEED + 1)
    assert read_windows(make_reader(), windows) == read_windows(_Lists(rows), windows)


class _Lists:
    """Gives each row by itself."""

    error = None

    def __init__(self, rows):
        self._rows = rows

    def rows(self, partition, start, stop):
        def generate(p, s, e):
            for offset, message in self._rows[int(p)]:
                if s <= offset < e:
                    yield [message], [offset]

        spec = (tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int64))
        return tf.data.Dataset.from_generator(generate, args=(partition, start, stop), output_signature=spec)


CHECKS = [
    each_row_of_a_range_comes_once_in_order,
    windows_tile_the_stream,
    the_order_is_the_same_every_time,
    a_restart_equals_an_undisturbed_run,
    the_order_is_that_of_any_other_reader,
]


def check_reader(make_reader, rows):
    """Runs all checks.

    Args:
      make_reader: gives a reader of the stream, a new one each time.
      rows: what the stream holds: of each partition, (offset, message) in the order of offsets. Offsets may have gaps.

    Raises:
      AssertionError: one does not hold.
    """
    for check in CHECKS:
        check(make_reader, rows)
