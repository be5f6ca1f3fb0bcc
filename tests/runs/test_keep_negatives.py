"""Runs that learn from a share of the negatives: they speak of the whole stream, and a restart changes nothing."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from checkpoint_helpers import saved
from publisher_helpers import AtOnce
from rows import CLICKS_YAML

from tfonline.config import parse
from tfonline.evaluate.progressive import PREDICTION
from tfonline.publish import publisher
from tfonline.publish.versions import Versions
from tfonline.train import run

NUMBER = 6000
FLAGS = [
    "--vocabulary_rows=256", "--admit_after=2", "--admit_counters=1024", "--oov_buckets=20",
    "--window_rows=500", "--batch_size=10", "--deep_layers=8", "--embedding_dim=4", "--stop_at=latest", "--save_predictions",
    "--deep_learning_rate=0.02", "--history", "--keep_negatives=0.25", "--export_every_secs=0", "--export_every_windows=4",
    "--gate_rows=500",
    "--gate_calibration=0", "--gate_min_auc=0", "--gate_max_regression=1",
    "--metric_rows=2000", "--checkpoint_every_steps=1", "--checkpoint_secs=0", "--drift_rows=1000",
]  # fmt: skip


def rows(number: int) -> list[str]:
    """Six clicks in a hundred, most of them of the items 0 to 4."""
    r = np.random.default_rng(5)
    items, users, x = r.integers(0, 20, number), r.integers(0, 50, number), r.random(number)
    clicks = x < np.where(items < 5, 0.18, 0.02)
    return [f"{int(c)}\ti{i}\tu{u}" for c, i, u in zip(clicks, items, users, strict=True)]


def trained(folder: pathlib.Path, lines: list[str], *more: str) -> dict:
    folder.mkdir(exist_ok=True)
    (folder / "columns.yaml").write_text(CLICKS_YAML)
    (folder / "rows").write_text("\n".join(lines) + "\n")
    files = [f"--columns={folder}/columns.yaml", f"--input_files={folder}/rows", f"--model_dir={folder}/model"]
    return run(parse(["", *files, f"--export_dir={folder}/models", *FLAGS, *more])).summary


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that has published at its end, however slow the machine is."""
    folder = tmp_path_factory.mktemp("whole")
    lines = rows(NUMBER)
    lines[77] = "no row"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(publisher, "ThreadPoolExecutor", AtOnce)
        return folder, lines, trained(folder, lines)


def test_all_rows_are_accounted_for_and_all_clicks_are_learned_from(whole):
    folder, lines, summary = whole
    left_out = summary["skipped"]["negatives"]
    clicks = sum(line.startswith("1") for line in lines)
    assert summary["rows"] + left_out + 1 == NUMBER
    assert summary["rejected_by_reason"] == {"fields": 1}
    assert left_out == pytest.approx(0.75 * (NUMBER - clicks), rel=0.03)
    scored = np.fromfile(folder / "model" / "predictions.bin", PREDICTION)
    assert len(scored) == summary["rows"]
    assert int(scored["label"].sum()) == clicks
    assert (np.diff(scored["offset"]) > 0).all()


def test_metrics_and_the_gate_speak_of_the_whole_stream(whole):
    folder, lines, summary = whole
    rate = sum(line.startswith("1") for line in lines) / NUMBER
    total = summary["total"]
    assert total["rows"] == pytest.approx(NUMBER, rel=0.03)
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert total["trivial_log_loss"] == pytest.approx(entropy, rel=0.03)
    assert summary["running"]["ne"] < 0.95
    assert summary["running"]["calibration"] == pytest.approx(1, abs=0.3)  # it would be 3 without the correction
    versions = Versions(folder / "models")
    metrics = versions.manifest(versions.numbers[-1])["metrics"]
    assert 500 <= metrics["rows"] < 510  # that were scored
    assert metrics["calibration"] == pytest.approx(1, abs=0.3)


def test_the_published_model_gives_the_streams_probabilities(whole):
    folder, lines, _ = whole
    versions = Versions(folder / "models")
    signature = tf.saved_model.load(str(versions.path(versions.numbers[-1]))).signatures["serving_default"]
    lines = lines[-2000:]
    probability = signature(message=tf.constant(lines))["probability"].numpy()
    assert probability.mean() == pytest.approx(0.06, abs=0.01)
    likely = np.array([int(line.split("\t")[1][1:]) < 5 for line in lines])
    assert probability[likely].mean() == pytest.approx(0.18, abs=0.03)
    assert probability[~likely].mean() == pytest.approx(0.02, abs=0.01)


def test_a_restart_changes_nothing(whole, tmp_path):
    folder, lines, summary = whole
    assert trained(tmp_path, lines[:2500])["rows"] < summary["rows"] / 2
    again = trained(tmp_path, lines)
    assert again["skipped"] == summary["skipped"]
    assert again["fingerprint"] == summary["fingerprint"]
    tensors, _ = saved(folder / "model")
    for name, tensor in saved(tmp_path / "model")[0].items():
        np.testing.assert_array_equal(tensor, tensors[name], err_msg=name)


def test_what_is_read_at_once_changes_nothing_and_neither_does_a_replay(whole, tmp_path):
    folder, lines, _ = whole
    tensors, _ = saved(folder / "model")
    trained(tmp_path / "calls", lines, "--steps_per_call=3")
    replayed = trained(tmp_path / "replay", lines, f"--replay_journal={folder}/model/windows.jsonl")
    assert replayed["skipped"] == json.loads((folder / "model" / "summary.json").read_text())["skipped"]
    for other in ("calls", "replay"):
        found, _ = saved(tmp_path / other / "model")
        assert found.keys() == tensors.keys()
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(found[name], tensor, err_msg=name)


def test_another_share_goes_on_from_the_same_model(tmp_path):
    lines = rows(NUMBER + 3000)
    trained(tmp_path, lines[:NUMBER])
    summary = trained(tmp_path, lines, "--keep_negatives=1")
    assert summary["rows_this_run"] == 3000
    assert summary["running"]["calibration"] == pytest.approx(1, abs=0.15)
