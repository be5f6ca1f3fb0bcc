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
            drift, lambda fields, rows: {"C1": np.zeros(len(rows), np.int64)}, Position([0], [0]), Console(self.said), file
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
        others = dict.fromkeys(self.drift.others, (conversions, logits))
        seen = Seen(valid, clicks, logits, np.arange(number), {}, 0.0, others=others)
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
    of_part, of_all = sorted(run.written, key=lambda line: "since_row" in line)
    for line in run.written:
        assert (line["about"], line["label"], line["begins"]) == ("model", "conversion", True)
        assert f"warning: {line['text']}" in run.said.getvalue()
    assert of_all["since_row"] == pytest.approx(40 * (133 + 133 + 66), abs=800)  # four blocks, which have 200 rows here
    words = (
        f"drift of the model for label conversion since about row {of_all['since_row']:,.0f} of those that have it: there are more "
    )
    assert of_all["text"].startswith(words + "positives than predicted (calibration 0.")
    words = "drift of the model for label conversion and column C1, the value that was the 1st most frequent: "
    numbers = f"{of_part['clicks']:,.0f} positives where {of_part['predicted']:,.0f} were predicted (z {of_part['z']:.1f})"
    assert of_part["text"] == words + numbers
    assert of_part["predicted"] == pytest.approx(1000 * 2 / 3 / 4, rel=0.02)  # two of three rows of a window have a conversion
    drift = run.drift
    assert drift.episodes() == {"column": 0, "model": 0, "model_conversion": 2}
    assert drift.summary()["by_label"] == {"conversion": {"model": "more_clicks", "model_for": "C1"}}
    assert (drift.summary()["model"], drift.summary()["model_for"]) == ("", "")
    assert drift.scalars()["drift/model_more_clicks_conversion"] > 4 > drift.scalars()["drift/model_more_clicks"]
    told = len(run.written)
    for call in range(44, 80):
        run.batches(3, seed=call)
    ends = run.written[told:]
    assert [(end["label"], end["begins"]) for end in ends] == [("conversion", False)] * 2
    assert sorted(end["text"].partition(":")[0] for end in ends) == [
        "no more drift of the model for label conversion",
        "no more drift of the model for label conversion in a part of the rows",
    ]


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
    before, drift = Run(Drift(("C1",), 1000, 0.25)), two_labels()
    for call in range(4):  # two windows
        before.batches(3, seed=call)
    before.batches(2, seed=4)
    state = json.loads(json.dumps(before.drift.get_state()))
    drift.set_state(state, 1)
    assert drift.anew == ("conversion",)
    assert drift.others["conversion"].get_state() == ModelDrift(1000).get_state()
    after = Run(drift)
    for call in range(5, 60):
        before.batches(3, seed=call)
        after.batches(3, seed=call, positives=0.25 if call < 56 else 0.5)
    assert {line["label"] for line in after.written} == {"conversion"}
    found = drift.get_state()
    assert (found.pop("others")["conversion"]["rows"] > 0, found["told"]) == (True, 2)
    # Without the other label it is as it was before there were others.
    found["inputs"].pop("wrong_of")
    found["inputs"]["columns"]["C1"].pop("errors_of")
    assert {**found, "told": 0} == before.drift.get_state()


def test_with_one_label_nothing_shows():
    drift = Drift(("C1",), 1000, 0.25)
    assert drift.episodes() == {"column": 0, "model": 0}
    assert [*drift.scalars()] == ["drift/model_more_clicks", "drift/model_fewer_clicks", "drift/model_over_confident"]
    assert [*drift.summary()] == ["windows", "told", "columns", "model", "model_for", "psi"]
