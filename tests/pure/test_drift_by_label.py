"""Drift of the model where rows have several labels: each label's own charts, over the rows that have it."""

import io
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from tfonline.actions.watch_drift import WatchDrift
from tfonline.evaluate.drift import Drift
from tfonline.evaluate.model_drift import ModelDrift
from tfonline.events import Rows, Seen
from tfonline.report.console import Console
from tfonline.state import Position

ROWS = 200  # a batch


class Run:
    """What watches drift of clicks and conversions, and what it has said and written down."""

    def __init__(self, drift):
        self.said, self.written, self.drift = io.StringIO(), [], drift
        file = SimpleNamespace(write=lambda line: self.written.append(json.loads(line)))
        self.watch = WatchDrift(
            drift, lambda fields, rows: {"C1": np.zeros(len(rows))}, Position([0], [0]), Console(self.said), file
        )

    def batches(self, number, seed, positives=0.25):
        """So many batches in one call. All scores are 25 %, the share of clicks; `positives` is that of conversions, of which every
        third is missing. Returns logits and labels of those that are there.
        """
        random = np.random.default_rng(seed)
        shape = number, ROWS
        clicks = (random.random(shape) < 0.25).astype(np.float32)
        conversions = (random.random(shape) < positives).astype(np.float32)
        conversions[:, ::3] = np.nan
        logits, valid = np.full(shape, -math.log(3), np.float32), np.ones(shape, bool)
        valid[-1, ROWS // 2 :] = False  # the last batch is half full
        seen = Seen(valid, clicks, logits, np.arange(number), {}, 0.0, others={"conversion": (conversions, logits)})
        element = SimpleNamespace(fields=SimpleNamespace(reason=SimpleNamespace(numpy=lambda: np.where(valid.ravel(), 0, 1))))
        self.watch(Rows(element, None, ()), seen)
        known = valid & ~np.isnan(conversions)
        return logits[known], conversions[known]


def two_labels():
    return Drift(("C1",), 1000, 0.25, ("conversion",))


def test_each_label_is_looked_at_over_the_rows_that_have_it():
    run, alone = Run(two_labels()), ModelDrift(1000)
    for call in range(4):
        alone.add(*run.batches(3, seed=call))
    assert run.drift.others["conversion"].get_state() == alone.get_state()
    # Of 4 * 500 rows 133 of each whole batch have a conversion, and 66 of the half one.
    assert alone.get_state()["rows"] + alone.get_state()["open"][0] == 4 * (133 + 133 + 66)
    clicks = run.drift.model.get_state()
    assert clicks["rows"] + clicks["open"][0] == 4 * 500


def test_a_change_of_another_label_is_told_with_its_name_and_none_of_the_first():
    run = Run(two_labels())
    for call in range(40):
        run.batches(3, seed=call)
    assert run.written == []
    for call in range(40, 44):
        run.batches(3, seed=call, positives=0.5)
    [line] = run.written
    since = 40 * (133 + 133 + 66)
    assert (line["about"], line["label"], line["begins"]) == ("model", "conversion", True)
    assert line["since_row"] == pytest.approx(since, abs=800)  # four blocks, which have 200 rows here
    words = (
        f"drift of the model for label conversion since about row {line['since_row']:,.0f} of those that have it: there are more "
    )
    assert line["text"].startswith(words + "positives than predicted (calibration 0.")
    assert f"warning: {line['text']}" in run.said.getvalue()
    drift = run.drift
    assert drift.episodes() == {"column": 0, "model": 0, "model_conversion": 1}
    assert (drift.summary()["model"], drift.summary()["model_by_label"]) == ("", {"conversion": "more_clicks"})
    assert drift.scalars()["drift/model_more_clicks_conversion"] > 4 > drift.scalars()["drift/model_more_clicks"]
    for call in range(44, 80):
        run.batches(3, seed=call)
    assert [(end["label"], end["begins"]) for end in run.written[1:]] == [("conversion", False)]
    assert run.written[1]["text"].startswith("no more drift of the model for label conversion: calibration ")


def test_a_restart_changes_nothing():
    whole, resumed = Run(two_labels()), Run(two_labels())
    for call in range(50):
        for run in (whole, resumed):
            run.batches(2, seed=call, positives=0.25 if call < 40 else 0.5)
        state = json.loads(json.dumps(resumed.drift.get_state()))
        drift = two_labels()
        drift.set_state(state, 1)
        written, resumed = resumed.written, Run(drift)
        resumed.written.extend(written)
    assert resumed.written == whole.written != []
    assert resumed.drift.get_state() == whole.drift.get_state()
    assert resumed.drift.anew == ()


def test_a_checkpoint_from_before_the_other_labels_were_watched_goes_on():
    before, after = Run(Drift(("C1",), 1000, 0.25)), two_labels()
    before.drift.model.add(np.full(700, -1, np.float32), np.zeros(700, np.float32))
    state = before.drift.get_state()
    assert set(state) == {"inputs", "model", "told"}  # as with one label
    after.set_state(state, 1)
    assert after.model.get_state() == state["model"]
    assert after.others["conversion"].get_state() == ModelDrift(1000).get_state()
    assert after.anew == ("conversion",)


def test_with_one_label_nothing_shows():
    drift = Drift(("C1",), 1000, 0.25)
    assert drift.episodes() == {"column": 0, "model": 0}
    assert [*drift.scalars()] == ["drift/model_more_clicks", "drift/model_fewer_clicks", "drift/model_over_confident"]
    assert [*drift.summary()] == ["windows", "told", "columns", "model", "model_for", "psi"]
