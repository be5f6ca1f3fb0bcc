"""Whether the newest version is worse than the one before it."""

import math

import numpy as np
import pytest

from tfonline.publish.regression import Regression

LOG_2 = math.log(2)


def blocks(regression, rows, newest, before=0.0, labels=None):
    """Adds rows in batches of 100: half clicks, unless labels are given; each version gives all rows one logit."""
    labels = np.tile(np.array([0, 1], np.float32), rows // 2) if labels is None else labels
    for start in range(0, rows, 100):
        label = labels[start : start + 100]
        regression.add(label, np.full(len(label), newest, np.float32), np.full(len(label), before, np.float32))


def test_a_worse_version_is_found_once_there_are_rows_enough():
    regression = Regression(0.01, 50_000)
    # Logit 1 for half clicks: the mean of log(1 + e^-1) and log(1 + e) is 0.81326, that of logit 0 is ln 2.
    blocks(regression, 900, 1.0)
    assert regression.worse() is None
    blocks(regression, 100, 1.0)
    worse = regression.worse()
    assert worse.rows == 1000
    assert worse.by == pytest.approx(0.813262 - LOG_2, abs=1e-6)
    assert worse.error == pytest.approx(0.5 / math.sqrt(1000), rel=1e-3)  # differences are half a nat to either side of their mean


def test_a_difference_below_the_limit_or_within_chance_is_none():
    blocks(equal := Regression(0.01, 50_000), 20_000, 0.1, 0.1)
    blocks(below := Regression(0.2, 50_000), 20_000, 1.0)
    # One logit of 0.3 is worse by 0.0112, and its rows differ by 0.15: 1,000 rows tell nothing, their error is 0.0047.
    blocks(few := Regression(0.01, 50_000), 1000, 0.3)
    assert (equal.worse(), below.worse(), few.worse()) == (None, None, None)


def test_a_better_version_is_none_however_much_better():
    regression = Regression(0.01, 50_000)
    blocks(regression, 20_000, 0.0, 1.0)
    assert regression.worse() is None


def test_what_was_gained_before_does_not_hide_what_is_lost_now():
    regression = Regression(0.01, 50_000)
    # Better by 0.8 nats for as long as every row is a click, worse by as much since none is.
    blocks(regression, 5000, 2.0, 0.0, np.ones(5000, np.float32))
    assert regression.worse() is None
    blocks(regression, 1000, 2.0, 0.0, np.zeros(1000, np.float32))
    worse = regression.worse()
    assert worse.rows == 1000
    assert worse.by == pytest.approx(math.log1p(math.exp(2)) - LOG_2)


def test_older_rows_than_the_longest_span_are_forgotten_and_so_are_other_versions():
    regression = Regression(0.01, 2000)
    blocks(regression, 10_000, 1.0)
    assert regression.worse().rows == 2000
    regression.forget()
    assert regression.worse() is None
    blocks(regression, 1000, 1.0)
    assert regression.worse().rows == 1000


def test_rows_that_come_once_more_are_one_positive_more_and_one_negative_less():
    """Two versions on a stream whose positives are known 500 rows later, against the same rows with their labels at once."""
    random = np.random.default_rng(4)
    true = random.normal(-1, 1, 20_000)
    labels = (random.random(20_000) < 1 / (1 + np.exp(-true))).astype(np.float32)
    before, newest = true.astype(np.float32), (true + random.normal(0, 1.2, 20_000)).astype(np.float32)
    late, at_once = Regression(0.01, 50_000), Regression(0.01, 50_000)
    for start in range(0, 20_000, 100):
        now = slice(start, start + 100)
        at_once.add(labels[now], newest[now], before[now])
        again = np.arange(max(0, start - 500), max(0, start - 400))
        again = again[labels[again] == 1]
        of = np.concatenate([np.arange(start, start + 100), again])
        is_late = np.arange(len(of)) >= 100
        late.add(is_late.astype(np.float32), newest[of], before[of], late=is_late)
    found, wanted = late.worse(), at_once.worse()
    assert found.by == pytest.approx(wanted.by, rel=0.15)
    assert found.error >= wanted.error  # a row that counts as three is no more sure for it


def test_a_row_that_comes_once_more_takes_back_what_it_was_as_a_negative():
    regression = Regression(0.0, 50_000)
    for _ in range(10):  # by these alone the newest version would be the better one
        regression.add(np.zeros(100, np.float32), np.full(100, -1, np.float32), np.zeros(100, np.float32))
    assert regression.worse() is None
    for _ in range(10):
        ones = np.ones(100, np.float32)
        regression.add(ones, np.full(100, -1, np.float32), np.zeros(100, np.float32), late=np.ones(100, bool))
    worse = regression.worse()
    # Logit -1 of a click costs log(1 + e), logit 0 ln 2: as if all had been clicks from the first.
    assert worse.by == pytest.approx(math.log1p(math.e) - LOG_2, rel=1e-5)
