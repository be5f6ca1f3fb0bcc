"""Metrics by a column's value: by hand, with bounded memory, and over a restart."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from tfonline.actions.count_by_value import CountByValue
from tfonline.evaluate.by_value import MetricsByValue
from tfonline.evaluate.progressive import exact_auc
from tfonline.events import Rows, Seen

LN3 = math.log(3)


def add(metrics, *rows):
    keys, logits, labels = zip(*rows, strict=True)
    metrics.add(np.array(keys, np.int64), np.array(logits, np.float32), np.array(labels, np.float32))


def test_rows_ne_and_calibration_by_hand():
    metrics = MetricsByValue("C1", metric_rows=10**9)
    add(metrics, (7, 0, 1), (7, 0, 0), (5, LN3, 1), (7, 0, 0), (7, 0, 0))
    seven, five = metrics.largest()
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert (seven.key, seven.rows) == (7, pytest.approx(4))
    assert (seven.ne, seven.calibration) == (pytest.approx(math.log(2) / entropy), pytest.approx(2))
    assert (five.key, five.rows, five.calibration) == (5, pytest.approx(1), pytest.approx(0.75))
    assert math.isnan(five.ne)  # clicks alone


def test_the_auc_within_values_is_weighted_by_rows_and_takes_both_classes():
    metrics = MetricsByValue("C1", metric_rows=10**9)
    assert math.isnan(metrics.gauc())
    add(metrics, (1, 2, 1), (1, 0, 0), (1, 1, 1))  # AUC 1, 3 rows
    add(metrics, (2, 0, 1), (2, 1, 0))  # AUC 0, 2 rows
    add(metrics, (3, 0.01, 1), (3, 0.02, 0))  # of one bin: AUC 0.5, 2 rows
    add(metrics, (4, 5, 1), (4, 5, 1))  # clicks alone: left out
    assert metrics.gauc() == pytest.approx((3 * 1 + 2 * 0 + 2 * 0.5) / 7)


def test_the_auc_within_values_is_close_to_that_of_all_rows_by_ranks():
    rng = np.random.default_rng(1)
    keys, logits = rng.integers(0, 20, 20_000), rng.normal(-1, 1, 20_000).astype(np.float32)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    metrics = MetricsByValue("C1", metric_rows=10**9)
    metrics.add(keys, logits, labels)
    exact = [exact_auc(logits[keys == key], labels[keys == key]) for key in range(20)]
    assert metrics.gauc() == pytest.approx(np.average(exact, weights=np.bincount(keys)), abs=2e-3)


def test_rows_are_forgotten():
    metrics = MetricsByValue("C1", metric_rows=2)
    add(metrics, (1, 0, 1), (1, 0, 1))
    add(metrics, (2, 0, 1))
    assert [(v.key, v.rows) for v in metrics.largest()] == [(1, pytest.approx(2 * math.exp(-0.5))), (2, pytest.approx(1))]
    for _ in range(100):
        add(metrics, (2, 0, 1))
    assert [v.rows for v in metrics.largest()] == [pytest.approx(1 / (1 - math.exp(-0.5))), pytest.approx(0, abs=1e-9)]


def test_values_with_few_rows_make_room():
    metrics = MetricsByValue("C1", metric_rows=10**9, most_values=2)
    add(metrics, *[(1, 0, 1)] * 3, *[(2, 0, 1)] * 2, (3, 0, 0), (4, 0, 0))
    assert sorted(v.key for v in metrics.largest()) == [1, 2, 3, 4]
    add(metrics, (5, 0, 1), *[(3, 0, 1)] * 3)
    assert [(v.key, v.rows) for v in metrics.largest()] == [(3, pytest.approx(4)), (1, pytest.approx(3))]
    add(metrics, (2, 0, 1))
    assert [(v.key, v.rows) for v in metrics.largest()][2:] == [(2, pytest.approx(1))]  # it begins anew


def test_texts_are_wanted_for_the_largest_values_and_kept_for_no_others():
    metrics = MetricsByValue("C1", metric_rows=10**9)
    add(metrics, *[(key, 0, key % 2) for key in range(20) for _ in range(key + 1)])
    assert metrics.keys_without_text() == [*range(19, 9, -1)]
    metrics.texts = {19: "a/b", 18: "c", 3: "small"}
    assert metrics.keys_without_text() == [*range(17, 9, -1)]
    assert metrics.texts == {19: "a/b", 18: "c"}
    scalars = metrics.scalars()
    assert scalars["by_C1/rows_a_b"] == pytest.approx(20)
    assert scalars["by_C1/calibration_a_b"] == pytest.approx(0.5)
    assert "by_C1/calibration_c" not in scalars  # no click
    summary = metrics.summary()
    assert (summary["column"], summary["gauc"], len(summary["values"])) == ("C1", None, 10)
    assert summary["values"][1] == {"value": "c", "rows": pytest.approx(19), "ne": None, "calibration": None}
    assert MetricsByValue("", 100).scalars() == MetricsByValue("", 100).summary() == {}


def test_other_labels_have_metrics_of_their_own():
    metrics = MetricsByValue("C1", metric_rows=10**9, others=("buy",))
    add(metrics, (7, 0, 1), (7, 0, 0), (5, 0, 1))
    add(metrics.others["buy"], (5, LN3, 1), (5, 0, 0), (5, 0, 0), (5, 0, 0), (7, 0, 0))
    assert metrics.keys_without_text() == [7, 5]
    assert metrics.others["buy"].keys_without_text() == [5, 7]
    metrics.texts, metrics.others["buy"].texts = {7: "seven"}, {5: "five"}
    of_first = {"rows_seven": 2, "ne_seven": 1, "calibration_seven": 1}
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    of_buy = {"gauc": 1, "rows_five": 4, "ne_five": (math.log(4 / 3) + 3 * math.log(2)) / 4 / entropy, "calibration_five": 2.25}
    named = {f"by_C1/{name}": value for name, value in {"gauc": 0.5, **of_first}.items()}
    assert metrics.scalars() == pytest.approx(named | {f"by_C1_buy/{name}": value for name, value in of_buy.items()})
    assert [value["value"] for value in metrics.others["buy"].summary()["values"]] == ["five", None]


def test_a_checkpoint_from_before_other_labels_were_counted_goes_on():
    before, after = MetricsByValue("C1", 50), MetricsByValue("C1", 50, others=("buy",))
    add(before, (7, 0, 1), (7, 0, 0))
    state = json.loads(json.dumps(before.get_state()))
    assert set(state) == {"column", "weight", "texts", "numbers"}  # as with one label
    add(after.others["buy"], (5, 0, 1))
    after.set_state(state, 1)
    assert [value.key for value in after.largest()] == [7]
    assert after.others["buy"].largest() == []
    assert after.anew == ("buy",)
    add(after.others["buy"], (5, 0, 1))
    for column, known in (("C1", [5]), ("C2", [])):
        resumed = MetricsByValue(column, 50, others=("buy",))
        resumed.set_state(json.loads(json.dumps(after.get_state())), 1)
        assert [value.key for value in resumed.others["buy"].largest()] == known
        assert resumed.anew == ()  # of another column all begins anew, that of the first label, too


def test_rows_are_counted_by_each_label_that_they_have():
    keys, reason = np.array([7, 7, 5, 5, 9]), np.array([0, 0, 0, 0, 3])  # the last row is refused
    element = SimpleNamespace(fields=SimpleNamespace(reason=SimpleNamespace(numpy=lambda: reason)))
    buy = np.array([[0, np.nan, 1, np.nan, 1]], np.float32)
    labels, logits = np.array([[1, 0, 0, 0, 1]], np.float32), np.zeros([1, 5], np.float32)
    seen = Seen(reason[None] == 0, labels, logits, np.array([0]), {}, 0.0, others={"buy": (buy, logits + LN3)})
    metrics = MetricsByValue("C1", 10**9, others=("buy",))
    CountByValue(metrics, lambda fields, rows: {"C1": keys[rows]}, lambda element, row: f"row {row}")(Rows(element, None, ()), seen)
    assert [(v.key, v.rows) for v in metrics.largest()] == [(5, pytest.approx(2)), (7, pytest.approx(2))]
    of_buy = metrics.others["buy"]
    assert [(v.key, v.rows, v.calibration) for v in of_buy.largest()] == [
        (5, pytest.approx(1), pytest.approx(0.75)),
        (7, pytest.approx(1), pytest.approx(math.nan, nan_ok=True)),
    ]
    assert (metrics.texts, of_buy.texts) == ({7: "row 0", 5: "row 2"}, {7: "row 0", 5: "row 2"})


def test_it_goes_on_after_a_restart_to_the_bit():
    rng = np.random.default_rng(4)
    whole, resumed = MetricsByValue("C1", 50, most_values=8), MetricsByValue("C1", 50, most_values=8)
    for _ in range(30):
        batch = rng.zipf(1.5, 40), rng.normal(size=40).astype(np.float32), rng.integers(0, 2, 40)
        whole.add(*batch)
        resumed.add(*batch)
        whole.texts = resumed.texts = {3: "three"}
        saved = json.loads(json.dumps(resumed.get_state()))
        resumed = MetricsByValue("C1", 50, most_values=8)
        resumed.set_state(saved, 1)
    assert resumed.get_state() == whole.get_state()
    assert resumed.gauc() == whole.gauc()
    other = MetricsByValue("C2", 50)
    other.set_state(saved, 1)
    assert other.largest() == []
