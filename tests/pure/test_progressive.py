"""Progressive metrics against numbers worked out by hand and counts of pairs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfonline.evaluate.progressive import PREDICTION, Counts, ProgressiveMetrics, exact_auc, log_losses, relabelled, sigmoid

LN2, LN3 = math.log(2), math.log(3)


def f32(*values):
    return np.array(values, np.float32)


def report_of(logits, labels):
    counts = Counts()
    counts.add(f32(*logits), f32(*labels))
    return counts.report()


def auc_by_pairs(logits, labels) -> float:
    """The share of (click, no click) pairs in which the click has the higher score; a tie is half a pair."""
    pairs = [(p, n) for p, yp in zip(logits, labels, strict=True) for n, yn in zip(logits, labels, strict=True) if yp > yn]
    return sum((p > n) + 0.5 * (p == n) for p, n in pairs) / len(pairs) if pairs else math.nan


# The formulas


def test_log_loss_by_hand():
    # The probabilities are 1/2, 3/4 and 1/4.
    losses = log_losses(f32(0, 0, LN3, LN3, -LN3), f32(1, 0, 1, 0, 1))
    assert losses.dtype == np.float64
    assert losses == pytest.approx([0.6931471805599453, 0.6931471805599453, 0.2876820724517809, 2 * LN2, 2 * LN2], abs=1e-7)


def test_log_loss_of_extreme_logits_is_exact():
    assert log_losses(f32(1000, 1000, -1000, -1000, 3e38), f32(1, 0, 1, 0, 1)).tolist() == [0.0, 1000.0, 1000.0, 0.0, 0.0]
    assert log_losses(f32(-40), f32(0))[0] == pytest.approx(4.248354255291589e-18, rel=1e-12)  # exp(-40): no 0 for want of digits


def test_sigmoid_by_hand():
    assert sigmoid(f32(0, LN3, -LN3, 1000, -1000, 3e38)) == pytest.approx([0.5, 0.75, 0.25, 1.0, 0.0, 1.0], abs=1e-7)


@pytest.mark.parametrize(
    ("logits", "labels", "auc"),
    [
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.75),  # 3 of 4 pairs
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([4, 3, 2, 1], [0, 0, 1, 1], 0.0),
        ([1, 1, 0], [1, 0, 0], 0.75),  # a tie and a pair in order
        ([5, 5, 5, 5], [1, 0, 1, 0], 0.5),
        ([-1, 2, 0, 0, 3], [0, 1, 1, 0, 0], 0.5 + 1 / 12),  # of 6 pairs: 2 > -1, 2 > 0, 0 > -1 and one tie
    ],
)
def test_auc_by_hand_from_ranks_and_from_the_histogram(logits, labels, auc):
    assert exact_auc(f32(*logits), f32(*labels)) == pytest.approx(auc, abs=1e-12)
    assert report_of(logits, labels)["auc"] == pytest.approx(auc, abs=1e-12)


# Logits in steps of 1/512 within (-16, 16) fall into bins of their own, so there the histogram is exact.
ROWS = st.lists(st.tuples(st.integers(-8191, 8191).map(lambda n: n / 512) | st.sampled_from([0.0, 1.0]), st.booleans()), min_size=1)


@given(ROWS)
def test_both_aucs_count_pairs(rows):
    logits, labels = zip(*rows, strict=True)
    expected = pytest.approx(auc_by_pairs(logits, labels), abs=1e-9, nan_ok=True)
    assert exact_auc(f32(*logits), f32(*labels)) == expected
    assert report_of(logits, labels)["auc"] == expected


@pytest.mark.parametrize("logit", [-15.998046875, -1.0, 0.0, 15.99609375])
def test_the_histogram_tells_logits_apart_that_differ_by_1_in_512(logit):
    assert report_of([logit, logit + 1 / 512], [0, 1])["auc"] == 1.0
    assert report_of([logit, logit + 1 / 1024], [0, 1])["auc"] == 0.5


def test_the_histograms_auc_is_close_on_ordinary_scores():
    rng = np.random.default_rng(1)
    labels = (rng.random(20_000) < 0.25).astype(np.float32)
    logits = (rng.normal(-1, 1, 20_000) + labels).astype(np.float32)
    counts = Counts()
    counts.add(logits, labels)
    assert counts.report()["auc"] == pytest.approx(exact_auc(logits, labels), abs=1e-5)


# Reports


def test_a_report_by_hand():
    # Predictions 1/2, 1/2, 1/2 and 3/4; only the last was a click.
    report = report_of([0, 0, 0, LN3], [0, 0, 0, 1])
    loss = (3 * LN2 + math.log(4 / 3)) / 4
    entropy = 0.5623351446188083  # -(1/4 ln 1/4 + 3/4 ln 3/4)
    assert report == pytest.approx(
        {
            "rows": 4.0,
            "auc": 1.0,
            "log_loss": loss,
            "trivial_log_loss": entropy,
            "ne": loss / entropy,
            "calibration": 2.25,  # predicted 2.25 clicks, 1 came
        },
        abs=1e-7,
    )


def test_predicting_the_share_of_clicks_is_the_trivial_predictor():
    report = report_of([-LN3] * 4, [1, 0, 0, 0])
    assert report["log_loss"] == pytest.approx(report["trivial_log_loss"], abs=1e-7)
    assert (report["ne"], report["calibration"]) == pytest.approx((1.0, 1.0), abs=1e-6)
    assert report["auc"] == 0.5


def test_rows_of_one_class_have_no_auc():
    no_clicks = report_of([0, 0], [0, 0])
    assert (no_clicks["rows"], no_clicks["trivial_log_loss"]) == (2.0, 0.0)
    assert no_clicks["log_loss"] == pytest.approx(LN2)
    assert [name for name, value in no_clicks.items() if math.isnan(value)] == ["auc", "ne", "calibration"]
    only_clicks = report_of([0, 0], [1, 1])
    assert [name for name, value in only_clicks.items() if math.isnan(value)] == ["auc", "ne"]
    assert only_clicks["calibration"] == 0.5
    assert math.isnan(exact_auc(f32(0, 1), f32(0, 0)))
    assert math.isnan(exact_auc(f32(0, 1), f32(1, 1)))


def test_no_rows_are_no_metrics():
    report = Counts().report()
    assert report.pop("rows") == 0.0
    assert list(report) == ["auc", "log_loss", "trivial_log_loss", "ne", "calibration"]
    assert all(math.isnan(value) for value in report.values())


def test_adding_no_rows_changes_nothing():
    counts = Counts()
    counts.add(f32(0, 1), f32(0, 1))
    before = counts.report()
    counts.add(f32(), f32())
    assert counts.report() == before


def test_extreme_logits_are_counted():
    report = report_of([1e4, -1e4, 3e38, -3e38], [1, 0, 1, 0])
    assert (report["auc"], report["log_loss"], report["calibration"]) == (1.0, 0.0, 1.0)
    wrong = report_of([1e4, -1e4], [0, 1])
    assert (wrong["auc"], wrong["log_loss"]) == (0.0, 1e4)
    assert report_of([17, 1000], [1, 0])["auc"] == 0.5  # beyond 16 all is one bin


# Scopes


def test_the_running_metrics_forget():
    metrics = ProgressiveMetrics(metric_rows=2)
    metrics.add(f32(0, 0), f32(1, 1))
    metrics.add(f32(LN3), f32(0))
    kept = 2 * math.exp(-1 / 2)  # rows of the first batch, one row later
    running = metrics.report("running")
    assert running["rows"] == pytest.approx(kept + 1)
    assert running["log_loss"] == pytest.approx((kept * LN2 + 2 * LN2) / (kept + 1), abs=1e-7)
    assert running["calibration"] == pytest.approx((kept * 0.5 + 0.75) / kept, abs=1e-7)
    rate = kept / (kept + 1)
    assert running["trivial_log_loss"] == pytest.approx(-(rate * math.log(rate) + (1 - rate) * math.log(1 - rate)))
    total = metrics.report("total")
    assert (total["rows"], total["log_loss"]) == (3.0, pytest.approx(4 * LN2 / 3, abs=1e-7))


def test_decay_weighs_the_auc():
    counts = Counts()
    counts.add(f32(1, 0), f32(0, 1))  # one pair, wrong
    counts.decay(0.25)
    counts.add(f32(3, 2), f32(1, 0))  # one pair, right; the click at 3 beats both, the click at 0 none
    # Pairs by weight: (3, 2) 1, (3, 1) 0.25, (0, 2) 0.25, (0, 1) 0.0625.
    assert counts.report()["auc"] == pytest.approx(1.25 / 1.5625)


def test_a_window_ends_with_its_report_and_the_next_begins_empty():
    metrics = ProgressiveMetrics(metric_rows=100)
    metrics.add(f32(0, 0), f32(0, 1))
    metrics.add(f32(0), f32(1))
    assert metrics.end_window()["window"]["rows"] == 3.0
    assert metrics.report("window")["rows"] == 0.0
    metrics.add(f32(LN3), f32(1))
    window = metrics.end_window()["window"]
    assert (window["rows"], window["log_loss"]) == (1.0, pytest.approx(0.2876820724517809, abs=1e-7))
    assert metrics.report("total")["rows"] == 4.0


def test_the_last_rows_are_there_by_label():
    metrics = ProgressiveMetrics(metric_rows=100, others=("buy",))
    metrics.add(f32(0, 0), f32(0, 1), others={"buy": (f32(0), f32(1))})
    assert {label: counts.report()["rows"] for label, counts in metrics.running.items()} == {"": 2.0, "buy": 1.0}


def batches(n: int, seed: int):
    rng = np.random.default_rng(seed)
    return [(rng.normal(0, 3, 50).astype(np.float32), (rng.random(50) < 0.3).astype(np.float32)) for _ in range(n)]


def test_metrics_go_on_after_a_restart_to_the_bit():
    whole, stopped = ProgressiveMetrics(metric_rows=70), ProgressiveMetrics(metric_rows=70)
    for batch in batches(3, seed=1):
        whole.add(*batch)
        stopped.add(*batch)
    whole.end_window()
    stopped.end_window()
    resumed = ProgressiveMetrics(metric_rows=70)
    resumed.set_state(stopped.get_state(), 1)
    assert resumed.report("window")["rows"] == 0.0
    for batch in batches(3, seed=2):
        whole.add(*batch)
        resumed.add(*batch)
    for scope in ("window", "running", "total"):
        assert resumed.report(scope) == whole.report(scope)
    assert resumed.get_state() == whole.get_state()


def test_restoring_forgets_what_was_counted_before():
    saved, used = ProgressiveMetrics(100), ProgressiveMetrics(100)
    saved.add(f32(0, 1), f32(0, 1))
    saved.end_window()
    used.add(f32(5, 5, 5), f32(0, 0, 1))
    used.set_state(saved.get_state(), 1)
    assert [used.report(scope)["rows"] for scope in ("window", "running", "total")] == [0.0, 2.0, 2.0]


def test_the_state_does_not_grow_with_the_rows():
    rng = np.random.default_rng(3)
    metrics = ProgressiveMetrics(100)
    metrics.add(rng.normal(size=300_000).astype(np.float32), rng.integers(0, 2, 300_000).astype(np.float32))
    assert len(metrics.get_state()) < 800_000  # four histograms of 16,384 doubles at most; the rows would be 1.2 MB


def test_a_prediction_is_20_bytes():
    row = np.array([(3, 2**40, 1.0, -0.5)], PREDICTION)
    assert row.tobytes() == b"\x03\0\0\0" + b"\0\0\0\0\0\x01\0\0" + b"\0\0\x80\x3f" + b"\0\0\0\xbf"


# Distributions


def test_rows_by_score_in_parts_of_equal_size():
    counts = Counts()
    counts.add(f32(-LN3, -LN3, 0, 0, LN3, LN3, LN3, LN3), f32(0, 1, 0, 0, 1, 1, 1, 0))
    # Predictions 1/4, 1/4, 1/2, 1/2 and four of 3/4; a bin's middle is less than 0.0003 from them.
    assert counts.by_score(4) == [
        pytest.approx((2.0, 0.25, 0.5), abs=3e-4),
        pytest.approx((2.0, 0.5, 0.0), abs=3e-4),
        # Four rows of one score are of one part, that in which their middle lies.
        pytest.approx((4.0, 0.75, 0.75), abs=3e-4),
    ]
    assert counts.by_score(1) == [pytest.approx((8.0, 4.5 / 8, 0.5), abs=3e-4)]


def test_rows_by_score_are_as_many_in_each_part():
    rng = np.random.default_rng(5)
    logits = rng.normal(-2, 1, 100_000).astype(np.float32)
    labels = (rng.random(100_000) < sigmoid(logits)).astype(np.float32)
    counts = Counts()
    counts.add(logits, labels)
    rows, predicted, clicked = zip(*counts.by_score(), strict=True)
    assert sum(rows) == 100_000
    assert len(rows) == 20
    assert all(abs(n - 5_000) < 100 for n in rows)
    assert list(predicted) == sorted(predicted)
    assert clicked == pytest.approx(predicted, abs=0.03)  # they are drawn so


def test_no_rows_have_no_parts_and_an_empty_histogram():
    assert Counts().by_score() == []
    edges, rows = Counts().histogram()
    assert rows.tolist() == []
    assert len(edges) == 1


def test_the_histogram_of_scores_goes_as_far_as_there_are_rows():
    counts = Counts()
    counts.add(f32(-1.1, 0.3, 0.3, 0.7), f32(0, 0, 1, 1))
    edges, rows = counts.histogram()
    assert edges.tolist() == [-1.25, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75]
    assert rows.tolist() == [1, 0, 0, 0, 0, 0, 2, 1]
    counts.decay(0.4)  # of the outer rows 0.4 each is left
    edges, rows = counts.histogram()
    assert (edges.tolist(), rows.tolist()) == ([0.25, 0.5], [0.8])


def test_rows_at_or_above_thresholds():
    counts = Counts()
    # Probabilities 0.27, 0.5, 0.73 and nearly 1; the last two are beyond the outermost bins.
    counts.add(np.array([-1, 0, 1, 40, -40], np.float32), np.array([0, 1, 1, 1, 0], np.float32))
    clicks, others = counts.at_thresholds(5)  # 0, 0.25, 0.5, 0.75, 1
    assert clicks.tolist() == [3, 3, 3, 1, 0]
    assert others.tolist() == [2, 1, 0, 0, 0]
    clicks, others = Counts().at_thresholds(3)
    assert (clicks.tolist(), others.tolist()) == ([0, 0, 0], [0, 0, 0])


# Labels that come late


def late_stream(seed=3, n=4000):
    """Logits, and true labels by which they are right: float32 [n]."""
    random = np.random.default_rng(seed)
    logits = random.normal(-1.5, 1, n).astype(np.float32)
    return logits, (random.random(n) < sigmoid(logits)).astype(np.float32)


def test_once_all_outcomes_have_come_the_total_is_that_of_the_true_labels():
    logits, labels = late_stream()
    late, true = ProgressiveMetrics(500, settled=True), ProgressiveMetrics(500)
    for start in range(0, len(labels), 100):
        part = slice(start, start + 100)
        late.add(logits[part], np.zeros(100, np.float32))
        true.add(logits[part], labels[part])
        if start >= 1000:  # of rows a thousand rows ago
            before = slice(start - 1000, start - 900)
            late.relabel(logits[before][labels[before] == 1])
            late.settle(logits[before], labels[before])
    rest = slice(len(labels) - 1000, None)
    late.relabel(logits[rest][labels[rest] == 1])
    found, wanted = late.report("total"), true.report("total")
    assert found["rows"] == wanted["rows"] == 4000
    assert found["auc"] == pytest.approx(wanted["auc"], abs=1e-9)
    for name in ("log_loss", "trivial_log_loss", "ne", "calibration"):
        assert found[name] == pytest.approx(wanted[name], rel=1e-5)
    # Settled are the rows from before the last thousand, as if they had been the last ones.
    settled = ProgressiveMetrics(500)
    for start in range(0, 3000, 100):
        settled.add(logits[start : start + 100], labels[start : start + 100])
    for name, value in settled.report("running").items():
        assert late.report("settled")[name] == pytest.approx(value, rel=1e-6)


def test_before_they_have_come_the_total_is_what_is_known():
    metrics = ProgressiveMetrics(500, settled=True)
    metrics.add(np.array([0.0, 0.0, 1.0, 2.0], np.float32), np.zeros(4, np.float32))
    assert math.isnan(metrics.report("total")["calibration"])
    metrics.relabel(np.array([2.0], np.float32))
    report = metrics.report("total")
    assert report["auc"] == 1.0
    # ln 2 twice, ln(1 + e) and ln(1 + e^-2)
    assert report["log_loss"] == pytest.approx((2 * math.log(2) + math.log1p(math.e) + math.log1p(math.exp(-2))) / 4)
    assert math.isnan(metrics.report("settled")["auc"])


def test_where_outcomes_come_at_a_steady_rate_the_running_metrics_are_right_on_average():
    logits, labels = late_stream(n=60_000)
    late, true = ProgressiveMetrics(5000, settled=True), ProgressiveMetrics(5000)
    for start in range(0, len(labels), 100):
        late.add(logits[start : start + 100], np.zeros(100, np.float32))
        true.add(logits[start : start + 100], labels[start : start + 100])
        if start >= 10_000:
            before = slice(start - 10_000, start - 9900)
            late.relabel(logits[before][labels[before] == 1])
    found, wanted = late.report("running"), true.report("running")
    assert found["log_loss"] == pytest.approx(wanted["log_loss"], rel=0.05)
    assert found["calibration"] == pytest.approx(1, abs=0.05)
    assert found["auc"] == pytest.approx(wanted["auc"], abs=0.02)


def test_what_is_settled_goes_on_after_a_restart_and_a_model_from_before_has_none():
    logits, labels = late_stream(n=300)
    metrics = ProgressiveMetrics(500, settled=True)
    metrics.add(logits, np.zeros(300, np.float32))
    metrics.settle(logits[:100], labels[:100])
    again = ProgressiveMetrics(500, settled=True)
    again.set_state(metrics.get_state(), 1)
    assert again.report("settled") == metrics.report("settled")
    older = ProgressiveMetrics(500)
    older.add(logits, labels)
    again.set_state(older.get_state(), 1)
    assert again.report("settled")["rows"] == 0
    assert again.report("total") == older.report("total")


def test_rows_that_are_relabelled_add_up_by_hand():
    late = np.array([False, True, False])
    labels, weights = np.array([0.0, 1.0, 1.0]), np.array([1.0, 2.0, 3.0])
    found = relabelled(late, labels, weights, np.array([10.0, 20.0, 30.0]))
    assert [x.tolist() for x in found] == [[0, 1, 1, 0], [1, 2, 3, -2], [10, 20, 30, 20]]
    none = relabelled(np.zeros(3, bool), labels, weights)
    assert [x.tolist() for x in none] == [[0, 1, 1], [1, 2, 3]]
