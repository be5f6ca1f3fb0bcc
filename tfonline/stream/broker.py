"""The admin side of Kafka: metadata, offsets and commits, by confluent-kafka. The rows themselves are read in readers.py."""

import difflib
import json
import pathlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.stream.broker_errors import ClientEvents, described
from tfonline.stream.new_rows import LONG_POLL, NewRows
from tfonline.stream.properties import without_secrets

T = TypeVar("T")

_REQUEST_SECS = 5.0
# Times that Kafka's ListOffsets request gives a meaning of their own.
_LATEST, _EARLIEST = -1, -2
# The broker knows who asks, and refuses.
_NO_RIGHT = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
# A topic's id is not known: the broker is too old to have ids, the account may not ask, or there is no such topic any more.
_NO_ID = {
    KafkaError._UNSUPPORTED_FEATURE,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}
_PAUSE_SECS = 0.2
_REFRESH_SECS = 5.0
_NUM_NAMES_SHOWN = 20
# The newest row is looked for so far back: there are offsets without one, as the ends of transactions and what was aborted.
_LOOK_BACK_OFFSETS = 100
# A broker that is away is said once, by this module; one that is back is noticed within a second.
_CLIENT = {"log_level": 2, "reconnect.backoff.max.ms": 1000}


class RowsGone(Exception):
    """Offsets that were to be read are no longer in the log."""


class KafkaTopic:
    """One topic of a Kafka cluster.

    Three threads use it: the planner's for offsets and to wait, the training loop's to commit, and the one that watches for rows
    that do not come. librdkafka's clients may be shared, and any thread that polls may be called back for another; the planner
    keeps its questions about offsets together, for `begins` may find new partitions.

    Attributes:
      num_partitions: as last seen; `begins` looks for more every few seconds.
      topic_id: tells the topic from another made later under its name; '' where the broker knows no ids.

    Args:
      servers: `host:port[,host:port]`.
      topic: its name.
      group: the consumer group that `commit` writes for.
      properties: further librdkafka properties; may hold secrets.
      timeout_secs: how long the broker may be out of reach in one request before it is an error.
      stop: a stop ends the waiting.
      say: where a broker that does not answer is told of.

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
    ):
        self._servers, self._topic, self._timeout_secs, self._stop, self._say = servers, topic, timeout_secs, stop, say
        self._events = ClientEvents(servers, properties)
        self._config = {**_CLIENT, **properties, "bootstrap.servers": servers, "error_cb": self._events.note}
        # A consumer for all that is asked while the run goes on: the admin client's requests abort the process when a broker goes
        # away and comes back (librdkafka issue 4605).
        try:
            self._consumer = self._new_consumer(group)
        except KafkaException as e:
            raise UserError(f"a Kafka property is wrong: {without_secrets(e.args[0].str(), properties)}", Exit.FLAGS) from None
        self._new_rows = NewRows(lambda: self._new_consumer(group, **LONG_POLL), topic)
        self.topic_id = ""  # not known yet; a broker that comes back while the topic is looked for is compared with it
        self.num_partitions = self._find_topic()
        self.topic_id = self._find_topic_id()
        self._refreshed = time.monotonic()
        self._commits: dict[tuple[int, ...], str] = {}  # what came of a commit, by its offsets

    @property
    def timeout_secs(self) -> float:
        """How long the broker may be out of reach."""
        return self._timeout_secs

    @property
    def name(self) -> str:
        """The topic's name."""
        return self._topic

    def begins(self) -> list[int]:
        """The oldest offset of each partition that is still in the log.

        Raises:
          UserError: the topic was deleted (exit 66) or made anew (78), or the broker cannot be reached (69).
        """
        if time.monotonic() - self._refreshed > _REFRESH_SECS:
            found = self._retry(self._count_partitions, "looking for new partitions")
            if found > self.num_partitions:
                self._say(f"topic {self._topic} has {found} partitions now, {found - self.num_partitions} of them new")
            self.num_partitions = max(found, self.num_partitions)
            self._refreshed = time.monotonic()
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
        found, ends = self._list_offsets(ms), self.ends()
        return [f if f >= 0 else e for f, e in zip(found, ends, strict=True)]

    def committed(self, group: str) -> list[int]:
        """The offsets that a consumer group has committed.

        Raises:
          UserError: the group has committed none for a partition (exit 66).
        """
        consumer = self._new_consumer(group)

        def ask() -> list[TopicPartition]:
            try:
                return consumer.committed(self._topic_partitions(), timeout=_REQUEST_SECS)
            except KafkaException:
                told = consumer.poll(0.1)  # a refusal by the group's coordinator comes here, and the request only times out
                if told is not None and told.error():
                    raise KafkaException(told.error()) from None
                raise

        offsets = self._retry(ask, f"reading the offsets of group {group}")
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
        deadline = time.monotonic() + _REQUEST_SECS
        while tuple(offsets) not in self._commits and time.monotonic() < deadline:
            self._consumer.poll(0.01)  # calls _on_commit, be it of an earlier commit that was given up
        return self._commits.get(tuple(offsets), "no answer")

    def _on_commit(self, error: Any, positions: list[TopicPartition]) -> None:
        errors = [error, *(p.error for p in positions)]
        offsets = tuple(p.offset for p in sorted(positions, key=lambda p: p.partition))
        self._commits[offsets] = next((e.str() for e in errors if e), "")

    def check_reachable(self) -> None:
        """Raises UserError (exit 69, or 77) where the broker does not answer; asks once, on a connection of its own."""
        consumer = self._new_consumer(f"{self._topic}-check")
        try:
            consumer.list_topics(timeout=_REQUEST_SECS)
        except KafkaException as e:
            consumer.poll(0)  # calls back what happened
            raise self._unreachable("reading rows", e.args[0].str()) from e

    def close(self) -> None:
        """Nothing: closing a consumer waits for a broker that is away; the process's end does it."""

    def fetch(self, partition: int, start: int, stop: int) -> tuple[list[bytes], list[int]]:
        """The committed records in `[start, stop)` of a partition by a plain consumer: values (b'' for none) and offsets.

        Raises:
          UserError: the broker did not answer within the timeout (exit 69).
          RowsGone: retention has removed the first of them.
        """
        consumer = self._new_consumer(f"{self._topic}-rest")
        consumer.assign([TopicPartition(self._topic, partition, start)])
        values, offsets = [], []
        deadline = time.monotonic() + self._timeout_secs
        try:
            while True:
                record = consumer.poll(0.5)
                failed = record is None or (record.error() and record.error().code() != KafkaError._PARTITION_EOF)
                if not failed and record.offset() >= stop:
                    return values, offsets
                if failed and record is not None and record.error().code() == KafkaError._AUTO_OFFSET_RESET:
                    raise RowsGone(f"partition {partition}: [{start}, {stop})")
                if failed or record.error():  # an end of partition before `stop`: the leader's watermark lags
                    if time.monotonic() > deadline or self._stop.requested():
                        raise self._unreachable(f"reading offsets [{start}, {stop}) of partition {partition}")
                    continue
                values.append(record.value() or b"")
                offsets.append(record.offset())
        finally:
            consumer.close()

    def newest_row_time(self, start: list[int], stop: list[int]) -> float | None:
        """The time of the newest row in `[start, stop)` of each partition, seconds since 1970: Kafka's time of its message.

        The last offsets of each partition are looked at, and the greatest time is the answer.

        Returns:
          None where it is not known: there is no message, none has a time, or the broker did not answer within a few seconds.
        """
        first = {p: max(s, e - _LOOK_BACK_OFFSETS) for p, (s, e) in enumerate(zip(start, stop, strict=True)) if s < e}
        try:
            # Where retention has taken the first of the offsets, from what is left on.
            consumer = self._new_consumer(f"{self._topic}-newest", reset="earliest")
            consumer.assign([TopicPartition(self._topic, p, offset) for p, offset in first.items()])
        except KafkaException:
            return None
        times, deadline = [], time.monotonic() + _REQUEST_SECS
        while first and time.monotonic() < deadline:
            record = consumer.poll(0.1)
            if record is None or record.partition() not in first:
                continue
            if record.error():
                done = record.error().code() == KafkaError._PARTITION_EOF
            else:
                kind, ms = record.timestamp()
                if record.offset() < stop[record.partition()] and kind != TIMESTAMP_NOT_AVAILABLE:
                    times.append(ms / 1000)
                done = record.offset() >= stop[record.partition()] - 1
            if done:
                del first[record.partition()]
        return max(times, default=None) if not first else None

    def _new_consumer(self, group: str, reset: str = "error", **more: Any) -> Consumer:
        settings = {
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": reset,
            "isolation.level": "read_committed",
            "on_commit": self._on_commit,
        }
        return Consumer({**self._config, **settings, **more})

    def _topic_partitions(self) -> list[TopicPartition]:
        return [TopicPartition(self._topic, p) for p in range(self.num_partitions)]

    def _find_topic(self) -> int:
        """The number of partitions."""
        topics = self._retry(lambda: self._consumer.list_topics(timeout=_REQUEST_SECS).topics, "reading the list of topics")
        if self._topic not in topics:
            raise UserError(
                f"topic {self._topic} is not on {self._servers}. Topics there: {name_topics(topics, self._topic)}. "
                f"Make it with python tools/topic.py create --bootstrap_servers={self._servers} --topic={self._topic}.",
                Exit.NO_INPUT,
            )
        return len(topics[self._topic].partitions)

    def _count_partitions(self) -> int:
        topics = self._consumer.list_topics(timeout=_REQUEST_SECS).topics
        if self._topic not in topics:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        return len(topics[self._topic].partitions)

    def _find_topic_id(self) -> str:
        admin = AdminClient(self._config)  # named: one that is collected before its futures are read fails them

        def ask() -> str:
            asked = admin.describe_topics(TopicCollection([self._topic]), request_timeout=_REQUEST_SECS)
            try:
                return str(asked[self._topic].result().topic_id)
            except KafkaException as e:
                if e.args[0].code() in _NO_ID:
                    return ""
                raise

        return self._retry(ask, "reading the topic's id")

    def _list_offsets(self, time_ms: int) -> list[int]:
        """The offsets at a time, or at _EARLIEST or _LATEST; -1 where there is none."""

        def ask() -> list[int]:
            asked = [TopicPartition(self._topic, p, time_ms) for p in range(self.num_partitions)]
            found = self._consumer.offsets_for_times(asked, timeout=_REQUEST_SECS)
            for position in found:
                if position.error:
                    raise KafkaException(position.error)
            return [position.offset for position in found]

        return self._retry(ask, "reading the partitions' offsets")

    def _retry(self, ask: Callable[[], T], doing: str) -> T:
        """Asks until the broker answers, for `timeout_secs` at most."""
        deadline, said = time.monotonic() + self._timeout_secs, False
        while True:
            try:
                answer = ask()
                self._consumer.poll(0)  # events of a broker that went and came back meanwhile
                self._events.clear()
                if said:
                    self._say(f"{doing} from {self._servers} works again")
                    self._check_same_topic()
                return answer
            except KafkaException as e:
                if e.args[0].code() in _NO_RIGHT:
                    raise UserError(
                        f"the Kafka broker at {self._servers} does not let this account do so ({doing}: {e.args[0].str()}). Give "
                        "it the rights to describe and read the topic and the group (Kafka's ACLs), or log in as another.",
                        Exit.CREDENTIALS,
                    ) from e
                error = without_secrets(e.args[0].str(), self._config)
                self._consumer.poll(0)  # calls back what happened
                if self._events.refusal():
                    raise self._unreachable(doing, error) from e
                if not said:
                    said, why = True, self._events.last or error
                    self._say(f"{doing} from {self._servers} fails ({why}); trying again for {self._timeout_secs:g} s at most")
                if time.monotonic() > deadline or self._stop.wait(_PAUSE_SECS):
                    raise self.deleted() or self._unreachable(doing, error) from e

    def _check_same_topic(self) -> None:
        """After a time without answers the topic may be another of the same name, whose offsets mean something else."""
        found = self._find_topic_id()
        if found != self.topic_id and found and self.topic_id:
            raise UserError(
                f"topic {self._topic} was deleted and made anew while the run was using it (id {self.topic_id}, now {found}): its "
                "offsets mean nothing to this model. The model and its last checkpoint are whole; start a new --model_dir for the "
                "new topic.",
                Exit.CONFIG,
            )

    def deleted(self) -> UserError | None:
        """The error where the broker answers but does not know the topic. Asked late: one that starts may not know it yet."""
        try:
            topics = self._consumer.list_topics(timeout=_REQUEST_SECS).topics
        except KafkaException:
            return None
        if self._topic in topics:
            return None
        return UserError(
            f"topic {self._topic} is no longer on {self._servers}: it was deleted while the run was using it. "
            "The model and its last checkpoint are whole; a topic made anew needs a new --model_dir.",
            Exit.NO_INPUT,
        )

    def _unreachable(self, doing: str, detail: str = "no answer") -> UserError:
        return described(
            self._events.cause(),
            f"the Kafka broker at {self._servers} did not answer for {self._timeout_secs:g} s while {doing}",
            detail,
            "Check --bootstrap_servers and that the broker runs; --broker_timeout_secs says how long to wait.",
        )


def name_topics(topics: Iterable[str], wanted: str) -> str:
    """A broker's own topics for a message that `wanted` is missing: the most similar names where there are many."""
    names = sorted(name for name in topics if not name.startswith("__"))
    shown = names
    if len(names) > _NUM_NAMES_SHOWN:
        shown = difflib.get_close_matches(wanted, names, n=_NUM_NAMES_SHOWN, cutoff=0.0)
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return (", ".join(shown) or "none") + more


def read_offsets_file(path: str, num_partitions: int) -> list[int]:
    """The offsets of --start=offsets:<file>: a JSON object such as {"0": 1200, "1": 1180}.

    Raises:
      UserError: the file is missing (exit 66), or does not give each partition a whole number from 0 on (64).
    """
    expected = f'Expected a JSON object with partitions 0 to {num_partitions - 1}, such as {{"0": 1200}}.'
    try:
        found = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        offsets = [found[str(p)] for p in range(num_partitions)]
    except OSError as e:
        raise UserError(f"--start=offsets:{path} cannot be read ({e.strerror}). {expected}", Exit.NO_INPUT) from e
    except (ValueError, KeyError, TypeError) as e:
        raise UserError(f"--start=offsets:{path} is not understood ({e!r}). {expected}", Exit.FLAGS) from e
    if len(found) != num_partitions or not all(type(o) is int and o >= 0 for o in offsets):  # true is no offset
        raise UserError(f"--start=offsets:{path} holds {found}. {expected}", Exit.FLAGS)
    return offsets
