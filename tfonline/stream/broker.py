"""The admin side of a Kafka topic: its offsets, commits to it, and its newest rows. What is trained, stream/readers/ reads."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_INVALID, TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, TopicPartition

from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.stream import records
from tfonline.stream.broker_errors import ClientEvents
from tfonline.stream.client import REQUEST_SECS, Client
from tfonline.stream.metadata import TopicMetadata
from tfonline.stream.new_rows import LONG_POLL, NewRows

# Times that Kafka's ListOffsets request gives a meaning of their own.
_LATEST, _EARLIEST = -1, -2
# The newest row is looked for so far back: there are offsets without one, as the ends of transactions and what was aborted.
_LOOK_BACK_OFFSETS = 100


class KafkaTopic:
    """One topic of a Kafka cluster.

    Three threads use it: the planner's for offsets and to wait, the training loop's to commit, and the one that watches for rows
    that do not come. librdkafka's clients may be shared, and any thread that polls may be called back for another; the planner
    keeps its questions about offsets together, for `begins` may find new partitions.

    Args:
      servers: `host:port[,host:port]`.
      topic: its name.
      group: the consumer group that `commit` writes for.
      properties: further librdkafka properties; may hold secrets.
      timeout_secs: how long the broker may be out of reach in one request before it is an error.
      stop: a stop ends the waiting.
      say: where a broker that does not answer is told of.
      heard: see ClientEvents.

    Raises:
      UserError: the broker cannot be reached (exit 69) or refuses the log-in or TLS (77), the topic is missing (66) or a property
        is wrong (64).
    """

    def __init__(
        self,
        servers: str,
        topic: str,
        group: str,
        properties: dict[str, str],
        timeout_secs: float,
        stop: Stop,
        say: Callable[[str], None],
        heard: Callable[[str, str], None] | None = None,
    ):
        self._topic, self._group, self._stop = topic, group, stop
        self._client = Client(servers, group, properties, timeout_secs, stop, say, heard, on_commit=self._on_commit)
        self._consumer = self._client.consumer
        self._new_rows = NewRows(lambda: self._client.make_consumer(group, **LONG_POLL), topic)
        self._metadata = TopicMetadata(self._client, topic, say)
        self._commits: dict[tuple[int, ...], str] = {}  # what came of a commit, by its offsets

    @property
    def timeout_secs(self) -> float:
        """How long the broker may be out of reach."""
        return self._client.timeout_secs

    @property
    def name(self) -> str:
        """The topic's name."""
        return self._topic

    @property
    def num_partitions(self) -> int:
        """As last seen; `begins` looks for more every few seconds."""
        return self._metadata.num_partitions

    @property
    def topic_id(self) -> str:
        """Tells the topic from another made later under its name; '' where the broker knows no ids."""
        return self._metadata.topic_id

    def begins(self) -> list[int]:
        """The oldest offset of each partition that is still in the log.

        Raises:
          UserError: the topic was deleted (exit 66) or made anew (78), or the broker cannot be reached (69).
        """
        self._metadata.refresh()
        return self._list_offsets(_EARLIEST)

    def ends(self) -> list[int]:
        """The last stable offset of each partition: the end that a read_committed reader sees."""
        return self._list_offsets(_LATEST)

    def wait_for_rows(self, ends: Sequence[int], stop: Stop, secs: float) -> bool:
        """See Source. A quiet topic costs its broker one request a second."""
        return self._new_rows.wait(ends, stop, secs)

    def at_timestamp(self, ms: int) -> list[int]:
        """The first offset of each partition whose row is at `ms` (since 1970) or later; the end where there is none."""
        if ms < 0:  # Kafka's request takes -1 for the end, -3 for the row of the greatest time and so on; no row is that old
            return self.begins()
        found = self._list_offsets(ms)
        return found if min(found) >= 0 else [f if f >= 0 else e for f, e in zip(found, self.ends(), strict=True)]

    def committed(self, group: str) -> list[int]:
        """The offsets that a consumer group has committed.

        Raises:
          UserError: the group has committed none for a partition (exit 66).
        """
        consumer = self._client.make_consumer(group)

        def request() -> list[TopicPartition]:
            try:
                return consumer.committed(self._partitions(), timeout=REQUEST_SECS)
            except KafkaException:
                told = consumer.poll(0.1)  # a refusal by the group's coordinator comes here, and the request only times out
                if told is not None and told.error():
                    raise KafkaException(told.error()) from None
                raise

        offsets = self._metadata.ask(request, f"reading the offsets of group {group}")
        missing = [o.partition for o in offsets if o.offset < 0]
        if missing:
            raise UserError(
                f"--start=committed:{group}: the group has no offset for partitions {missing} of topic {self._topic}. "
                "Expected one for each; use earliest, latest or offsets:<file> instead.",
                Exit.NO_INPUT,
            )
        return [o.offset for o in offsets]

    def commit(self, offsets: list[int]) -> str:
        """Commits next offsets under the group, for lag tools; one commit at a time. Returns why it failed, or ''."""
        positions = [TopicPartition(self._topic, p, o) for p, o in enumerate(offsets)]
        self._commits.clear()
        # Asynchronous, for a synchronous commit to a broker that is away waits far beyond any timeout of ours.
        self._consumer.commit(offsets=positions, asynchronous=True)
        deadline = time.monotonic() + REQUEST_SECS
        while tuple(offsets) not in self._commits and time.monotonic() < deadline:
            self._consumer.poll(0.01)  # calls _on_commit, be it of an earlier commit that was given up
        return self._commits.get(tuple(offsets), "no answer")

    def _on_commit(self, error: Any, positions: list[TopicPartition]) -> None:
        errors = [error, *(p.error for p in positions)]
        offsets = tuple(p.offset for p in sorted(positions, key=lambda p: p.partition))
        self._commits[offsets] = next((e.str() for e in errors if e), "")

    def check_reachable(self) -> None:
        """Raises UserError (exit 69, or 77) where the broker does not answer; asks once, on a connection of its own."""
        self._client.check_reachable(f"{self._topic}-check")

    @property
    def events(self) -> ClientEvents:
        """What its consumers have reported since all went well."""
        return self._client.events

    def make_consumer(self, defaults: Mapping[str, Any]) -> Consumer:
        """A consumer to read rows by, see Client.make_consumer; `defaults` are settings that the user's properties come before."""
        return self._client.make_consumer(self._group, defaults, **{"enable.auto.offset.store": False})

    def unreadable(self, error: KafkaError) -> UserError:
        """The error to end with where a consumer of the topic was told what nothing mends."""
        return self._metadata.unreadable(error)

    def close(self) -> None:
        """Nothing: closing a consumer waits for a broker that is away; the process's end does it."""

    def fetch(self, ranges: Mapping[int, tuple[int, int]]) -> dict[int, list[tuple[int, bytes]]]:
        """The committed records of ranges of offsets, by a plain consumer: for few of them.

        Args:
          ranges: of each partition a half-open range, `[start, stop)`.

        Returns:
          of each partition its records in order: offset and value, b'' for none.

        Raises:
          UserError: the broker did not answer within the timeout (exit 69).
          RowsGone: retention has removed the first of a range.
        """
        consumer = self._client.make_consumer(f"{self._topic}-rest")
        found: dict[int, list[tuple[int, bytes]]] = {partition: [] for partition in ranges}
        deadline = time.monotonic() + self.timeout_secs

        def nothing_came() -> None:
            if time.monotonic() > deadline or self._stop.requested():
                which = ", ".join(f"[{start}, {stop}) of partition {p}" for p, (start, stop) in ranges.items())
                raise self._client.unreachable(f"reading offsets {which}")

        try:
            for record in records.read(consumer, self._topic, ranges, nothing_came):
                found[record.partition()].append((record.offset(), record.value() or b""))
            return found
        finally:
            consumer.close()

    def newest_row_time(self, start: list[int], stop: list[int]) -> float | None:
        """The time of the newest row in `[start, stop)` of each partition, seconds since 1970: Kafka's time of its message.

        The last offsets of each partition are looked at, and the greatest time is the answer.

        Returns:
          None where it is not known: there is no message, none has a time, or the broker did not answer within a few seconds.
        """
        last = {p: (max(s, e - _LOOK_BACK_OFFSETS), e) for p, (s, e) in enumerate(zip(start, stop, strict=True))}
        times, deadline = [], time.monotonic() + REQUEST_SECS

        def nothing_came() -> None:
            if time.monotonic() > deadline:
                raise TimeoutError

        try:
            # Where retention has taken the first of the offsets, from what is left on.
            consumer = self._client.make_consumer(f"{self._topic}-newest", **{"auto.offset.reset": "earliest"})
            for record in records.read(consumer, self._topic, last, nothing_came):
                kind, ms = record.timestamp()
                if kind != TIMESTAMP_NOT_AVAILABLE:
                    times.append(ms / 1000)
        except (KafkaException, TimeoutError):
            return None
        return max(times, default=None)

    def _partitions(self, offset: int = OFFSET_INVALID) -> list[TopicPartition]:
        return [TopicPartition(self._topic, p, offset) for p in range(self.num_partitions)]

    def _list_offsets(self, time_ms: int) -> list[int]:
        """The offsets at a time, or at _EARLIEST or _LATEST; -1 where there is none."""

        def request() -> list[int]:
            # In this request a time stands in the offset's place.
            found = self._consumer.offsets_for_times(self._partitions(time_ms), timeout=REQUEST_SECS)
            for position in found:
                if position.error:
                    raise KafkaException(position.error)
            return [position.offset for position in found]

        return self._metadata.ask(request, "reading the partitions' offsets")
