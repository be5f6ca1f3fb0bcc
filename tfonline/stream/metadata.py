"""What a Kafka cluster says of one topic: how many partitions it has, and whether it is still the same topic."""

import difflib
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection

from tfonline.lifecycle import Exit, UserError
from tfonline.stream.client import REQUEST_SECS, Client

T = TypeVar("T")

_REFRESH_SECS = 5.0
_NUM_NAMES_SHOWN = 20
# A topic's id is not known: the broker is too old to have ids, the account may not ask, or there is no such topic any more.
_NO_ID = {
    KafkaError._UNSUPPORTED_FEATURE,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}


class TopicMetadata:
    """One topic's metadata.

    Attributes:
      num_partitions: as last seen.
      topic_id: tells the topic from another made later under its name; '' where the broker knows no ids.

    Args:
      client: of the cluster.
      topic: the topic's name.
      say: told of new partitions.

    Raises:
      UserError: the topic is missing (exit 66), or what Client.ask raises.
    """

    def __init__(self, client: Client, topic: str, say: Callable[[str], None]):
        self._client, self._topic, self._say = client, topic, say
        self.topic_id = ""  # not known yet; a broker that comes back while the topic is looked for is compared with it
        self.num_partitions = self._find()
        self.topic_id = self._find_id()
        self._refreshed = time.monotonic()

    def ask(self, request: Callable[[], T], doing: str) -> T:
        """As Client.ask, of this topic.

        Raises:
          UserError: the topic was deleted (exit 66) or made anew (78), or what Client.ask raises.
        """
        return self._client.ask(request, doing, self._check_same, self._deleted)

    def refresh(self) -> None:
        """Looks for new partitions, every few seconds.

        Raises:
          UserError: as `ask`.
        """
        if time.monotonic() - self._refreshed <= _REFRESH_SECS:
            return
        found = self.ask(self._count_partitions, "looking for new partitions")
        if found > self.num_partitions:
            self._say(f"topic {self._topic} has {found} partitions now, {found - self.num_partitions} of them new")
        self.num_partitions = max(found, self.num_partitions)
        self._refreshed = time.monotonic()

    def _find(self) -> int:
        """The number of partitions."""
        topics, servers = self.ask(self._topics, "reading the list of topics"), self._client.servers
        if self._topic not in topics:
            raise UserError(
                f"topic {self._topic} is not on {servers}. Topics there: {name_topics(topics, self._topic)}. "
                f"Make it with python tools/topic.py create --bootstrap_servers={servers} --topic={self._topic}.",
                Exit.NO_INPUT,
            )
        return len(topics[self._topic].partitions)

    def _count_partitions(self) -> int:
        topics = self._topics()
        if self._topic not in topics:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        return len(topics[self._topic].partitions)

    def _topics(self) -> dict:
        consumer = self._client.consumer
        topics = consumer.list_topics(timeout=REQUEST_SECS).topics
        if self._topic not in topics:
            # The list leaves out what the account may not see. Asked by name, the broker says so.
            named = consumer.list_topics(self._topic, timeout=REQUEST_SECS).topics[self._topic]
            if named.error and named.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise KafkaException(named.error)
        return topics

    def _find_id(self) -> str:
        admin = self._client.make_admin()

        def ask() -> str:
            asked = admin.describe_topics(TopicCollection([self._topic]), request_timeout=REQUEST_SECS)
            try:
                return str(asked[self._topic].result().topic_id)
            except KafkaException as e:
                if e.args[0].code() in _NO_ID:
                    return ""
                raise

        return self.ask(ask, "reading the topic's id")

    def _check_same(self) -> None:
        """After a time without answers the topic may be another of the same name, whose offsets mean something else."""
        found = self._find_id()
        if found != self.topic_id and found and self.topic_id:
            raise UserError(
                f"topic {self._topic} was deleted and made anew while the run was using it (id {self.topic_id}, now {found}): its "
                "offsets mean nothing to this model. The model and its last checkpoint are whole; start a new --model_dir for the "
                "new topic.",
                Exit.CONFIG,
            )

    def unreadable(self, error: KafkaError) -> UserError:
        """The error to end with where a consumer of the topic was told what nothing mends."""
        self._client.events.note(error)
        denied = self._client.denied("reading rows", error)
        return denied or self._deleted() or self._client.unreachable("reading rows", error.str())

    def _deleted(self) -> UserError | None:
        """The error where the broker answers but does not know the topic. Asked late: one that starts may not know it yet."""
        try:
            topics = self._topics()
        except KafkaException as e:
            return self._client.denied("looking for the topic", e.args[0])
        if self._topic in topics:
            return None
        return UserError(
            f"topic {self._topic} is no longer on {self._client.servers}: it was deleted while the run was using it. "
            "The model and its last checkpoint are whole; a topic made anew needs a new --model_dir.",
            Exit.NO_INPUT,
        )


def name_topics(topics: Iterable[str], wanted: str) -> str:
    """A broker's own topics for a message that `wanted` is missing: the most similar names where there are many."""
    names = sorted(name for name in topics if not name.startswith("__"))
    shown = names
    if len(names) > _NUM_NAMES_SHOWN:
        shown = difflib.get_close_matches(wanted, names, n=_NUM_NAMES_SHOWN, cutoff=0.0)
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return (", ".join(shown) or "none") + more
