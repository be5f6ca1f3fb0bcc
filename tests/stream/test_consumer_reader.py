"""The confluent-kafka reader against a real broker: beside tensorflow-io's, and what only it meets."""

import random
import time

import pytest
import tensorflow as tf
from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from contracts.readers import read_windows

from tfonline.lifecycle import Stop, UserError
from tfonline.stream.broker import KafkaTopic, RowsGone
from tfonline.stream.order import make_raw_batches
from tfonline.stream.readers import consumer as module
from tfonline.stream.readers.consumer import ConsumerReader
from tfonline.stream.readers.tfio import TfioReader
from tfonline.stream.windows import Window


@pytest.fixture
def opened(broker):
    """Opens readers of a topic, and closes those with a consumer."""
    readers = []

    def open_(name, kind=ConsumerReader, **properties):
        properties = {key.replace("_", "."): value for key, value in properties.items()}
        topic = KafkaTopic(broker.bootstrap, name, "test", {}, 5.0, Stop(), print)
        reader = kind(topic, broker.bootstrap, "test", properties)
        if kind is ConsumerReader:
            readers.append(reader)
        return reader

    yield open_
    for reader in readers:
        reader.close()


@pytest.fixture
def admin(broker):
    return AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})


def rows_of(partitions, windows):
    """What is expected of windows over partitions without gaps, by window and partition."""
    return {
        (w.number, p): [(o, partitions[p][o]) for o in range(w.start[p], w.stop[p])]
        for w in windows
        for p in range(len(partitions))
    }


def by_range(found):
    sorted_ = {}
    for number, partition, offset, message in found:
        sorted_.setdefault((number, partition), []).append((offset, message))
    return sorted_


@pytest.mark.parametrize("seed", range(3))
def test_it_gives_what_the_other_reader_gives_over_transactions_and_odd_windows(broker, topic, opened, seed):
    draw = random.Random(seed)
    name = topic([[b"p%d" % i for i in range(draw.randint(0, 900))] for _ in range(3)])
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": name})
    producer.init_transactions()
    for _ in range(12):
        producer.begin_transaction()
        for i in range(draw.choice([1, 3, 200])):
            value = draw.choice([b"t%d" % i, b"", None, b"\x00x\x00"])
            producer.produce(name, value, partition=draw.randrange(3))
        producer.flush()
        producer.commit_transaction() if draw.random() < 0.6 else producer.abort_transaction()
    tfio = opened(name, TfioReader)
    ends = tfio._topic.ends()
    windows, at = [], [0, 0, 0]
    while at != ends:
        stop = [min(e, n + draw.choice([0, 1, 2, 100, 511, 512, 513])) for n, e in zip(at, ends, strict=True)]
        if stop != at:
            windows.append(Window(len(windows), tuple(at), tuple(stop), "rows"))
        at = stop
    for batch_size, groups in ((96, 1), (96, 2)):
        assert read_windows(opened(name), windows, batch_size, groups) == read_windows(tfio, windows, batch_size, groups)


def test_tombstones_and_times_are_told(broker, topic, opened):
    name = topic([[]])
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for value, ms in ((b"x", 1_000), (None, 2_000), (b"", 3_000)):
        producer.produce(name, value, key=b"k", partition=0, timestamp=ms)
    producer.flush()
    (raw, _, _), _ = make_raw_batches([Window(0, (0,), (3,), "rows")], opened(name), 10)
    assert raw.message.numpy().tolist() == [b"x", b"", b""]
    assert raw.tombstone.numpy().tolist() == [False, True, False]
    assert raw.origin.time_ms.numpy().tolist() == [1_000, 2_000, 3_000]


def test_a_range_ends_though_its_last_offsets_hold_no_row(broker, topic, opened):
    name = topic([[b"%d" % i for i in range(10)]])
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": name})
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(name, b"aborted", partition=0)
    producer.flush()
    producer.abort_transaction()
    windows = [Window(0, (0,), (10,), "rows"), Window(1, (10,), (11,), "rows"), Window(2, (11,), (12,), "rows")]
    reader = opened(name)
    assert [row[:3] for row in read_windows(reader, windows)] == [(0, 0, i) for i in range(10)]


def test_a_jump_after_a_pause_is_read(topic, opened, monkeypatch):
    """librdkafka keeps a pause when a partition is assigned anew, and would stay silent."""
    monkeypatch.setattr(module, "_WAITING_BYTES", 0)
    monkeypatch.setattr(module, "_LEAST_WAITING_BYTES", 1000)
    partitions = [[b"a%d" % i for i in range(9000)], [b"b%d" % i for i in range(9000)]]
    windows = [
        Window(0, (0, 0), (4000, 1), "rows"),
        Window(1, (8000, 7000), (8500, 7010), "rows"),
        Window(2, (10, 0), (20, 9000), "rows"),
        Window(3, (20, 10), (9000, 11), "rows"),
    ]
    reader, paused = opened(topic(partitions)), []

    class Watched:
        def __getattr__(self, name):
            return getattr(client, name)

        def pause(self, positions):
            paused.extend(positions)
            client.pause(positions)

    client, reader._consumer = reader._consumer, Watched()
    found = by_range(read_windows(reader, windows, 1000))
    assert found == rows_of(partitions, windows)
    assert paused


def test_partitions_that_come_while_it_reads(broker, topic, opened, admin, produce):
    name = topic([[b"a"] * 10])
    reader = opened(name)
    assert len(read_windows(reader, [Window(0, (0,), (10,), "rows")])) == 10
    admin.create_partitions([NewPartitions(name, 3)])[name].result(10)
    deadline = time.monotonic() + 10
    while len(admin.list_topics(timeout=5).topics[name].partitions) < 3:
        assert time.monotonic() < deadline
    produce(name, [b"n1"] * 5, 1)
    produce(name, [b"n2"] * 5, 2)
    assert len(read_windows(reader, [Window(1, (10, 0, 0), (10, 5, 5), "rows")])) == 10


def test_rows_that_retention_took_are_no_error_before_they_are_asked_for(topic, opened, admin):
    partitions = [[b"%d" % i for i in range(10)], [b"%d" % i for i in range(10)]]
    name = topic(partitions)
    admin.delete_records([TopicPartition(name, 0, 5)])[TopicPartition(name, 0)].result()
    reader = opened(name)
    assert len(read_windows(reader, [Window(0, (0, 0), (0, 10), "rows")])) == 10
    with pytest.raises(tf.errors.OpError, match=r"RowsGone"):
        read_windows(reader, [Window(1, (0, 10), (10, 10), "rows")])
    assert reader.error is None or isinstance(reader.error, RowsGone)
    assert [row[2] for row in read_windows(reader, [Window(2, (5, 10), (10, 10), "rows")])] == [5, 6, 7, 8, 9]


def test_a_topic_that_is_deleted_is_told_as_such(topic, opened, admin):
    name = topic([[b"a"] * 10])
    reader = opened(name)
    assert len(read_windows(reader, [Window(0, (0,), (10,), "rows")])) == 10
    admin.delete_topics([name])[name].result(10)
    with pytest.raises(tf.errors.OpError):
        read_windows(reader, [Window(1, (10,), (20,), "rows")])
    assert isinstance(reader.error, UserError)
    assert reader.error.code == 66
    assert "it was deleted while the run was using it" in str(reader.error)


def test_a_message_that_is_too_large_for_the_client_is_told_by_its_events(broker, topic, opened):
    name = topic([[]])
    producer = Producer({"bootstrap.servers": broker.bootstrap, "message.max.bytes": 1_000_000})
    producer.produce(name, b"x" * 900_000, partition=0)
    producer.flush()
    reader = opened(name, receive_message_max_bytes="10000", fetch_max_bytes="9000", message_max_bytes="9000")
    reader.begin({0: 0})
    deadline = time.monotonic() + 20
    while "receive.message.max.bytes" not in reader.events.last:
        assert reader.take(0, 1, 512) is None
        reader.wait()
        assert time.monotonic() < deadline, reader.events.last


def test_a_stop_is_noticed_while_rows_are_waited_for(topic, opened):
    name, stop = topic([[b"a"] * 10]), Stop()
    windows = [Window(0, (0,), (10,), "rows"), Window(1, (10,), (20,), "rows")]
    rows = iter(make_raw_batches(windows, opened(name), 10, stopped=stop.requested))
    assert [bool(next(rows)[2]) for _ in range(2)] == [False, True]
    stop.request("test")
    began = time.monotonic()
    assert next(rows, None) is None
    assert time.monotonic() - began < 0.5


def test_a_wrong_property_is_refused_without_its_value(broker, topic):
    admin_side = KafkaTopic(broker.bootstrap, topic([[b"a"]]), "test", {}, 5.0, Stop(), print)
    secret = {"security.protocol": "SSL", "ssl.key.password": "hush-hush", "fetch.max.bytes": "hush-hush"}
    with pytest.raises(UserError, match="the confluent-kafka reader refuses a Kafka property: ") as e:
        ConsumerReader(admin_side, broker.bootstrap, "test", secret)
    assert e.value.code == 64
    assert "hush-hush" not in str(e.value)


def test_a_broker_that_is_away_is_told_at_the_start(broker, topic):
    admin_side = KafkaTopic(broker.bootstrap, topic([[b"a"]]), "test", {}, 1.0, Stop(), print)
    reader = ConsumerReader(admin_side, "localhost:1", "test", {})
    with pytest.raises(UserError, match=r"nothing listens at localhost:1 \(Connection refused\)") as e:
        reader.check()
    assert e.value.code == 69


def test_an_error_of_the_client_is_kept_for_the_training_loop(topic, opened):
    reader = opened(topic([[b"a"]]))

    class Broken:
        def consume(self, *_):
            raise KafkaException("broken")

        def __getattr__(self, name):
            return getattr(client, name)

    client, reader._consumer = reader._consumer, Broken()
    with pytest.raises(tf.errors.OpError):
        read_windows(reader, [Window(0, (0,), (1,), "rows")])
    assert isinstance(reader.error, KafkaException)
