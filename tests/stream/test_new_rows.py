"""A quiet topic: its broker is asked little, and a row opens a window at once all the same."""

import threading

import pytest
from confluent_kafka import Producer
from window_helpers import Topic

from tfonline.lifecycle import Stop
from tfonline.stream import new_rows
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.new_rows import LONG_POLL, NewRows
from tfonline.stream.planner import Planner
from tfonline.stream.window import Window
from tfonline.stream.window_policy import Policy


class Told(Topic):
    """A topic that tells of each arrival: a wait ends at the next one."""

    def wait_for_rows(self, ends, stop, secs):
        came = [t for t, _, _ in self.arrivals if self.secs < t <= self.secs + secs]
        self.secs = min(came) if came else self.secs + secs
        return bool(came)


def planner_of(topic, **policy):
    return Planner(
        topic, Policy(window_rows=100, window_secs=5.0, **policy), [], position=[0] * len(topic.first_ends), number=0, stop=topic,
        clock=topic.clock,
    )  # fmt: skip


def test_an_idle_broker_is_asked_less_than_three_times_a_second():
    """Each second for ends, each five for begins and, inside KafkaTopic, partitions; and the consumer's request lasts a second."""
    topic = Told([0, 0], stop_after=60.0)
    asked_begins, begins = [], topic.begins
    topic.begins = lambda: asked_begins.append(topic.secs) or begins()
    ticks = [topic.secs for window in planner_of(topic) if window is None]
    assert asked_begins == [5.0 * n for n in range(12)]
    assert topic.asked == 60
    assert ticks == [0.5 * n for n in range(1, 120)]
    assert LONG_POLL["fetch.wait.max.ms"] == 1000


def test_a_row_opens_its_window_when_it_comes():
    topic = Told([0], arrivals=[(33.3, 0, 100), (33.31, 0, 100)], stop_after=40.0)
    planned = [(round(topic.secs, 2), window) for window in planner_of(topic) if window]
    assert planned == [(33.3, Window(0, (0,), (100,), "rows")), (33.35, Window(1, (100,), (200,), "rows"))]  # 0.05 s apart at least


def test_a_window_that_is_due_is_not_waited_for_until_the_next_look():
    topic = Told([0], arrivals=[(0.5, 0, 3)], stop_after=30.0)
    assert [(topic.secs, w.stop, w.trigger) for w in planner_of(topic) if w] == [(5.0, (3,), "secs")]
    topic = Told([0], arrivals=[(7.1, 0, 3)], stop_after=30.0)  # long due
    assert [(round(topic.secs, 3), w.stop) for w in planner_of(topic) if w] == [(7.1, (3,))]


def test_an_idle_stream_is_looked_at_once_more_before_it_ends_the_run():
    topic = Topic([0], arrivals=[(0.5, 0, 100)])
    topic.wait_for_rows = lambda ends, stop, secs: topic.wait(secs) and False  # it hears of no row
    planner = planner_of(topic, max_idle_secs=0.75)
    assert [(topic.secs, w.stop) for w in planner if w] == [(0.75, (100,))]
    assert planner.ended == "no row came for --max_idle_secs=0.75"
    assert topic.secs == 1.5


class FakeConsumer:
    """Remembers where it was assigned; `records` are polled, then None."""

    def __init__(self):
        self.assigned, self.records = [], []

    def assign(self, partitions):
        self.assigned.append([(p.partition, p.offset) for p in partitions])

    def poll(self, secs):
        CLOCK[0] += secs
        return self.records.pop(0) if self.records else None


class Record:
    def __init__(self, error=None):
        self.error = lambda: error


CLOCK = [0.0]


class FakeStop:
    def requested(self):
        return False

    def wait(self, secs):
        CLOCK[0] += secs


@pytest.fixture
def waiting():
    CLOCK[0] = 0.0
    consumer = FakeConsumer()
    return NewRows(lambda: consumer, "clicks", lambda: CLOCK[0]), consumer


def test_while_rows_come_offsets_are_asked_for_and_no_row_is_fetched(waiting):
    rows, consumer = waiting
    for end in range(5):
        assert rows.wait([end], FakeStop(), 9.0)
    assert (CLOCK[0], consumer.assigned) == (pytest.approx(0.25), [])


def test_a_quiet_topic_is_waited_for_at_its_ends_once_and_left_when_a_row_comes(waiting):
    rows, consumer = waiting
    while rows.wait([5, 7], FakeStop(), 9.0):
        assert CLOCK[0] < 1.1
    assert CLOCK[0] == pytest.approx(10.0)  # a second in which rows might have come, then all of the wait
    assert not rows.wait([5, 7], FakeStop(), 3.0)
    assert consumer.assigned == [[(0, 5), (1, 7)]]
    consumer.records = [Record()]
    assert rows.wait([5, 7], FakeStop(), 3.0)
    assert consumer.assigned == [[(0, 5), (1, 7)], []]
    CLOCK[0] += 60
    assert rows.wait([5, 7, 0], FakeStop(), 3.0)  # a new partition: it moved
    CLOCK[0] += 1
    assert not rows.wait([5, 7, 0], FakeStop(), 3.0)
    assert consumer.assigned[2:] == [[(0, 5), (1, 7), (2, 0)]]


def test_after_an_error_of_the_consumer_offsets_are_asked_for(waiting):
    rows, consumer = waiting
    rows.wait([5], FakeStop(), 1.0)
    CLOCK[0] += 1
    consumer.records = [Record("the offset is no longer there")]
    assert rows.wait([5], FakeStop(), 9.0)
    since = CLOCK[0]
    while rows.wait([5], FakeStop(), 9.0):
        assert CLOCK[0] <= since + 5.0
    assert CLOCK[0] == pytest.approx(since + 5.0 + 9.0)
    assert consumer.assigned == [[(0, 5)], [], [(0, 5)]]


# A real broker


@pytest.fixture
def open_topic(broker, monkeypatch):
    monkeypatch.setattr(new_rows, "_QUIET_SECS", 0.0)
    return lambda name: KafkaTopic(broker.bootstrap, name, f"{name}-group", {}, 5.0, Stop(), print)


def test_a_row_in_any_partition_ends_the_wait(topic, produce, open_topic):
    name = topic([[b"a"], [], []])
    source = open_topic(name)
    for partition in (2, 0, 0, 1):
        ends = source.ends()
        row = threading.Timer(0.05, produce, (name, [b"row"], partition))
        row.start()
        assert source.wait_for_rows(ends, Stop(), 60.0)
        row.join()
        assert sum(source.ends()) == sum(ends) + 1


def test_rows_that_came_before_the_wait_end_it_at_once(topic, produce, open_topic):
    name = topic([[]])
    source = open_topic(name)
    ends = source.ends()
    produce(name, [b"row"])
    assert source.wait_for_rows(ends, Stop(), 60.0)


def test_a_stop_ends_the_wait(topic, open_topic):
    name, stop = topic([[]]), Stop()
    source = open_topic(name)
    asked = threading.Timer(0.1, stop.request, ("the test",))
    asked.start()
    assert not source.wait_for_rows(source.ends(), stop, 3600.0)
    asked.join()


def test_only_committed_rows_end_the_wait(broker, topic, open_topic):
    name = topic([[b"a"]])
    source = open_topic(name)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": name})
    producer.init_transactions()
    for commit in (False, True):
        ends = source.ends()
        producer.begin_transaction()
        producer.produce(name, b"row", partition=0)
        producer.flush()
        assert not source.wait_for_rows(ends, Stop(), 0.3)  # it is there, and open
        producer.commit_transaction() if commit else producer.abort_transaction()
        assert source.wait_for_rows(ends, Stop(), 20.0 if commit else 0.3) == commit
