"""Plain Kafka clients for tests, and a way to run the tools as a person would."""

import pathlib
import subprocess
import sys
import uuid

import topic as topic_tool
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, Producer, TopicPartition
from kafka_cli import Connection

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run_tool(name: str, *args: object, stdin: bytes = b"", **env: str) -> tuple[int, str, str]:
    """Runs tools/NAME.py; returns its exit status, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / f"{name}.py"), *map(str, args)],
        input=stdin,
        capture_output=True,
        env=env or None,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def make_topic(bootstrap: str, rows: list[list[bytes]]) -> str:
    """Makes a topic with one partition for each list and these rows in it; returns its name, a new one."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    topic_tool.create(Connection(bootstrap, {}), name, partitions=len(rows), replication=1)
    failed = []
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 1})
    for partition, values in enumerate(rows):
        for value in values:
            producer.produce(name, value, partition=partition, on_delivery=lambda e, _: failed.append(e) if e else None)
            producer.poll(0)
    assert producer.flush(60) == 0
    assert not failed
    return name


def read_messages(bootstrap: str, topic: str) -> dict[int, list[Message]]:
    """The messages that a topic holds now, {partition: in the order of their offsets}, by a plain consumer."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test", "enable.partition.eof": True})
    try:
        numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in numbers])
        found = {p: [] for p in sorted(numbers)}
        # Where the partitions end now: a topic that is being written to may never be found at its end.
        ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in found}
        ended = {p for p in found if ends[p] == 0}
        while len(ended) < len(found):
            message = consumer.poll(30)
            assert message is not None, f"no message and no end of {topic} within 30 s"
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                ended.add(message.partition())
            else:
                found[message.partition()].append(message)
                if message.offset() + 1 >= ends[message.partition()]:
                    ended.add(message.partition())
        return found
    finally:
        consumer.close()


def read_all(bootstrap: str, topic: str) -> dict[int, list[bytes]]:
    """All rows of a topic: {partition: values in the order of their offsets}."""
    return {p: [m.value() for m in messages] for p, messages in read_messages(bootstrap, topic).items()}
