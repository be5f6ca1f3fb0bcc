"""The reader on confluent-kafka: what librdkafka does that nobody expects, and what is said where rows cannot be read."""

import threading
import time

import pytest
import tensorflow as tf
from confluent_kafka import KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from contracts.readers import chain, read_windows
from kafka_helpers import make_topic

from tfonline.lifecycle import Stop, UserError
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.order import make_raw_batches
from tfonline.stream.readers import consumer as consumer_module
from tfonline.stream.readers.consumer import ConsumerReader
from tfonline.stream.readers.tfio import TfioReader
from tfonline.stream.records import RowsGone
from tfonline.stream.window import Window


def open_topic(broker, name):
    return KafkaTopic(broker.bootstrap, name, "test", {}, 5.0, Stop(), print)


def take_all(reader, partition, start, stop):
    reader.place({partition: (start, stop)})
    return reader.take(partition, 10_000)


def numbered(count):
    return [b"%d" % i for i in range(count)]


@pytest.mark.usefixtures("tensorflow_io")
@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("seed", [1, 2])
def test_it_gives_the_rows_of_tensorflow_ios_reader_in_the_same_order(broker, topic, groups, seed):
    lines = [numbered(2000), [b""] * 5, numbered(700), [], numbered(1)]
    admin = open_topic(broker, topic(lines))
    windows = chain([list(enumerate(rows)) for rows in lines], seed)
    for batch_size in (96, 1026):
        found, wanted = (
            read_windows(reader, windows, batch_size, groups)
            for reader in (ConsumerReader(admin), TfioReader(admin, broker.bootstrap, "test", {}))
        )
        assert found == wanted


def test_a_partition_that_was_paused_is_read_again_from_elsewhere(broker, topic, monkeypatch):
    monkeypatch.setattr(consumer_module, "_MOST_HELD", 10)
    lines = [numbered(3000), numbered(3000)]
    reader = ConsumerReader(open_topic(broker, topic(lines)))
    reader.place({0: (0, 3000), 1: (0, 3000)})
    while not reader._partitions[1].paused:  # rows of 1 come while 0 is waited for
        reader._pull(0)
    assert take_all(reader, 1, 2000, 3000).message == lines[1][2000:]


@pytest.mark.parametrize("limit", [("_MOST_HELD", 10), ("_MOST_HELD_BYTES", 40)])
def test_rows_that_come_before_their_turn_are_held_in_bounds_and_come_whole(broker, topic, monkeypatch, limit):
    monkeypatch.setattr(consumer_module, *limit)
    lines = [numbered(3000), [*numbered(1500), None, b"", *numbered(1500)]]
    reader = ConsumerReader(open_topic(broker, topic(lines)))
    reader.place({0: (0, 3000), 1: (0, 3002)})
    held = reader._partitions[1]
    while not held.paused:
        reader._pull(0)
    assert reader.take(0, 3000).message == lines[0]
    count = len(held.offset)
    assert 0 < count < 3002  # a pause ends what comes of it
    # More rows are wanted at once than it holds: what it holds must not keep them from coming.
    assert reader.take(1, 3002).message == lines[1]
    assert held.num_bytes == len(held.message) == 0


def test_a_short_range_does_not_look_at_each_row_that_is_held(broker, topic):
    class Offset(int):
        looks = 0

        def __lt__(self, other):
            Offset.looks += 1
            return int(self) < other

    reader = ConsumerReader(open_topic(broker, topic([numbered(3000)])))
    reader.place({0: (0, 2)})
    held = reader._partitions[0]
    while len(held.offset) < 3000:
        reader._pull(0)
    held.offset = [Offset(offset) for offset in held.offset]
    rows = reader.take(0, 512)
    assert (rows.message, rows.offset) == ([b"0", b"1"], [0, 1])
    assert Offset.looks <= 10


def test_a_few_rows_come_at_once(broker, topic):
    reader = ConsumerReader(open_topic(broker, topic([numbered(3)])))
    take_all(reader, 0, 0, 1)  # connected
    began = time.monotonic()
    assert take_all(reader, 0, 1, 3).offset == [1, 2]
    assert time.monotonic() - began < consumer_module._WAIT_SECS


def test_a_rows_time_and_a_tombstone_come_along(broker, topic):
    name = topic([[]])
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce(name, b"a", partition=0, timestamp=1_700_000_000_123)
    producer.produce(name, None, key=b"k", partition=0, timestamp=1_700_000_000_124)
    producer.produce(name, b"", partition=0, timestamp=1_700_000_000_125)
    producer.flush(10)
    windows = [Window(0, (0,), (3,), "rows")]
    raw, number, last = next(iter(make_raw_batches(windows, ConsumerReader(open_topic(broker, name)), 10)))
    assert (int(number), bool(last)) == (0, False)
    assert raw.message.numpy().tolist() == [b"a", b"", b""]
    assert raw.tombstone.numpy().tolist() == [False, True, False]
    assert raw.origin.time_ms.numpy().tolist() == [1_700_000_000_123, 1_700_000_000_124, 1_700_000_000_125]


def test_trailing_zeros_of_a_message_stay(broker, topic):
    rows = [b"a\x00\x00", b"\x00", b"b"]
    windows = [Window(0, (0,), (3,), "rows")]
    raw, _, _ = next(iter(make_raw_batches(windows, ConsumerReader(open_topic(broker, topic([rows]))), 10)))
    assert raw.message.numpy().tolist() == rows


def test_what_was_aborted_is_passed_over_also_at_the_end_of_a_window(broker, topic):
    name = topic([[]])
    for committed, values in ((True, [b"a", b"b"]), (False, [b"x", b"y"]), (True, [b"c"]), (False, [b"z"])):
        producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": f"{name}-t"})
        producer.init_transactions(20)
        producer.begin_transaction()
        for value in values:
            producer.produce(name, value, partition=0)
        producer.flush(10)
        producer.commit_transaction(20) if committed else producer.abort_transaction(20)
    admin = open_topic(broker, name)
    [end] = admin.ends()
    reader = ConsumerReader(admin)
    assert take_all(reader, 0, 0, end).message == [b"a", b"b", b"c"]
    for cut in range(1, end):  # windows that end anywhere, in a gap, too
        assert take_all(reader, 0, 0, cut).offset + take_all(reader, 0, cut, end).offset == [0, 1, 6]


def test_rows_that_retention_has_removed_are_told(broker, topic):
    name = topic([numbered(10)])
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    admin.delete_records([TopicPartition(name, 0, 5)])[TopicPartition(name, 0)].result()
    reader = ConsumerReader(open_topic(broker, name))
    with pytest.raises(tf.errors.OpError):
        list(make_raw_batches([Window(0, (2,), (8,), "rows")], reader, 10))
    assert reader.error is None  # the training loop asks whose they are
    with pytest.raises(RowsGone):
        take_all(ConsumerReader(open_topic(broker, name)), 0, 2, 8)


@pytest.mark.parametrize(("code", "exit_code"), [(KafkaError.TOPIC_AUTHORIZATION_FAILED, 77), (KafkaError._FATAL, 69)])
def test_what_nothing_mends_is_told_at_once(broker, topic, code, exit_code):
    reader = ConsumerReader(open_topic(broker, topic([numbered(3)])))

    class Message:
        def error(self):
            return KafkaError(code)

    with pytest.raises(UserError) as e:
        reader._is_event(Message(), [])
    assert e.value.code == exit_code


def test_an_error_of_a_read_is_kept_for_the_training_loop(broker, topic, monkeypatch):
    reader = ConsumerReader(open_topic(broker, topic([numbered(3)])))

    def fail(*_):
        raise UserError("the topic is gone", 66)

    monkeypatch.setattr(reader, "take", fail)
    with pytest.raises(tf.errors.OpError):
        list(make_raw_batches([Window(0, (0,), (3,), "rows")], reader, 10))
    assert str(reader.error) == "the topic is gone"


def test_a_wait_for_rows_ends_when_the_reader_is_closed(broker, topic):
    reader = ConsumerReader(open_topic(broker, topic([numbered(1)])))
    found = []
    batches = make_raw_batches([Window(0, (0,), (5,), "rows")], reader, 10)
    thread = threading.Thread(target=lambda: found.extend(batches))
    thread.start()
    time.sleep(0.5)
    assert thread.is_alive()
    reader.close()
    thread.join(5)
    assert not thread.is_alive()
    assert reader.error is None


def test_rows_are_not_kept_waiting_for_more_windows(broker, topic):
    reader, asked = ConsumerReader(open_topic(broker, topic([numbered(4)]))), threading.Event()

    def planner():
        yield Window(0, (0,), (2,), "rows")
        asked.wait(30)
        yield Window(1, (2,), (4,), "rows")

    batches = iter(make_raw_batches(planner(), reader, 10))
    assert [next(batches)[0].origin.offset.numpy().tolist() for _ in range(2)] == [[0, 1], []]
    assert not asked.is_set()
    asked.set()
    assert next(batches)[0].origin.offset.numpy().tolist() == [2, 3]


def test_partitions_that_come_are_read(broker):
    name = make_topic(broker.bootstrap, [numbered(2)])
    reader = ConsumerReader(open_topic(broker, name))
    assert take_all(reader, 0, 0, 2).offset == [0, 1]
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    admin.create_partitions([NewPartitions(name, 2)])[name].result()
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce(name, b"new", partition=1)
    producer.flush(10)
    assert take_all(reader, 1, 0, 1).message == [b"new"]
    assert take_all(reader, 0, 2, 2).offset == []


def test_a_partition_costs_nothing_before_it_has_rows(broker, topic):
    lines = [numbered(20), [], numbered(5), []]
    reader = ConsumerReader(open_topic(broker, topic(lines)))
    assigned = lambda: sorted(at.partition for at in reader._consumer.assignment())  # noqa: E731
    reader.place({0: (0, 10), 1: (0, 0), 2: (0, 0), 3: (0, 0)})
    assert [len(reader.take(p, 100).offset) for p in range(4)] == [10, 0, 0, 0]
    assert assigned() == [0]
    reader.place({0: (10, 10), 1: (0, 0), 2: (0, 5), 3: (0, 0)})
    assert [len(reader.take(p, 100).offset) for p in range(4)] == [0, 0, 5, 0]
    assert assigned() == [0, 2]
    reader.place({0: (10, 20), 1: (0, 0), 2: (5, 5), 3: (0, 0)})
    assert [reader.take(p, 100).message for p in range(4)] == [lines[0][10:], [], [], []]
    # A range that was not read to its end is not read where nothing is wanted.
    reader.place({0: (0, 10)})
    reader.place({0: (20, 20)})
    assert reader.take(0, 100).offset == []


def test_where_rows_of_one_partition_are_gone_none_of_another_is_lost(broker, topic):
    """Who goes on behind them places that partition anew; the others stand where they stood."""
    lines = [numbered(3000), numbered(3000)]
    name = topic(lines)
    gone = [TopicPartition(name, 0, 1000)]
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.delete_records(gone)[TopicPartition(name, 0)].result()
    for _ in range(5):
        reader = ConsumerReader(open_topic(broker, name))
        reader.place({0: (0, 3000), 1: (0, 3000)})
        with pytest.raises(RowsGone, match="partition 0: from 0"):
            reader.take(0, 3000)
        reader.place({0: (1000, 3000), 1: (0, 3000)})
        assert reader.take(1, 3000).message == lines[1]
        assert reader.take(0, 3000).message == lines[0][1000:]
