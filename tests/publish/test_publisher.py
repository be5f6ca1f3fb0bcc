"""Publishing beside training: versions that differ, each of a checkpoint that stays; refusals and faults that stop nothing."""

import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil

import numpy as np
import pytest
import tensorflow as tf
from publisher_helpers import ROWS, trainer
from rows import SCHEMA, make_rows
from servable_helpers import make_features
from tensorboard_helpers import events_of

import tfonline
from tfonline.evaluate.progressive import exact_auc
from tfonline.lifecycle import UserError
from tfonline.publish import publisher as publisher_module
from tfonline.publish.servable import Servable
from tfonline.publish.versions import Versions

KINDS = [("label", "label"), *((f"I{i}", "integer") for i in range(1, 14)), *((f"C{i}", "category") for i in range(1, 27))]


@pytest.fixture
def train(dictionary_dir, tmp_path, capsys, monkeypatch):
    return trainer(dictionary_dir, tmp_path, capsys, monkeypatch)


def scores(versions, number, rows=ROWS[:500]):
    return tf.saved_model.load(str(versions.path(number))).signatures["serving_default"](message=tf.constant(rows))["logit"].numpy()


def test_each_version_is_another_checkpoint_and_scores_as_it(train):
    config, said, versions = train()
    assert versions.numbers == [1, 2, 3, 4]
    seen = []
    for number in versions.numbers:
        manifest = versions.manifest(number)
        assert versions.problems(number) == []
        servable = Servable(config.model, SCHEMA, make_features(config, config.keeping.model_dir))
        servable.load(f"{config.keeping.model_dir}/published/{manifest['checkpoint']}")
        found = scores(versions, number)
        assert np.array_equal(found, servable.score(tf.constant(ROWS[:500]))["logit"])
        assert not any(np.array_equal(found, other) for other in seen)
        seen.append(found)
        assert manifest["next"] == [manifest["rows"]] == [manifest["step"] * 50]
        assert manifest["window"] * 200 == manifest["rows"]
        assert manifest["metrics"]["rows"] == 400
        assert manifest["newest_row_time"] is None  # rows of a file have none
        assert manifest["schema_fingerprint"] == hashlib.sha256(json.dumps(KINDS).encode()).hexdigest()[:32]
        assert manifest["contract"]["dictionaries"]
        assert manifest["libraries"] == {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
            "tfonline": tfonline.__version__,
        }
        assert f"published version {number} in" in said
    assert exact_auc(seen[-1], np.array([row[:1] == b"1" for row in ROWS[:500]])) > 0.6


def test_a_manifest_is_of_its_checkpoint_though_training_has_gone_on_since(train, monkeypatch):
    class Slow(publisher_module.Publisher):
        def saved(self, checkpoint):
            self._position.step += 1000  # as if it had: the checkpoint was written in the background
            super().saved(checkpoint)
            self._position.step -= 1000

    monkeypatch.setattr("tfonline.actions.make.Publisher", Slow)
    _, _, versions = train(background_save=True)
    for number in versions.numbers:
        manifest = versions.manifest(number)
        assert manifest["checkpoint"] == f"ckpt-{manifest['window']}"
        assert manifest["next"] == [manifest["rows"]] == [manifest["step"] * 50] == [manifest["window"] * 200]


def test_it_is_told_how_long_an_export_took_and_how_long_training_stood_still(train):
    config, _, _ = train()
    events = events_of(f"{config.keeping.model_dir}/tensorboard")
    secs, stalls = ([value for _, value in events[f"train/serving/export_{name}"]] for name in ("secs", "stall_secs"))
    # All is done while training waits, here: what it stands still for is all but the save of the checkpoint.
    assert len(set(secs)) >= 3
    assert all(0 < stall <= took < 60 for stall, took in zip(stalls, secs, strict=True))
    assert min(stalls[-1] / secs[-1], stalls[0] / secs[0]) > 0.5


def test_published_checkpoints_stay_for_as_long_as_their_versions(train):
    config, _, versions = train(keep_checkpoints=2, keep_exports=2, export_every_windows=3)
    assert len(versions.numbers) == 2
    pinned = {versions.manifest(n)["checkpoint"] for n in versions.numbers}
    assert {name.partition(".")[0] for name in os.listdir(f"{config.keeping.model_dir}/published")} == pinned


def test_the_stream_is_scored_by_what_is_published_also_after_a_restart(train):
    config, _, versions = train()
    before = events_of(f"{config.keeping.model_dir}/tensorboard")
    assert {value for _, value in before["train/serving/version"]} >= set(versions.numbers[:-1])
    shutil.copytree(config.keeping.model_dir, f"{config.keeping.model_dir}-copy")
    _, said, _ = train(rows=[*ROWS, *make_rows(600, seed=2)], gate_rows=300, export_every_windows=100)
    events = events_of(f"{config.keeping.model_dir}/tensorboard")
    step = before["train/stream/lag_rows"][-1][0]
    served = [value for at, value in events["train/serving/version"] if at > step]
    assert served
    assert set(served) == {versions.numbers[-1]}
    assert [value for at, value in events["train/serving/age_rows"] if at > step][-1] == 600
    # A model that is not this one's is left alone.
    _, said, _ = train(model_dir=f"{config.keeping.model_dir}-other", export_every_windows=100)
    assert f"version {versions.numbers[-1]} is not of this model, or its checkpoint is gone or damaged: the stream is not" in said


def test_a_refused_model_is_not_published_and_the_reason_is_kept(train):
    config, said, versions = train(gate_min_auc=0.99)
    assert versions.numbers == []
    assert "not published: its AUC is 0." in said
    assert "Version none stays" in said
    lines = [json.loads(line) for line in pathlib.Path(config.serving.export_dir, "refused.jsonl").read_text().splitlines()]
    assert len(lines) >= 3
    assert all("--gate_min_auc=0.99" in line["why"] for line in lines)
    assert events_of(f"{config.keeping.model_dir}/tensorboard")["train/serving/export_refused"][-1][1] >= 2


def test_a_saved_model_that_scores_otherwise_is_refused(train, monkeypatch):
    class Wrong(Servable):
        def load(self, checkpoint):
            super().load(checkpoint)
            self.model.bias.assign_add(0.01)

    monkeypatch.setattr(publisher_module, "Servable", Wrong)
    _, said, versions = train()
    assert versions.numbers == []
    assert "the SavedModel does not score as the trainer does (logits differ by up to 0.01)" in said


def test_a_failure_stops_no_training(train, monkeypatch):
    def full(self, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Servable, "write", full)
    config, said, versions = train()
    assert versions.numbers == []
    assert "warning: publishing failed, training goes on: [Errno 28] No space left on device" in said
    assert json.loads(pathlib.Path(config.keeping.model_dir, "summary.json").read_bytes())["rows"] == len(ROWS)
    assert events_of(f"{config.keeping.model_dir}/tensorboard")["train/serving/export_failed"][-1][1] >= 2


def test_a_damaged_newest_version_stops_no_training(train, tmp_path):
    config, _, versions = train(export_every_windows=20)
    [newest], folder = versions.numbers, versions.folder
    pinned = pathlib.Path(config.keeping.model_dir, "published", f"{versions.manifest(newest)['checkpoint']}.index")
    damages = {
        "version 1 is damaged": (versions.path(newest) / "manifest.json", b'{"version": '),
        "version 1 is damaged: the stream": (versions.path(newest) / "manifest.json", b"[]"),
        ".state.json cannot be understood": (folder / ".state.json", b""),
        "its checkpoint is gone or damaged": (pinned, b"damaged"),
        "the checkpoint of version 1 cannot be read": (pinned.with_suffix(".data-00000-of-00001"), b"damaged"),
        "published version 2": (versions.path(newest) / "saved_model.pb", b"damaged"),  # its checkpoint is whole
    }
    for said_of_it, (file, content) in damages.items():
        whole = file.read_bytes()
        file.unlink()  # of a checkpoint it is a second name
        file.write_bytes(content)
        for name in ("model", "export"):
            shutil.copytree(tmp_path / name, tmp_path / "damaged" / name)
        file.write_bytes(whole)
        more = {"model_dir": str(tmp_path / "damaged" / "model"), "export_dir": str(tmp_path / "damaged" / "export")}
        _, said, versions = train(rows=[*ROWS, *make_rows(1200, seed=2)], **more)
        assert said_of_it in said
        assert json.loads((tmp_path / "damaged" / "model" / "summary.json").read_bytes())["rows"] == len(ROWS) + 1200
        assert versions.numbers == ([1] if "state" in said_of_it else [1, 2])
        assert "state" in said_of_it or versions.problems(2) == []
        shutil.rmtree(tmp_path / "damaged")


def test_nothing_is_published_while_it_is_paused(train):
    config, _, versions = train(export_every_windows=6)
    newest = versions.roll_back(why="clicks fell")
    _, _, versions = train(rows=[*ROWS, *make_rows(2000, seed=2)])
    assert versions.numbers[-1] == newest
    versions.resume()
    train(rows=[*ROWS, *make_rows(4000, seed=2)])
    assert Versions(config.serving.export_dir).numbers[-1] > newest


def test_folders_whose_names_are_patterns_to_tensorflow(train, tmp_path):
    names = {"model_dir": "model lr=[0.1,0.2]", "export_dir": "export lr=[0.1,0.2]"}
    # What the name fits as a pattern: versions of another model.
    others = {"model_dir": "other", "export_dir": "export lr=1"}
    train(rows=make_rows(2000, seed=3), **{flag: str(tmp_path / name) for flag, name in others.items()})
    before = {p: p.read_bytes() for p in (tmp_path / others["export_dir"]).rglob("*") if p.is_file()}
    _, said, versions = train(**{flag: str(tmp_path / name) for flag, name in names.items()})
    assert versions.numbers == [1, 2, 3, 4]
    assert "publishing failed" not in said
    assert [versions.problems(number) for number in versions.numbers] == [[]] * 4
    assert len(os.listdir(tmp_path / names["model_dir"] / "published")) == 8
    assert {p: p.read_bytes() for p in (tmp_path / others["export_dir"]).rglob("*") if p.is_file()} == before


def test_the_folder_must_be_one(train, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--export_dir=.*cannot be made or written"):
        train(export_dir=str(tmp_path / "file" / "x"))
