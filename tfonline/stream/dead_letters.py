"""Dead letters: refused rows, as they came, to a topic of their own."""

from typing import Any

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException, Message, Producer

from tfonline.lifecycle import Exit, UserError
from tfonline.stream.broker_errors import ClientEvents
from tfonline.stream.originals import Originals
from tfonline.stream.properties import without_secrets

# As large as Kafka lets a topic's messages be made; the dead-letter topic's own limit decides.
_MAX_MESSAGE_BYTES = 1_000_000_000

# Rows that are read again at once.
_READ_AT_ONCE = 500


class DeadLetters:
    """Sends refused rows to a topic, each as its producer wrote it: value, key, headers and timestamp, to the byte. Behind its own
    headers stand `tfonline.reason`, `tfonline.topic`, `tfonline.partition` and `tfonline.offset`.

    The readers do not give all of that, so the rows are read again, some at a time. One that is not in its topic any more is sent
    with the value that was refused, without key and timestamp. A row that is read again after a crash is sent again: the headers
    say which letters are of one row.

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
        self._originals = Originals(servers, source, properties, timeout_secs)
        self._waiting: list[tuple[int, int, str, bytes]] = []  # that are not produced yet
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
        """Queues a letter; now and then reads the originals of those that are queued, and produces them."""
        self._waiting.append((partition, offset, reason, message))
        if len(self._waiting) >= _READ_AT_ONCE:
            self._produce_waiting()

    def _produce_waiting(self) -> None:
        try:
            originals = self._originals.read((partition, offset) for partition, offset, _, _ in self._waiting)
        except KafkaException as e:
            self._on_delivery(e.args[0], None)
            return
        for partition, offset, reason, message in self._waiting:
            about = {"reason": reason, "topic": self._source, "partition": str(partition), "offset": str(offset)}
            self._produce(message, originals.get((partition, offset)), [(f"tfonline.{k}", v.encode()) for k, v in about.items()])
        self._waiting.clear()

    def _produce(self, value: bytes | None, original: Message | None, headers: list[tuple[str, bytes]]) -> None:
        """Waits where the queue is full."""
        more: dict[str, Any] = {}
        if original is not None:
            value, more["key"], headers = original.value(), original.key(), [*(original.headers() or []), *headers]
            kind, ms = original.timestamp()
            if kind != TIMESTAMP_NOT_AVAILABLE and ms > 0:  # 0 is the time of sending to the producer
                more["timestamp"] = ms
        while True:
            try:
                self._producer.produce(self._topic, value, headers=headers, on_delivery=self._on_delivery, **more)
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
        if self._waiting:
            self._produce_waiting()
        left = self._producer.flush(self._timeout_secs + 1)
        if not left and not self._failed:
            self._events.clear()
            return
        away = left or self._failed.code() in (KafkaError._MSG_TIMED_OUT, KafkaError._TIMED_OUT)
        cause = (self._events.cause() or self._originals.events.cause()) if away else None
        why = f"no answer for {self._timeout_secs:g} s" + (f": {cause.what}" if cause else "") if away else self._failed.str()
        remedy = "Check that the broker runs, the topic's max.message.bytes and the right to write to it."
        raise UserError(
            f"--dead_letter_topic={self._topic} did not take all refused rows ({why}). Nothing is saved that passes over them: the "
            f"next run sends them again. {(cause and cause.remedy) or remedy}",
            (cause.code if cause else Exit.UNAVAILABLE) if away else Exit.FLAGS,
        )

    def _on_delivery(self, error: KafkaError | None, _: Any) -> None:
        self._failed = self._failed or error
