"""Rows that count for more than one, or less: in metrics, in the gate, by a column's value."""

import math

import numpy as np
import pytest

from tfonline.evaluate.by_value import MetricsByValue
from tfonline.evaluate.progressive import Counts, ProgressiveMetrics, exact_auc, product
from tfonline.publish.gate import Gate, Limits
from tfonline.publish.regression import Regression

LN2, LN3 = math.log(2), math.log(3)


def f32(*numbers):
    return np.array(numbers, np.float32)


# Two clicks and two others by rising scores; the click at 1 is below the other at 2.
LOGITS, LABELS, WEIGHTS = f32(0, 1, 2, 3), f32(0, 1, 0, 1), f32(1, 2, 3, 4)
# Pairs by weight: (1, 0) 2, (1, 2) 6 the wrong way round, (3, 0) 4, (3, 2) 12.
AUC = (2 + 4 + 12) / (2 + 6 + 4 + 12)


def test_a_row_of_weight_n_is_as_n_rows():
    whole = [np.repeat(x, WEIGHTS.astype(int)) for x in (LOGITS, LABELS)]
    assert exact_auc(LOGITS, LABELS, WEIGHTS) == pytest.approx(AUC, abs=1e-12)
    assert exact_auc(*whole) == pytest.approx(AUC, abs=1e-12)
    weighted, repeated = Counts(), Counts()
    weighted.add(LOGITS, LABELS, weights=WEIGHTS)
    repeated.add(*whole)
    assert weighted.report() == pytest.approx(repeated.report(), rel=1e-6)
    assert weighted.report()["auc"] == pytest.approx(AUC)


def test_the_auc_of_equal_scores_and_of_a_class_that_counts_for_nothing():
    assert exact_auc(f32(1, 1), f32(0, 1), f32(5, 3)) == 0.5
    assert math.isnan(exact_auc(f32(1, 2), f32(0, 1), f32(5, 0)))


def test_metrics_are_told_with_the_columns_weights_and_without():
    metrics = ProgressiveMetrics(1000, weighted=True)
    metrics.add(f32(0, LN3), f32(1, 0), weight=f32(3, 1))
    # Log loss ln 2 at logit 0, and of no click at logit ln 3: ln 4.
    assert metrics.report("total")["log_loss"] == pytest.approx((LN2 + 2 * LN2) / 2)
    assert metrics.report("weighted")["log_loss"] == pytest.approx((3 * LN2 + 2 * LN2) / 4)
    assert metrics.report("weighted")["calibration"] == pytest.approx((3 * 0.5 + 0.75) / 3)
    metrics.end_window()
    resumed = ProgressiveMetrics(1000, weighted=True)
    resumed.set_state(metrics.get_state(), 1)
    assert resumed.report("weighted") == metrics.report("weighted")
    # A checkpoint from before there was a weight has no such scope.
    without = ProgressiveMetrics(1000)
    without.add(f32(0), f32(1))
    resumed.set_state(without.get_state(), 1)
    assert (resumed.report("total")["rows"], resumed.report("weighted")["rows"]) == (1, 0)


def test_a_row_that_stands_for_others_counts_for_them_in_all_metrics_and_lets_as_many_be_forgotten():
    metrics = ProgressiveMetrics(10, weighted=True)
    metrics.add(f32(0), f32(1))
    metrics.add(f32(0), f32(0), importance=f32(20), weight=f32(0.5))
    assert [metrics.report(scope)["rows"] for scope in ("window", "total")] == [21, 21]
    assert metrics.report("running")["rows"] == pytest.approx(math.exp(-2) + 20)
    assert metrics.report("weighted")["rows"] == pytest.approx(math.exp(-2) + 10)


def test_factors_are_multiplied_where_there_are_any():
    assert product(None, None) is None
    assert product(None, f32(2, 3)).tolist() == [2, 3]
    assert product(f32(2, 3), f32(0.5, 4)).tolist() == [1, 12]


def test_the_gate_judges_by_weights():
    gate = Gate(Limits(gate_rows=4, gate_max_regression=0.01, gate_min_auc=0, gate_calibration=0))
    gate.add(LABELS, LOGITS, np.zeros(4, np.float32), weights=WEIGHTS)
    report = gate.report()
    p = 1 / (1 + np.exp(-LOGITS.astype(float)))
    assert (report["rows"], report["auc"], report["served_auc"]) == (4, pytest.approx(AUC), 0.5)
    assert report["calibration"] == pytest.approx((p * WEIGHTS).sum() / 6)
    assert report["served_log_loss"] == pytest.approx(LN2)
    losses = np.log1p(np.exp(np.where(LABELS == 1, -LOGITS, LOGITS).astype(float)))
    assert report["log_loss"] == pytest.approx((losses * WEIGHTS).sum() / 10)
    assert report["regression"] == pytest.approx((losses * WEIGHTS).sum() / 10 - LN2)
    assert gate.served()["log_loss"] == pytest.approx(LN2)
    assert gate.copy().report() == report


def test_a_regression_is_of_weights_and_as_sure_as_they_let_it_be():
    # Half of the rows are clicks; the newest version has logit 1 for all, the one before 0. A row differs by -0.38 or 0.62.
    labels = np.tile(f32(0, 1), 1000)
    newest, before = np.ones(2000, np.float32), np.zeros(2000, np.float32)
    even, heavy = Regression(0.01, 50_000), Regression(0.01, 50_000)
    even.add(labels, newest, before, np.full(2000, 7, np.float32))
    assert even.worse().by == pytest.approx(math.log1p(math.e) - 0.5 - LN2, abs=1e-6)
    assert even.worse().error == pytest.approx(0.5 / math.sqrt(2000), rel=1e-3)  # the same weight for all is as no weight
    heavy.add(labels, newest, before, np.where(np.arange(2000) < 10, 1000, 0.001).astype(np.float32))
    assert heavy.worse() is None  # ten rows count


def test_values_of_a_column_count_rows_for_those_that_they_stand_for():
    metrics = MetricsByValue("C1", 10**9)
    metrics.add(np.array([5, 5]), f32(0, 0), f32(1, 0), f32(1, 3))
    [value] = metrics.largest()
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert (value.rows, value.ne, value.calibration) == (pytest.approx(4), pytest.approx(LN2 / entropy), pytest.approx(2))
