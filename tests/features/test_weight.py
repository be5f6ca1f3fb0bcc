"""Weights of rows: twice the weight is the row twice, and 0 is no row at all, but for its score."""

import numpy as np
import pytest
import tensorflow as tf

from tfonline.config import of_flags
from tfonline.features.batch import Examples
from tfonline.features.dictionaries import Dictionaries
from tfonline.features.pipeline import Features
from tfonline.features.schema import Schema
from tfonline.model.learner import make_learner
from tfonline.model.tables.replicas import make_strategy

COLUMNS = [{"name": "click", "kind": "label"}, {"name": "item", "kind": "category", "hash_buckets": 50}]
WEIGHT = {"name": "w", "kind": "weight"}


def features(*columns):
    schema = Schema.model_validate({"name": "t", "columns": columns})
    return Features(schema, Dictionaries.without_values(schema), "bucket", oov_buckets=5)


def rows(*texts):
    return tf.constant(["\t".join(fields) for fields in texts])


def learned(f, *batches, replicas=1):
    config = of_flags(embedding_dim=2, deep_layers="3", history=True, average_rows=10, wide_reduction="sum")
    learner = make_learner(make_strategy(replicas, "cpu"), f.spec, config.model, config.optimizers)
    logits = []
    for batch in batches:
        row = f(batch)
        logits.append(learner.train(Examples(row.label, row.weight, row.features)).logits.numpy())
    return learner, logits


def test_a_weight_is_within_its_limits_and_1_where_it_is_missing():
    f = features(*COLUMNS, WEIGHT | {"minimum": 0.5, "maximum": 4})
    row = f(rows(["1", "a", ""], ["0", "b", "0.1"], ["0", "b", "1e30"], ["1", "c", "2.5"]))
    assert row.weight.numpy().tolist() == [1, 0.5, 4, 2.5]
    assert features(*COLUMNS)(rows(["1", "a"])).weight.numpy().tolist() == [1]


def test_a_weight_of_2_is_the_row_twice():
    f = features(*COLUMNS, WEIGHT)
    a, b, c = ["1", "a"], ["0", "b"], ["0", "c"]
    weighted, _ = learned(f, rows([*a, "2"], [*b, "1"], [*c, "1"], [*b, "0"]))
    repeated, _ = learned(f, rows([*a, ""], [*a, ""], [*b, ""], [*c, ""]))
    for one, other in zip(weighted.variables, repeated.variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-7, err_msg=one.name)


@pytest.mark.parametrize("replicas", [1, 2])
def test_of_rows_that_do_not_count_nothing_is_learned(replicas):
    f = features(*COLUMNS, WEIGHT)
    nothing = rows(["1", "a", "0"], ["0", "b", "0"])
    learner, [logits] = learned(f, nothing, replicas=replicas)
    fresh, _ = learned(f, replicas=replicas)
    assert np.isfinite(logits).all()
    for one, other in zip(learner.all_weights, fresh.all_weights, strict=True):
        changed = one.numpy()[one.numpy() != other.numpy()]
        # FTRL makes the weight of an id whose gradients add up to 0 a 0: what it started with is gone.
        assert not changed.any() if "wide_table" in one.name or "wide_bias" in one.name else not changed.size, one.name
    learner, logits = learned(f, nothing, rows(["1", "a", ""], ["0", "b", "3"]), nothing, replicas=replicas)
    assert np.isfinite(logits).all()
    assert bool(learner.all_finite())


def test_two_weights_are_refused():
    with pytest.raises(ValueError, match="at most one column of kind weight, found 2"):
        features(*COLUMNS, WEIGHT, WEIGHT | {"name": "v"})
    with pytest.raises(ValueError, match="is above its maximum"):
        features(*COLUMNS, WEIGHT | {"minimum": 2, "maximum": 1})
