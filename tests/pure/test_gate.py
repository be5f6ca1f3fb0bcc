"""The gate before serving."""

import math

import numpy as np
import pytest

from tfonline.evaluate.progressive import exact_auc
from tfonline.publish.gate import Gate, Limits

LIMITS = Limits(gate_rows=1000, gate_max_regression=0.01, gate_min_auc=0.6, gate_calibration=0.2)


def rows(n, noise, seed=0, shift=0.0):
    """Labels and the logits of a model that knows them the worse the more noise: (labels, logits), float32 [n]."""
    random = np.random.default_rng(seed)
    true = random.normal(-1, 1.5, n)
    labels = (random.random(n) < 1 / (1 + np.exp(-true))).astype(np.float32)
    return labels, (true + random.normal(0, noise, n) + shift).astype(np.float32)


def judged(limits=LIMITS, noise=0.1, shift=0.0, served=None):
    gate = Gate(limits)
    labels, logits = rows(4000, noise, shift=shift)
    other = None if served is None else rows(4000, served)[1]
    for i in range(0, 4000, 100):
        gate.add(labels[i : i + 100], logits[i : i + 100], None if other is None else other[i : i + 100])
    report = gate.report()
    return report, gate.refusals(report)


def test_a_good_model_passes_also_where_nothing_is_published_yet():
    report, why = judged()
    assert why == []
    assert report["rows"] == 1000
    assert report["served_rows"] == 0
    assert math.isnan(report["regression"])


def test_the_report_is_of_the_last_rows_alone():
    report, _ = judged(served=0.5)
    labels, logits = (x[-1000:] for x in rows(4000, 0.1))
    served = rows(4000, 0.5)[1][-1000:]
    loss = [np.mean(np.logaddexp(0, x) - x * labels) for x in (logits.astype(float), served.astype(float))]
    assert report["auc"] == exact_auc(logits, labels)
    assert report["log_loss"] == pytest.approx(loss[0])
    assert report["served_log_loss"] == pytest.approx(loss[1])
    assert report["regression"] == pytest.approx(loss[0] - loss[1])
    assert report["calibration"] == pytest.approx((1 / (1 + np.exp(-logits))).mean() / labels.mean(), rel=1e-5)


def test_a_copy_stays_as_it_was_and_what_is_shown_is_a_part_of_the_report():
    gate = Gate(LIMITS)
    labels, logits = rows(1000, 0.1)
    served = rows(1000, 0.5)[1]
    gate.add(labels[:700], logits[:700])
    gate.add(labels[700:], logits[700:], served[700:])
    copy, report = gate.copy(), gate.report()
    shown = gate.served()
    assert shown["rows"] == report["served_rows"] == 300
    assert shown["auc"] == pytest.approx(report["served_auc"], abs=1e-4)
    assert shown["log_loss"] == pytest.approx(report["served_log_loss"])
    clicks = labels[700:].mean()
    assert shown["ne"] == pytest.approx(report["served_log_loss"] / -(clicks * np.log(clicks) + (1 - clicks) * np.log(1 - clicks)))
    assert shown["calibration"] == pytest.approx((1 / (1 + np.exp(-served[700:].astype(float)))).mean() / clicks)
    gate.published()
    gate.add(labels, -logits)
    assert copy.full
    assert copy.report() == report
    assert gate.served()["rows"] == 0
    assert math.isnan(gate.served()["auc"])


def test_worse_than_what_is_published_is_refused_and_better_passes():
    _, why = judged(noise=0.8, served=0.1)
    assert len(why) == 1
    assert "above that of the published version by 0.0" in why[0]
    assert "--gate_max_regression=0.01" in why[0]
    assert judged(noise=0.1, served=0.8)[1] == []


def test_each_limit_refuses_by_itself():
    assert judged(noise=30.0, limits=Limits(1000, 0.01, 0.6, 0))[1][0].startswith("its AUC is 0.")
    assert judged(shift=1.0)[1][0].startswith("its calibration is 1.")
    assert judged(shift=-1.0)[1][0].startswith("its calibration is 0.")
    assert judged(shift=math.nan)[1][0] == "its log loss is nan"
    assert judged(shift=math.nan, limits=Limits(1000, 0.01, 0, 0))[1] == ["its log loss is nan"]
    assert judged(noise=30.0, shift=1.0, limits=Limits(1000, 0.01, 0, 0))[1] == []


def test_rows_of_one_class_have_no_auc_and_do_not_pass_a_limit():
    gate = Gate(LIMITS)
    gate.add(np.zeros(1000, np.float32), np.full(1000, -3, np.float32))
    why = gate.refusals(gate.report())
    assert [w.split(" is ")[0] for w in why] == ["its AUC", "its calibration"]


def test_it_judges_only_once_it_has_seen_enough_rows():
    gate = Gate(LIMITS)
    assert not gate.full
    assert gate.report()["rows"] == 0
    gate.add(*rows(999, 0.1))
    assert not gate.full
    gate.add(*rows(1, 0.1))
    assert gate.full


def test_what_an_older_version_scored_counts_no_more_once_another_is_published():
    gate = Gate(LIMITS)
    labels, logits = rows(600, 0.8)
    gate.add(labels, logits, rows(600, 0.0)[1])
    gate.published()
    assert gate.report()["served_rows"] == 0
    gate.add(labels[:300], logits[:300], logits[:300])
    report = gate.report()
    assert (report["rows"], report["served_rows"], report["regression"]) == (900, 300, 0)


def test_scores_of_the_published_version_may_come_for_all_rows_at_once():
    gate = Gate(Limits(gate_rows=4, gate_max_regression=0.01, gate_min_auc=0, gate_calibration=0))
    labels, logits = np.array([1, 0], np.float32), np.array([0, 0], np.float32)
    for i in range(3):
        gate.add(labels, logits, kept=i)
    assert (gate.full, gate.all_kept, gate.any_compared) == (True, True, False)
    asked = []

    def score(kept):
        asked.append(kept)
        return np.array([2, -2, np.nan, -2], np.float32)

    judged = gate.copy()
    judged.compare(score)
    assert asked == [[1, 2]]  # the last 4 rows
    report = judged.report()
    # Of 3 rows: each log(1 + e^-2) by the published version, log 2 by the trainer.
    assert (report["rows"], report["served_rows"]) == (4, 3)
    assert report["served_log_loss"] == pytest.approx(0.126928, abs=1e-6)
    assert report["regression"] == pytest.approx(0.693147 - 0.126928, abs=1e-6)
    assert judged.refusals(report)[0].startswith(
        "its log loss is above that of the published version by 0.56622 on the same 3 rows"
    )
    assert gate.report()["served_rows"] == 0  # the copy's alone


def test_rows_from_before_it_was_asked_to_keep_them_are_not_compared():
    gate = Gate(Limits(gate_rows=4, gate_max_regression=0.01, gate_min_auc=0, gate_calibration=0))
    labels = np.zeros(2, np.float32)
    gate.add(labels, labels)
    gate.add(labels, labels, kept="a")
    assert (gate.full, gate.all_kept) == (True, False)
    gate.add(labels, labels, kept="b")
    assert (gate.full, gate.all_kept) == (True, True)


def test_whether_any_row_is_compared():
    gate = Gate(LIMITS)
    labels, logits = rows(10, 0.1)
    gate.add(labels, logits, np.full(10, np.nan, np.float32))
    assert not gate.any_compared
    gate.add(labels, logits, np.where(np.arange(10) == 3, logits, np.nan).astype(np.float32))
    gate.add(labels, logits)
    assert gate.any_compared
    gate.published()
    assert not gate.any_compared


def test_rows_that_come_once_more_are_one_positive_more_and_one_negative_less():
    """By hand: four rows at first sight, and then the outcome of the one with logit 2."""
    gate = Gate(Limits(gate_rows=4, gate_max_regression=0.01, gate_min_auc=0.0, gate_calibration=0.0))
    gate.add(np.zeros(4, np.float32), np.array([0, 0, 1, 2], np.float32), np.array([0, 0, 1, 1], np.float32))
    once_more = (np.array([x], np.float32) for x in (1, 2, 1))
    gate.add(*once_more, late=np.array([True]))
    report = gate.report()
    assert report["rows"] == report["served_rows"] == 4
    assert gate.served()["rows"] == 4
    # Negatives with logits 0, 0, 1, a positive with logit 2.
    losses = 2 * math.log(2) + math.log1p(math.e) + math.log1p(math.exp(-2))
    assert report["log_loss"] == pytest.approx(losses / 4)
    assert report["auc"] == pytest.approx(1)
    chances = [0.5, 0.5, 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-2))]
    assert report["calibration"] == pytest.approx(sum(chances))
    served = 2 * math.log(2) + math.log1p(math.e) + math.log1p(math.exp(-1))
    assert report["served_log_loss"] == pytest.approx(served / 4)


def test_rows_that_come_once_more_are_no_more_rows_to_judge_by():
    gate, ten = Gate(Limits(gate_rows=15, gate_max_regression=1, gate_min_auc=0.0, gate_calibration=0.0)), np.zeros(10, np.float32)
    gate.add(ten, ten)
    gate.add(ten + 1, ten, late=np.ones(10, bool))
    assert not gate.full
    gate.add(ten, ten)
    assert gate.full
    assert gate.report()["rows"] == 20


@pytest.mark.parametrize("gap", [300, 3000])
def test_where_outcomes_come_at_a_steady_rate_a_calibrated_model_passes(gap):
    """Rows are negatives first, and each positive comes again `gap` rows later: further back than the gate looks, too."""
    labels, logits = rows(30_000, 0.0)
    gate = Gate(Limits(gate_rows=2000, gate_max_regression=0.01, gate_min_auc=0.6, gate_calibration=0.2))
    for start in range(0, 30_000, 100):
        now, before = slice(start, start + 100), slice(start - gap, start - gap + 100)
        again = labels[before] == 1 if start >= gap else np.zeros(100, bool)
        of = np.concatenate([logits[now], logits[before][again] if start >= gap else logits[:0]])
        late = np.arange(len(of)) >= 100
        gate.add(late.astype(np.float32), of, of + np.float32(0.5), late=late)
    report = gate.report()
    assert gate.refusals(report) == []
    assert report["calibration"] == pytest.approx(1, abs=0.15)
    # The published version scores all rows half a logit higher, and is the worse one.
    assert report["regression"] < -0.005
