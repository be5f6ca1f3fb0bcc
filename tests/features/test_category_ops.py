"""Categories to ids, eagerly and inside a tf.data graph."""

import numpy as np
import pytest
import tensorflow as tf
from op_helpers import both_ways

from tfonline.features import hashes
from tfonline.features.dictionaries import Dictionaries
from tfonline.features.kinds.category import hashed
from tfonline.features.kinds.category_ops import CategoryLookup
from tfonline.lifecycle import Exit, UserError

COLUMNS = ["C1", "C2"]
DICTIONARIES = Dictionaries({}, {}, {"I1": 0, "I2": 1, "OOVC1": 2, "OOVC2": 3, "C1_ab": 4, "C2_ab": 5, "C2_a_b": 6, "C1_é": 7})


@both_ways
def test_known_values_have_their_ids_and_all_others_their_columns_oov_id(run):
    lookup = CategoryLookup(DICTIONARIES, COLUMNS)
    values = tf.constant([["ab", "ab"], ["é", "a_b"], ["a_b", "é"], ["", ""], ["zz", "AB"], ["ab ", "C2_ab"]])
    ids = run(lambda text: lookup(hashed(text))[0], values)
    assert ids.dtype == tf.int32
    # The same value in two columns has two ids; what one column knows the other does not.
    assert ids.numpy().tolist() == [[4, 5], [7, 6], [2, 3], [2, 3], [2, 3], [2, 3]]


@both_ways
def test_no_rows_have_no_ids(run):
    lookup = CategoryLookup(DICTIONARIES, COLUMNS)
    assert run(lambda text: lookup(hashed(text))[0], tf.constant([], tf.string, [0, 2])).shape == [0, 2]


def test_a_dictionary_without_values_knows_none():
    lookup = CategoryLookup(Dictionaries({}, {}, {"I1": 0, "I2": 1, "OOVC1": 2, "OOVC2": 3}), COLUMNS)
    assert lookup(hashed(tf.constant([["ab", "ab"]])))[0].numpy().tolist() == [[2, 3]]


def test_ten_thousand_values_all_keep_their_ids():
    ids = {"I1": 0, "I2": 1, "OOVC1": 2, "OOVC2": 3} | {f"C{i % 2 + 1}_{i:08x}": 4 + i for i in range(10_000)}
    lookup = CategoryLookup(Dictionaries({}, {}, ids), COLUMNS)
    values = np.array([f"{i:08x}" for i in range(10_000)]).reshape(-1, 2)
    assert lookup(hashed(tf.constant(values)))[0].numpy().ravel().tolist() == list(range(4, 10_004))
    assert np.unique(lookup(hashed(tf.constant(values[:, ::-1])))[0].numpy(), axis=0).tolist() == [[2, 3]]


def test_two_values_of_one_hash_are_refused(monkeypatch):
    monkeypatch.setattr(hashes, "_HASH_BUCKETS", 1)
    with pytest.raises(UserError, match=r"two entries of cat2id_dict\.pkl have the same 64-bit hash") as e:
        CategoryLookup(DICTIONARIES, COLUMNS)
    assert e.value.code == Exit.DATA == 65
