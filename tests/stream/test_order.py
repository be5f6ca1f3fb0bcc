"""The order of rows in Python against the order in a graph, and what the Python form does beside."""

import random

import pytest
from contracts.readers import chain

from tfonline.stream.order import CHUNK_ROWS, make_raw_batches
from tfonline.stream.readers import Rows
from tfonline.stream.readers.memory import MemorySource
from tfonline.stream.window import Window


class InPython:
    """Lists as a RowReader: a row's time is seven times its offset."""

    error = None

    def __init__(self, partitions):
        self._partitions, self._at = partitions, {}

    def place(self, ranges):
        self._at.update(ranges)

    def take(self, partition, most):
        at, stop = self._at[partition]
        until = min(at + most, stop)
        self._at[partition] = until, stop
        return Rows(self._partitions[partition][at:until], list(range(at, until)), [7 * o for o in range(at, until)])


def elements(windows, reader, *args):
    """(window, last, [(partition, offset, message)]) of each element."""
    return [
        (int(n), bool(last), list(zip(*(t.numpy().tolist() for t in (*raw.origin[:2], raw.message)), strict=True)))
        for raw, n, last in make_raw_batches(windows, reader, *args)
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
    assert elements(windows, InPython(partitions), batch_size, groups, own) == in_graph
    assert sum(last for _, last, _ in in_graph) == len(windows)


def test_partitions_take_turns_by_512_rows():
    reader = InPython([[b"a"] * 1100, [b"b"] * 600])
    found = elements([Window(0, (0, 0), (1100, 600), "rows")], reader, 50)
    assert [p for _, _, rows in found for p, _, _ in rows] == [0] * 512 + [1] * 512 + [0] * 512 + [1] * 88 + [0] * 76


def test_a_tombstone_is_told_from_an_empty_value_and_times_are_kept():
    (raw, _, _), _ = make_raw_batches([Window(0, (0,), (3,), "rows")], InPython([[b"x\x00", None, b""]]), 10)
    assert raw.message.numpy().tolist() == [b"x\x00", b"", b""]
    assert raw.tombstone.numpy().tolist() == [False, True, False]
    assert raw.origin.time_ms.numpy().tolist() == [0, 7, 14]


def test_the_planner_is_not_asked_for_windows_without_end():
    """Windows are journalled when they are planned; those that wait to be trained are few."""
    asked = []

    def planner():
        for number in range(500):
            asked.append(number)
            yield Window(number, (number,), (number + 1,), "rows")

    batches = iter(make_raw_batches(planner(), InPython([[b"a"] * 500]), 10))
    for number in range(100):
        assert int(next(batches)[1]) == number
        assert next(batches)[2]
        assert len(asked) < number + 60


def test_an_error_of_the_planner_is_not_swallowed():
    def planner():
        yield Window(0, (0,), (1,), "rows")
        raise ValueError("no plan")

    reader = InPython([[b"a"]])
    with pytest.raises(Exception, match="no plan"):
        list(make_raw_batches(planner(), reader, 10))
    assert str(reader.error) == "no plan"
