"""Values of category columns as keys, for ids that come with the stream."""

import numpy as np
import pytest
import tensorflow as tf
from rows import SMALL_SCHEMA

from tfonline.features.dictionaries import Dictionaries
from tfonline.features.kinds import category_keys
from tfonline.features.kinds.category import hashed
from tfonline.features.kinds.category_keys import CategoryKeys, keys_of
from tfonline.features.pipeline import Features
from tfonline.lifecycle import UserError


def made(columns, values):
    op = CategoryKeys(columns, list(range(100, 100 + len(columns))), num_buckets=10, first_bucket=50)
    return op(hashed(tf.constant(values)))


def test_equal_values_have_equal_keys_within_a_column_and_others_between_columns():
    inputs = made(["C1", "C2"], [["a", "a"], ["b", "a"], ["a", ""]])
    keys = inputs.own["keys"].numpy()
    assert keys[0, 0] == keys[2, 0] != keys[1, 0]
    assert keys[0, 1] == keys[1, 1] != keys[0, 0]
    assert keys[2, 1] == 0  # missing: no key
    assert keys.dtype == np.int64


def test_a_value_has_its_buckets_id_and_a_missing_one_its_columns():
    inputs = made(["C1", "C2"], [["a", "b"], ["", ""]])
    keys, ids = inputs.own["keys"].numpy(), inputs.ids.numpy()
    np.testing.assert_array_equal(ids, [50 + np.mod(keys[0], 10), [100, 101]])
    np.testing.assert_array_equal(inputs.values.numpy(), np.ones([2, 2]))


def test_keys_stay_where_columns_are_added_or_change_places():
    one = made(["C1", "C2"], [["a", "b"]]).own["keys"].numpy()[0]
    other = made(["C9", "C2", "C1"], [["x", "b", "a"]]).own["keys"].numpy()[0]
    assert other[1:].tolist() == [one[1], one[0]]


def test_the_keys_of_what_dictionaries_hold():
    known = Dictionaries({}, {}, {"OOVC1": 0, "OOVC2": 1, "C1_a": 2, "C2_b": 3})
    assert keys_of(known, ["C1", "C2"]).tolist() == made(["C1", "C2"], [["a", "b"]]).own["keys"].numpy()[0].tolist()
    assert keys_of(Dictionaries({}, {}, {"OOVC1": 0}), ["C1"]).tolist() == []


def test_columns_whose_names_have_one_hash_are_refused(monkeypatch):
    monkeypatch.setattr(category_keys, "hash_text", lambda text: tf.strings.length(text, unit="BYTE"))
    with pytest.raises(UserError, match="the names of the columns C1 and C2 have the same hash") as e:
        made(["C1", "C2"], [["a", "b"]])
    assert e.value.code == 65


def test_features_of_a_stream_that_nobody_knows_beforehand():
    features = Features(SMALL_SCHEMA, Dictionaries.without_values(SMALL_SCHEMA), "bucket", oov_buckets=7, vocabulary_rows=64)
    spec = features.spec
    assert spec.vocabulary.rows == 64
    assert spec.num_ids == features.num_ids == spec.vocabulary.first_id + 64
    first = len(SMALL_SCHEMA.ranged)
    assert spec.vocabulary.spans == ((first, first + len(SMALL_SCHEMA.listed)),)
    assert features.keyed_columns == list(SMALL_SCHEMA.listed)
    assert (spec.inputs["keys"].width, spec.padding["keys"]) == (len(SMALL_SCHEMA.listed), 0)
    largest = b"\t".join([b"1", *[b"9" * 18] * len(SMALL_SCHEMA.ranged), *[b"x"] * len(SMALL_SCHEMA.listed)])
    row = features(tf.constant([largest]))
    assert row.reason.numpy() == [0]
    assert row.features["ids"].numpy().max() < spec.vocabulary.first_id
    assert "keys" not in Features(SMALL_SCHEMA, Dictionaries.without_values(SMALL_SCHEMA), "bucket").spec.inputs
