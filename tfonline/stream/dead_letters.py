"""Dead letters: refused rows, as they came, to a topic of their own."""

from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from tfonline.lifecycle import Exit, UserError
from tfonline.stream.broker_errors import ClientEvents
from tfonline.stream.properties import without_secrets

# As large as Kafka lets a topic's messages be made; the dead-letter topic's own limit decides.
_MAX_MESSAGE_BYTES = 1_000_000_000


class DeadLetters:
    """Sends refused rows to a topic, each keyed `topic:partition:offset`, with the headers reason, topic, partition and offset.

    A row that is read again after a crash is sent again, under the same key: without duplicates of keys, there is one letter a
    refused row.

    Args:
      servers: `host:port[,host:port]`.
      topic: where the letters go.
      source: the topic that the rows came from.
      properties: further librdkafka properties; may hold secrets.
      timeout_secs: how long the broker may take to acknowledge a letter.

    Raises:
      UserError: the producer refuses a property (exit 64).
    """

    def __init__(self, servers: str, topic: str, source: str, properties: dict[str, str], timeout_secs: float):
        self._topic, self._source, self._timeout_secs = topic, source, timeout_secs
        self._failed: KafkaError | None = None
        self._events = ClientEvents(servers, properties)
        settings = {
            "log_level": 2,
            "enable.idempotence": True,
            "linger.ms": 20,
            "message.max.bytes": _MAX_MESSAGE_BYTES,
            "message.timeout.ms": round(timeout_secs * 1000),
            "reconnect.backoff.max.ms": 1000,
            **properties,
            "bootstrap.servers": servers,
            "error_cb": self._events.note,  # told of where `flush` finds that a letter was not delivered
        }
        try:
            self._producer = Producer(settings)
        except KafkaException as e:
            said = without_secrets(e.args[0].str(), properties)
            raise UserError(f"a Kafka property does not suit --dead_letter_topic={topic}: {said}", Exit.FLAGS) from None

    def send(self, partition: int, offset: int, reason: str, message: bytes) -> None:
        """Queues a letter; waits where the queue is full."""
        headers = {"reason": reason, "topic": self._source, "partition": str(partition), "offset": str(offset)}
        while True:
            try:
                key = f"{self._source}:{partition}:{offset}"
                self._producer.produce(self._topic, message, key, headers=headers, on_delivery=self._on_delivery)
                break
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as e:
                self._on_delivery(e.args[0], None)
                break
        self._producer.poll(0)

    def flush(self) -> None:
        """Returns once every letter is acknowledged.

        Raises:
          UserError: one was not: the broker is away (exit 69), refuses the log-in (77), or the letter (64). Nothing may be saved
            then that passes over the row: the next run refuses, and sends, it again.
        """
        left = self._producer.flush(self._timeout_secs + 1)
        if not left and not self._failed:
            self._events.clear()
            return
        away = left or self._failed.code() == KafkaError._MSG_TIMED_OUT
        cause = self._events.cause() if away else None
        why = f"no answer for {self._timeout_secs:g} s" + (f": {cause.what}" if cause else "") if away else self._failed.str()
        remedy = "Check that the broker runs, the topic's max.message.bytes and the right to write to it."
        raise UserError(
            f"--dead_letter_topic={self._topic} did not take all refused rows ({why}). Nothing is saved that passes over them: the "
            f"next run sends them again. {(cause and cause.remedy) or remedy}",
            (cause.code if cause else Exit.UNAVAILABLE) if away else Exit.FLAGS,
        )

    def _on_delivery(self, error: KafkaError | None, _: Any) -> None:
        self._failed = self._failed or error
