"""Publishing where the newest version is not of this model, or something fails: it compares or refuses, and training goes on."""

import errno
import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from publisher_helpers import ROWS, trainer
from rows import make_rows
from serving_helpers import publish
from tensorboard_helpers import events_of

from tfonline.evaluate.progressive import PREDICTION
from tfonline.keep.plain_path import plain_path
from tfonline.model.learner import Learner
from tfonline.publish import links
from tfonline.publish import publisher as publisher_module
from tfonline.publish.gate import Gate
from tfonline.publish.newest import Newest
from tfonline.publish.servable import Servable
from tfonline.publish.versions import Versions

STRICT = {"gate_max_regression": 0.01, "export_every_windows": 4}


@pytest.fixture
def train(dictionary_dir, tmp_path, capsys, monkeypatch):
    return trainer(dictionary_dir, tmp_path, capsys, monkeypatch)


def other_model(tmp_path):
    return {"model_dir": str(tmp_path / "other")}


def log_loss_of(versions, number, rows):
    """By hand, from the SavedModel."""
    with plain_path(versions.path(number)) as plain:
        loaded = tf.saved_model.load(plain)
    logits = loaded.signatures["serving_default"](message=tf.constant(rows))["logit"].numpy().astype(float)
    labels = np.array([row[:1] == b"1" for row in rows])
    return np.mean(np.log1p(np.exp(-np.where(labels, logits, -logits))))


def rows_of(config):
    return json.loads(pathlib.Path(config.keeping.model_dir, "summary.json").read_bytes())["rows"]


def refusals(config):
    return [json.loads(line)["why"] for line in pathlib.Path(config.serving.export_dir, "refused.jsonl").read_text().splitlines()]


def counted(config, name):
    return events_of(f"{config.keeping.model_dir}/tensorboard")[f"train/serving/export_{name}"][-1][1]


# Over a version of another model


def test_a_worse_model_does_not_replace_one_of_another_model(train, tmp_path):
    _, _, versions = train(export_every_windows=20)
    assert versions.numbers == [1]
    new = make_rows(800, seed=2)
    config, said, versions = train(rows=new, **other_model(tmp_path), **STRICT, save_predictions=True)
    assert versions.numbers == [1]
    assert "version 1 is not of this model, or its checkpoint is gone or damaged: the stream is not scored by it" in said
    [*_, why] = refusals(config)
    assert why.startswith("its log loss is above that of the published version by 0.")
    assert why.endswith("on the same 400 rows; --gate_max_regression=0.01")
    by = float(why.split(" by ")[1].split()[0])
    trainers = np.fromfile(f"{config.keeping.model_dir}/predictions.bin", PREDICTION)[-400:]
    ours = np.mean(np.log1p(np.exp(-np.where(trainers["label"] == 1, 1, -1) * trainers["logit"].astype(float))))
    assert by == pytest.approx(ours - log_loss_of(versions, 1, new[-400:]), abs=2e-5)
    assert counted(config, "refused") == len(refusals(config)) >= 1


def test_a_better_model_replaces_one_of_another_model(train, tmp_path):
    _, _, versions = train(rows=make_rows(400, seed=2), export_every_windows=2)
    assert versions.numbers == [1]
    _, _, versions = train(**other_model(tmp_path), gate_max_regression=0, export_every_windows=20)
    assert versions.numbers == [1, 2]
    metrics = versions.manifest(2)["metrics"]
    assert metrics["served_rows"] == 400
    assert metrics["served_log_loss"] == pytest.approx(log_loss_of(versions, 1, ROWS[-400:]), abs=1e-5)
    assert metrics["regression"] < 0


def test_a_checkpoint_of_the_same_name_is_not_that_of_another_models_version(train, tmp_path):
    train(export_every_windows=20)
    _, _, versions = train(rows=make_rows(4000, seed=2), **other_model(tmp_path), export_every_windows=20)
    assert [versions.manifest(number)["checkpoint"] for number in versions.numbers] == ["ckpt-20", "ckpt-20"]
    _, said, versions = train(rows=[*ROWS, *make_rows(800, seed=3)], export_every_windows=4)
    assert "version 2 is not of this model, or its checkpoint is gone or damaged" in said
    assert versions.numbers == [1, 2, 3]


def test_a_version_that_cannot_be_scored_is_replaced_only_if_that_is_asked_for(train, tmp_path):
    publish(tmp_path / "export", 1.0, schema_fingerprint="of other columns")
    config, said, versions = train()
    assert versions.numbers == [1]
    assert said.count("not published: version 1 cannot be compared with (its schema_fingerprint is of other columns, ") == 1
    assert said.count("--replace_foreign") == 1
    assert len(refusals(config)) == counted(config, "refused") >= 3
    assert all("cannot be compared with" in why for why in refusals(config))
    assert rows_of(config) == len(ROWS)
    config, said, versions = train(rows=[*ROWS, *make_rows(1000, seed=2)], replace_foreign=True)
    assert versions.numbers == [1, 2]
    assert "published version 2 in" in said
    assert "over version 1, which could not be compared with (its schema_fingerprint is of other columns, " in said


def damaged_pin(config, versions):
    for pin in pathlib.Path(config.keeping.model_dir, "published").glob("*.data-*"):
        pin.unlink()
        pin.write_bytes(b"damaged")


def missing_pin(config, versions):
    shutil.rmtree(f"{config.keeping.model_dir}/published")


def damaged_manifest(config, versions):
    (versions.path(1) / "manifest.json").write_text('{"version": ')


@pytest.mark.parametrize("damage", [damaged_pin, missing_pin, damaged_manifest])
def test_the_gate_holds_though_the_own_version_cannot_be_scored_row_by_row(train, damage):
    config, _, versions = train(export_every_windows=20)
    damage(config, versions)
    # So high a rate spoils what was learned.
    spoilt = {"deep_learning_rate": 0.5, "wide_learning_rate": 5.0}
    config, said, versions = train(rows=[*ROWS, *make_rows(800, seed=2)], **STRICT, **spoilt)
    assert "the stream is not scored by it; the gate will ask its SavedModel for its scores" in said
    assert versions.numbers == [1]
    assert all(why.startswith("its log loss is above that of the published version by") for why in refusals(config))
    assert len(refusals(config)) == 1


def test_what_others_do_in_the_middle_of_a_run_is_noticed(train, monkeypatch):
    class Watched(publisher_module.Publisher):
        rolled_back = False

        def saving(self):
            if self._versions.numbers == [1, 2] and not self.rolled_back:
                self.rolled_back = True
                self._versions.roll_back(why="clicks fell")
                self._versions.resume()
            super().saving()

    monkeypatch.setattr("tfonline.actions.make.Publisher", Watched)
    config, _, versions = train()
    assert versions.numbers == [1, 2, 3, 4, 5]
    assert versions.manifest(3)["rolled_back_to"] == 1
    assert [value for _, value in events_of(f"{config.keeping.model_dir}/tensorboard")["train/serving/version"]][-1] == 5
    assert 3 in {value for _, value in events_of(f"{config.keeping.model_dir}/tensorboard")["train/serving/version"]}


@pytest.fixture
def meanwhile(monkeypatch):
    """Has something done while each model is written: it gets the versions."""

    def do(work):
        class Written(Servable):
            def write(self, folder):
                super().write(folder)
                work(Versions(folder.parent.parent))

        monkeypatch.setattr(publisher_module, "Servable", Written)

    return do


def test_a_version_that_came_while_another_was_written_is_not_replaced_unseen(train, meanwhile):
    meanwhile(lambda versions: versions.numbers or publish(versions.folder, 1.0))
    config, said, versions = train()
    why = "version 1 has been published since the model was saved; the next model is compared with it"
    assert f"not published: {why}. Version none stays." in said
    assert refusals(config) == [why]
    assert versions.numbers == [1, 2, 3, 4]  # four are due, and the first of them was refused
    assert versions.manifest(2)["metrics"]["served_rows"] == 400


def test_where_rows_are_kept_they_are_scored_by_the_version_that_came_meanwhile(train, tmp_path, meanwhile):
    publish(tmp_path / "export", 1.0)
    meanwhile(lambda versions: versions.numbers == [1] and publish(versions.folder, 0.001))
    _, _, versions = train(export_every_windows=20)
    assert versions.numbers == [1, 2, 3]
    metrics = versions.manifest(3)["metrics"]
    assert metrics["served_log_loss"] == pytest.approx(log_loss_of(versions, 2, ROWS[-400:]), abs=1e-5)
    assert metrics["served_log_loss"] != pytest.approx(log_loss_of(versions, 1, ROWS[-400:]), abs=1e-5)


def test_a_model_from_before_a_roll_back_is_not_published_after_it(train, meanwhile):
    def roll_back(versions):
        if versions.numbers == [1, 2]:
            versions.roll_back(why="clicks fell")
            versions.resume()

    meanwhile(roll_back)
    config, said, versions = train()
    assert "not published: version 3 was gone back to since the model was saved" in said
    assert len(refusals(config)) == 1
    assert versions.numbers == [1, 2, 3, 4]


def test_a_model_is_not_published_where_publishing_was_paused_while_it_was_written(train, meanwhile):
    meanwhile(lambda versions: versions.numbers == [1, 2] and versions.roll_back(why="clicks fell"))
    config, said, versions = train()
    assert "not published: publishing is paused: clicks fell (version 3 is 1 again). Version 2 stays." in said
    assert len(refusals(config)) == counted(config, "refused") == 1
    assert versions.numbers == [1, 2, 3]


# What fails


def fail(*_, **__):
    raise tf.errors.ResourceExhaustedError(None, None, "no memory for it")


def test_a_version_that_cannot_score_the_stream_is_asked_by_the_gate(train, monkeypatch):
    train(export_every_windows=20)
    monkeypatch.setattr(Newest, "score", fail)
    config, said, versions = train(rows=[*ROWS, *make_rows(1000, seed=2)], export_every_windows=5)
    assert rows_of(config) == len(ROWS) + 1000
    assert "publishing failed, training goes on: no memory for it (the stream is not scored by version 1 any more)" in said
    assert versions.numbers == [1, 2]
    assert versions.manifest(2)["metrics"]["served_rows"] == 400
    assert counted(config, "failed") >= 1


@pytest.mark.parametrize(
    ("owner", "name"),
    [(Learner, "score"), (Gate, "copy"), (Newest, "look"), (Newest, "published")],
)
def test_whatever_fails_in_the_publisher_training_goes_on(train, monkeypatch, owner, name):
    train(export_every_windows=20)
    monkeypatch.setattr(owner, name, fail)
    config, said, _ = train(rows=[*ROWS, *make_rows(1000, seed=2)])
    assert rows_of(config) == len(ROWS) + 1000
    assert "warning: publishing failed, training goes on: no memory for it" in said
    assert said.count("no memory for it") < 5
    assert counted(config, "failed") >= 1


def test_where_no_servable_can_be_made_training_goes_on(train, monkeypatch):
    monkeypatch.setattr(Servable, "__init__", fail)
    config, said, versions = train()
    assert rows_of(config) == len(ROWS)
    assert said.count("publishing failed, training goes on: no memory for it (nothing is published in this run)") == 1
    assert counted(config, "failed") == 1
    assert versions.numbers == []


def test_without_hard_links_published_checkpoints_are_copied(train, monkeypatch):
    def no_link(source, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(links.os, "link", no_link)
    config, said, versions = train()
    assert versions.numbers == [1, 2, 3, 4]
    folder = f"{config.keeping.model_dir}/published"
    assert said.count(f"{folder}: no hard links there (Operation not permitted), so that published checkpoints are copied") == 1
    assert "publishing failed" not in said
    _, said, _ = train(rows=[*ROWS, *make_rows(200, seed=2)])
    assert "not scored by it" not in said
    assert len(list(pathlib.Path(folder).iterdir())) == 8
