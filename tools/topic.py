"""Creates, describes and deletes Kafka topics.

python tools/topic.py create --topic=python_test1 --partitions=2
python tools/topic.py describe --topic=python_test1
python tools/topic.py delete --topic=python_test1
"""

import time
from collections.abc import Callable
from typing import Any

from command_line import Parser, at_least, run
from kafka_cli import Connection, add_connection_options, connection

from tfonline.lifecycle import Exit, UserError

# How long the broker may take to spread what it has already agreed to.
_SETTLE_SECS = 15.0
# Copies of each partition: with three, one broker may be away for repair and another one fail.
_COPIES = 3
_REQUEST_TIMEOUT_SECS = 5.0


def create(link: Connection, topic: str, partitions: int, replication: int | None = None) -> str:
    """Creates a topic, waits until every partition has a leader, and returns what was done.

    A topic that is there already with as many partitions is fine.

    Args:
      link: the broker.
      topic: its name.
      partitions: how many.
      replication: copies of each partition; None: three, or one a broker where there are fewer brokers.

    Raises:
      UserError: it is there with another number of partitions, or the broker refuses it (exit 64); no broker (exit 69).
    """
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import NewTopic

    admin = link.admin()
    existing = link.topics(admin).get(topic)
    if existing is None:
        replication = replication or default_replication(link, admin)
        try:
            admin.create_topics([NewTopic(topic, partitions, replication)])[topic].result()
        except KafkaException as e:
            if e.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise _refused(link, f"create {topic!r} (--partitions={partitions} --replication={replication})", e) from e
            existing = link.topic(admin, topic)
    if existing is not None:
        if len(existing.partitions) != partitions:
            raise UserError(
                f"{topic!r} is at {link.bootstrap} already, with {len(existing.partitions)} partitions, not "
                f"--partitions={partitions}. Use --partitions={len(existing.partitions)}, another --topic, or delete it "
                f"first: python tools/topic.py delete --topic={topic} --bootstrap_servers={link.bootstrap}",
                Exit.FLAGS,
            )
        return f"{topic!r} is at {link.bootstrap} already, with {partitions} partitions, replication {_replication(existing)}"
    _settle(lambda: _has_leaders(link.topics(admin).get(topic), partitions), f"{topic!r} was created but has no leaders")
    made = _replication(link.topic(admin, topic))
    return f"created {topic!r} at {link.bootstrap}, {partitions} partitions, replication {made}"


def default_replication(link: Connection, admin: Any) -> int:
    """Copies of each partition that suit the cluster: three, or as many as there are brokers.

    Not the brokers' own default.replication.factor: that is 1 wherever nobody has set it, and a topic with one copy is gone with
    its broker's disk.

    Raises:
      UserError: no broker answers (exit 69).
    """
    from confluent_kafka import KafkaException

    try:
        return min(_COPIES, len(admin.list_topics(timeout=_REQUEST_TIMEOUT_SECS).brokers))
    except KafkaException as e:
        raise link.unreachable(e) from e


def describe(link: Connection, topic: str) -> str:
    """A table of a topic's partitions: leader, watermarks, rows between them (at most that many where rows were compacted).

    Raises:
      UserError: the topic is missing (exit 66); no broker answers (exit 69).
    """
    from confluent_kafka import KafkaException, TopicCollection

    admin = link.admin()
    partitions = link.topic(admin, topic).partitions
    marks = _watermarks(link, admin, topic, sorted(partitions))
    try:
        topic_id = admin.describe_topics(TopicCollection([topic]))[topic].result().topic_id
    except KafkaException:
        topic_id = None  # The account may list the topic without being allowed to describe it.
    lines = [f"topic: {topic} at {link.bootstrap}" + (f", id {topic_id}" if topic_id else "")]
    lines.append(f"{'partition':>9} {'leader':>7} {'low':>12} {'high':>12} {'rows':>12}")
    for number, (low, high) in marks.items():
        lines.append(f"{number:>9} {partitions[number].leader:>7} {low:>12} {high:>12} {high - low:>12}")
    lines.append(f"total: {len(marks)} partitions, {_num_rows(marks)} rows")
    return "\n".join(lines)


def delete(link: Connection, topic: str) -> str:
    """Deletes a topic with its rows, waits until it is gone, and returns what was deleted.

    Raises:
      UserError: the topic is missing (exit 66), the broker refuses (exit 64), or no broker answers (exit 69).
    """
    from confluent_kafka import KafkaException

    admin = link.admin()
    marks = _watermarks(link, admin, topic, sorted(link.topic(admin, topic).partitions))
    try:
        admin.delete_topics([topic])[topic].result()
    except KafkaException as e:
        raise _refused(link, f"delete {topic!r}", e) from e
    _settle(lambda: topic not in link.topics(admin), f"{topic!r} was deleted but is still listed")
    return f"deleted {topic!r} at {link.bootstrap}: {len(marks)} partitions, {_num_rows(marks)} rows"


def _watermarks(link: Connection, admin: Any, topic: str, partitions: list[int]) -> dict[int, tuple[int, int]]:
    """{partition: (the first offset there is, the next offset to be written)}."""
    from confluent_kafka import KafkaException, TopicPartition
    from confluent_kafka.admin import OffsetSpec

    def offsets(spec: OffsetSpec) -> list[int]:
        # A partition may be unknown to its leader for a moment after it was created.
        deadline = time.monotonic() + _SETTLE_SECS
        while True:
            try:
                asked = admin.list_offsets({TopicPartition(topic, p): spec for p in partitions})
                found = {place.partition: future.result().offset for place, future in asked.items()}
                return [found[p] for p in partitions]
            except KafkaException as e:
                if time.monotonic() > deadline:
                    raise link.unreachable(e) from e
                time.sleep(0.1)

    lows, highs = offsets(OffsetSpec.earliest()), offsets(OffsetSpec.latest())
    return {p: (low, high) for p, low, high in zip(partitions, lows, highs, strict=True)}


def _num_rows(marks: dict[int, tuple[int, int]]) -> int:
    return sum(high - low for low, high in marks.values())


def _replication(topic: Any) -> int:
    return min(len(p.replicas) for p in topic.partitions.values())


def _has_leaders(topic: Any, partitions: int) -> bool:
    return topic is not None and sum(p.leader >= 0 for p in topic.partitions.values()) == partitions


def _settle(done: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _SETTLE_SECS
    while not done():
        if time.monotonic() > deadline:
            raise UserError(f"{otherwise} after {_SETTLE_SECS:g} s. Look at the broker's log.", Exit.TRY_AGAIN)
        time.sleep(0.05)


def _refused(link: Connection, what: str, error: Exception) -> UserError:
    return UserError(f"the broker at {link.bootstrap} refuses to {what}: {error.args[0].str()}", Exit.FLAGS)


def main(argv: list[str]) -> int:
    """Runs one command; returns the exit status."""
    parser = Parser(prog="topic.py", description="Creates, describes and deletes Kafka topics.")
    commands = parser.add_subparsers(dest="command", required=True, prog="topic.py")
    for name, what in (
        ("create", "create a topic; nothing to do when it is there with as many partitions"),
        ("describe", "show its partitions and how many rows they hold"),
        ("delete", "delete it with all its rows, without asking"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("--topic", default="python_test1", help="its name (default python_test1)")
        if name == "create":
            command.add_argument("--partitions", type=at_least(1), default=2, help="how many (default 2)")
            command.add_argument(
                "--replication", type=at_least(1), help="copies of each (default: 3, or one a broker where there are fewer brokers)"
            )
        add_connection_options(command)
    args = parser.parse_args(argv)
    link = connection(args)
    if args.command == "create":
        print(f"topic: {create(link, args.topic, args.partitions, args.replication)}")
    elif args.command == "describe":
        print(describe(link, args.topic))
    else:
        print(f"topic: {delete(link, args.topic)}")
    return Exit.OK


if __name__ == "__main__":
    run(main)
