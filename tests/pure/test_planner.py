"""The planner: when a window closes, what it holds, and what ends the plan. The clock, the topic and the stop are fakes."""

import threading

import pytest
from window_helpers import Topic, error_of, planner_of, windows_of

from tfonline.lifecycle import Exit, UserError
from tfonline.stream.window import Window

# Planner


def test_windows_by_count_follow_each_other_without_waiting():
    topic = Topic([230, 70], stop_after=1)
    assert windows_of(topic) == [
        (0, Window(0, (0, 0), (77, 23), "rows")),
        (0, Window(1, (77, 23), (154, 46), "rows")),  # of 153 and 47: equal remainders
        (0, Window(2, (154, 46), (230, 70), "rows")),
    ]


def test_an_idle_partition_stalls_nobody():
    assert windows_of(Topic([0, 200], stop_after=1)) == [
        (0, Window(0, (0, 0), (0, 100), "rows")),
        (0, Window(1, (0, 100), (0, 200), "rows")),
    ]


def test_a_short_window_closes_when_its_time_has_come():
    topic = Topic([0, 0], arrivals=[(1, 0, 3), (4, 1, 2)], stop_after=7)
    assert windows_of(topic, window_secs=5.0) == [(5, Window(0, (0, 0), (3, 2), "secs"))]


def test_the_time_counts_from_the_last_plan():
    topic = Topic([40], arrivals=[(2, 0, 60), (2.5, 0, 1), (20, 0, 1)], stop_after=30)
    assert windows_of(topic, window_secs=5.0) == [
        (2, Window(0, (0,), (100,), "rows")),
        (7, Window(1, (100,), (101,), "secs")),
        (20, Window(2, (101,), (102,), "secs")),  # long due: the first row makes it
    ]


def test_an_idle_stream_ticks():
    topic = Topic([0], arrivals=[(1.75, 0, 100)], stop_after=3.0)
    assert windows_of(topic, tick_secs=0.5) == [
        (0.5, None),
        (1.0, None),
        (1.5, None),
        (1.75, Window(0, (0,), (100,), "rows")),
        (2.25, None),
        (2.75, None),
    ]


def test_a_stop_ends_the_plan():
    planner = planner_of(Topic([0], stop_after=2.0))
    assert list(planner) == []
    assert (planner.error, planner.ended) == (None, "")


def test_no_window_is_planned_after_a_stop():
    topic = Topic([1000])
    planned = []
    for window in planner_of(topic):
        planned.append(window.number)
        topic.stop_after = 0 if len(planned) == 3 else 1e6
    assert planned == [0, 1, 2]


def test_a_stream_that_went_quiet_ends_the_plan():
    topic = Topic([100], arrivals=[(3, 0, 1), (3.5, 0, 99)])
    planner = planner_of(topic, max_idle_secs=4.0)
    assert [w.stop for w in planner] == [(100,), (200,)]
    assert topic.secs == 7.5
    assert planner.ended == "no row came for --max_idle_secs=4"


def test_rows_that_wait_for_their_window_are_no_idle_stream():
    topic = Topic([0], arrivals=[(1, 0, 1)], stop_after=100)
    planner = planner_of(topic, max_idle_secs=4.0, window_secs=20.0)
    assert [w.trigger for w in planner] == ["secs"]
    assert topic.secs == 24  # 4 s after the window at 20 s


def test_the_plan_ends_at_stop_at():
    topic = Topic([130, 70], arrivals=[(0, 0, 500)])
    planner = planner_of(topic, stop_at=(130, 70))
    assert list(planner) == [Window(0, (0, 0), (65, 35), "rows"), Window(1, (65, 35), (130, 70), "rows")]
    assert planner.ended == "reached --stop_at"
    assert planner.stop_at == [130, 70]


def test_the_rest_before_stop_at_is_a_window_of_its_own():
    topic = Topic([150])
    assert windows_of(topic, stop_at=(150,)) == [(0, Window(0, (0,), (100,), "rows")), (0, Window(1, (100,), (150,), "end"))]


def test_a_plan_that_starts_at_its_end_is_empty():
    planner = planner_of(Topic([7]), position=[7], stop_at=(7,))
    assert list(planner) == []
    assert planner.ended == "reached --stop_at"


def test_an_end_that_is_known_later_is_kept():
    topic = Topic([0], arrivals=[(1, 0, 30), (2, 0, 20), (2, 0, 7)])
    planner = planner_of(topic, resolve_stop=lambda: [50] if topic.secs >= 2 else None)
    assert planner.stop_at is None
    assert list(planner) == [Window(0, (0,), (50,), "end")]
    assert topic.secs == 2
    assert (planner.stop_at, planner.ended) == ([50], "reached --stop_at")


def test_an_end_that_is_known_is_not_asked_for():
    planner = planner_of(Topic([50]), stop_at=(50,), resolve_stop=lambda: pytest.fail("asked"))
    assert [w.trigger for w in planner] == ["end"]
    assert planner.error is None


def test_a_skip_is_journalled_and_the_newest_rows_are_trained():
    log = []
    topic = Topic([1000, 0], stop_after=1)
    planned = [w for _, w in windows_of(topic, log=log, max_lag_rows=150, lag_policy="skip")]
    assert planned == [Window(0, (0, 0), (850, 0), "skip"), Window(1, (850, 0), (950, 0), "rows")]
    assert log == planned


def test_a_window_is_logged_before_it_is_handed_out():
    log = []
    topic = Topic([300])
    for number, window in enumerate(planner_of(topic, log, stop_at=(300,))):
        assert (window.number, log[-1], len(log)) == (number, window, number + 1)
    assert len(log) == 3


def test_a_window_that_cannot_be_logged_is_not_handed_out():
    class FullDisk:
        def append(self, window):
            raise OSError(28, "No space left on device")

    planner = planner_of(Topic([300]), FullDisk())
    assert list(planner) == []
    assert isinstance(planner.error, OSError)


def test_journalled_windows_come_first_and_as_they_were():
    journalled = [Window(4, (10,), (13,), "secs"), Window(5, (13,), (500,), "skip")]
    log = []
    topic = Topic([700], stop_after=1)
    planned = [w for _, w in windows_of(topic, log=log, position=[10], number=4, journalled=journalled)]
    assert planned == [*journalled, Window(6, (500,), (600,), "rows"), Window(7, (600,), (700,), "rows")]
    assert log == planned[2:]


def test_a_journal_whose_last_window_reached_the_end_is_followed_by_nothing():
    planner = planner_of(Topic([70]), journalled=[Window(0, (0,), (70,), "end")], stop_at=(70,))
    assert list(planner) == [Window(0, (0,), (70,), "end")]
    assert planner.ended == "reached --stop_at"


def test_a_replay_hands_out_and_logs_the_same_windows_and_plans_none():
    replay = [Window(0, (3,), (10,), "secs"), Window(1, (10,), (110,), "rows"), Window(2, (110,), (120,), "skip")]
    log = []
    topic = Topic([100_000])
    planner = planner_of(topic, log, position=[3], replay=replay)
    assert list(planner) == log == replay
    assert (planner.error, planner.ended) == (None, "the replayed journal ended")
    assert topic.asked == 0


@pytest.mark.parametrize("kind", ["replay", "journalled"])
def test_windows_whose_rows_are_gone_are_not_trained_as_if_they_were_there(kind):
    windows = [Window(0, (3,), (10,), "skip"), Window(1, (10,), (20,), "rows")]  # what was not read need not be there
    planner = planner_of(Topic([100], begins=[12]), position=[3], **{kind: windows})
    assert list(planner) == windows[:1]
    assert planner.error.code == 66
    assert "0: [10, 12)" in str(planner.error)


def test_a_replay_that_was_interrupted_goes_on_behind_its_own_journal():
    replay = [Window(n, (10 * n,), (10 * n + 10,), "rows") for n in range(5)]
    log = []
    planner = planner_of(Topic([50]), log, position=[20], number=2, journalled=[replay[2]], replay=replay)
    assert list(planner) == replay[2:]
    assert log == replay[3:]


@pytest.mark.parametrize(
    "gap",
    [
        [Window(4, (11,), (20,), "rows")],  # starts behind the checkpoint
        [Window(5, (10,), (20,), "rows")],  # a number is left out
        [Window(4, (10,), (20,), "rows"), Window(5, (21,), (30,), "rows")],
    ],
)
@pytest.mark.parametrize("kind", ["journalled", "replay"])
def test_a_gap_in_the_chain_contradicts_the_checkpoint(gap, kind):
    log = []
    error = error_of(Topic([100]), log=log, position=[10], number=4, **{kind: gap})
    assert error.code == Exit.CONFIG == 78
    assert f"window {gap[-1].number} starts at {list(gap[-1].start)}" in str(error)
    assert f"must start at {[10] if len(gap) == 1 else [20]}" in str(error)
    assert "use the model folder it came from" in str(error)
    assert gap[-1] not in log


def test_rows_that_retention_took_are_an_error_that_names_them():
    topic = Topic([500, 500, 500], begins=[0, 120, 41])
    error = error_of(topic, position=[40, 40, 40])
    assert error.code == Exit.NO_INPUT == 66
    assert "(partition: offsets): 1: [40, 120), 2: [40, 41)." in str(error)
    assert "Keep the topic's retention above the longest pause" in str(error)


def test_rows_that_retention_takes_between_two_windows_are_an_error():
    topic = Topic([500])
    planner = planner_of(topic)
    plan = iter(planner)
    assert next(plan).stop == (100,)
    topic.first_offsets = [101]
    assert list(plan) == []
    assert planner.error.code == 66


def test_rows_that_retention_took_can_be_passed_over():
    log = []
    topic = Topic([500, 500], begins=[0, 120], stop_after=1)
    planned = [w for _, w in windows_of(topic, log=log, position=[400, 40], window_rows=400, on_lost_rows="skip")]
    assert planned == [Window(0, (400, 40), (400, 120), "lost"), Window(1, (400, 120), (483, 437), "rows")]
    assert [w.read for w in planned] == [[], [0, 1]]
    assert log == planned


def test_journalled_windows_whose_rows_are_gone_are_planned_anew_behind_them():
    journalled = [Window(4, (10,), (13,), "secs"), Window(5, (13,), (60,), "rows"), Window(6, (60,), (90,), "rows")]
    log = []
    topic = Topic([100], begins=[50], stop_after=1)
    planned = windows_of(topic, log=log, position=[10], number=4, journalled=journalled, on_lost_rows="skip", window_rows=50)
    assert [w for _, w in planned] == log == [Window(4, (10,), (50,), "lost"), Window(5, (50,), (100,), "rows")]


def test_what_retention_took_of_windows_that_wait_to_be_read():
    topic = Topic([300])
    planner = planner_of(topic)
    plan = iter(planner)
    assert [next(plan).number, next(plan).number] == [0, 1]
    assert planner.rows_lost_since_planned() == ""
    topic.first_offsets = [120]
    assert planner.rows_lost_since_planned() == "0: [0, 120), 0: [100, 120)"
    planner.take(0)
    assert planner.rows_lost_since_planned() == "0: [100, 120)"


def test_a_window_that_is_passed_over_is_journalled_with_those_behind_it():
    """The line takes the place of all later ones, so they are written again."""
    journalled = [Window(4, (10,), (13,), "secs"), Window(5, (13,), (60,), "rows"), Window(6, (60,), (90,), "secs")]
    log = []
    topic = Topic([90], stop_after=1)
    planned = windows_of(topic, log=log, position=[10], number=4, journalled=journalled, pass_over=5)
    passed = Window(5, (13,), (60,), "passed")
    assert [w for _, w in planned] == [journalled[0], passed, journalled[2]]
    assert passed.read == []
    assert log == [passed, journalled[2]]


def test_partitions_that_the_topic_gets_are_read_from_their_beginning():
    topic = Topic([100], begins=[0, 0])
    log, planned = [], []
    planner = planner_of(topic, log)
    for window in planner:
        planned.append(window)
        if len(planned) == 1:
            topic.first_ends = [150, 80]
        topic.stop_after = 1e6 if len(planned) < 2 else 0
    assert planned == log == [Window(0, (0,), (100,), "rows"), Window(1, (100, 0), (138, 62), "rows")]
    assert planner.ends == [150, 80]


def test_an_end_may_be_known_of_partitions_that_no_look_has_seen():
    topic = Topic([10, 5], begins=[0, 0])
    planner = planner_of(topic, position=[0], resolve_stop=lambda: [10, 5])
    assert [w.stop for w in planner] == [(10, 5)]
    assert (planner.error, planner.ended) == (None, "reached --stop_at")


def test_partitions_that_the_topic_gets_are_behind_the_end_of_a_run():
    topic = Topic([150], begins=[0, 0])
    planner = planner_of(topic, stop_at=(150,))
    planned = []
    for window in planner:
        planned.append(window)
        topic.first_ends = [150, 80]
    assert [w.stop for w in planned] == [(100,), (150, 0)]
    assert (planner.stop_at, planner.ended) == ([150, 0], "reached --stop_at")


def test_another_thread_that_asks_for_lost_rows_does_not_change_the_partitions_between_two_questions():
    """It is held until the planner has both answers: else there would be begins of two partitions and ends of three."""
    topic = Topic([100, 100])
    planner = planner_of(topic)
    plan = iter(planner)
    next(plan)
    other, begins, ends, order = threading.Thread(target=planner.rows_lost_since_planned), topic.begins, topic.ends, []

    def noted_begins():
        order.append("other" if threading.current_thread() is other else "begins")
        return begins()

    def slow_ends():
        other.start()
        other.join(0.2)  # time in which it would ask
        order.append("ends")
        return ends()

    topic.begins, topic.ends = noted_begins, slow_ends
    next(plan)
    other.join(30)
    assert order == ["begins", "ends", "other"]


def test_more_partitions_than_the_reader_can_hold_are_refused_also_where_they_come_late():
    topic = Topic([100, 100])
    planner = planner_of(topic, most_partitions=2)
    plan = iter(planner)
    assert next(plan).stop == (50, 50)
    topic.first_ends, topic.first_offsets = [100, 100, 0], [0, 0, 0]
    assert list(plan) == []
    assert "the topic has 3 partitions, and this run can read 2 of them at most" in str(planner.error)
    assert planner.error.code == 64


def test_a_topic_with_fewer_partitions_contradicts_the_checkpoint():
    error = error_of(Topic([50]), position=[40, 40])
    assert (error.code, "1: gone" in str(error)) == (78, True)


def test_a_topic_that_was_made_anew_contradicts_the_checkpoint():
    error = error_of(Topic([500, 39]), position=[40, 40])
    assert error.code == Exit.CONFIG == 78
    assert "(partition: offsets): 1: next 40, end 39." in str(error)
    assert "made anew" in str(error)


def test_an_error_of_the_source_lands_in_error_and_is_not_raised():
    topic = Topic([500])
    planner = planner_of(topic)
    plan = iter(planner)
    assert next(plan).number == 0
    away = UserError("the broker is away", Exit.UNAVAILABLE)

    def ends():
        raise away

    topic.ends = ends
    assert list(plan) == []
    assert planner.error is away
    assert planner.ended == ""


def test_a_planned_window_is_taken_once():
    planner = planner_of(Topic([200]), stop_at=(200,))
    first, second = list(planner)
    assert planner.take(1) is second
    assert planner.take(0) is first
    with pytest.raises(KeyError):
        planner.take(0)


def test_the_end_offsets_last_seen_are_kept_for_the_lag():
    topic = Topic([130], arrivals=[(1, 0, 7)], stop_after=2)
    planner = planner_of(topic, position=[30])
    assert planner.ends == [30]
    list(planner)
    assert planner.ends == [137]
