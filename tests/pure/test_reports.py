"""When a run is told of, and how long a backlog still takes: with a clock of the test's own."""

import datetime
import io

import numpy as np
import pytest

from tfonline.evaluate.progressive import Counts
from tfonline.report.backlog import Backlog, in_words
from tfonline.report.console import Console
from tfonline.report.reports import Reports
from tfonline.report.worse import WorseThanTrivial
from tfonline.settings.model import OptimizerSettings

METRICS = {f"running/{name}": 0.5 for name in ("log_loss", "trivial_log_loss", "auc", "ne", "calibration")}
NOON = datetime.datetime(2026, 1, 31, 12, 0, 3).timestamp()


class Written(list):
    """A writer that keeps what it is given: the numbers as its items, the steps of pictures beside them."""

    def __init__(self):
        self.pictures, self.labels = [], []

    def write(self, step, scalars):
        self.append((step, scalars))

    def write_scores(self, step, counts, label):
        self.pictures.append((step, counts.report()["rows"]))
        self.labels.append(label)


class Told:
    """Reports of a run that begins at step 0, at noon and three seconds."""

    def __init__(self, column_shares=None):
        self.now, self.out, self.written = 0.0, io.StringIO(), Written()
        clocks = {"clock": lambda: self.now, "wall_clock": lambda: NOON + self.now}
        worse = WorseThanTrivial(OptimizerSettings(), 39)
        self.reports = Reports(10.0, self.written, Console(self.out), worse, 0, 0, column_shares, **clocks)

    def at(self, now, step, rows, lag, rejected=0, left=None, **metrics):
        """The lines that a look at that time adds, without the times before them; None where it is not time for a report."""
        self.now, before = now, self.out.tell()
        if not self.reports.due():
            return None
        scalars = {
            **METRICS,
            **{f"running/{n}": v for n, v in metrics.items()},
            "rows": float(rows),
            "lag_rows": float(lag),
            "rejected_rows": float(rejected),
        }
        self.reports.report(step, scalars, {"": Counts()}, lag if left is None else left)
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
    told.reports.rows_came([b"row"])
    told.at(10, 2, 200, 0)
    assert told.at(20, 2, 200, 0) == ["idle: no new row since 12:00:03"]
    assert [told.at(now, 2, 200, 0) for now in (30, 40, 50)] == [[], [], []]
    assert len(told.written) == 1
    told.reports.rows_came([b"row"])
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


# Distributions


def test_distributions_are_told_of_at_the_first_report_each_minute_and_at_the_end():
    told = Told(column_shares=lambda message: {"values/missing_I1": float(len(message))})
    told.reports.rows_came([b"row"] * 3)
    for i in range(1, 14):
        told.at(10 * i, i, 100 * i, 0)
    told.reports.final(13, {**METRICS, "rows": 1_300.0}, {"": Counts()})
    assert [step for step, _ in told.written.pictures] == [1, 7, 13, 13]
    assert [(step, s) for step, s in told.written if "values/missing_I1" in s] == [
        (n, {"values/missing_I1": 3.0}) for n in (1, 7, 13, 13)
    ]


def test_distributions_are_told_of_for_each_label():
    told, purchases = Told(), Counts()
    purchases.add(np.zeros(3, np.float32), np.ones(3, np.float32))
    told.at(10, 1, 100, 0)
    told.reports.final(2, {**METRICS, "rows": 200.0}, {"": Counts(), "buy": purchases})
    assert told.written.pictures[1:] == [(2, 0.0), (2, 3.0)]
    assert told.written.labels[1:] == ["", "buy"]


# A model that is worse than the trivial one


def test_a_model_that_stays_worse_than_the_trivial_one_is_warned_of_once():
    told = Told()
    bad = {"log_loss": 2.61234, "trivial_log_loss": 0.6931, "ne": 3.7691}
    assert [told.at(10 * i, i, 20_000 * i, 0, **bad)[1:] for i in (1, 2, 3)] == [[], [], []]
    assert told.at(40, 4, 80_000, 0, **bad)[1:] == [
        "warning: for 60,000 rows the model has predicted worse than one number for all rows would: log loss 2.6123, and 0.6931 by "
        "the share of clicks alone (ne 3.769, expected below 1). Look whether labels and columns still are what they were; else "
        "try lower rates in a new --model_dir: this run has --wide_learning_rate=0.05 and --deep_learning_rate=0.001."
    ]
    assert told.at(50, 5, 200_000, 0, **bad)[1:] == []
    told.reports.final(5, {**METRICS, "running/ne": 3.7691, "rows": 200_000.0}, {"": Counts()})
    assert told.out.getvalue().count("warning: ") == 1


def looks(*seen, end=None, **settings):
    """Of looks at (rows, ne), and at the end at `end`: the rows at which there was a warning."""
    worse = WorseThanTrivial(OptimizerSettings(**settings), 300)

    def scalars(rows, ne):
        return {"rows": float(rows), "running/ne": ne, "running/log_loss": 1.0, "running/trivial_log_loss": 0.5}

    warned = [rows for rows, ne in seen if worse.look(scalars(rows, ne))]
    return warned + ([end[0]] if end and worse.at_end(scalars(*end)) else [])


@pytest.mark.parametrize(
    ("seen", "warned"),
    [
        ([(20_000, 1.2), (60_000, 1.1), (69_999, 1.1)], []),
        ([(20_000, 1.2), (60_000, 1.1), (70_000, 1.1)], [70_000]),
        ([(20_000, 1.2), (900_000, 1.1), (900_001, 1.1)], [900_001]),  # at the third report at the earliest
        ([(0, float("nan")), (100_000, float("nan")), (200_000, float("nan")), (300_000, float("nan"))], []),
        ([(20_000, 1.2), (60_000, 1.0), (70_000, 1.2), (100_000, 1.2), (110_000, 1.2)], []),  # it has been well in between
        ([(0, 1.2), (50_000, 1.2), (60_000, 1.2), (70_000, 1.2), (80_000, 0.9), (90_000, 1.1), (140_000, 1.1), (150_000, 1.1)],
         [60_000, 150_000]),
    ],
)  # fmt: skip
def test_when_a_model_is_warned_of(seen, warned):
    assert looks(*seen) == warned


@pytest.mark.parametrize(
    ("seen", "end", "warned"),
    [
        ([], (9_999, 1.5), []),
        ([], (10_000, 1.5), [10_000]),
        ([], (10_000, 1.0), []),
        ([(0, 1.2), (50_000, 1.2), (60_000, 1.2)], (61_000, 1.2), [60_000]),
    ],
)
def test_a_short_run_is_warned_of_at_its_end(seen, end, warned):
    assert looks(*seen, end=end) == warned


@pytest.mark.parametrize(
    ("num_features", "settings", "advice"),
    [
        (300, {}, "--wide_learning_rate=0.05 is large for 300 columns, whose weights are added up: try "
                  "--wide_learning_rate=0.007 in a new --model_dir."),
        (39, {"wide_learning_rate": 0.5}, "--wide_learning_rate=0.5 is large for 39 columns, whose weights are added up: "
                                          "try --wide_learning_rate=0.05 in a new --model_dir."),
        (300, {"wide_learning_rate": 0.005}, "this run has --wide_learning_rate=0.005 and --deep_learning_rate=0.001."),
        (300, {"wide_reduction": "mean"}, "this run has --wide_learning_rate=0.05 and --deep_learning_rate=0.001."),
    ],
)  # fmt: skip
def test_what_to_try_names_the_flags_and_their_values(num_features, settings, advice):
    worse = WorseThanTrivial(OptimizerSettings(**settings), num_features)
    scalars = {"rows": 20_000.0, "running/ne": 1.5, "running/log_loss": 1.0, "running/trivial_log_loss": 0.5}
    assert advice in worse.at_end(scalars)
