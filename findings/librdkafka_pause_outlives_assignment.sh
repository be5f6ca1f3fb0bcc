#!/usr/bin/env bash
# confluent-kafka (librdkafka): a paused partition that is given back and assigned anew stays paused, without a word.
# Expected: pause() belongs to an assignment. A partition that was unassigned and is assigned again, at another offset, gives its rows; so
#   it is in Apache Kafka's Java consumer, whose assignment begins unpaused.
# What happens: the pause stays with the partition for as long as the consumer lives: over incremental_unassign and incremental_assign,
#   and over unassign and assign. consume() returns nothing, there is neither an error nor an end of partition, position() stands still.
# Seen: confluent-kafka 2.16.1 with librdkafka 2.16.0, against librdkafka's own mock broker (and Apache Kafka 4.3.0): no row in 3 s after
#   each of the two; the rows come as soon as resume() is called.
# Whom it hurts: who pauses partitions to bound memory (a fast partition beside a slow one) and seeks by assigning anew: a trainer or a
#   pipeline that replays, skips ahead or takes a partition over again waits for ever, and only for partitions that were full.
# What to do: resume() before the partition is given back, or after it is assigned. Keep the set of paused partitions yourself: there is
#   no call that tells it.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
"${PYTHON:-python3}" -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check confluent-kafka==2.16.1
cat > "$here/try.py" <<'PY'
import time

from confluent_kafka import Consumer, Producer, TopicPartition, libversion, version

QUIET = {"log_level": 2}
mock = Producer({"bootstrap.servers": "localhost", "test.mock.num.brokers": 1, **QUIET})
broker = next(iter(mock.list_topics(timeout=10).brokers.values()))
SERVERS = {"bootstrap.servers": f"{broker.host}:{broker.port}", **QUIET}
producer = Producer(SERVERS)
for i in range(100):
    producer.produce("clicks", str(i), partition=0)
assert producer.flush(20) == 0


def at(offset=0):
    return [TopicPartition("clicks", 0, offset)]


def read(consumer, secs=3.0):
    """The first offset that comes, or None."""
    end = time.monotonic() + secs
    while time.monotonic() < end:
        for message in consumer.consume(10, 0.2):
            assert message.error() is None, message.error()
            return message.offset()
    return None


def incrementally(consumer):
    consumer.incremental_unassign(at())
    consumer.incremental_assign(at(50))


def wholly(consumer):
    consumer.unassign()
    consumer.assign(at(50))


print("confluent-kafka", version(), "librdkafka", libversion()[0])
for again in (incrementally, wholly):
    consumer = Consumer({**SERVERS, "group.id": "reader", "enable.auto.commit": False})
    consumer.incremental_assign(at()) if again is incrementally else consumer.assign(at())
    first = read(consumer, 20)
    consumer.pause(at())
    again(consumer)
    silent = read(consumer)
    consumer.resume(at())
    resumed = read(consumer, 20)
    print(f"assigned {again.__name__}: at first row {first}; paused, assigned anew at 50: row {silent}; after resume: row {resumed}")
    assert (first, silent, resumed) == (0, None, 50), "it behaves otherwise now"
print("as described")
PY
"$here/venv/bin/python" "$here/try.py"
