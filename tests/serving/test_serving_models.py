"""Which version is served: the newest that is whole and was not rolled back."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
from serving_helpers import publish

from tfonline.publish.versions import Versions
from tfonline.serving import models as models_module
from tfonline.serving.models import Models


@pytest.fixture
def said():
    return []


@pytest.fixture
def models(tmp_path, said):
    return Models(Versions(tmp_path), said.append)


def damage(folder, number):
    (folder / str(number) / "saved_model.pb").unlink()  # after a roll-back the file has a name in an older version, too
    (folder / str(number) / "saved_model.pb").write_bytes(b"no model")


def logit(models, rows=("abc",)):
    return models.current.score("serving_default", {"message": list(rows)})["logit"].tolist()


def test_nothing_is_served_until_there_is_a_version(tmp_path, models, said):
    models.look()
    assert models.current is None
    publish(tmp_path, 0.5)
    models.look()
    assert (models.current.number, logit(models)) == (1, [1.5])
    assert models.current.inputs == {"serving_default": {"message": True}, "columns": {"I1": False, "I2": False, "C1": True}}
    found = models.current.score("columns", {"I1": [1.0, float("nan")], "I2": [2.0, 4.0], "C1": ["x", ""]})
    assert found["logit"].tolist() == [2, 2]
    assert "serving version 1" in said[0]


def test_serialised_inputs_score_as_lists_do(tmp_path, models):
    publish(tmp_path, 0.5)
    models.look()
    found = models.current.score("serving_default", {"message": tf.io.serialize_tensor([b"abc", b""]).numpy()})
    assert found["reason"].tolist() == [0, 1]
    assert found["logit"][0] == 1.5
    inputs = {"I1": [1.0, float("nan")], "I2": [2.0, 4.0]}
    serialised = {name: tf.io.serialize_tensor(tf.constant(values, tf.float64)).numpy() for name, values in inputs.items()}
    found = models.current.score("columns", {**serialised, "C1": tf.io.serialize_tensor(["x", ""]).numpy()})
    assert found["logit"].tolist() == [2, 2]


def test_each_newer_version_takes_the_place_of_the_one_before(tmp_path, models):
    publish(tmp_path, 1.0)
    models.look()
    first = models.current
    publish(tmp_path, 2.0)
    models.look()
    assert (models.current.number, logit(models)) == (2, [6])
    assert first.score("serving_default", {"message": ["abc"]})["logit"].tolist() == [3]  # who still has it can use it
    models.look()
    assert models.loads == 2


def test_a_damaged_version_is_passed_over_said_once_and_tried_again(tmp_path, models, said, monkeypatch):
    publish(tmp_path, 1.0)
    publish(tmp_path, 2.0)
    whole = (tmp_path / "2" / "saved_model.pb").read_bytes()
    damage(tmp_path, 2)
    models.look()
    assert models.current.number == 1
    assert models.failed == {2: "saved_model.pb has changed"}
    monkeypatch.setattr(models_module, "_RETRY_SECS", 0.0)
    models.look()
    assert models.failures == 2
    assert sum("version 2 cannot be served" in line for line in said) == 1
    (tmp_path / "2" / "saved_model.pb").write_bytes(whole)
    models.look()
    assert models.current.number == 2
    assert not models.failed


def test_a_version_that_is_no_model_of_ours_does_not_end_the_server(tmp_path, models):
    publish(tmp_path, 1.0)
    Versions(tmp_path).publish(lambda beside: (beside.mkdir(), (beside / "x").write_text("y")), {"contract": {"columns": []}})
    models.look()
    assert models.current.number == 1
    assert models.failed[2]


def test_after_a_roll_back_the_old_model_is_served_under_its_new_number(tmp_path, models):
    publish(tmp_path, 1.0)
    publish(tmp_path, 2.0)
    models.look()
    assert logit(models) == [6]
    Versions(tmp_path).roll_back(why="bad scores")
    models.look()
    assert (models.current.number, logit(models)) == (3, [3])
    states = {v["version"]: (v["state"], v["why"]) for v in models.listing()}
    assert states == {3: ("served", ""), 2: ("bad", "bad scores"), 1: ("", "")}


def test_a_bad_version_is_not_served_where_the_good_one_is_damaged(tmp_path, models):
    for factor in (1.0, 2.0):
        publish(tmp_path, factor)
    Versions(tmp_path).roll_back()
    damage(tmp_path, 3)
    models.look()
    assert models.current.number == 1


def test_the_listing_tells_what_a_version_is(tmp_path, models):
    publish(tmp_path, 1.0)
    publish(tmp_path, 2.0, newest_row_time=1234.5)
    (tmp_path / "1" / "manifest.json").write_text("{")
    models.look()
    newest, oldest = models.listing()
    assert (newest["step"], newest["rows"], newest["metrics"]["auc"], newest["state"]) == (2000, 5, 0.75, "served")
    assert newest["newest_row_time"] == 1234.5
    assert (oldest["step"], oldest["metrics"]) == (None, None)
    assert "no readable manifest.json" in oldest["why"]


def test_a_served_version_may_be_removed(tmp_path, models):
    publish(tmp_path, 1.0)
    models.look()
    for factor in (2.0, 3.0, 4.0):
        publish(tmp_path, factor)
    for number in (1, 2, 3, 4):
        shutil.rmtree(tmp_path / str(number))
    models.look()
    assert models.current.number == 1
    assert np.isfinite(logit(models)).all()


def test_who_only_serves_writes_nothing(tmp_path, said):
    models = Models(Versions(tmp_path / "export"), said.append)
    models.look()
    assert not (tmp_path / "export").exists()
    publish(tmp_path / "export", 1.0)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "export").rglob("*")}
    models.look()
    models.listing()
    assert models.current.number == 1
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "export").rglob("*")} == before
