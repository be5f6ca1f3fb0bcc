"""The order of rows in Python against the order in a graph, and what the Python form does beside."""

import random

import pytest
import tensorflow as tf
from contracts.readers import chain, read_windows

from tfonline.stream.order import CHUNK_ROWS, make_raw_batches
from tfonline.stream.readers import Rows
from tfonline.stream.readers.memory import MemorySource
from tfonline.stream.windows import Window


class InPython:
    """Lists as a RowReader. Of each range, rows come a few at a time, as from a broker.

    Args:
      partitions: the messages of each.
      draw: how many have come.
    """

    error = None

    def __init__(self, partitions, draw=None):
        self._partitions, self._draw, self._at, self._come = partitions, draw or random.Random(0), {}, {}
        self.waited = 0

    def begin(self, starts):
        self._at.update(starts)
        self._come.update(starts)

    def take(self, partition, stop, most):
        at, there = self._at[partition], self._come[partition]
        if there < min(at + most, stop):
            self._wanted = partition
            return None
        until = min(at + most, stop)
        self._at[partition] = until
        return Rows(self._partitions[partition][at:until], list(range(at, until)), [7 * o for o in range(at, until)])

    def wait(self):
        self.waited += 1
        self._come[self._wanted] += self._draw.randint(0, 700)


def elements(windows, reader, *args, **more):
    """(window, last, [(partition, offset, message)]) of each element."""
    return [
        (int(n), bool(last), list(zip(*(t.numpy().tolist() for t in (*raw.origin[:2], raw.message)), strict=True)))
        for raw, n, last in make_raw_batches(windows, reader, *args, **more)
    ]


@pytest.mark.parametrize("seed", range(12))
def test_both_forms_give_the_same_elements(seed):
    draw = random.Random(seed)
    groups = draw.choice([1, 1, 2, 3])
    own = draw.choice([None, *range(groups)])
    sizes = [draw.choice([0, 1, 3, CHUNK_ROWS, CHUNK_ROWS + 1, 2 * CHUNK_ROWS, 2300]) for _ in range(draw.randint(1, 7))]
    partitions = [[b"%d-%d" % (p, o) for o in range(size)] for p, size in enumerate(sizes)]
    batch_size = groups * draw.choice([1, 7, 100, 512, 1000]) if sum(sizes) < 3000 else groups * draw.choice([100, 512, 1000])
    windows = chain([list(enumerate(rows)) for rows in partitions], seed)
    windows[2:2] = [None]  # a tick
    in_graph = elements(windows, MemorySource(partitions), batch_size, groups, own)
    assert elements(windows, InPython(partitions, draw), batch_size, groups, own) == in_graph
    assert sum(last for _, last, _ in in_graph) == len(windows)


def test_partitions_take_turns_by_512_rows():
    reader = InPython([[b"a"] * 1100, [b"b"] * 600])
    found = read_windows(reader, [Window(0, (0, 0), (1100, 600), "rows")], batch_size=50)
    assert [p for _, p, _, _ in found] == [0] * 512 + [1] * 512 + [0] * 512 + [1] * 88 + [0] * 76


def test_a_tombstone_is_told_from_an_empty_value_and_times_are_kept():
    reader = InPython([[b"x\x00", None, b""]])
    (raw, _, _), _ = make_raw_batches([Window(0, (0,), (3,), "rows")], reader, 10)
    assert raw.message.numpy().tolist() == [b"x\x00", b"", b""]
    assert raw.tombstone.numpy().tolist() == [False, True, False]
    assert raw.origin.time_ms.numpy().tolist() == [0, 7, 14]


def test_the_next_window_is_not_asked_for_before_the_rows_of_this_one_are_handed_on():
    asked = []

    def planner():
        for number in range(20):
            asked.append(number)
            yield Window(number, (number,), (number + 1,), "rows")

    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    rows = iter(make_raw_batches(planner(), InPython([[b"a"] * 20]), 10).with_options(options))
    for number in range(20):
        raw, window, last = next(rows)
        assert (int(window), bool(last), raw.origin.offset.numpy().tolist()) == (number, False, [number])
        assert asked[-1] == number
        assert next(rows)[2]


def test_a_window_that_has_not_begun_is_left_when_a_stop_is_asked_for():
    class Never(InPython):
        def wait(self):
            super().wait()
            self._come[self._wanted] = min(self._come[self._wanted], 10)

    windows = [Window(0, (0,), (10,), "rows"), Window(1, (10,), (30,), "rows")]
    reader = Never([[b"a"] * 30])
    found = elements(windows, reader, 10, stopped=lambda: True)
    # The first batch of window 0 is waited for, and nothing of it was handed on.
    assert found == []
