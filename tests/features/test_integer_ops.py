"""Integers to ids and values, against numbers worked out by hand, eagerly and inside a tf.data graph."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from op_helpers import both_ways, eagerly

from tfonline.features.dictionaries import Dictionaries
from tfonline.features.kinds.integer_ops import Bucket, Log, MinMax, make_numeric
from tfonline.lifecycle import Exit, UserError

COLUMNS = ["I1", "I2"]
DICTIONARIES = Dictionaries(max={"I1": 7, "I2": 1000}, min={"I1": 0, "I2": -2000}, cat2id={"I1": 0, "I2": 1})


def numeric(run, op, rows):
    """The ids and values that an op gives for rows of integers, None for a missing one."""
    integers = tf.constant([[0 if v is None else v for v in row] for row in rows], tf.int64)
    missing = tf.constant([[v is None for v in row] for row in rows])
    ids, values = run(op, integers, missing)
    assert (ids.dtype, values.dtype) == (tf.int32, tf.float32)
    return ids.numpy().tolist(), values.numpy().tolist()


def column(run, op, values):
    """Ids and values of one column."""
    ids, scaled = numeric(run, op, [[v] for v in values])
    return [i for (i,) in ids], [v for (v,) in scaled]


# MinMax


@both_ways
def test_minmax_scales_to_the_dictionarys_range(run):
    op = MinMax(minimum=(-2, 0), maximum=(8, 4), ids=(0, 1))
    assert numeric(run, op, [[-2, 0], [3, 1], [8, 4]]) == ([[0, 1]] * 3, [[0.0, 0.0], [0.5, 0.25], [1.0, 1.0]])


@both_ways
def test_minmax_clips_what_lies_outside(run):
    assert column(run, MinMax((-2,), (8,), (5,)), [-3, 9, -(10**18), 10**18]) == ([5] * 4, [0.0, 1.0, 0.0, 1.0])


@both_ways
def test_minmax_of_a_missing_value_says_nothing(run):
    assert column(run, MinMax((-2,), (8,), (5,)), [None, 3]) == ([5, 5], [0.0, 0.5])


@both_ways
def test_minmax_of_a_column_without_range_is_0(run):
    assert column(run, MinMax((7,), (7,), (0,)), [6, 7, 8, None]) == ([0] * 4, [0.0] * 4)


@both_ways
def test_minmax_tells_times_of_ten_minutes_apart(run):
    first = 1_700_000_000
    times = [first, first + 1, first + 150, first + 300, first + 600]
    expected = [0.0, float(np.float32(1 / 600)), 0.25, 0.5, 1.0]
    assert column(run, MinMax((first,), (first + 600,), (0,)), times)[1] == expected
    nanoseconds = 10**17 + 1
    assert column(run, MinMax((nanoseconds,), (nanoseconds + 4,), (0,)), [nanoseconds + i for i in range(5)])[1] == [
        0.0, 0.25, 0.5, 0.75, 1.0,
    ]  # fmt: skip


@both_ways
def test_minmax_over_all_64_bits(run):
    op = MinMax((-(2**63),), (2**63 - 1,), (0,))
    assert column(run, op, [-(2**63), -(2**62), 0, 2**62, 2**63 - 1])[1] == [0.0, 0.25, 0.5, 0.75, 1.0]
    half = MinMax((0,), (10**18 - 1,), (0,))
    assert column(run, half, [-(10**18) + 1, 25 * 10**16, 10**18 - 1])[1] == [0.0, 0.25, 1.0]


@both_ways
def test_minmax_of_small_numbers_is_what_it_was_to_the_bit(run):
    """Numbers below 2^24 are exact in float32: there, rounding before the difference and after it are the same."""
    r = np.random.default_rng(1)
    for low, high in [(0, 300), (-1, 57), (-3, 10**6), (-(2**24), 2**24), (12345, 16_000_000)]:
        numbers = r.integers(-(2**24), 2**24, 1000)
        was = (numbers.astype(np.float32) - np.float32(low)) / (np.float32(high) - np.float32(low))
        assert column(run, MinMax((low,), (high,), (0,)), numbers.tolist())[1] == was.clip(0, 1).tolist()


def test_minmax_refuses_ranges_that_no_number_of_64_bits_fills():
    wide = Dictionaries({"I1": 2**63, "I2": 5}, {"I1": 0, "I2": 0}, DICTIONARIES.cat2id)
    with pytest.raises(UserError, match=r"ranges beyond 64 bits \(I1: 0 to 9223372036854775808\)") as e:
        make_numeric("minmax", wide, COLUMNS, 8)
    assert e.value.code == Exit.DATA == 65
    # The others take any range: 2^63 is the last bucket's and scales by its logarithm.
    assert make_numeric("bucket", wide, COLUMNS, 8).widths == (5 + 1906, 5 + 2)
    wider = Dictionaries({"I1": 10**30, "I2": 1}, wide.min, wide.cat2id)
    _, [values] = numeric(eagerly, make_numeric("log", wider, COLUMNS, 8), [[1, 1]])
    assert values == pytest.approx([0.0100343332, 1.0])  # ln(2) / (30 ln(10)), ln(2) / ln(2)


# Log


@both_ways
def test_log_is_symmetric_and_scaled_to_the_largest_value(run):
    # ln(1 + 9) / ln(1 + 99) = 1/2
    ids, values = column(run, Log(largest=(99,), ids=(3,), first_id=10), [0, 9, -9, 99, -99])
    assert ids == [3] * 5
    assert values == pytest.approx([0.0, 0.5, -0.5, 1.0, -1.0], abs=1e-6)


@both_ways
def test_log_clips_what_lies_outside(run):
    assert column(run, Log((99,), (3,), 10), [999, -999, 10**18]) == ([3] * 3, [1.0, -1.0, 1.0])


@both_ways
def test_log_gives_a_missing_value_an_id_of_its_column(run):
    op = Log(largest=(99, 99), ids=(0, 1), first_id=10)
    assert op.num_ids == 2
    assert numeric(run, op, [[None, None], [0, None]]) == ([[10, 11], [0, 11]], [[1.0, 1.0], [0.0, 1.0]])


@both_ways
def test_log_of_a_column_that_is_always_0_divides_by_no_0(run):
    assert column(run, Log((0,), (0,), 10), [0, 1, 5]) == ([0] * 3, [0.0, 1.0, 1.0])


# Bucket

# value: bucket. From 3 on 4 + floor(ln(v)^2): ln(3)^2 = 1.2, ln(4)^2 = 1.9, ln(5)^2 = 2.6, ln(10)^2 = 5.3, ln(100)^2 = 21.2,
# ln(999)^2 = 47.7, ln(1000)^2 = 47.7.
BUCKETS = {None: 0, -(10**18): 1, -1: 1, 0: 2, 1: 3, 2: 4, 3: 5, 4: 5, 5: 6, 10: 9, 100: 25, 999: 51, 1000: 51}


@both_ways
def test_buckets_by_hand(run):
    assert column(run, Bucket(largest=(1000,), first_id=0), list(BUCKETS)) == (list(BUCKETS.values()), [1.0] * len(BUCKETS))


@both_ways
def test_what_is_above_the_largest_value_falls_into_the_last_bucket(run):
    op = Bucket(largest=(1000,), first_id=0)
    assert (op.widths, op.num_ids) == ((52,), 52)
    assert column(run, op, [1001, 5000, 10**18])[0] == [51, 51, 51]


@both_ways
def test_each_column_has_buckets_of_its_own(run):
    op = Bucket(largest=(1000, 0, 10), first_id=100)
    assert (op.widths, op.num_ids) == ((52, 6, 10), 68)
    ids, values = numeric(run, op, [[None, None, None], [10**6, 10**6, 10**6], [3, 3, 3]])
    assert ids == [[100, 152, 158], [151, 157, 167], [105, 157, 163]]
    assert values == [[1.0] * 3] * 3


@settings(deadline=None)
@given(st.lists(st.none() | st.integers(-(10**18), 10**18) | st.integers(-5, 2000), min_size=1), st.integers(0, 10**18))
def test_no_value_leaves_its_columns_buckets_and_larger_ones_never_get_a_smaller_bucket(values, largest):
    op = Bucket(largest=(5, largest), first_id=0)
    ids, _ = numeric(eagerly, op, [[0, v] for v in values])
    first = op.widths[0]
    buckets = dict(zip(values, (i - first for _, i in ids), strict=True))
    assert all(0 <= b < op.widths[1] and (b == 0) == (v is None) for v, b in buckets.items())
    in_order = [buckets[v] for v in sorted(v for v in buckets if v is not None)]
    assert in_order == sorted(in_order)


# make_numeric


def test_an_ops_repr_is_its_configuration():
    assert [repr(make_numeric(kind, DICTIONARIES, COLUMNS, 8)) for kind in ("minmax", "log", "bucket")] == [
        "MinMax(minimum=(0, -2000), maximum=(7, 1000), ids=(0, 1))",
        "Log(largest=(7, 2000), ids=(0, 1), first_id=8)",
        "Bucket(largest=(7, 1000), first_id=8)",
    ]
