"""What keeps a delta back: a span of the last rows that is surely worse than the published version, or miscalibrated."""

import numpy as np
import pytest

from tfonline.publish.delta_gate import DeltaGate
from tfonline.publish.gate import Limits

CLICKS = np.tile(np.array([1, 0, 0, 0], np.float32), 25)  # a quarter, in batches of 100
RIGHT = np.log(1 / 3)  # the logit of a quarter


def gate(gate_rows=50_000, calibration=0.1):
    return DeltaGate(Limits(gate_rows, 0.002, 0.55, calibration))


def add(gate, batches, logit, served=None, labels=CLICKS, weights=None):
    for _ in range(batches):
        scores = None if served is None else np.full(len(labels), served, np.float32)
        gate.add(labels, np.full(len(labels), logit, np.float32), scores, weights)


def test_a_model_that_is_as_good_as_the_published_one_passes():
    g = gate()
    assert g.refusal() == ""
    add(g, 100, RIGHT, RIGHT)
    assert g.refusal() == ""


def test_a_regression_of_the_last_rows_is_found_however_good_those_before_were():
    g, few = gate(calibration=0), gate()
    add(few, 9, 1.0, RIGHT)
    assert few.refusal() == ""  # 900 rows say nothing
    add(g, 400, RIGHT, RIGHT)
    add(g, 10, 1.0, RIGHT)
    # log(1 + e) - 1/4 nats against the entropy of a quarter: 1.06326 - 0.56234 = 0.50093
    assert g.refusal() == (
        "its log loss is above that of the published version by 0.5009 on the last 1,000 rows; --gate_max_regression=0.002"
    )
    g.other_version()
    assert g.refusal() == ""


def test_scores_that_are_too_high_or_too_low_are_found_beyond_chance():
    high, low, chance, any_calibration = gate(), gate(), gate(), gate(calibration=0)
    for g in (high, low, chance, any_calibration):
        add(g, 100, RIGHT)
    add(high, 10, RIGHT + 1)  # a quarter becomes 0.475
    add(low, 10, RIGHT - 2)  # and 0.0432
    add(chance, 10, RIGHT + 0.3)  # 0.31: beyond the limit, within five standard errors
    add(any_calibration, 10, RIGHT + 1)
    assert high.refusal() == "its calibration is 1.901 on the last 1,000 rows; --gate_calibration=0.1 from 1"
    assert "its calibration is 0.173 on the last 1,000 rows" in low.refusal()
    assert (chance.refusal(), any_calibration.refusal()) == ("", "")
    add(high, 200, RIGHT)
    assert high.refusal() == ""  # by then the span is right on the whole


def test_rows_count_as_much_as_they_weigh():
    g = gate()
    weights = np.where(CLICKS == 1, np.float32(3), np.float32(1))  # half of the weight is clicks
    add(g, 20, 0.0, weights=weights)
    assert g.refusal() == ""
    add(g, 20, RIGHT, weights=weights)
    assert "its calibration is 0.500" in g.refusal()


def test_rows_without_a_click_and_old_rows():
    g = gate(gate_rows=1000)
    add(g, 10, 0.0, labels=np.zeros(100, np.float32))
    assert "its calibration is inf on the last 1,000 rows" in g.refusal()
    add(g, 10, RIGHT)
    assert g.refusal() == ""  # older rows are forgotten


@pytest.mark.parametrize("served", [None, np.nan])
def test_without_the_published_versions_scores_calibration_alone_is_looked_at(served):
    g = gate()
    add(g, 20, RIGHT, served)
    assert g.refusal() == ""


def test_a_row_that_is_here_once_more_is_not_another_row_to_judge_by():
    g, none = gate(), np.zeros(100, np.float32)
    add(g, 9, 3.0, labels=none)
    for _ in range(3):
        g.add(none + 1, none + 3.0, None, None, late=np.ones(100, bool))
    assert g.refusal() == ""  # 900 rows, of which 300 have had a click
    add(g, 1, 3.0, labels=none)
    # 952.57 clicks are predicted and 300 came: of the pairs of late rows nothing is predicted
    assert g.refusal() == "its calibration is 3.175 on the last 1,000 rows; --gate_calibration=0.1 from 1"
