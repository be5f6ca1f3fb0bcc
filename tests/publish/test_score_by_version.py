"""Scores by a published version of any model: what it gives, and where it gives none."""

import json

import numpy as np
import pytest
import tensorflow as tf
from rows import SMALL_SCHEMA
from serving_helpers import Small, publish

from tfonline.features.parse import Parse, Place
from tfonline.features.schema import Schema
from tfonline.formats import FORMATS
from tfonline.publish.score_by_version import CannotScore, Kept, score
from tfonline.publish.versions import Versions

# Of rows in this test: Small's logit is its factor times a message's length, and NaN for an empty message.
PARSE = Parse(Schema(name="small", columns=[{"name": "label", "kind": "label"}, {"name": "C1", "kind": "category"}]))
ABOUT = {"schema_fingerprint": "0123", "message_format": "tsv"}


def kept(*messages, good=None, padding=0):
    good = [True] * len(messages) if good is None else good
    return Kept(tf.constant(messages), np.array([*good, *[False] * padding]))


def test_the_rows_that_count_are_scored_in_their_order(tmp_path):
    publish(tmp_path, 0.5, schema_fingerprint="0123")
    rows = [kept("a", "abc", "ab", good=[True, False, True], padding=2), kept("abcd"), kept("a", "b", good=[False, False])]
    assert score(Versions(tmp_path), 1, rows, ABOUT, PARSE).tolist() == [0.5, 1, 2]


def test_more_rows_than_are_asked_for_at_once(tmp_path):
    publish(tmp_path, 1.0)
    rows = [kept(*("a" * (1 + i % 3) for i in range(start, start + 700))) for start in range(0, 2800, 700)]
    assert score(Versions(tmp_path), 1, rows, ABOUT, PARSE).tolist() == [1 + i % 3 for i in range(2800)]


def test_a_row_that_it_refuses_has_no_score(tmp_path):
    publish(tmp_path, 1.0)
    found = score(Versions(tmp_path), 1, [kept(*"abcdefghi", "")], ABOUT, PARSE)
    assert found[:9].tolist() == [1] * 9
    assert np.isnan(found[9])


@pytest.mark.parametrize("name", ["json_objects", "arrow"])
def test_messages_that_python_decodes_are_scored_as_tsv(tmp_path, name):
    publish(tmp_path, 1.0)
    form, columns = FORMATS[name], SMALL_SCHEMA.columns
    rows = [["1", "5", "", "ab", "c" * i] for i in range(4)]
    messages = [form.encode(row, columns) for row in rows]
    place = ()
    if form.many:
        messages = [form.encode_rows(rows[:3], columns), form.encode_rows(rows[3:], columns)]
        place = Place(tf.constant([0, 0, 0, 1, -1]), tf.constant([0, 1, 2, 0, -1]))
    of_rows = Kept(tf.constant(messages), np.array([True, False, True, True, False]), place)
    lengths = [len("\t".join(rows[i])) for i in (0, 2, 3)]
    assert score(Versions(tmp_path), 1, [of_rows], ABOUT, Parse(SMALL_SCHEMA, form)).tolist() == lengths


def test_a_version_that_says_nothing_is_asked_all_the_same(tmp_path):
    publish(tmp_path, 1.0)
    (tmp_path / "1" / "manifest.json").write_text("{")
    assert score(Versions(tmp_path), 1, [kept("abc")], ABOUT, PARSE).tolist() == [3]


class Constant(tf.Module):
    """Another kind of model: one number, and no logit."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "message")])
    def score(self, message):
        return {"probability": tf.fill([tf.size(message)], 0.5)}


def another_kind(folder):
    module = Constant()
    Versions(folder).publish(lambda beside: tf.saved_model.save(module, str(beside), {"serving_default": module.score}), {})


def other_signatures(folder):
    module = Small(1.0)
    Versions(folder).publish(lambda beside: tf.saved_model.save(module, str(beside), {"columns": module.of_columns}), {})


def no_model(folder):
    Versions(folder).publish(lambda beside: (beside.mkdir(), (beside / "x").write_text("y")), {})


def changed(folder):
    publish(folder, 1.0)
    with next((folder / "1" / "variables").glob("*.data*")).open("ab") as file:
        file.write(b"more")


def no_manifest_and_damaged(folder):
    publish(folder, 1.0)
    (folder / "1" / "manifest.json").unlink()
    (folder / "1" / "saved_model.pb").write_bytes(b"no model")


def no_files_in_its_manifest(folder):
    publish(folder, 1.0)
    manifest = folder / "1" / "manifest.json"
    manifest.write_text(json.dumps({k: v for k, v in json.loads(manifest.read_text()).items() if k != "files"}))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda folder: publish(folder, 1.0, schema_fingerprint="4567"), "its schema_fingerprint is 4567, that of .* rows 0123"),
        (lambda folder: publish(folder, 1.0, message_format="json"), "its message_format is json, that of this model's rows tsv"),
        (another_kind, "it gives no logit"),
        (other_signatures, "it has no signature serving_default"),
        (no_model, "it cannot be loaded and asked: SavedModel file does not exist"),
        (changed, r"it is damaged: variables/variables.data-00000-of-00001 has changed"),
        (no_manifest_and_damaged, "it cannot be loaded and asked: "),
        (no_files_in_its_manifest, "it is damaged: .*saved_model.pb was added"),
    ],
)
def test_what_cannot_be_compared_with(tmp_path, make, why):
    make(tmp_path)
    with pytest.raises(CannotScore, match=why):
        score(Versions(tmp_path), 1, [kept("a", "b", "c")], ABOUT, PARSE)


def test_of_ten_rows_nine_must_be_scored(tmp_path):
    publish(tmp_path, 1.0)
    with pytest.raises(CannotScore, match="of 10 rows it scores 8"):
        score(Versions(tmp_path), 1, [kept(*"abcdefgh", "", "")], ABOUT, PARSE)


def test_a_version_that_is_gone_cannot_be_scored(tmp_path):
    with pytest.raises(CannotScore, match="cannot be loaded and asked"):
        score(Versions(tmp_path), 1, [kept("a")], ABOUT, PARSE)
