"""Dead letters: refused rows, as they came, to a topic of their own."""

from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from tfonline.lifecycle import Exit, UserError

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
    """

    def __init__(self, servers: str, topic: str, source: str, properties: dict[str, str], timeout_secs: float):
        self._topic, self._source, self._timeout_secs = topic, source, timeout_secs
        self._failed: KafkaError | None = None
        self._producer = Producer(
            {
                "log_level": 2,
                "error_cb": lambda _: None,  # what is not delivered is told by `flush`
                "enable.idempotence": True,
                "linger.ms": 20,
                "message.max.bytes": _MAX_MESSAGE_BYTES,
                "message.timeout.ms": round(timeout_secs * 1000),
                "reconnect.backoff.max.ms": 1000,
                **properties,
                "bootstrap.servers": servers,
            }
        )

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
          UserError: one was not: the broker is away (exit 69), or refuses it (64). Nothing may be saved then that passes over
            the row: the next run refuses, and sends, it again.
        """
        left = self._producer.flush(self._timeout_secs + 1)
        if not left and not self._failed:
            return
        away = left or self._failed.code() == KafkaError._MSG_TIMED_OUT
        raise UserError(
            f"--dead_letter_topic={self._topic} did not take all refused rows ("
            + (f"no answer for {self._timeout_secs:g} s" if away else self._failed.str())
            + "). Nothing is saved that passes over them: the next run sends them again. Check that the broker runs, the topic's "
            "max.message.bytes and the right to write to it.",
            Exit.UNAVAILABLE if away else Exit.FLAGS,
        )

    def _on_delivery(self, error: KafkaError | None, _: Any) -> None:
        self._failed = self._failed or error
