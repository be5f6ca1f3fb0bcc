"""The planner's promise: whatever happens to a stream, its windows tile the offsets."""

from hypothesis import given
from hypothesis import strategies as st
from window_helpers import Topic, planner_of

from tfonline.stream.window import Window


def test_a_journal_from_before_a_topic_got_partitions_is_followed():
    journalled = [Window(0, (0,), (10,), "rows"), Window(1, (10, 0), (20, 5), "rows")]
    planner = planner_of(Topic([20, 5]), position=[0, 0], journalled=journalled, stop_at=(20, 5))
    assert list(planner) == [Window(0, (0, 0), (10, 0), "rows"), journalled[1]]


# What a stream does next: rows come to a partition, time passes, retention takes rows, a partition is added, or the run dies.
HAPPENINGS = st.one_of(
    st.tuples(st.just("rows"), st.integers(0, 3), st.integers(1, 60)),
    st.tuples(st.just("secs"), st.floats(0.01, 8.0), st.none()),
    st.tuples(st.just("retention"), st.integers(0, 3), st.integers(1, 40)),
    st.tuples(st.just("partition"), st.none(), st.none()),
    st.tuples(st.just("crash"), st.integers(0, 5), st.none()),
)


@given(
    happenings=st.lists(HAPPENINGS, max_size=40),
    partitions=st.integers(1, 3),
    window_rows=st.integers(1, 50),
    window_secs=st.floats(0.05, 6.0),
    max_lag_rows=st.sampled_from([0, 60, 100]),
)
def test_windows_tile_the_offsets_whatever_happens(happenings, partitions, window_rows, window_secs, max_lag_rows):
    """Over watermarks, clock readings, retention, new partitions and crashes: no gap, no overlap, and nothing unread in silence."""
    topic, log = Topic([0] * partitions, begins=[0] * 10), []
    settings = {"window_rows": window_rows, "window_secs": window_secs, "on_lost_rows": "skip", "tick_secs": 0.01}
    if max_lag_rows:
        settings |= {"max_lag_rows": max_lag_rows, "lag_policy": "skip"}
    done: list[Window] = []  # what a saved model has learned from
    plan, pending = iter(planner_of(topic, log, **settings)), []

    def learn_all():
        """Takes windows until the planner has none for now."""
        while (window := next(plan)) is not None:
            pending.append(window)

    for kind, number, rows in happenings:
        if kind == "rows":
            topic.first_ends[number % len(topic.first_ends)] += rows
        elif kind == "secs":
            topic.secs += number
            learn_all()
        elif kind == "retention":
            p = number % len(topic.first_ends)
            topic.first_offsets[p] = min(topic.first_ends[p], topic.first_offsets[p] + rows)
        elif kind == "partition" and len(topic.first_ends) < 6:
            topic.first_ends.append(0)
        elif kind == "crash":
            # Up to `number` more windows are saved; the rest was only journalled. The new run reads the journal as it stands.
            learn_all()
            done += pending[:number]
            kept = [w for i, w in enumerate(log) if not any(later.number <= w.number for later in log[i + 1 :])]
            log = kept
            position = list(done[-1].stop) if done else [0] * partitions
            position += [0] * (len(topic.first_ends) - len(position))
            journalled = [w for w in log if w.number >= len(done)]
            plan = iter(planner_of(topic, log, position=position, number=len(done), journalled=journalled, **settings))
            pending = []
        topic.asked = 0
    for _ in range(2):  # the time for a window counts from the plan's beginning: then every row that is there is due
        learn_all()
        topic.secs += 10
    learn_all()
    done += pending
    assert [w.number for w in done] == list(range(len(done)))
    position = [0] * len(topic.first_ends)
    for window in (w.widened(len(position)) for w in done):
        assert list(window.start) == position
        assert all(a <= b for a, b in zip(window.start, window.stop, strict=True))
        assert window.rows > 0
        position = list(window.stop)
    assert position == topic.first_ends
