"""When a run is told of, and how long a backlog still takes: with a clock of the test's own."""

import datetime
import io

import pytest

from tfonline.report.backlog import Backlog, in_words
from tfonline.report.console import Console
from tfonline.report.reports import Reports

METRICS = {f"running/{name}": 0.5 for name in ("log_loss", "trivial_log_loss", "auc", "ne", "calibration")}
NOON = datetime.datetime(2026, 1, 31, 12, 0, 3).timestamp()


class Written(list):
    """A writer that keeps what it is given."""

    def write(self, step, scalars):
        self.append((step, scalars))


class Told:
    """Reports of a run that begins at step 0, at noon and three seconds."""

    def __init__(self):
        self.now, self.out, self.written = 0.0, io.StringIO(), Written()
        clocks = {"clock": lambda: self.now, "wall_clock": lambda: NOON + self.now}
        self.reports = Reports(10.0, self.written, Console(self.out), 0, 0, **clocks)

    def at(self, now, step, rows, lag, rejected=0, left=None):
        """The lines that a look at that time adds, without the times before them; None where it is not time for a report."""
        self.now, before = now, self.out.tell()
        if not self.reports.due():
            return None
        scalars = {**METRICS, "rows": float(rows), "lag_rows": float(lag), "rejected_rows": float(rejected)}
        self.reports.report(step, scalars, lag if left is None else left)
        return [line[20:] for line in self.out.getvalue()[before:].splitlines()]


def step_line(step, rows, rate, lag):
    return (
        f"step {step}  rows {rows}  loss 0.5000 (trivial 0.5000)  auc 0.5000  ne 0.5000  calibration 0.500  "
        f"{rate} rows/s  lag {lag}  rejected 0"
    )


def test_a_run_is_told_of_at_the_cadence_with_its_speed_since_the_last_time():
    told = Told()
    assert told.at(9.5, 1, 100, 50) is None
    assert told.at(10, 2, 200, 50) == [step_line(2, 200, 20, 50)]
    assert told.at(19.5, 3, 300, 50) is None
    assert told.at(20, 4, 300, 40) == [step_line(4, 300, 10, 40)]
    assert [(step, scalars["rows_per_sec"], scalars["lag_rows"]) for step, scalars in told.written] == [(2, 20, 50), (4, 10, 40)]


def test_where_nothing_is_new_that_is_said_once_and_tensorboard_gets_nothing():
    told = Told()
    told.reports.row_came()
    told.at(10, 2, 200, 0)
    assert told.at(20, 2, 200, 0) == ["idle: no new row since 12:00:03"]
    assert [told.at(now, 2, 200, 0) for now in (30, 40, 50)] == [[], [], []]
    assert len(told.written) == 1
    told.reports.row_came()
    assert told.at(60, 3, 210, 0) == [step_line(3, 210, 1, 0)]
    assert told.at(70, 3, 210, 0) == ["idle: no new row since 12:00:53"]
    assert len(told.written) == 2


def test_rows_that_wait_for_their_window_are_no_idle_stream():
    told = Told()
    told.at(10, 2, 200, 0)
    assert told.at(20, 2, 200, 7) == [step_line(2, 200, 0, 7)]
    assert told.at(30, 2, 200, 7) == [
        "idle: no new row since 12:00:03; 7 wait until their window is full (--window_rows) or due (--window_secs)"
    ]


def test_before_the_first_step_there_is_nothing_to_tell_but_that_it_is_idle():
    told = Told()
    assert told.at(10, 0, 0, 0) == []
    assert told.at(20, 0, 0, 0) == ["idle: no new row since 12:00:03"]
    assert told.at(30, 0, 0, 0, rejected=5) == []
    assert told.written == []


def test_a_backlog_is_told_of_with_the_time_that_it_takes():
    told = Told()
    told.at(10, 1, 1_000, 100_000)
    # 1,000 rows were trained in ten seconds and 400 came: 99,400 rows at 60 a second.
    [line] = told.at(20, 2, 2_000, 99_400)
    assert "  lag 99,400 (28 min left)  rejected 0" in line
    assert told.written[-1][1]["secs_left"] == pytest.approx(99_400 / 60)
    # The run ends before its topic does: 50,000 rows were left before its end, then 48,000.
    told = Told()
    told.at(10, 1, 1_000, 100_000, left=50_000)
    [line] = told.at(20, 2, 3_000, 100_000, left=48_000)
    assert "  lag 100,000 (4 min left)  " in line


# Backlog


def seconds_left(*looks):
    """What the last look gives, after those before it: (time, rows left, rows done)."""
    backlog = Backlog()
    return [backlog.secs_left(*look) for look in looks][-1]


@pytest.mark.parametrize(
    ("looks", "secs"),
    [
        ([(0, 100_000, 0)], None),  # one look is no speed
        ([(0, 100_000, 0), (10, 90_000, 10_000)], 90.0),
        ([(0, 100_000, 0), (10, 95_000, 10_000)], 190.0),  # 500 rows a second arrive
        ([(0, 100_000, 0), (10, 100_000, 10_000)], None),  # as many arrive as are trained
        ([(0, 100_000, 0), (10, 120_000, 10_000)], None),
        ([(0, 40_000, 0), (10, 30_000, 10_000)], 30.0),
        ([(0, 39_990, 0), (10, 29_990, 10_000)], None),  # less than half a minute's work
        ([(0, 30_000_000, 0), (10, 29_999_999, 10_000)], None),  # ten years
        ([(0, 100_000, 0), (10, 90_000, 10_000), (60, 89_000, 11_000), (75, 88_000, 12_000)], 88_000 / 2_000 * 65),
    ],
)
def test_the_time_that_a_backlog_takes(looks, secs):
    assert seconds_left(*looks) == (None if secs is None else pytest.approx(secs))


@pytest.mark.parametrize(
    ("secs", "words"),
    [(40, "40 s"), (99.4, "99 s"), (100, "2 min"), (750, "12 min"), (6000, "1.7 h"), (11_520, "3.2 h"), (354_240, "4.1 days")],
)
def test_times_in_words(secs, words):
    assert in_words(secs) == words
