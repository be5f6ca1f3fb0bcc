"""A client of a Kafka cluster, by confluent-kafka: its consumers, and requests that are asked again while the broker is away."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.stream.broker_errors import ClientEvents, described
from tfonline.stream.properties import without_secrets

T = TypeVar("T")

# So long one request may take.
REQUEST_SECS = 5.0
_PAUSE_SECS = 0.2
# The broker knows who asks, and refuses.
_NO_RIGHT = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
# A broker that is away is said once, by this module; one that is back is noticed within a second.
_SETTINGS = {"log_level": 2, "reconnect.backoff.max.ms": 1000}


class Client:
    """Asks one Kafka cluster.

    Attributes:
      consumer: for all that is asked while the run goes on: the admin client's requests abort the process when a broker goes away
        and comes back (librdkafka issue 4605).
      servers: as below.
      timeout_secs: as below.
      events: what all its consumers have reported since all went well.

    Args:
      servers: `host:port[,host:port]`.
      group: the consumer group of `consumer`.
      properties: further librdkafka properties; may hold secrets.
      timeout_secs: how long the broker may be out of reach in one request before it is an error.
      stop: a stop ends the waiting.
      say: where a broker that does not answer is told of.
      heard: see ClientEvents.
      settings: more of `consumer`'s settings.

    Raises:
      UserError: a property is wrong (exit 64).
    """

    def __init__(
        self,
        servers: str,
        group: str,
        properties: dict[str, str],
        timeout_secs: float,
        stop: Stop,
        say: Callable[[str], None],
        heard: Callable[[str, str], None] | None = None,
        **settings: Any,
    ):
        self.servers, self.timeout_secs, self._stop, self._say = servers, timeout_secs, stop, say
        self.events = ClientEvents(servers, properties, heard)
        self._config = {**_SETTINGS, **properties, "bootstrap.servers": servers, "error_cb": self.events.note}
        try:
            self.consumer = self.make_consumer(group, **settings)
        except KafkaException as e:
            raise UserError(f"a Kafka property is wrong: {without_secrets(e.args[0].str(), properties)}", Exit.FLAGS) from None

    def make_consumer(self, group: str, defaults: Mapping[str, Any] | None = None, **settings: Any) -> Consumer:
        """Another consumer, of committed records; it commits nothing by itself and tells the end of a partition.

        Args:
          group: its consumer group.
          defaults: librdkafka's settings, which the user's come before.
          settings: librdkafka's; they come before all others.
        """
        own = {
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
        }
        return Consumer({**(defaults or {}), **self._config, **own, **settings})

    def make_admin(self) -> AdminClient:
        """An admin client. Keep it until its futures are read: one that is collected fails them."""
        return AdminClient(self._config)

    def ask(
        self,
        request: Callable[[], T],
        doing: str,
        back: Callable[[], None] | None = None,
        given_up: Callable[[], UserError | None] | None = None,
    ) -> T:
        """Asks until the broker answers, for `timeout_secs` at most.

        Args:
          request: raises KafkaException where there is no answer.
          doing: what is asked for, such as `reading the partitions' offsets`.
          back: called when the broker has answered after it did not.
          given_up: gives a better error than that the broker did not answer, or None.

        Raises:
          UserError: the broker does not let this account do so, or refuses the log-in or TLS (exit 77); it does not answer, or a
            stop was asked for (69); what `back` raises, or `given_up` gives.
        """
        deadline, said = time.monotonic() + self.timeout_secs, False
        while True:
            try:
                answer = request()
                self.consumer.poll(0)  # events of a broker that went and came back meanwhile
                self.events.clear()
                if said:
                    self._say(f"{doing} from {self.servers} works again")
                    if back:
                        back()
                return answer
            except KafkaException as e:
                if denied := self.denied(doing, e.args[0]):
                    raise denied from e
                error = without_secrets(e.args[0].str(), self._config)
                self.consumer.poll(0)  # calls back what happened
                if self.events.refusal():
                    raise self.unreachable(doing, error) from e
                if not said:
                    said, why = True, self.events.last or error
                    self._say(f"{doing} from {self.servers} fails ({why}); trying again for {self.timeout_secs:g} s at most")
                if time.monotonic() > deadline or self._stop.wait(_PAUSE_SECS):
                    raise (given_up and given_up()) or self.unreachable(doing, error) from e

    def check_reachable(self, group: str) -> None:
        """Raises UserError (exit 69, or 77) where the broker does not answer; asks once, on a connection of its own."""
        consumer = self.make_consumer(group)
        try:
            consumer.list_topics(timeout=REQUEST_SECS)
        except KafkaException as e:
            consumer.poll(0)  # calls back what happened
            raise self.unreachable("reading rows", e.args[0].str()) from e

    def denied(self, doing: str, error: KafkaError) -> UserError | None:
        """The error where the account lacks a right (exit 77); None where the broker has said something else."""
        if error.code() not in _NO_RIGHT:
            return None
        return UserError(
            f"the Kafka broker at {self.servers} does not let this account do so ({doing}: {error.str()}). Give it the rights to "
            "describe and read the topic and the group (Kafka's ACLs), or log in as another.",
            Exit.CREDENTIALS,
        )

    def unreachable(self, doing: str, detail: str = "no answer") -> UserError:
        """The error for a broker that does not answer (exit 69) or that refuses this client (77)."""
        return described(
            self.events.cause(),
            f"the Kafka broker at {self.servers} did not answer for {self.timeout_secs:g} s while {doing}",
            detail,
            "Check --bootstrap_servers and that the broker runs; --broker_timeout_secs says how long to wait.",
        )
