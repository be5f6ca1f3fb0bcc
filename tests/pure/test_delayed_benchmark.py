"""The benchmark of late labels: planted delays, and which rows are learned from when."""

import numpy as np
import pytest

from benchmarks.delayed import report
from benchmarks.delayed.planted import DAY, HOUR, ROWS, WINDOW, delays
from benchmarks.delayed.schedule import Way, history, stream

FIRST = 3000
LINES = [b"\t".join([b"0", *[b""] * 26, *[b"%x" % (i * 7 % 5 + c) for c in range(13)]]) for i in range(9000)]


def learned(lessons):
    """(row, label, late) by window."""
    return [list(zip(*(x.tolist() for x in lesson), strict=True)) for lesson in lessons]


def test_a_third_of_the_outcomes_come_within_an_hour_and_half_within_a_day_at_any_time():
    secs = delays(LINES, FIRST, seed=1)
    for part in np.split(secs, [FIRST, 6000]):
        assert (part <= HOUR).mean() == pytest.approx(0.35, abs=0.002)
        assert (part <= DAY).mean() == pytest.approx(0.5, abs=0.002)
        assert part.max() <= 30 * DAY
    assert not np.array_equal(secs, delays(LINES, FIRST, seed=2))


def test_how_soon_an_outcome_comes_hangs_on_a_value_and_turns_at_half_time():
    logs = np.log(delays(LINES, FIRST, seed=1))
    value = np.arange(9000) * 7 % 5
    before, after = ([logs[part][value[part] == v].mean() for v in range(5)] for part in (slice(FIRST, 6000), slice(6000, None)))
    assert np.ptp(before) > 1
    assert np.abs(np.subtract(before, after)).max() > 1


# Of window 0 the rows 1 and 2 are clicks, whose outcomes come in the same window and in window 2; of window 1 none.
CLICKS, DELAYS = np.zeros(2 * ROWS, bool), np.full(2 * ROWS, DAY)
CLICKS[1:3], DELAYS[1:3] = True, [0.1 * WINDOW, 2.2 * WINDOW]
CLICKS, DELAYS = np.append(CLICKS, np.zeros(2 * ROWS, bool)), np.append(DELAYS, np.full(2 * ROWS, DAY))


def of(rule, windows=0, policy="fnw"):
    found = learned(stream(Way("name", policy, rule, windows), CLICKS, DELAYS))
    assert len(found) == 4
    return [{row for row in window if row[1] or row[2]} for window in found], [len(window) for window in found]


def test_each_rule_learns_what_it_may_know():
    assert of("frozen") == ([set()] * 4, [0] * 4)
    assert of("oracle") == ([{(1, 1, False), (2, 1, False)}, set(), set(), set()], [ROWS] * 4)
    assert of("at_once") == ([{(1, 1, True)}, set(), {(2, 1, True)}, set()], [ROWS + 1, ROWS, ROWS + 1, ROWS])
    assert of("settled", 1) == ([set(), {(1, 1, False)}, set(), set()], [0, ROWS, ROWS, ROWS])
    assert of("settled", 3) == ([set(), set(), set(), {(1, 1, False), (2, 1, False)}], [0, 0, 0, ROWS])
    assert of("elapsed", 1) == ([set(), {(1, 1, False)}, {(2, 1, True)}, set()], [0, ROWS, ROWS + 1, ROWS])
    assert of("elapsed", 3)[0] == [set(), set(), set(), {(1, 1, False), (2, 1, False)}]


def test_a_daily_batch_learns_at_the_end_of_the_day_what_is_settled_by_then():
    clicks = np.tile(CLICKS, 10)
    lessons = learned(stream(Way("daily batch", "wait", "daily", 1), clicks, np.tile(DELAYS, 10)))
    assert [len(window) for window in lessons] == [0] * 14 + [14 * ROWS] + [0] * 14 + [15 * ROWS] + [0] * 10
    assert {row for row, label, _ in lessons[14] if label} == {1, 401, 801, 1201}  # what has come within a window


def test_all_labels_of_the_history_are_known():
    way = Way("es_dfm", "es_dfm", "elapsed", 1)
    found = learned(history(way, CLICKS, DELAYS))
    assert {row for row in found[0] if row[1] or row[2]} == {(1, 1, False), (2, 1, True)}
    assert {row for row in learned(history(Way("wait", "wait", "settled", 1), CLICKS, DELAYS))[0] if row[1]} == {
        (1, 1, False),
        (2, 1, False),
    }


def test_a_share_is_of_the_way_from_frozen_to_oracle_and_a_wait_is_chosen_on_the_first_half():
    clicks = np.tile([True, False, False, False], 200)
    noise = np.random.default_rng(1).normal(size=800)

    def scores(first, second):  # how much they know of either half
        knows = np.repeat([first, second], 400)
        return [(knows * np.where(clicks, 1.0, -1.0) + noise - 1).astype(np.float32)]

    ways = {
        Way("frozen", "wait", "frozen"): scores(0, 0),
        Way("oracle", "wait", "oracle"): scores(1, 1),
        Way("naive", "wait", "at_once"): scores(-1, -1),
        Way("wait", "wait", "settled", 15): scores(0.6, 0.3),
        Way("wait", "wait", "settled", 45): scores(0.5, 0.9),
    }
    found = report.judged(ways, clicks)
    frozen, oracle, _, day, three = found.values()
    assert (frozen.shares.tolist(), oracle.shares.tolist()) == ([[0, 0]], [[1, 1]])
    auc = [report.metrics(way[0][400:], clicks[400:]).auc for way in ways.values()]
    assert day.shares[0, 0] == pytest.approx((auc[3] - auc[0]) / (auc[1] - auc[0]))
    assert day.shares.max() < 0.6 < three.shares.min()
    assert report.chosen(found)["wait"].windows == 15
    assert "| wait 1 d (chosen) |" in "\n".join(report.table(found))
    assert report.closing_line(found).startswith(f"wait={day.shares.min():.2f} calibration=")
