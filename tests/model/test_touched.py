"""The marks of the rows that a run touches: no row changes without one, whatever the steps are made of."""

import numpy as np
import pytest
import tensorflow as tf
from growing import growing_learner, settings_of
from learner_helpers import SEED_RATES, as_one, examples, make_learner, random_batches

from tfonline.features.spec import Spec
from tfonline.keep.variables import named_variables
from tfonline.model.learner import Learner
from tfonline.model.networks.wide_deep.model import WideDeep
from tfonline.model.tables.replicas import make_strategy, read_first
from tfonline.model.tables.touched import IDS


def rows_of(learner):
    """All that has a row an id, bytes a row."""
    return [np.array(read_first(v)).reshape(v.shape[0], -1) for v in learner.rows_of_ids]


def taken(learner):
    """The rows that were touched in this generation; begins another one."""
    return learner.touched.rows([learner.touched.next_generation()])


def changed(before, after):
    """The numbers of the rows that differ in any of the variables."""
    return sorted({int(r) for b, a in zip(before, after, strict=True) for r in np.flatnonzero((b != a).any(axis=1))})


@pytest.mark.parametrize("num_replicas", [1, 2])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_every_row_that_changes_is_marked_also_one_that_changes_hands(num_replicas, jit_compile):
    learner = growing_learner(settings_of(rows=16, expire_rows=5), num_replicas, jit_compile)
    learner.mark_touched()
    moved = 0
    for batch in _three_fields(8):
        before, keys = rows_of(learner), np.array(read_first(learner.model.vocabulary.keys))
        learner.train(batch)
        of_keys = np.flatnonzero(keys.ravel() != np.array(read_first(learner.model.vocabulary.keys)).ravel())
        moved += len(of_keys)
        marked = taken(learner)[IDS].tolist()
        assert set(changed(before, rows_of(learner))) <= set(marked)
        assert {learner.model.vocabulary.spec.first_id + int(place) for place in of_keys} <= set(marked)
        assert len(marked) < 25  # not all of them
    assert moved > 5


def _three_fields(steps):
    random = np.random.default_rng(3)
    for step in range(steps):
        keys = (random.integers(1 + step, 6 + step, (4, 2)) * 2_654_435_761).astype(np.int64)
        ids = np.column_stack([random.integers(0, 3, 4), 3 + keys % 5])
        yield examples(ids, random.integers(0, 2, 4), keys=keys)


def test_several_steps_a_call_mark_the_rows_of_all():
    learner, plain = make_learner(num_ids=30), make_learner(num_ids=30)
    learner.mark_touched()
    batches = list(random_batches(3))
    learner.train_steps(tf.constant(3), tf.constant([0, 1, 2]), as_one(batches))
    expected = sorted({int(i) for b in batches for i in b.features["ids"].numpy().ravel()})
    assert taken(learner)[IDS].tolist() == expected
    plain.train_steps(tf.constant(3), tf.constant([0, 1, 2]), as_one(batches))
    for marked, other in zip(learner.variables, plain.variables, strict=True):
        assert np.array_equal(marked.numpy(), other.numpy())


def test_marks_are_taken_once_and_can_be_given_back():
    learner = make_learner(num_ids=30)
    learner.mark_touched()
    first, second = list(random_batches(2))
    learner.train(first)
    rows = taken(learner)
    assert len(taken(learner)[IDS]) == 0
    learner.train(second)
    learner.touched.give_back(rows)
    both = {int(i) for b in (first, second) for i in b.features["ids"].numpy().ravel()}
    assert taken(learner)[IDS].tolist() == sorted(both)


def test_a_number_of_a_generation_that_comes_again_hides_no_row():
    learner = make_learner(num_ids=30)
    learner.mark_touched()
    first, second = list(random_batches(2))
    learner.train(first)
    of_first, of_second = ({int(i) for i in b.features["ids"].numpy().ravel()} for b in (first, second))
    for _ in range(255):
        taken(learner)
    learner.train(second)
    found = set(taken(learner)[IDS].tolist())
    assert found == of_first | of_second  # those of the first batch bear the same number
    assert taken(learner)[IDS].tolist() == []


def test_rows_of_several_generations_are_found_and_of_each_the_last_one_counts():
    learner = make_learner(num_ids=30)
    learner.mark_touched()
    batches, ended = list(random_batches(3)), []
    for batch in batches:
        learner.train(batch)
        ended.append(learner.touched.next_generation())
    ids = [{int(i) for i in b.features["ids"].numpy().ravel()} for b in batches]
    assert learner.touched.rows(ended)[IDS].tolist() == sorted(ids[0] | ids[1] | ids[2])
    assert learner.touched.rows(ended[:1])[IDS].tolist() == sorted(ids[0] - ids[1] - ids[2])


def test_pairs_that_are_counted_are_marked():
    strategy = make_strategy(1, "cpu")
    with strategy.scope():
        network = WideDeep(Spec.of(6, 3, cross_buckets=50), 2, (4,), "glorot", 0.1, seed=3)
    learner = Learner(strategy, network, SEED_RATES)
    learner.mark_touched()
    learner.train(examples([[0, 1, 2], [0, 1, 3]], [1, 0], crosses=np.array([[7, 8, 9], [7, 11, 49]], np.int32)))
    assert taken(learner)["crosses"].tolist() == [7, 8, 9, 11, 49]


def test_marks_are_no_part_of_the_model():
    learner = make_learner()
    names = list(named_variables(learner))
    learner.mark_touched()
    assert list(named_variables(learner)) == names
    assert len(learner.variables) == len(names)
