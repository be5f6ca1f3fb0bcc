"""A vocabulary that grows with the stream, as a part of the model."""

import numpy as np
import pytest
import tensorflow as tf
from growing import BUCKETS, FIXED, PlainVocabulary, growing_learner, settings_of
from learner_helpers import as_one, examples, values_of

from tfonline.model.tables.vocabulary import Vocabulary, places_of, rows_for, table_of

FIRST = FIXED + BUCKETS


def bucket_of(keys):
    return FIXED + np.mod(keys, BUCKETS)


def rows_of(keys, label, weight=None):
    """Examples of rows with two keys each; 0 is a missing value, whose id is 2."""
    keys = np.asarray(keys, np.int64)
    ids = np.concatenate([np.zeros([len(keys), 1], int), np.where(keys == 0, 2, bucket_of(keys))], axis=1)
    if weight is not None:
        gone = np.asarray(weight) == 0
        ids[gone], keys = FIRST + 16, np.where(gone[:, None], 0, keys)
    return examples(ids, label, weight=weight, keys=keys)


def stream(num_batches, rows=12, num_keys=200, seed=1):
    """Batches whose keys repeat, and are others later on; now and then the last rows are padding."""
    random = np.random.default_rng(seed)
    of_id = random.integers(-(2**63), 2**63, num_keys * 4)
    for number in range(num_batches):
        drift = number * num_keys * 3 // num_batches
        keys = of_id[drift + random.zipf(1.3, [rows, 2]) % num_keys]
        keys[random.random([rows, 2]) < 0.1] = 0
        weight = np.ones(rows)
        weight[rows - number % 3 :] = 0
        yield rows_of(keys, random.integers(0, 2, rows), weight)


def values(learner, *variables):
    return [learner._strategy.experimental_local_results(v)[0].numpy() for v in variables]


def state_of(learner):
    a, keys = learner.admission, learner.model.vocabulary.keys
    claims, *read = values(learner, a.claims, keys, a.seen, a.since, a.hits, a.misses, a.counted, a.now, a.tally)
    assert not claims.any()
    return read


def agrees(learner, plain):
    keys, seen, since, hits, misses, counted, now, tally = state_of(learner)
    np.testing.assert_array_equal(keys, plain.keys)
    np.testing.assert_array_equal(seen, plain.seen)
    np.testing.assert_array_equal(since, plain.since)
    np.testing.assert_array_equal(hits, plain.hits)
    np.testing.assert_array_equal(misses, plain.misses)
    assert (counted, now, tally.tolist()) == (plain.counted, plain.now, plain.tally)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(("rows", "counters", "expire_rows"), [(16, 64, 30), (64, 1024, 100), (256, 4096, 10**6)])
def test_it_is_what_is_written_down_in_plain_python(rows, counters, expire_rows, jit_compile):
    settings = settings_of(rows, admit_after=3, expire_rows=expire_rows, counters=counters)
    learner, plain = growing_learner(settings, jit_compile=jit_compile), PlainVocabulary(settings)
    for batch in stream(40):
        learner.train(batch)
        plain.update(batch.features["keys"].numpy(), batch.weight.numpy())
        agrees(learner, plain)
    assert plain.tally[1] > 10
    assert rows > 16 or plain.tally[2] > 3  # the small one has had to take rows away


def test_replicas_and_several_steps_a_call_change_nothing():
    settings = settings_of(32, admit_after=2, expire_rows=50, counters=256)
    batches = list(stream(12))
    one, two, at_once = growing_learner(settings), growing_learner(settings, num_replicas=2), growing_learner(settings)
    for batch in batches:
        one.train(batch)
        two.train(batch)
    at_once.train_steps(tf.constant(12), tf.range(12), as_one(batches))
    for other in (two, at_once):
        for found, wanted in zip(state_of(other), state_of(one), strict=True):
            np.testing.assert_array_equal(found, wanted)
    for first, second in zip(values_of(two, 0), values_of(two, 1), strict=True):
        np.testing.assert_array_equal(first, second)
    for found, wanted in zip(values_of(at_once), values_of(one), strict=True):
        np.testing.assert_array_equal(found, wanted)
    for found, wanted in zip(values_of(two), values_of(one), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_row_that_changes_hands_keeps_nothing_of_its_old_owner_in_any_variable(jit_compile):
    settings = settings_of(16, admit_after=2, expire_rows=1, counters=2**16)
    learner = growing_learner(settings, jit_compile=jit_compile)
    of_ids = {v.ref() for v in learner.rows_of_ids}
    num_rows = FIRST + 16 + 1
    assert {v.ref() for v in learner.variables if v.shape.rank and v.shape[0] == num_rows} == of_ids
    assert len(of_ids) == 7  # two tables with two slots each, and the history
    plain, changed = PlainVocabulary(settings), 0
    for batch in stream(30):
        before = PlainVocabulary.place
        learner.train(batch)
        admitted = plain.update(batch.features["keys"].numpy(), batch.weight.numpy())
        for key, place in admitted.items():
            assert before(plain, key) == place
            for variable in learner.rows_of_ids:
                row, bucket = FIRST + place, int(bucket_of(np.int64(key)))
                np.testing.assert_array_equal(variable.numpy()[row], variable.numpy()[bucket], variable.name)
            changed += 1
    assert changed > 20
    assert plain.tally[2] > 10


def test_a_row_is_scored_as_serving_does_before_it_is_learned_from():
    learner = growing_learner(settings_of(64, expire_rows=10**6))
    for batch in stream(10):
        served = learner.score(batch.features).numpy()
        scores = learner.train(batch).logits.numpy()
        good = batch.weight.numpy() > 0
        np.testing.assert_allclose(scores[good], served[good], rtol=0, atol=1e-6)


def test_who_lost_a_row_must_be_seen_so_often_again():
    settings = settings_of(16, admit_after=3, expire_rows=4, counters=2**16)
    plain = PlainVocabulary(settings)
    random = np.random.default_rng(3)
    of_set = [int(k) for k in random.integers(1, 2**62, 400) if plain.set_of(int(k)) == 0][:9]
    learner = growing_learner(settings)

    def see(*keys):
        keys = list(keys) + [0] * (12 - len(keys))
        learner.train(rows_of([[k, 0] for k in keys], np.zeros(12), np.array([k != 0 for k in keys], float)))
        return int(learner.admission.tally.numpy()[1])

    for number, key in enumerate(of_set[:8], 1):
        assert see(key, key) == number - 1
        assert see(key) == number
    assert see(*of_set[1:8]) == 8  # the first one is idle
    newcomer = of_set[8]
    assert see(newcomer, newcomer, newcomer, newcomer) == 9
    assert learner.admission.tally.numpy().tolist() == [8, 9, 1, 0]
    assert see(*of_set[1:8], newcomer) == 9
    assert see(of_set[0], of_set[0]) == 9
    assert of_set[0] not in learner.model.vocabulary.keys.numpy()
    see(of_set[0])
    assert learner.admission.tally.numpy()[3] == 1  # due again, and all others were seen of late


def test_missing_values_and_padding_are_no_keys():
    learner = growing_learner(settings_of(16, admit_after=1))
    for _ in range(5):
        learner.train(rows_of([[0, 0]] * 12, np.zeros(12), [1.0] * 6 + [0.0] * 6))
    keys, seen, since, hits, misses, counted, now, tally = state_of(learner)
    assert [x.any() for x in (keys, seen, since, hits, misses)] == [False] * 5
    assert (counted, now, tally.tolist()) == (0, 30, [0, 0, 0, 0])


def test_keys_are_found_and_others_keep_the_id_of_their_bucket():
    spec = growing_learner(settings_of(64)).model.spec.vocabulary
    keys = np.random.default_rng(2).integers(-(2**63), 2**63, 40)
    vocabulary = Vocabulary(spec)
    vocabulary.build()
    places = places_of(keys, vocabulary.num_sets)
    vocabulary.keys.assign(table_of(keys, places, vocabulary.num_sets))
    asked = np.stack([keys, np.roll(keys, 1)], axis=1)
    asked[7] = [12345, 0]
    ids = np.concatenate([np.full([40, 1], 1), np.full([40, 2], 5)], axis=1).astype(np.int32)
    wanted = np.stack([places, np.roll(places, 1)], axis=1)
    wanted = np.where(wanted >= 0, FIRST + wanted, 5)
    wanted[7] = 5
    found = vocabulary.ids(tf.constant(ids), tf.constant(asked)).numpy()
    np.testing.assert_array_equal(found, np.concatenate([np.full([40, 1], 1), wanted], axis=1))
    assert found.dtype == np.int32


def test_places_of_keys():
    keys = np.random.default_rng(1).permutation(np.arange(1, 4000, dtype=np.int64) * 2**40)
    places = places_of(keys, 256)
    there = places[places >= 0]
    assert len(np.unique(there)) == len(there) <= 2048
    for key, place in list(zip(keys, places, strict=True))[:500]:
        assert place == -1 or place // 8 == (int(key) * 0x9E3779B97F4A7C15 % 2**64) >> 56
    # Whoever stands first has a place before others.
    assert (places[:256] >= 0).all()
    table = table_of(keys, places, 256)
    np.testing.assert_array_equal(table.ravel()[there], keys[places >= 0])
    # Twice as many sets: set s is 2 s and 2 s + 1 then.
    more = places_of(keys, 512)
    both = (places >= 0) & (more >= 0)
    np.testing.assert_array_equal(more[both] // 16, places[both] // 8)


@pytest.mark.parametrize(
    ("keys", "rows"), [(0, 16), (1, 16), (8, 16), (9, 32), (16, 32), (17, 64), (29_139, 65_536), (40_000, 131_072)]
)
def test_rows_for_so_many_keys(keys, rows):
    assert rows_for(keys) == rows
