"""Dead letters on a real broker: each is the refused message, to the byte."""

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from kafka_helpers import read_messages

from tfonline.lifecycle import Stop, UserError
from tfonline.stream import records
from tfonline.stream.dead_letters import DeadLetters
from tfonline.stream.originals import Originals


def about(name, partition, offset, reason):
    told = {"reason": reason, "topic": name, "partition": str(partition), "offset": str(offset)}
    return [(f"tfonline.{key}", value.encode()) for key, value in told.items()]


def test_a_letter_is_the_message_with_why_and_from_where_behind_its_headers(broker, topic):
    name, dead = topic([[], []]), topic([[]])
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce(name, b"\x00bad\xff", b"k\x00", partition=1, timestamp=1_600_000_000_123, headers=[("a", b"1"), ("a", None)])
    producer.produce(name, b"good", partition=1)
    producer.produce(name, None, b"gone", partition=1, timestamp=1_600_000_000_999)
    producer.flush()
    letters = DeadLetters(broker.bootstrap, dead, name, {}, 10.0, Stop(), print)
    letters.send(1, 2, "tombstone", b"")
    letters.send(1, 0, "fields", b"\x00bad\xff")
    letters.flush()
    bad, tombstone = read_messages(broker.bootstrap, dead)[0]
    assert (bad.value(), bad.key(), bad.timestamp()[1]) == (b"\x00bad\xff", b"k\x00", 1_600_000_000_123)
    assert bad.headers() == [("a", b"1"), ("a", None), *about(name, 1, 0, "fields")]
    assert (tombstone.value(), tombstone.key(), tombstone.timestamp()[1]) == (None, b"gone", 1_600_000_000_999)
    assert tombstone.headers() == about(name, 1, 2, "tombstone")


def test_a_row_that_is_gone_is_sent_as_it_was_read(broker, topic):
    name, dead = topic([[b"lost", b"there"]]), topic([[]])
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    admin.delete_records([TopicPartition(name, 0, 1)])[TopicPartition(name, 0)].result()
    letters = DeadLetters(broker.bootstrap, dead, name, {}, 10.0, Stop(), print)
    letters.send(0, 0, "label", b"lost")
    letters.send(0, 1, "label", b"there")
    letters.flush()
    found = read_messages(broker.bootstrap, dead)[0]
    assert {m.value(): m.headers() for m in found} == {
        b"lost": about(name, 0, 0, "label"),
        b"there": about(name, 0, 1, "label"),
    }
    assert len(found) == 2


def test_rows_far_apart_and_more_than_are_read_at_once(broker, topic):
    rows = [b"%d" % i for i in range(5000)]
    name, dead = topic([rows]), topic([[]])
    wanted = [0, *range(2000, 2700), 4999]
    letters = DeadLetters(broker.bootstrap, dead, name, {}, 10.0, Stop(), print)
    for offset in wanted:
        letters.send(0, offset, "label", b"as it was read")
    letters.flush()
    assert [m.value() for m in read_messages(broker.bootstrap, dead)[0]] == [rows[o] for o in wanted]


def test_a_run_that_was_asked_to_stop_still_sends_its_letters(broker, topic, monkeypatch):
    """The client is not connected yet when it first asks: the save before the end must wait for it."""
    monkeypatch.setattr(records, "_POLL_SECS", 0.0)
    name, dead, stop = topic([[b"bad"]]), topic([[]]), Stop()
    letters = DeadLetters(broker.bootstrap, dead, name, {}, 10.0, stop, print)
    letters.send(0, 0, "label", b"bad")
    stop.request("SIGTERM")
    letters.flush()
    assert [(m.value(), m.headers()) for m in read_messages(broker.bootstrap, dead)[0]] == [(b"bad", about(name, 0, 0, "label"))]


def test_a_broker_that_is_away_is_an_error_and_not_a_missing_row():
    with pytest.raises(UserError, match=r"did not answer for 0\.5 s while reading refused rows again") as e:
        list(Originals("localhost:1", "clicks", {}, 0.5, Stop(), print).read([(0, 0)]))
    assert e.value.code == 69
