"""Rows of a Kafka topic, read by one confluent-kafka consumer (librdkafka of today) for all partitions of this process."""

import bisect
import itertools
from collections.abc import Mapping

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, Message, TopicPartition

from tfonline.lifecycle import Stop
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.readers import NO_TIME, Rows
from tfonline.stream.records import RowsGone

# A wait for rows looks this often whether the reader has been closed.
_WAIT_SECS = 0.2
_MOST_AT_ONCE = 1000
# While one partition is waited for, rows of others that come before their turn are held: of each not many more than so many rows,
# and not many more bytes of messages.
_MOST_HELD, _MOST_HELD_BYTES = 20_000, 1 << 24
# librdkafka's own queue of a partition, in kilobytes: as it has by itself, and less where there are many, so that all of them take
# a gigabyte at most. With a megabyte or less a partition it reads by fits and starts.
_QUEUE_KB, _QUEUES_KB, _LEAST_QUEUE_KB = 65_536, 1_048_576, 2048

# What the user may set otherwise. A broker without new rows is asked ten times a second: a partition that is read for the first
# time waits for the request before it.
_SETTINGS = {"fetch.wait.max.ms": 100, "fetch.queue.backoff.ms": 5}
_GONE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}
# Behind these nothing more comes. All others, such as a broker that is away, librdkafka mends by itself.
_FATAL = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._FATAL,
    KafkaError._AUTHENTICATION,
    KafkaError._INCONSISTENT,
    KafkaError._BAD_MSG,
}


class _Partition:
    """Where a partition stands, and the rows that librdkafka has given and nobody has taken."""

    __slots__ = ("end", "key", "message", "next", "num_bytes", "offset", "paused", "stop", "time_ms")

    def __init__(self, start: int):
        self.next = start  # where the next range must begin
        self.stop = start  # where the range ends that is read
        self.end = -1  # the greatest end of the partition that was told
        self.message: list[bytes | None] = []
        self.offset: list[int] = []
        self.time_ms: list[int] = []
        self.key: list[bytes | None] = []  # where they are asked for
        self.num_bytes = 0  # of the messages
        self.paused = False

    def holds_more_than(self, share: float) -> bool:
        """Whether it holds more than this share of what it may."""
        return len(self.offset) > share * _MOST_HELD or self.num_bytes > share * _MOST_HELD_BYTES


class ConsumerReader:
    """A RowReader of a topic. Ranges that follow one another cost nothing to open: the consumer stays where it is, and reads ahead.

    Args:
      topic: what is read; it makes the consumer, and says why a read failed.
      num_partitions: so many partitions this process may read.
      keys: whether messages' keys are wanted, too.

    Attributes:
      error: what failed under a read, if anything did.
    """

    most_partitions = 0  # any number

    def __init__(self, topic: KafkaTopic, num_partitions: int = 1, keys: bool = False):
        self.error: Exception | None = None
        self._topic, self._closed, self._keys = topic, Stop(), keys
        queue = max(_LEAST_QUEUE_KB, min(_QUEUE_KB, _QUEUES_KB // max(1, num_partitions)))
        self._consumer = topic.make_consumer({**_SETTINGS, "queued.max.messages.kbytes": queue})
        self._partitions: dict[int, _Partition] = {}

    def place(self, ranges: Mapping[int, tuple[int, int]]) -> None:
        """See RowReader."""
        # A partition of which nothing is wanted is not read, either: each one costs the broker a look at every request.
        known, wanted = self._partitions, {p: of for p, of in ranges.items() if of[0] < of[1]}
        if moved := {p: start for p, (start, _) in wanted.items() if p not in known or known[p].next != start}:
            self._move(moved)
        for partition in ranges.keys() & known.keys():
            known[partition].stop = wanted[partition][1] if partition in wanted else known[partition].next

    def _move(self, moved: Mapping[int, int]) -> None:
        """Has librdkafka read partitions from these offsets on."""
        held = [p for p in moved if p in self._partitions]
        for partition in held:
            self._go_on(partition)  # librdkafka keeps a pause over an unassignment: the partition would be silent for ever
        if held:
            self._consumer.incremental_unassign([TopicPartition(self._topic.name, p) for p in held])
        self._consumer.incremental_assign([TopicPartition(self._topic.name, p, start) for p, start in moved.items()])
        self._partitions.update((p, _Partition(start)) for p, start in moved.items())

    def take(self, partition: int, most: int) -> Rows:
        """See RowReader.

        Raises:
          RowsGone: retention has removed the next row.
          UserError: the topic is gone, or the account may not read it.
          InterruptedError: the reader was closed.
        """
        at = self._partitions.get(partition)
        if at is None or at.next >= at.stop:
            return Rows([], [], [])
        stop = at.stop
        while len(at.offset) < most and at.end < stop and not (at.offset and at.offset[-1] >= stop - 1):
            self._go_on(partition)  # it may hold as much as it may, and yet too few rows
            self._pull(partition)
        # Not one by one: with many partitions, or short windows, much more is held of a partition than is wanted of it.
        count = bisect.bisect_left(at.offset, stop, hi=min(most, len(at.offset)))
        rows = Rows(at.message[:count], at.offset[:count], at.time_ms[:count], at.key[:count])
        del at.message[:count], at.offset[:count], at.time_ms[:count], at.key[:count]
        at.num_bytes -= sum(len(message) for message in rows.message if message)
        ended = count < most or rows.offset[-1] >= stop - 1
        at.next = stop if ended else rows.offset[-1] + 1
        if at.paused and not at.holds_more_than(1 / 4):
            self._go_on(partition)
        return rows

    def stands_at(self, partition: int) -> int:
        """The offset at which what follows begins: what is left of a partition's range, or the next range."""
        return self._partitions[partition].next

    def close(self) -> None:
        """Ends a wait for rows. The consumer goes with the process: to close it would wait for a broker that is away."""
        self._closed.request("the reader is closed")

    def _go_on(self, partition: int) -> None:
        """Ends a pause of this partition, if it has one."""
        if self._partitions[partition].paused:
            self._consumer.resume([TopicPartition(self._topic.name, partition)])
            self._partitions[partition].paused = False

    def _pull(self, wanted: int) -> None:
        """Takes over what librdkafka has, or waits for it; rows of other partitions than the wanted one are held, too."""
        # `consume` waits until it has as many as it is asked for: one is waited for, and then what else is there is taken.
        messages = self._consumer.consume(1, _WAIT_SECS)
        if not messages:
            if self._closed.requested():
                raise InterruptedError("the reader was closed")
            return
        messages += self._consumer.consume(_MOST_AT_ONCE, 0)
        gone: list[str] = []
        for partition, run in itertools.groupby(messages, Message.partition):
            rows = list(run)
            if any(error is not None for error in map(Message.error, rows)):
                rows = [message for message in rows if not self._is_event(message, gone)]
            at = self._partitions.get(partition)
            if at is None or not rows:
                continue
            at.message += map(Message.value, rows)
            at.num_bytes += sum(map(len, rows))
            at.offset += map(Message.offset, rows)
            if self._keys:
                at.key += map(Message.key, rows)
            at.time_ms += (NO_TIME if kind == TIMESTAMP_NOT_AVAILABLE else ms for kind, ms in map(Message.timestamp, rows))
            if partition != wanted and not at.paused and at.holds_more_than(1):
                self._consumer.pause([TopicPartition(self._topic.name, partition)])
                at.paused = True
        if gone:  # now that all has been taken over: who goes on behind it places this partition anew, and no other one
            raise RowsGone(", ".join(gone))

    def _is_event(self, message: Message, gone: list[str]) -> bool:
        """Whether it is no row but the end of a partition, or an error. Those that nothing mends are raised; rows that are gone are
        added to the list.
        """
        error = message.error()
        if error is None:
            return False
        if error.code() == KafkaError._PARTITION_EOF:
            if at := self._partitions.get(message.partition()):
                at.end = max(at.end, message.offset())
        elif error.code() in _GONE:
            gone.append(f"partition {message.partition()}: from {self._partitions[message.partition()].next}")
        elif error.code() in _FATAL:
            raise self._topic.unreadable(error)
        else:
            self._topic.events.note(error)
        return True
