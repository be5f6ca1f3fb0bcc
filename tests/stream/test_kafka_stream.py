"""The admin side and the readers of topics against a real broker."""

import concurrent.futures
import json
import resource

import pytest
import tensorflow as tf
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from contracts.readers import read_windows
from kafka_readers import KAFKA_READERS

from tfonline.lifecycle import Stop, UserError
from tfonline.start_and_stop import make_resolve_stop, read_offsets_file, resolve_start
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.readers.tfio import TfioReader
from tfonline.stream.records import RowsGone
from tfonline.stream.window import Window


def open_topic(broker, name):
    return KafkaTopic(broker.bootstrap, name, "test", {}, 5.0, Stop(), print)


def open_tfio(broker, name):
    return TfioReader(open_topic(broker, name), broker.bootstrap, "test", {})


@pytest.fixture(params=KAFKA_READERS)
def open_reader(request):
    """Opens a reader of a topic: each kind that this environment can run."""
    return lambda broker, name: KAFKA_READERS[request.param](open_topic(broker, name), broker.bootstrap)


def read(reader, windows, batch_size=1000):
    return read_windows(reader, windows, batch_size)


def test_windows_are_read_to_the_row(broker, topic, open_reader):
    rows = [[b"a%d" % i for i in range(1200)], [b"b%d" % i for i in range(3)]]
    reader = open_reader(broker, topic(rows))
    windows = [
        Window(0, (0, 0), (1, 0), "rows"),  # a single row; nothing of partition 1
        Window(1, (1, 0), (700, 1), "rows"),
        Window(2, (700, 1), (1200, 3), "end"),
    ]
    got = read(reader, windows)
    assert [r for r in got if r[0] == 0] == [(0, 0, 0, b"a0")]
    for number, partition, start, stop in ((1, 0, 1, 700), (1, 1, 0, 1), (2, 0, 700, 1200), (2, 1, 1, 3)):
        of_range = [(o, m) for n, p, o, m in got if (n, p) == (number, partition)]
        assert of_range == [(o, rows[partition][o]) for o in range(start, stop)]
    assert len(got) == 1203


def test_the_same_windows_give_the_same_order(broker, topic, open_reader):
    reader = open_reader(broker, topic([[b"%d" % i for i in range(2000)], [b"%d" % i for i in range(1700)]]))
    windows = [Window(0, (0, 0), (1500, 1600), "rows"), Window(1, (1500, 1600), (2000, 1700), "end")]
    first = read(reader, windows, batch_size=96)
    assert [p for _, p, _, _ in first[:1024]] == [0] * 512 + [1] * 512  # partitions take turns by chunks
    assert read(reader, windows, batch_size=96) == first
    assert len(first) == 3700


def test_empty_and_missing_values_are_rows(broker, topic, open_reader):
    name = topic([[b"x", b"", b"y"]])
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce(name, None, partition=0)  # a tombstone
    producer.flush()
    got = read(open_reader(broker, name), [Window(0, (0,), (4,), "end")])
    assert [m for _, _, _, m in got] == [b"x", b"", b"y", b""]


def test_aborted_rows_and_the_gaps_of_transactions_are_passed_over(broker, topic, open_reader):
    name = topic([[b"plain"]])
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": name})
    producer.init_transactions()
    for text, commit in ((b"aborted", False), (b"committed", True)):
        producer.begin_transaction()
        producer.produce(name, text, partition=0)
        producer.flush()
        producer.commit_transaction() if commit else producer.abort_transaction()
    assert open_topic(broker, name).ends() == [5]  # plain, aborted, its marker, committed, its marker
    producer.begin_transaction()
    producer.produce(name, b"open", partition=0)
    producer.flush()
    assert open_topic(broker, name).ends() == [5]  # the last stable offset
    producer.abort_transaction()
    assert read(open_reader(broker, name), [Window(0, (0,), (5,), "end")]) == [(0, 0, 0, b"plain"), (0, 0, 3, b"committed")]


@pytest.mark.usefixtures("tensorflow_io")
def test_what_a_read_left_out_is_fetched_and_keeps_its_order(broker, topic, monkeypatch):
    rows = [[b"a%d" % i for i in range(1300)], [b"b%d" % i for i in range(1300)]]
    name = topic(rows)
    window = [Window(0, (0, 0), (1300, 1300), "end")]
    whole = read(open_tfio(broker, name), window)
    reader = open_tfio(broker, name)
    complete = reader._op
    # An end of partition that comes too early, as from a new leader whose watermark lags.
    monkeypatch.setattr(reader, "_op", lambda spec, rows: complete(spec, rows).take(700))
    assert read(reader, window) == whole
    monkeypatch.setattr(reader, "_op", lambda spec, rows: complete(spec, rows).take(0))
    assert read(reader, window) == whole


@pytest.mark.usefixtures("tensorflow_io")
def test_a_failing_fetch_is_kept_for_the_training_loop(broker, topic, monkeypatch):
    reader = open_tfio(broker, topic([[b"a", b"b"]]))
    complete = reader._op
    monkeypatch.setattr(reader, "_op", lambda spec, rows: complete(spec, rows).take(1))

    def fail(*_):
        raise UserError("the broker is away", 69)

    monkeypatch.setattr(reader._topic, "fetch", fail)
    with pytest.raises(tf.errors.OpError):
        read(reader, [Window(0, (0,), (2,), "end")])
    assert reader.error.code == 69


def test_watermarks_and_timestamps(broker, topic):
    name = topic([[], []])
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for i, ms in enumerate((1_000, 2_000, 3_000)):
        producer.produce(name, b"%d" % i, partition=0, timestamp=ms)
    producer.flush()
    admin = open_topic(broker, name)
    assert (admin.begins(), admin.ends()) == ([0, 0], [3, 0])
    assert admin.at_timestamp(2_000) == [1, 0]
    assert admin.at_timestamp(2_001) == [2, 0]
    assert admin.at_timestamp(9_000) == [3, 0]
    assert len(admin.topic_id) > 10


BEFORE_1970 = [f"1969-12-31T23:59:59.{1000 - n:03}Z" for n in range(1, 7)]  # -1 to -6 ms: Kafka's request has names for some


@pytest.mark.parametrize("time", [*BEFORE_1970, "1969-12-31T23:59:58.999Z", "1900-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"])
def test_a_time_before_1970_is_the_beginning(broker, topic, time):
    name = topic([[b"a", b"b", b"c"], [b"d"]])
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    admin.delete_records([TopicPartition(name, 0, 1)])[TopicPartition(name, 0)].result()
    source = open_topic(broker, name)
    assert resolve_start(f"timestamp:{time}", source, None) == [1, 0]
    assert make_resolve_stop(f"timestamp:{time}", source)() == [1, 0]


@pytest.mark.parametrize(("time", "expected"), [("1970-01-01T00:00:00Z", [0]), ("9999-12-31T23:59:59.999Z", [2])])
def test_the_first_and_the_last_time_that_there_is(broker, topic, time, expected):
    assert resolve_start(f"timestamp:{time}", open_topic(broker, topic([[b"a", b"b"]])), None) == expected


@pytest.mark.parametrize("start", ["offsets", "committed"])
def test_a_start_behind_the_end_is_of_another_topic(broker, topic, tmp_path, start):
    name, group = topic([[b"a"], [b"b", b"c"]]), f"{tmp_path.name}-group"
    (tmp_path / "offsets.json").write_text('{"0": 1, "1": 3}')
    admin = KafkaTopic(broker.bootstrap, name, group, {}, 5.0, Stop(), print)
    assert admin.commit([1, 3]) == ""
    where = f"offsets:{tmp_path}/offsets.json" if start == "offsets" else f"committed:{group}"
    with pytest.raises(UserError) as e:
        resolve_start(where, admin, None)
    assert e.value.code == 66
    assert str(e.value).startswith(f"--start={where} lies behind the end of {name} (partition: offset): 1: 3, end 2.")


def test_offsets_are_committed_for_lag_tools(broker, topic):
    name = topic([[b"a", b"b"], [b"c"]])
    admin = KafkaTopic(broker.bootstrap, name, f"{name}-group", {}, 5.0, Stop(), print)
    with pytest.raises(UserError, match=r"has no offset for partitions \[0, 1\]") as e:
        admin.committed(f"{name}-group")
    assert e.value.code == 66
    assert admin.commit([2, 1]) == ""
    assert admin.commit([1, 0]) == ""
    assert admin.committed(f"{name}-group") == [1, 0]


def test_the_late_answer_to_an_earlier_commit_is_not_taken_for_this_ones(broker, topic):
    source = open_topic(broker, topic([[b"a"], []]))

    class Consumer:
        def commit(self, offsets, asynchronous):
            self.answers = [(KafkaError(KafkaError._TIMED_OUT), [(1, 0), (0, 1)]), (None, [(1, 4), (0, 2)])]

        def poll(self, secs):
            error, positions = self.answers.pop(0)
            source._on_commit(error, [TopicPartition(source.name, *position) for position in positions])

    source._consumer = Consumer()
    assert source.commit([2, 4]) == ""


@pytest.mark.usefixtures("tensorflow_io")
def test_a_range_that_retention_took_is_not_told_as_a_dead_broker(broker, topic):
    """The training loop asks whose rows they are; the reader keeps no error of its own."""
    name = topic([[b"a", b"b", b"c"]])
    reader = open_tfio(broker, name)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    admin.delete_records([TopicPartition(name, 0, 2)])[TopicPartition(name, 0)].result()
    with pytest.raises(RowsGone, match=r"partition 0: \[0, 3\)"):
        reader._topic.fetch({0: (0, 3)})
    with pytest.raises(RowsGone):
        reader._rest(tf.constant(0), tf.constant(0, tf.int64), tf.constant(3, tf.int64))
    assert reader.error is None


def test_a_few_rows_are_fetched_of_several_partitions_at_once(broker, topic):
    name = topic([[b"a%d" % i for i in range(700)], [], [b"c0", b"c1", b""]])
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": name})
    producer.init_transactions()
    for text, end in ((b"aborted", producer.abort_transaction), (b"committed", producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(name, text, partition=2)
        producer.flush()
        end()
    found = open_topic(broker, name).fetch({0: (600, 603), 2: (1, 7), 1: (0, 0)})
    assert found == {0: [(600, b"a600"), (601, b"a601"), (602, b"a602")], 2: [(1, b"c1"), (2, b""), (5, b"committed")], 1: []}


def test_a_stop_ends_the_wait_for_rows_that_do_not_come(broker, topic):
    stop = Stop()
    source = KafkaTopic(broker.bootstrap, topic([[b"a", b"b"], []]), "test", {}, 3600.0, stop, print)
    stop.request("test")
    with pytest.raises(UserError, match=r"while reading offsets \[1, 3\) of partition 0, \[0, 1\) of partition 1") as e:
        source.fetch({0: (1, 3), 1: (0, 1)})
    assert e.value.code == 69


def test_an_id_that_a_busy_broker_does_not_tell_is_asked_for_again(broker, topic, monkeypatch):
    name = topic([[b"a"]])
    told, busy = open_topic(broker, name).topic_id, [KafkaError._TIMED_OUT]

    class Busy(AdminClient):
        def describe_topics(self, *args, **kwargs):
            if not busy:
                return super().describe_topics(*args, **kwargs)
            failed = concurrent.futures.Future()
            failed.set_exception(KafkaException(KafkaError(busy.pop())))
            return {name: failed}

    monkeypatch.setattr("tfonline.stream.client.AdminClient", Busy)
    assert open_topic(broker, name).topic_id == told
    assert busy == []


def test_a_stop_ends_the_wait_for_a_broker():
    stop, said = Stop(), []

    def say(text):
        said.append(text)
        stop.request("test")

    with pytest.raises(UserError, match="did not answer") as e:
        KafkaTopic("localhost:1", "t", "test", {}, 3600.0, stop, say)
    assert e.value.code == 69
    assert "trying again for 3600 s at most" in said[0]


def test_a_property_that_nobody_knows():
    with pytest.raises(UserError, match=r'No such configuration property: "no\.such\.thing"') as e:
        KafkaTopic("localhost:1", "t", "test", {"no.such.thing": "1"}, 1.0, Stop(), print)
    assert e.value.code == 64


def test_offsets_from_a_file(tmp_path):
    path = tmp_path / "offsets.json"
    path.write_text(json.dumps({"0": 12, "1": 7}))
    assert read_offsets_file(str(path), 2) == [12, 7]
    for content, partitions, code in (
        ('{"0": 12}', 2, 64),
        ('{"0": -1}', 1, 64),
        ('{"0": -2}', 1, 64),
        ('{"0": true}', 1, 64),
        ("[1]", 1, 64),
        ('{"0": 1, "1": 1}', 1, 64),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match="Expected a JSON object with partitions") as e:
            read_offsets_file(str(path), partitions)
        assert e.value.code == code
    with pytest.raises(UserError, match="No such file") as e:
        read_offsets_file(str(tmp_path / "none"), 1)
    assert e.value.code == 66


@pytest.mark.usefixtures("tensorflow_io")
def test_the_limit_of_open_files_is_raised_to_what_the_partitions_need(broker, topic):
    reader = open_tfio(broker, topic([[b"a"], [b"b"], [b"c"]]))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1000, before[1]))
        reader.check()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (1021, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
