"""Fingerprints of rows and crosses of columns: by their documented formulas, eagerly and inside a tf.data graph."""

import numpy as np
import pytest
import tensorflow as tf
from op_helpers import both_ways, eagerly

from tfonline.features.hashes import Crosses, row_fingerprints
from tfonline.features.spec import Pairs


def farmhash64(text: bytes) -> int:
    """FarmHash's Fingerprint64 of up to three bytes, from its published definition (farmhash.h, HashLen0to16)."""
    k0, k2, mask = 0xC3A5C85C97CB3127, 0x9AE16A3B2F90404F, 2**64 - 1
    if not text:
        return k2
    y = text[0] + (text[len(text) // 2] << 8)
    z = len(text) + (text[-1] << 2)
    x = (y * k2 & mask) ^ (z * k0 & mask)
    return (x ^ x >> 47) * k2 & mask


def documented(messages, partitions, offsets) -> np.ndarray:
    """The formula of row_fingerprints in numpy's int64, which wraps around."""
    g, m = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9], np.uint64).view(np.int64)
    h = np.array([farmhash64(t) % (2**63 - 1) for t in messages], np.int64)
    x = (h ^ (np.array(offsets, np.int64) * g + np.array(partitions, np.int64) * m)) * m
    return x ^ (x >> 32)


def fingerprints(run, messages, partitions, offsets) -> np.ndarray:
    inputs = tf.constant(messages, tf.string), tf.constant(partitions, tf.int32), tf.constant(offsets, tf.int64)
    return run(row_fingerprints, *inputs).numpy()


MESSAGES = [b"", b"", b"a", b"ab", b"abc", b"\xff\x00\t", b"1\t2", b"zz"]
PARTITIONS = [0, 1, 0, 3, 31, 2**31 - 1, 2, 1]
OFFSETS = [0, 0, 1, 2, 10**12, 2**62, 5, 2**63 - 1]


@both_ways
def test_fingerprints_follow_the_documented_formula(run):
    found = fingerprints(run, MESSAGES, PARTITIONS, OFFSETS)
    assert found.dtype == np.int64
    assert found.tolist() == documented(MESSAGES, PARTITIONS, OFFSETS).tolist()


def test_the_fingerprint_of_an_empty_message_at_0():
    # k2 mod (2^63 - 1) = 1936946117179621456, times m mod 2^64, xor its own arithmetic shift.
    x = 1936946117179621456 * 0xBF58476D1CE4E5B9 % 2**64
    signed = x - 2**64 if x >= 2**63 else x
    assert fingerprints(eagerly, [b""], [0], [0]).tolist() == [signed ^ (signed >> 32)]


def total(messages, partitions, offsets) -> int:
    return sum(fingerprints(eagerly, messages, partitions, offsets).tolist()) % 2**64


def test_the_sum_does_not_depend_on_the_order():
    order = [3, 1, 7, 0, 2, 6, 5, 4]
    shuffled = ([of[i] for i in order] for of in (MESSAGES, PARTITIONS, OFFSETS))
    assert total(*shuffled) == total(MESSAGES, PARTITIONS, OFFSETS)


@pytest.mark.parametrize(
    "other",
    [
        ([b"a", b"b"], [0, 0], [1, 0]),  # two offsets swapped
        ([b"a", b"b"], [0, 1], [0, 1]),  # a row in another partition
        ([b"a", b"b"], [1, 0], [0, 1]),
        ([b"a", b"b"], [0, 0], [0, 2]),
        ([b"a", b"c"], [0, 0], [0, 1]),
        ([b"a"], [0], [0]),
        ([b"a", b"b", b"b"], [0, 0, 0], [0, 1, 1]),  # a row twice
    ],
)
def test_the_sum_tells_another_place_or_message(other):
    assert total(*other) != total([b"a", b"b"], [0, 0], [0, 1])


def test_rows_that_are_like_each_other_have_fingerprints_of_their_own():
    places = [(p, o) for p in range(30) for o in range(1000)]
    found = fingerprints(eagerly, [b"same"] * len(places), [p for p, _ in places], [o for _, o in places])
    assert len(set(found.tolist())) == len(places)


def test_crosses_are_all_pairs_of_columns_by_their_values():
    crosses = Crosses(Pairs(3), 10**6)
    rows = [[1, 2, 3], [1, 2, 4], [9, 2, 3], [1, 2, 3], [2, 1, 3]]
    eager = crosses(tf.constant(rows, tf.int64)).numpy()
    mapped = next(iter(tf.data.Dataset.from_tensors(tf.constant(rows, tf.int64)).map(crosses))).numpy()
    np.testing.assert_array_equal(eager, mapped)
    one, other_last, other_first, same, swapped = eager.tolist()
    assert same == one
    assert [a == b for a, b in zip(one, other_last, strict=True)] == [True, False, False]  # pairs (0, 1), (0, 2), (1, 2)
    assert [a == b for a, b in zip(one, other_first, strict=True)] == [False, False, True]
    assert one[0] != swapped[0]


def test_a_column_has_pairs_with_as_many_on_either_side():
    left, right = Pairs(5, 2).fields
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == [(0, 1), (0, 4), (1, 2), (2, 3), (3, 4)]
    for k in (2, 5, 6):
        for partners in range(0, 8, 2):
            with_others = np.bincount(np.concatenate(Pairs(k, partners).fields), minlength=k)
            assert with_others.tolist() == [min(partners or k, k - 1)] * k
    keys = tf.constant([[3, 1, 4, 1, 5]], tf.int64)
    assert Crosses(Pairs(5, 2), 1000)(keys).numpy().tolist() == [Crosses(Pairs(5), 1000)(keys).numpy()[0, [0, 3, 4, 7, 9]].tolist()]


def test_chosen_pairs_are_there_beside_the_ring_and_once():
    pairs = Pairs(5, 2, ((0, 3), (1, 2)))  # the second one is of the ring
    left, right = pairs.fields
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == [(0, 1), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4)]
    assert pairs.means.tolist() == [
        # the ring's, by field; then of the fields 0, 1, 2 and 3 their chosen pair
        [0.5, 0.5, 0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 0, 0, 1],
        [0.5, 0, 0, 0, 0.5, 0, 0, 0, 0],
        [0, 0.5, 0.5, 0, 0, 0, 1, 1, 0],
        [0, 0, 0.5, 0.5, 0, 0, 0, 0, 0],
        [0, 0, 0, 0.5, 0.5, 0, 0, 0, 0],
    ]
    assert pairs.width == pairs.means.shape[1] == 9
    assert Pairs(5, 2).width == Pairs(5, 2).means.shape[1] == 5


def test_crosses_spread_evenly_over_their_buckets():
    keys = np.stack([np.arange(4000), np.arange(4000) % 7], axis=1)
    counts = np.bincount(Crosses(Pairs(2), 100)(tf.constant(keys, tf.int64)).numpy()[:, 0], minlength=100)
    assert counts.min() > 15  # 40 on average
    assert counts.max() < 75
