"""How old the rows are that are learned from."""

import types

import numpy as np

from tfonline.actions.row_times import RowTimes
from tfonline.events import Rows, Saved, Saving, WindowEnd
from tfonline.stream.window import Window


def rows(*times_ms):
    column = types.SimpleNamespace(numpy=lambda: np.array(times_ms, np.int64))
    origin = types.SimpleNamespace(time_ms=column)
    return Rows(types.SimpleNamespace(batch=types.SimpleNamespace(origin=origin)), None, [])


def test_the_age_of_rows_when_they_are_learned_from_and_of_the_newest_now():
    now = [1000.0]
    times = RowTimes(clock=lambda: now[0])
    assert times.scalars() == {}
    times(rows(990_000, 995_000, -1), object())
    now[0] = 1010.0
    assert times.scalars() == {"lag_secs": 5.0, "newest_row_age_secs": 15.0}
    times(rows(980_000), object())  # an old row comes late
    assert times.scalars() == {"lag_secs": 30.0, "newest_row_age_secs": 15.0}


def test_rows_without_a_time_and_a_step_that_was_none():
    times = RowTimes(clock=lambda: 10.0)
    times(rows(-1, -1), object())
    times(rows(5_000), None)
    times(WindowEnd(None), None)
    assert times.scalars() == {}


def test_the_time_of_a_wrong_clock_is_none():
    times = RowTimes(clock=lambda: 1000.0)
    times(rows(990_000, 1_000_000_000), object())
    assert times.scalars() == {"lag_secs": 10.0, "newest_row_age_secs": 10.0}
    times(rows(1_030_000), object())  # clocks differ by so much
    assert times.scalars() == {"lag_secs": 0.0, "newest_row_age_secs": 0.0}


def test_the_newest_row_of_a_checkpoint_and_not_of_what_came_after_it():
    asked = []

    def ask(start, position):
        asked.append((start, position))
        return 3.0

    times = RowTimes(ask)
    times(Saving(()), None)
    times(rows(5_000), object())
    times(Saving((Window(0, (0, 0), (0, 0), "rows"), Window(1, (0, 0), (1, 0), "rows"))), None)
    times(rows(7_500), object())  # while it is written
    times(Saved("ckpt-1", (1, 0)), None)
    assert times.newest_row_time([0, 0], [1, 0]) == 5.0
    assert asked == []
    assert times.newest_row_time([0, 0], [0, 0]) == 3.0
    assert asked == [([0, 0], [0, 0])]
