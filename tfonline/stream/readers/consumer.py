"""Rows of a Kafka topic, read by one confluent-kafka consumer that stays for the whole run."""

import time
from bisect import bisect_left
from collections.abc import Mapping
from itertools import groupby

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, Message, TopicPartition

from tfonline.lifecycle import Exit, UserError
from tfonline.stream.broker import KafkaTopic, RowsGone
from tfonline.stream.broker_errors import ClientEvents, described
from tfonline.stream.properties import without_secrets
from tfonline.stream.readers import Rows

# Messages that are taken from librdkafka at once. More are no faster, and hold Python's lock for longer.
_TAKEN_AT_ONCE = 1000
# So long a wait for rows lasts at most: whoever waits can look for a stop.
_SLICE_SECS = 0.2
_LOG_IN_SECS = 10.0
# Rows that wait here: of a partition with more bytes than its share no more are fetched until a quarter is left.
_WAITING_BYTES = 64 << 20
_LEAST_WAITING_BYTES = 256 << 10
# What the broker sends of a partition at once: less where there are many, for all of them come in one answer.
_ANSWER_BYTES = 64 << 20
_LEAST_FETCH_BYTES, _MOST_FETCH_BYTES = 64 << 10, 1 << 20

_GONE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}
# A deleted topic is no error to librdkafka: while no row comes, the topic is asked for so often. A broker that has just started may
# not know its topics yet, so a single answer is none.
_LOOK_SECS, _LOOKS, _LOOK_TIMEOUT_SECS = 2.0, 3, 0.1


class _Partition:
    """What has come of a partition and was not taken yet.

    Attributes:
      position: where the next range begins, if it follows the last one.
      values, offsets, times: the rows.
      bytes: of the values.
      end: the greatest offset at which an end of the partition was reported; -1: none.
      paused: whether no more is fetched.
      failed: why no more rows come, if so.
    """

    __slots__ = ("bytes", "end", "failed", "offsets", "paused", "position", "times", "values")

    def __init__(self, start: int):
        self.position, self.end, self.bytes = start, -1, 0
        self.values: list[bytes | None] = []
        self.offsets: list[int] = []
        self.times: list[int] = []
        self.paused = False
        self.failed: Exception | None = None


class ConsumerReader:
    """Reads a topic by one `confluent_kafka.Consumer` for all partitions of this process. See RowReader.

    Windows follow each other, so a partition is told once where to begin; it is moved where a window was passed over. Nothing is
    subscribed to and nothing is committed.

    Args:
      topic: the admin side.
      servers: as in the flag.
      group: a consumer group's name; the client wants one.
      properties: librdkafka properties; may hold secrets.
      workers: how many processes share the partitions.

    Attributes:
      most_partitions: that one process can read; 0: any number.
      error: see RowReader.
      events: what the client has reported beside its answers.

    Raises:
      UserError: the client does not accept a property (exit 64).
    """

    most_partitions = 0

    def __init__(self, topic: KafkaTopic, servers: str, group: str, properties: dict[str, str], workers: int = 1):
        self._topic, self._servers, self._properties = topic, servers, properties
        self._partitions: dict[int, _Partition] = {}
        self._wanted: set[int] = set()  # rows of these are waited for: they are not paused
        self._looked, self._unknown = time.monotonic(), 0  # when the topic was asked for, and how often it was not there since
        self.error: Exception | None = None
        self.events = ClientEvents(servers, properties)
        own = -(-topic.num_partitions // workers)
        settings = {
            "log_level": 2,
            "reconnect.backoff.max.ms": 1000,
            # A full queue is looked at again after so long. By default that is a second, in which the rows would run out.
            "fetch.queue.backoff.ms": 5,
            "fetch.message.max.bytes": max(_LEAST_FETCH_BYTES, min(_MOST_FETCH_BYTES, _ANSWER_BYTES // own)),
            **properties,
            "bootstrap.servers": servers,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,  # a range may end in offsets without a row
            "auto.offset.reset": "error",  # else a start out of range is passed over in silence
            "isolation.level": "read_committed",
            "error_cb": self.events.note,
        }
        try:
            self._consumer = Consumer(settings)
        except KafkaException as e:
            said = without_secrets(e.args[0].str(), properties)
            raise UserError(f"the confluent-kafka reader refuses a Kafka property: {said}.", Exit.FLAGS) from None

    def check(self) -> None:
        """Reads nothing, to see whether this client reaches the broker, whose log-in and TLS are tried by that.

        Raises:
          UserError: the broker does not answer (exit 69), or refuses the log-in or TLS (77).
        """
        secs = min(self._topic.timeout_secs, _LOG_IN_SECS)
        try:
            self._consumer.list_topics(self._topic.name, timeout=secs)
        except KafkaException as e:
            self._consumer.poll(0)  # calls back what happened
            raise described(
                self.events.cause(),
                f"the reader got no answer from the Kafka broker at {self._servers} for {secs:g} s",
                without_secrets(e.args[0].str(), self._properties),
                "Check --bootstrap_servers and that the broker runs.",
            ) from None
        self.events.clear()

    def begin(self, starts: Mapping[int, int]) -> None:
        """See RowReader. Costs nothing where the window before ended there."""
        at, name = self._partitions, self._topic.name
        moved = {p: start for p, start in starts.items() if p not in at or at[p].position != start or at[p].failed}
        if not moved:
            return
        # librdkafka keeps a pause across unassign and assign: a paused partition would stay silent for ever.
        if paused := [TopicPartition(name, p) for p in moved if p in at and at[p].paused]:
            self._consumer.resume(paused)
        if old := [TopicPartition(name, p) for p in moved if p in at]:
            self._consumer.incremental_unassign(old)
        self._consumer.incremental_assign([TopicPartition(name, p, start) for p, start in moved.items()])
        at.update((p, _Partition(start)) for p, start in moved.items())

    def take(self, partition: int, stop: int, most: int) -> Rows | None:
        """See RowReader.

        Raises:
          RowsGone: retention has removed the next of them.
        """
        part = self._partitions[partition]
        offsets = part.offsets
        whole = part.position >= stop or part.end >= stop or (bool(offsets) and offsets[-1] >= stop - 1)
        if len(offsets) < most and not whole:
            if part.failed:
                raise part.failed
            self._wanted.add(partition)
            self._resume(partition, part)
            return None
        self._wanted.discard(partition)
        count = min(most, len(offsets))
        if count and offsets[count - 1] >= stop:
            count = bisect_left(offsets, stop, 0, count)
        rows = Rows(part.values[:count], offsets[:count], part.times[:count])
        del part.values[:count], offsets[:count], part.times[:count]
        part.bytes -= _size(rows.values)
        ended = count < most or rows.offsets[-1] >= stop - 1
        part.position = stop if ended else rows.offsets[-1] + 1
        if part.bytes < self._share // 4:
            self._resume(partition, part)
        return rows

    def wait(self) -> None:
        """See RowReader.

        Raises:
          UserError: the account may not read the topic (exit 77), or the topic was deleted (66).
        """
        try:
            messages = self._consumer.consume(_TAKEN_AT_ONCE, 0)  # with a time, it would wait until there are so many
            # `is not None`: a message without a byte has the length 0, and is false.
            if not messages and (first := self._consumer.poll(_SLICE_SECS)) is not None:
                messages = [first, *self._consumer.consume(_TAKEN_AT_ONCE - 1, 0)]
            if messages:
                self._put(messages)
                self._looked, self._unknown = time.monotonic(), 0
            elif time.monotonic() - self._looked > _LOOK_SECS:
                self._look()
        except Exception as e:  # tf.data would turn it into a text of its own; the training loop raises this one
            self.error = e
            raise

    def close(self) -> None:
        """Ends the client."""
        self._consumer.close()

    @property
    def _share(self) -> int:
        """Bytes of a partition that may wait here."""
        return max(_LEAST_WAITING_BYTES, _WAITING_BYTES // max(1, len(self._partitions)))

    def _put(self, messages: list[Message]) -> None:
        """Puts what came where it is taken from, in runs: many messages of a partition come one behind the other."""
        if any(map(Message.error, messages)):
            for failed, run in groupby(messages, lambda m: m.error() is not None):
                if failed:
                    for message in run:
                        self._note(message)
                else:
                    self._put(list(run))
            return
        numbers = list(map(Message.partition, messages))
        at, count = 0, len(numbers)
        while at < count:
            partition = numbers[at]
            until = at + 1
            if numbers[-1] == partition and numbers.count(partition) == count - at and at == 0:
                until = count
            while until < count and numbers[until] == partition:
                until += 1
            self._put_run(partition, messages[at:until])
            at = until

    def _put_run(self, partition: int, run: list[Message]) -> None:
        part = self._partitions[partition]
        values = list(map(Message.value, run))
        kinds, times = zip(*map(Message.timestamp, run), strict=True)
        if TIMESTAMP_NOT_AVAILABLE in kinds:
            times = [-1 if kind == TIMESTAMP_NOT_AVAILABLE else ms for kind, ms in zip(kinds, times, strict=True)]
        first, last = run[0].offset(), run[-1].offset()
        gapless = last - first == len(run) - 1
        part.values += values
        part.offsets += range(first, last + 1) if gapless else map(Message.offset, run)
        part.times += times
        part.bytes += _size(values)
        if part.bytes > self._share and not part.paused and partition not in self._wanted:
            # What librdkafka holds of it is thrown away, and fetched again behind the last message that came out.
            self._consumer.pause([TopicPartition(self._topic.name, partition)])
            part.paused = True

    def _note(self, message: Message) -> None:
        """An error, or the end of a partition."""
        error, part = message.error(), self._partitions.get(message.partition())
        if error.code() == KafkaError._PARTITION_EOF:
            if part:
                part.end = max(part.end, message.offset())
        elif error.code() in _GONE and part:
            # Only if its rows are asked for: the plan may pass over what retention took.
            after = part.offsets[-1] + 1 if part.offsets else part.position
            part.failed = RowsGone(f"partition {message.partition()}: from offset {after} on")
        elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise UserError(
                f"the Kafka broker at {self._servers} does not let this account read topic {self._topic.name} ({error.str()}). "
                "Give it the right to read the topic (Kafka's ACLs), or log in as another.",
                Exit.CREDENTIALS,
            )
        elif error.fatal():
            raise KafkaException(error)
        else:
            self.events.note(error)

    def _look(self) -> None:
        """Raises UserError where the topic is gone (exit 66)."""
        self._looked = time.monotonic()
        try:
            found = self._consumer.list_topics(self._topic.name, timeout=_LOOK_TIMEOUT_SECS).topics[self._topic.name]
        except KafkaException:
            return  # the broker is away: who watches the reads tells of it
        self._unknown = self._unknown + 1 if found.error is not None else 0
        if self._unknown >= _LOOKS and (deleted := self._topic.deleted()):
            raise deleted

    def _resume(self, partition: int, part: _Partition) -> None:
        if part.paused:
            self._consumer.resume([TopicPartition(self._topic.name, partition)])
            part.paused = False


def _size(values: list[bytes | None]) -> int:
    """Bytes of messages, roughly: with what an object of Python takes beside."""
    return sum(map(len, filter(None, values))) + 100 * len(values)
