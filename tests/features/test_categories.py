"""Lists of categories: which values of a list are features, whose ids they have, and that they count as one field."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from tfonline.config import of_flags
from tfonline.features.batch import Examples
from tfonline.features.dictionaries import Dictionaries
from tfonline.features.kinds.categories_ops import _log2, places
from tfonline.features.pipeline import Features
from tfonline.features.schema import Schema
from tfonline.features.spec import Attended
from tfonline.model.learner import make_learner
from tfonline.model.tables.replicas import make_strategy

LABEL, ITEM = {"name": "click", "kind": "label"}, {"name": "item", "kind": "category"}


def schema(*columns):
    return Schema.model_validate({"name": "t", "columns": [LABEL, ITEM, *columns]})


def lists(name="last", **options):
    return {"name": name, "kind": "categories", **options}


def features(schema, **flags):
    return Features(schema, Dictionaries.without_values(schema), "bucket", **flags)


def rows(*texts):
    return tf.constant(["\t".join(fields) for fields in texts])


@pytest.mark.parametrize(
    ("keep", "expected", "count"),
    [
        ("last", [["b", "c", "d"], ["a", "", ""], ["", "", ""], ["x", "y", ""]], [3, 1, 0, 2]),
        ("first", [["a", "b", "c"], ["a", "", ""], ["", "", ""], ["x", "y", ""]], [3, 1, 0, 2]),
    ],
)
def test_the_first_or_the_last_values_are_kept(keep, expected, count):
    values, found = places(tf.constant(["a|b|c|d", "a", "", "x||y|"]), "|", 3, keep)
    assert values.numpy().astype(str).tolist() == expected
    assert found.numpy().tolist() == count


@pytest.mark.parametrize(("combiner", "each"), [("mean", 1 / 3), ("sum", 1.0), ("sqrtn", 1 / math.sqrt(3))])
def test_what_the_values_of_a_list_are_multiplied_by(combiner, each):
    f = features(schema(lists(max_length=4, combiner=combiner)))
    row = f(rows(["1", "i", "a|b|c"], ["0", "i", ""])).features
    assert f.spec.lists == (4,)
    assert f.spec.num_fields == 2
    np.testing.assert_allclose(row["values"][:, 1:], [[each, each, each, 0], [1, 0, 0, 0]], rtol=1e-6)
    assert (row["ids"].numpy()[:, 1:] == f.spec.num_ids).tolist() == [[False, False, False, True], [False, True, True, True]]


@pytest.mark.parametrize("flags", [{}, {"oov_buckets": 1000}, {"oov_buckets": 1000, "vocabulary_rows": 64}], ids=str)
@pytest.mark.parametrize("hashed", [0, 500])
def test_a_list_may_share_the_ids_of_a_column(flags, hashed):
    item = {"hash_buckets": hashed} if hashed else {}
    columns = Schema.model_validate(
        {"name": "t", "columns": [LABEL, ITEM | item, lists(shares="item", max_length=2), lists("own")]}
    )
    row = features(columns, **flags)(rows(["1", "a", "a|b", "a|b"])).features
    ids = row["ids"].numpy()[0]
    own_first = hashed and "vocabulary_rows" in flags  # lists whose values have keys stand first
    shared, own = (21, 1) if own_first else (1, 3)
    assert ids[0] == ids[shared]
    if flags:
        assert len({*ids[[shared, shared + 1, own, own + 1]]}) == 4, "other values, and a list of its own, have other ids"
    if "keys" in row and not hashed:
        keys = row["keys"].numpy()[0]
        assert keys[0] == keys[1] != keys[2]


def test_a_list_that_shares_what_is_no_category_is_an_error():
    with pytest.raises(ValueError, match=r"column last shares the ids of 'x'; expected is a column of kind category"):
        schema(lists(shares="x"))
    with pytest.raises(ValueError, match="leave out hash_buckets"):
        schema(lists(shares="item", hash_buckets=5))


def test_keys_of_two_kinds_stand_side_by_side():
    """A hashed category and a number stand between the places that have keys."""
    columns = schema(
        {"name": "ip", "kind": "category", "hash_buckets": 10},
        {"name": "price", "kind": "number"},
        lists("hashed", hash_buckets=10, max_length=2),
        lists(max_length=3, shares="item"),
    )
    f = features(columns, oov_buckets=16, vocabulary_rows=64)
    row = f(rows(["1", "a", "1.2.3.4", "2.5", "u|v", "b|a"], ["0", "b", "", "", "", ""])).features
    assert f.keyed_columns == ["item", "last", "last", "last"]
    spec = f.spec.vocabulary
    assert spec.spans == ((0, 1), (3, 6))
    keys = row["keys"].numpy()
    assert keys[0].tolist() == [keys[0, 2], keys[1, 0], keys[0, 0], 0]
    assert (keys[1, 1:] == 0).all()
    np.testing.assert_array_equal(spec.keyed(row["ids"]), row["ids"].numpy()[:, [0, 3, 4, 5]])
    other = tf.fill([2, 4], 7)
    replaced = spec.with_keyed(row["ids"], other).numpy()
    assert (replaced[:, [0, 3, 4, 5]] == 7).all()
    np.testing.assert_array_equal(replaced[:, [1, 2, 6, 7]], row["ids"].numpy()[:, [1, 2, 6, 7]])


@pytest.mark.parametrize("numeric", ["minmax", "bucket"])
def test_a_list_is_the_sum_of_its_values_weights(numeric):
    """By numpy, from the tables: a network without hidden layers' non-linearity would hide a wrong place."""
    columns = schema({"name": "n", "kind": "integer"}, lists(max_length=3, combiner="mean"), lists("tags", combiner="sum"))
    f = Features(columns, Dictionaries.without_values(columns), numeric, oov_buckets=50)
    config = of_flags(embedding_dim=2, deep_layers="3", init_stddev=1.0, history=True)
    learner = make_learner(make_strategy(1, "cpu"), f.spec, config.model, config.optimizers)
    row = f(rows(["1", "a", "3", "a|b", "x"], ["0", "b", "5", "", "x|y|z"])).features
    wide = learner.model.wide.table.numpy()[row["ids"].numpy()][:, :, 0]
    got = learner.model.sides({"wide": _rows(learner, "wide", row), "embedding": _rows(learner, "embedding", row)}, row)
    np.testing.assert_allclose(got[0], (wide * row["values"].numpy()).sum(axis=1) + learner.model.bias.numpy(), rtol=1e-5)
    embedding = learner.model.embedding.table.numpy()[row["ids"].numpy()] * row["values"].numpy()[:, :, None]
    scaled = f.spec.scaled_fields or 0
    fields = [embedding[:, i] for i in range(scaled, f.spec.num_single)]
    ends = np.cumsum([f.spec.num_single, *f.spec.lists])
    fields += [embedding[:, a:b].sum(axis=1) for a, b in itertools.pairwise(ends)]
    deep = got[1].x.numpy()
    np.testing.assert_allclose(deep[:, : 2 * len(fields)], np.concatenate(fields, axis=1), rtol=1e-5)


def _rows(learner, table, row):
    from tfonline.model.tables.lookup import Lookup

    return Lookup(learner.model.tables, learner.model.spec.scaled_fields).rows(row["ids"])[table]


def test_the_past_of_a_list_is_the_mean_of_its_values_and_what_holds_nothing_is_not_counted():
    columns = schema(lists(max_length=3, hash_buckets=1000))
    f = Features(columns, Dictionaries.without_values(columns), "bucket", oov_buckets=50)
    config = of_flags(embedding_dim=2, deep_layers="3", history=True)
    learner = make_learner(make_strategy(1, "cpu"), f.spec, config.model, config.optimizers)
    made = f(rows(*[["1", "i", "a|b"]] * 5, *[["0", "i", "b"]] * 3))
    learner.train(Examples(made.label, tf.ones([8]), made.features))
    counts = learner.model.history.counts.numpy()
    a, b = made.features["ids"].numpy()[0, 1:3]
    assert counts[[a, b]].tolist() == [[5, 5], [8, 5]]
    assert counts[f.spec.num_ids].tolist() == [0, 0]
    one = f(rows(["0", "i", "a"], ["0", "i", "b"], ["0", "i", "a|b"])).features["ids"]
    past = learner.model.history(one).numpy()
    np.testing.assert_allclose(past[2], past[:2].mean(axis=0), rtol=1e-6)
    assert past[0, 1] > past[1, 1] > 0


def test_the_rows_that_learn_are_those_of_the_values():
    columns = schema(lists(max_length=3, hash_buckets=1000))
    f = Features(columns, Dictionaries.without_values(columns), "bucket", oov_buckets=50)
    config = of_flags(embedding_dim=2, deep_layers="3", history=True)
    learner = make_learner(make_strategy(1, "cpu"), f.spec, config.model, config.optimizers)
    before = {name: table.table.numpy() for name, table in learner.model.tables.items()}
    made = f(rows(["1", "i", "a|b"], ["0", "j", ""]))
    learner.train(Examples(made.label, tf.ones([2]), made.features))
    for name, table in learner.model.tables.items():
        changed = {*np.flatnonzero((table.table.numpy() != before[name]).any(axis=1)).tolist()}
        assert changed == {*made.features["ids"].numpy().ravel().tolist()} - {f.spec.num_ids}, name
        assert not table.table.numpy()[-1].any()


def test_a_network_is_told_which_lists_have_the_ids_of_which_column_and_what_stands_along():
    number, hashed = {"name": "n", "kind": "number", "boundaries": [1]}, {"name": "h", "kind": "category", "hash_buckets": 9}
    gaps = lists("gaps", hash_buckets=50, along="last", max_length=2, log2=True)
    columns = [hashed, number, gaps, lists(shares="item", max_length=2), lists("seen", shares="h", max_length=3), lists("own")]
    f = features(schema(*columns))
    assert f.spec.attended == (Attended((5, 7), 0, ((3, 5),)), Attended((7, 10), 1))
    row = f(rows(["1", "i", "h", "2", "3|9", "i|j", "h", ""], ["0", "j", "h", "2", "0|90000", "j", "g|h", ""])).features
    ids = row["ids"].numpy()
    assert ids[0, 7] == ids[0, 1] == ids[1, 8] != ids[1, 7]
    assert len({*ids[0, 3:5], *ids[1, 3:5]}) == 4  # log2 of 1 + 3, 1 + 9, 1 + 0 and 1 + 90000


def test_log2_of_whole_numbers_is_cut_to_whole_numbers():
    found = _log2(tf.constant([["0", "1", "2", "3", "6"], ["7", "1023", "x", "-1", "1.5"]]))
    assert found.numpy().astype(str).tolist() == [["0", "1", "1", "2", "2"], ["3", "10", "", "", ""]]


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (lists("gaps", along="x"), "column gaps stands along 'x'; expected is a column of kind categories that shares the ids"),
        (lists("gaps", along="last", max_length=9), "has the same max_length and keep"),
        (lists("gaps", log2=True), "column gaps has log2, whose values no dictionary holds: give it hash_buckets"),
    ],
)
def test_what_cannot_stand_along_is_refused(column, problem):
    with pytest.raises(ValueError, match=problem):
        schema(lists(shares="item"), column)
