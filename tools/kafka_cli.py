"""What the Kafka tools share: options, errors and the way to the broker. Imports confluent_kafka only once it is needed."""

import argparse
import dataclasses
import sys
from collections.abc import Callable
from typing import Any

from tfonline.lifecycle import Exit, UserError
from tfonline.stream.broker_errors import ClientEvents, described
from tfonline.stream.properties import as_dict, read_properties, without_secrets

_DEFAULT_BOOTSTRAP = "localhost:9092"
_REQUEST_TIMEOUT_SECS = 5.0


def add_connection_options(parser: argparse.ArgumentParser) -> None:
    """Adds --bootstrap_servers, --kafka_property and --kafka_properties_file."""
    parser.add_argument(
        "--bootstrap_servers",
        help="host:port, several separated by commas; left out: bootstrap.servers of the properties, else the running "
        f"local broker of tools/broker.py, else {_DEFAULT_BOOTSTRAP}",
    )
    parser.add_argument(
        "--kafka_property",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a librdkafka property, such as security.protocol=SSL; may be repeated; goes over the file's; no secrets",
    )
    parser.add_argument(
        "--kafka_properties_file",
        metavar="FILE",
        help="key=value lines, # for comments; the place for secrets, which are never printed",
    )


@dataclasses.dataclass
class Connection:
    """How to reach the broker.

    Attributes:
      bootstrap: host:port, several separated by commas.
      properties: librdkafka properties; not in the repr, they hold secrets.
      events: what librdkafka reported since all went well.
    """

    bootstrap: str
    properties: dict[str, str] = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        self.events = ClientEvents(self.bootstrap, self.properties)

    def admin(self) -> Any:
        """A confluent_kafka AdminClient. Keep a reference to it until its futures are read.

        Raises:
          UserError: librdkafka refuses a property (exit 64).
        """
        from confluent_kafka.admin import AdminClient

        return self._client(AdminClient, {"error_cb": self.note})

    def note(self, error: Any) -> None:
        """Keeps what librdkafka reports, for the next error message."""
        self.events.note(error)

    @property
    def problem(self) -> str:
        """What librdkafka reported last, '' while all went well."""
        return self.events.last

    def producer(self, config: dict[str, Any]) -> Any:
        """A confluent_kafka Producer with `config` under the user's properties.

        Raises:
          UserError: librdkafka refuses a property (exit 64).
        """
        from confluent_kafka import Producer

        return self._client(Producer, config)

    def _client(self, make: Callable[[dict[str, Any]], Any], config: dict[str, Any]) -> Any:
        from confluent_kafka import KafkaException

        # librdkafka's own log lines would come on top of the tools' errors; --kafka_property=log_level=6 shows them.
        defaults = {"log_level": 0, "allow.auto.create.topics": False, "reconnect.backoff.max.ms": 1000}
        try:
            return make({**defaults, **config, **self.properties, "bootstrap.servers": self.bootstrap})
        except KafkaException as e:
            said = without_secrets(e.args[0].str(), self.properties)
            raise UserError(
                f"librdkafka refuses the Kafka properties: {said}. Mend --kafka_property or --kafka_properties_file; librdkafka's "
                "CONFIGURATION.md lists the names.",
                Exit.FLAGS,
            ) from None

    def topics(self, client: Any) -> dict[str, Any]:
        """All topics of the broker as {name: TopicMetadata}, by a client's list_topics.

        Raises:
          UserError: no broker answers (exit 69), or it refuses the log-in or TLS (77).
        """
        from confluent_kafka import KafkaException

        try:
            # All topics rather than one: asking a broker for a missing topic by name may create it.
            topics = client.list_topics(timeout=_REQUEST_TIMEOUT_SECS).topics
        except KafkaException as e:
            client.poll(0)
            raise self.unreachable(e) from e
        self.events.clear()
        return topics

    def topic(self, client: Any, name: str) -> Any:
        """One topic's metadata, read from the broker.

        Raises:
          UserError: no broker answers (exit 69) or it has no such topic (exit 66).
        """
        topics = self.topics(client)
        if name not in topics:
            from tfonline.stream.metadata import name_topics

            raise UserError(
                f"the broker at {self.bootstrap} has no topic {name!r}. Topics there: {name_topics(topics, name)}. "
                f"Correct --topic, or create it: python tools/topic.py create --topic={name} --bootstrap_servers={self.bootstrap}",
                Exit.NO_INPUT,
            )
        return topics[name]

    def unreachable(self, error: Exception) -> UserError:
        """The error for a broker that does not answer: exit 69, or 77 where it refuses the log-in or TLS."""
        return described(
            self.events.cause(),
            f"no Kafka broker answers at {self.bootstrap} within {_REQUEST_TIMEOUT_SECS:g} s",
            without_secrets(error.args[0].str(), self.properties),
            "Correct --bootstrap_servers or the security properties, or start a local broker: python tools/broker.py start",
        )


def connection(args: argparse.Namespace) -> Connection:
    """The connection that the options ask for. Says on stderr when it chose the address itself.

    Raises:
      UserError: the properties file cannot be read (exit 66); a property is no key=value, or a secret among the options (64).
    """
    properties = as_dict(read_properties(args.kafka_properties_file or "", args.kafka_property))
    given = properties.pop("bootstrap.servers", "")
    bootstrap = args.bootstrap_servers or given
    if not bootstrap:
        # Here and not above: tools/broker.py imports this module.
        import broker

        local = broker.running(broker.DEFAULT_DATA)
        bootstrap = local.bootstrap if local else _DEFAULT_BOOTSTRAP
        whose = "the local broker of tools/broker.py" if local else "the default; no local broker of tools/broker.py runs"
        print(f"broker: {bootstrap} ({whose})", file=sys.stderr)
    return Connection(bootstrap, properties)
