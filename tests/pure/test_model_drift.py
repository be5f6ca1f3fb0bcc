"""Drift of the model: the z-scores by hand, the rate of false alarms, and what is found."""

import json
import math

import numpy as np
import pytest

from tfonline.evaluate.model_drift import ALARM, ALLOWANCE, ModelDrift, _parts, blocks_between_alarms, z_scores

LN3 = math.log(3)


def z_of(logits, labels):
    return z_scores(_parts(np.array(logits, np.float32), np.array(labels, np.float32)).sum(axis=1))


def test_the_z_scores_by_hand():
    assert z_of([0, 0, 0, 0], [1, 1, 1, 1]) == (2, 0)  # 2 clicks more than predicted, of variance 1; the scores do not differ
    # Probabilities 0.75 and 0.25, each the wrong way: 1.5 ln 3 of variance 2 * 0.1875 ln(3)^2.
    assert z_of([LN3, -LN3], [0, 1]) == pytest.approx((0, 1.5 / math.sqrt(0.375)))
    assert z_of([LN3, -LN3], [1, 0]) == pytest.approx((0, -0.5 / math.sqrt(0.375)))


def test_a_false_alarm_of_a_chart_is_as_seldom_as_is_said():
    assert blocks_between_alarms(ALLOWANCE, ALARM) == pytest.approx(4.57e7, rel=0.01)
    rng, s, alarms = np.random.default_rng(2), 0.0, 0
    for z in rng.normal(size=400_000).tolist():
        s = max(0.0, s + z - 1)
        if s >= 2:
            s, alarms = 0.0, alarms + 1
    assert 400_000 / alarms == pytest.approx(blocks_between_alarms(1, 2), rel=0.1)


def stream(rows, seed, rate=0.25):
    """Scores that differ, and labels that come as they say."""
    rng = np.random.default_rng(seed)
    logits = (math.log(rate / (1 - rate)) + rng.normal(size=rows)).astype(np.float32)
    return logits, (rng.random(rows) < 1 / (1 + np.exp(-logits))).astype(np.float32)


def test_scores_that_are_right_are_no_drift():
    drift = ModelDrift(1000)
    assert drift.add(*stream(300_000, seed=1)) == []
    assert max(drift.charts.values()) < ALARM / 2


@pytest.mark.parametrize(
    ("change", "chart", "within", "words"),
    [
        (lambda x, y: (x, np.maximum(y, np.arange(len(y)) % 5 == 0)), "more_clicks", 2000, "there are more clicks than predicted"),
        (lambda x, y: (x, y * (np.arange(len(y)) % 2)), "fewer_clicks", 2000, "there are fewer clicks than predicted"),
        (lambda x, y: (x, np.roll(y, 1)), "over_confident", 3000, "scores are over-confident"),
    ],
)
def test_a_change_is_told_once_with_its_beginning(change, chart, within, words):
    drift = ModelDrift(1000)
    assert drift.add(*stream(60_000, seed=1)) == []
    changed = change(*stream(within, seed=2))
    [found] = drift.add(*changed)
    since = found.numbers["since_row"]
    assert 59_000 <= since <= 60_500
    assert found.text.startswith(f"drift of the model since about row {since:,.0f}: {words} (calibration ")
    assert drift.episode == chart
    assert drift.add(*change(*stream(20_000, seed=3))) == []
    [over] = drift.add(*stream(20_000, seed=4))
    assert not over.begins
    assert drift.episode == ""


def test_the_first_rows_of_a_model_are_not_looked_at():
    drift = ModelDrift(1000)
    logits, labels = stream(5000, seed=1)
    assert drift.add(logits, 1 - labels) == []
    assert drift.add(*stream(20_000, seed=2)) == []


def test_a_block_of_few_clicks_grows_until_they_are_enough():
    drift = ModelDrift(1000)
    logits, labels = np.full(10_000, -math.log(999), np.float32), np.zeros(10_000, np.float32)  # variance 0.000999 a row
    drift.add(logits, labels)
    assert drift.get_state()["rows"] == 0
    drift.add(np.tile(logits, 2), np.tile(labels, 2))
    assert drift.get_state()["rows"] == 25_100


def test_it_goes_on_after_a_restart_to_the_bit():
    whole, resumed = ModelDrift(1000), ModelDrift(1000)
    batches = [stream(330, seed) for seed in range(30)] + [(x, 1 - y) for x, y in (stream(330, seed) for seed in range(30, 50))]
    told = [found for batch in batches for found in whole.add(*batch)]
    found = []
    for batch in batches:
        found += resumed.add(*batch)
        saved = json.loads(json.dumps(resumed.get_state()))
        resumed = ModelDrift(1000)
        resumed.set_state(saved)
    assert found == told != []
    assert resumed.get_state() == whole.get_state()
    other = ModelDrift(2000)
    other.set_state(saved)
    assert other.get_state()["rows"] == 0


def test_batches_change_nothing():
    generator = np.random.default_rng(7)
    logits = generator.normal(-1, 1, 9000).astype(np.float32)
    labels = (generator.random(9000) < 0.3).astype(np.float32)
    by_batch, at_once = ModelDrift(10_000), ModelDrift(10_000)
    at_once.add(logits, labels)
    for first in range(0, 9000, 70):
        by_batch.add(logits[first : first + 70], labels[first : first + 70])
    assert by_batch.get_state() == at_once.get_state()
