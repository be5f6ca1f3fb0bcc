"""What a window is, how its rows are shared over the partitions, and when it closes."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tfonline.stream.window import Window
from tfonline.stream.window_policy import Policy, share

# share


@pytest.mark.parametrize(
    ("backlog", "rows", "parts"),
    [
        ([], 0, []),
        ([0, 0], 0, [0, 0]),
        ([10, 10], 10, [5, 5]),
        ([300, 100], 100, [75, 25]),
        ([0, 7], 5, [0, 5]),
        ([1, 1, 1], 2, [1, 1, 0]),  # equal remainders: the lower partitions go first
        ([1, 2, 4], 5, [1, 1, 3]),  # 5/7, 10/7, 20/7: remainders 5, 3, 6, and two rows are left over
        ([10**15, 1], 10**15, [10**15 - 1, 1]),  # remainders 1 and 10^15
        ([10**17 + 3], 10**17 + 3, [10**17 + 3]),  # exact where floats are not
    ],
)
def test_share_follows_the_backlog(backlog, rows, parts):
    assert share(backlog, rows) == parts


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=8), st.floats(0, 1))
@example([1, 1, 1], 0.5)
def test_share_gives_no_more_than_is_there_and_all_that_is_asked(backlog, part):
    rows = int(sum(backlog) * part)
    parts = share(backlog, rows)
    assert sum(parts) == rows
    assert all(0 <= p <= b for p, b in zip(parts, backlog, strict=True))
    exact = [b * rows / max(1, sum(backlog)) for b in backlog]
    assert all(abs(p - e) < 1 + 1e-3 for p, e in zip(parts, exact, strict=True))


# Policy


def test_a_full_window_takes_its_rows_in_proportion():
    policy = Policy(window_rows=100, window_secs=5)
    assert policy.plan([10, 1000], [310, 1100], due=False) == ([85, 1025], "rows")


def test_an_unfilled_window_waits_until_it_is_due():
    policy = Policy(window_rows=100, window_secs=5)
    assert policy.plan([0, 0], [60, 39], due=False) is None
    assert policy.plan([0, 0], [60, 39], due=True) == ([60, 39], "secs")
    assert policy.plan([0, 0], [61, 39], due=False) == ([61, 39], "rows")


def test_no_rows_are_no_window_however_long_it_takes():
    assert Policy(window_rows=1, window_secs=5).plan([7, 8], [7, 8], due=True) is None


def test_rows_behind_the_end_are_left_alone():
    policy = Policy(window_rows=100, window_secs=5, stop_at=(50, 30))
    assert policy.plan([0, 0], [1000, 1000], due=False) == ([50, 30], "end")
    assert policy.plan([50, 10], [1000, 1000], due=False) == ([50, 30], "end")


def test_the_end_is_only_near_when_every_partition_has_got_there():
    policy = Policy(window_rows=100, window_secs=5, stop_at=(50, 30))
    assert policy.plan([0, 0], [1000, 29], due=False) is None
    assert policy.plan([0, 0], [1000, 29], due=True) == ([50, 29], "secs")


def test_ended_is_when_every_partition_has_got_there():
    policy = Policy(window_rows=100, window_secs=5, stop_at=(50, 30))
    assert [policy.ended(p) for p in ([50, 29], [49, 30], [50, 30], [51, 30])] == [False, False, True, True]
    assert not Policy(window_rows=100, window_secs=5).ended([50, 30])


def test_too_much_lag_is_skipped_but_for_the_newest_rows():
    policy = Policy(window_rows=100, window_secs=5, max_lag_rows=200, lag_policy="skip")
    assert policy.plan([0, 50], [600, 450], due=False) == ([480, 370], "skip")  # 120 and 80 stay
    assert policy.plan([480, 370], [600, 450], due=False) == ([540, 410], "rows")


def test_lag_is_worked_through_by_default():
    policy = Policy(window_rows=100, window_secs=5, max_lag_rows=200)
    assert policy.plan([0, 0], [10_000, 0], due=False) == ([100, 0], "rows")


# Window


def test_a_windows_rows_are_counted_over_its_partitions():
    assert Window(0, (5, 7, 1), (9, 7, 3), "rows").rows == 6


def test_a_window_over_more_partitions_reads_nothing_of_them():
    assert Window(3, (5,), (9,), "secs").widened(3) == Window(3, (5, 0, 0), (9, 0, 0), "secs")
    assert Window(3, (5, 6), (9, 6), "secs").widened(2) == Window(3, (5, 6), (9, 6), "secs")
