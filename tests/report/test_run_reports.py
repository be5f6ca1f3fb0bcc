"""What a run tells of itself while it goes on and at its end: lines of the console, files of the model folder."""

import io
import json
import os
import re
from types import SimpleNamespace

import numpy as np
import pytest
from checkpoint_helpers import saved_parts
from rows import SCHEMA, make_rows
from tensorboard_helpers import events_of

from tfonline.config import of_flags
from tfonline.evaluate.progressive import PREDICTION, exact_auc, sigmoid
from tfonline.keep import checkpoint_contents
from tfonline.lifecycle import Exit, UserError
from tfonline.report.console import Console
from tfonline.train import run

ROWS = make_rows(400)
_TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", re.MULTILINE)


@pytest.fixture
def learn(dictionary_dir, tmp_path):
    """Learns from files, each a partition; returns the lines of the console and the summary."""

    def learn(*partitions, **settings):
        names = []
        for i, rows in enumerate(partitions):
            (tmp_path / f"rows_{i:02}.tsv").write_bytes(b"".join(row + b"\n" for row in rows))
            names.append(f"{tmp_path}/rows_{i:02}.tsv")
        small = {"dictionary_dir": dictionary_dir, "model_dir": str(tmp_path / "model"), "batch_size": 20, "embedding_dim": 2}
        small |= {"deep_layers": "4", "stop_at": "latest", "input_files": ",".join(names)}
        out = io.StringIO()
        summary = run(of_flags(**{**small, **settings}), console=Console(out)).summary
        return SimpleNamespace(lines=_TIME.sub("", out.getvalue()).splitlines(), summary=summary)

    return learn


def test_lines_with_offsets_stay_short_where_partitions_are_many(learn, tmp_path):
    parts = [ROWS[10 * p : 10 * p + 10] for p in range(12)]
    first = learn(*parts, window_rows=60, lag_policy="skip", max_lag_rows=60)
    assert "a new model, from offsets [0: 0, 1: 0, ... 10 more], 0 in all" in first.lines
    skipped = "window 0, 60 offsets from [0: 0, 1: 0, ... 10 more], 0 in all to [0: 5, 1: 5, ... 10 more], 60 in all"
    assert f"{skipped}: SKIPPED by --lag_policy=skip" in first.lines
    assert f"saved {tmp_path}/model/ckpt-2: step 3, next [0: 10, 1: 10, ... 10 more], 120 in all" in first.lines
    assert first.summary["next"] == [10] * 12
    resumed = f"resumed from {tmp_path}/model/ckpt-2: window 2, step 3, next [0: 10, 1: 10, ... 10 more], 120 in all"
    assert resumed in learn(*parts).lines


def test_the_lag_falls_within_a_window_as_rows_are_trained_and_refused(learn):
    refused = [b"not a row"] * 2
    told = learn(ROWS[:38] + refused + ROWS[38:98], window_rows=1000, report_secs=0)
    steps = [(m[1], m[2], m[3]) for line in told.lines if (m := re.match(r"step (\d+)  rows (\d+) .*  lag (\d+)  rejected", line))]
    # The batches hold 20, 18 (and two refused rows), 20, 20 and 20 rows.
    assert steps == [("1", "20", "80"), ("2", "38", "60"), ("3", "58", "40"), ("4", "78", "20"), ("5", "98", "0")]


def test_a_stream_without_new_rows_is_told_of_once(topic, start, small_run, capfd):
    """The stream is idle for four ticks of half a second, each of which is a time for a report."""
    start(topic=topic([ROWS[:40]]), stop_at="never", window_secs=0.1, max_idle_secs=2.2, report_secs=0)
    lines = _TIME.sub("", capfd.readouterr().out).splitlines()
    idle = [i for i, line in enumerate(lines) if re.fullmatch(r"idle: no new row since \d\d:\d\d:\d\d", line)]
    assert len(idle) == 1
    assert [line for line in lines[idle[0] :] if line.startswith("step ")] == []
    assert len([line for line in lines if line.startswith("step 2  rows 40 ")]) == 1


def test_the_speed_of_a_run_is_of_the_rows_and_seconds_beside_it(learn, tmp_path):
    summary = learn(ROWS[:100]).summary
    assert (summary["rows_this_run"], summary["timed_rows"]) == (100, 80)  # all but the first step's
    assert 0 < summary["timed_secs"] < summary["secs_this_run"]
    assert summary["rows_per_sec"] == pytest.approx(80 / summary["timed_secs"], rel=1e-3)
    one_step = learn(ROWS[:20], model_dir=f"{tmp_path}/other").summary
    assert (one_step["rows_this_run"], one_step["timed_rows"], one_step["rows_per_sec"]) == (20, 0, 0.0)


def test_a_wide_rate_that_does_not_fit_is_not_passed_over_in_silence(learn, tmp_path):
    rows = make_rows(10_000, seed=3)
    warnings = [line for line in learn(rows, wide_learning_rate=2.0, batch_size=500).lines if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert warnings[0].startswith("warning: at the run's end, after 10,000 rows, the model has predicted worse than one number for")
    assert warnings[0].endswith("try --wide_learning_rate=0.05 in a new --model_dir.")
    assert "warning: " not in "".join(learn(rows, wide_learning_rate=0.05, batch_size=500, model_dir=f"{tmp_path}/fits").lines)


def test_files_of_rows_are_their_owners_alone(learn, tmp_path):
    """Those of a worker that there is no more and of predictions that are no longer asked for, from an older version, too."""

    def modes(folder):
        return {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}

    of_rows = dict.fromkeys(("predictions.bin", "rejected.jsonl", "rejected.worker-1.jsonl"), "0o600")
    before = os.umask(0)
    try:
        (tmp_path / "old").mkdir()
        for name in of_rows:
            (tmp_path / "old" / name).write_text("{}\n")
        learn([b"not a row", *ROWS[:40]], max_rejected_ratio=1, model_dir=f"{tmp_path}/old")
        learn([b"not a row", *ROWS[:40]], max_rejected_ratio=1, model_dir=f"{tmp_path}/new", save_predictions=True)
    finally:
        os.umask(before)
    old, new = modes(tmp_path / "old"), modes(tmp_path / "new")
    assert {name: old[name] for name in of_rows} == of_rows
    assert (new["rejected.jsonl"], new["predictions.bin"], new["loss.log"]) == ("0o600", "0o600", "0o666")


def test_a_run_writes_its_metrics_as_runs_of_tensorboard_and_how_columns_are_filled(learn, tmp_path):
    rows = [b"\t".join([b"1", b"", *row.split(b"\t")[2:]]) for row in ROWS[:100]]  # all clicks, and no I1
    learn(rows, report_secs=0)
    events = events_of(tmp_path / "model" / "tensorboard")
    assert {tag.partition("/")[0] for tag in events} == {"running", "total", "train", "trivial", "window"}
    assert [step for step, _ in events["running/quality/log_loss"]] == [1, 2, 3, 4, 5, 5]  # the last at the run's end
    assert [value for _, value in events["trivial/quality/log_loss"]] == [0.0] * 6
    assert [step for step, _ in events["window/quality/log_loss"]] == [5]
    assert events["train/values/missing_I1"] == [(1, 1.0), (5, 1.0)]
    assert len([tag for tag in events if tag.startswith("train/values/missing_")]) == 39
    assert len([tag for tag in events if tag.startswith("train/values/unknown_")]) == 26


def _filled_anew(rows, column):
    """The same rows with other values in a column."""
    place = SCHEMA.names.index(column)
    fields = [row.split(b"\t") for row in rows]
    return [b"\t".join([*f[:place], b"new", *f[place + 1 :]]) for f in fields]


def test_drift_of_a_column_is_told_once_and_a_restart_changes_nothing(learn, tmp_path):
    rows = make_rows(3000, seed=4)
    rows[2000:] = _filled_anew(rows[2000:], "C9")
    flags = {"drift_rows": 1000, "batch_size": 500, "window_rows": 750, "report_secs": 0}
    whole = learn(rows, **flags)
    warnings = [line for line in whole.lines if line.startswith("warning: drift in column")]
    assert len(warnings) == 1
    of_others = r"\(values other than the 2\d most frequent 0.00 -> 1.00\)"
    assert re.fullmatch(rf"warning: drift in column C9: PSI \d+\.\d\d {of_others}", warnings[0])
    told = json.loads((tmp_path / "model/drift.jsonl").read_text())
    assert (told["rows"], told["about"], told["begins"], told["missing"]) == (3000, "C9", True, 0)
    assert told["text"] == warnings[0].removeprefix("warning: ")
    summary = whole.summary["drift"]
    assert (summary["windows"], summary["told"], summary["columns"], summary["model"]) == (3, 1, ["C9"], "")
    assert len(summary["psi"]) == 39
    assert max(psi for column, psi in summary["psi"].items() if column != "C9") < 0.25 < summary["psi"]["C9"]
    [(step, first), (_, second)] = events_of(tmp_path / "model/tensorboard")["train/drift/psi_C9"]
    assert (step, first < 0.25 < second) == (5, True)
    assert any(line.startswith("  drift             1 times told; now of C9") for line in whole.lines)
    # The reference is half made when the first run ends, and so is the window with the drift when the second does.
    parts = {**flags, "model_dir": f"{tmp_path}/parts"}
    for n in (750, 2250, 3000):
        resumed = learn(rows[:n], **parts)
    assert resumed.summary["drift"] == summary
    assert (tmp_path / "parts/drift.jsonl").read_bytes() == (tmp_path / "model/drift.jsonl").read_bytes()
    states = [saved_parts(tmp_path / folder) for folder in ("model", "parts")]
    assert states[0]["drift"] == states[1]["drift"] != {}


def test_nothing_is_watched_where_drift_rows_is_0(learn, tmp_path):
    told = learn(ROWS, drift_rows=0)
    assert "drift" not in told.summary
    assert not (tmp_path / "model/drift.jsonl").exists()
    assert saved_parts(tmp_path / "model")["drift"] is None


def test_metrics_by_a_columns_value_and_the_auc_within_values(learn, tmp_path):
    rows = make_rows(1500, seed=5)
    flags = {"metrics_by": "C1", "metric_rows": 10**9, "batch_size": 50, "window_rows": 500, "save_predictions": True}
    found = learn(rows, **flags).summary["metrics_by"]
    place = SCHEMA.names.index("C1")
    values = np.array([row.split(b"\t")[place].decode() or "missing" for row in rows])
    scored = np.fromfile(tmp_path / "model/predictions.bin", PREDICTION)
    sizes = dict(zip(*np.unique(values, return_counts=True), strict=True))
    assert (found["column"], len(found["values"])) == ("C1", 10)
    assert sorted(v["rows"] for v in found["values"]) == pytest.approx(sorted(sizes.values())[-10:], rel=1e-3)
    for value in found["values"]:
        of_value = values == value["value"]
        logits, labels = scored["logit"][of_value], scored["label"][of_value]
        assert value["rows"] == pytest.approx(of_value.sum(), rel=1e-3)
        assert value["calibration"] == pytest.approx(sigmoid(logits).sum() / labels.sum(), rel=1e-3)
    aucs = {v: exact_auc(scored["logit"][values == v], scored["label"][values == v]) for v in sizes}
    assert found["gauc"] == pytest.approx(np.average(list(aucs.values()), weights=[sizes[v] for v in aucs]), abs=0.02)
    assert "train/by_C1/gauc" in events_of(tmp_path / "model/tensorboard")
    parts = {**flags, "model_dir": f"{tmp_path}/parts"}
    for n in (500, 1500):
        resumed = learn(rows[:n], **parts).summary
    assert resumed["metrics_by"] == found


def test_a_column_that_metrics_cannot_be_by_is_refused(learn):
    with pytest.raises(UserError, match=r"--metrics_by=I1 is no column of kind category. Expected is one of C1, C2, ") as e:
        learn(ROWS, metrics_by="I1")
    assert e.value.code == Exit.FLAGS


def test_a_checkpoint_from_before_drift_was_watched_goes_on(learn, tmp_path, monkeypatch):
    with monkeypatch.context() as before:
        before.setattr(checkpoint_contents, "write", _write_without("drift", "metrics_by_value"))
        learn(ROWS[:200])
    assert set(saved_parts(tmp_path / "model")) == {"learner", "position", "metrics", "files"}
    resumed = learn(ROWS, metrics_by="C1").summary
    assert resumed["rows"] == 400
    assert sum(v["rows"] for v in resumed["metrics_by"]["values"]) < 200
    assert saved_parts(tmp_path / "model")["drift"]["inputs"]["rows"] == 200


def _write_without(*names):
    write = checkpoint_contents.write
    return lambda contract, parts: write(contract, [part for part in parts if part.name not in names])
