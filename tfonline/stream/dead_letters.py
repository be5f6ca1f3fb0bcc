"""Dead letters: refused rows, as they came, to a topic of their own."""

from collections.abc import Callable
from typing import Any, NamedTuple

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException, Message, Producer

from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.stream.broker_errors import ClientEvents
from tfonline.stream.originals import Originals
from tfonline.stream.properties import without_secrets

# As large as Kafka lets a topic's messages be made; the dead-letter topic's own limit decides.
_MAX_MESSAGE_BYTES = 1_000_000_000
# Letters whose originals are read at once.
_READ_AT_ONCE = 500


class _Refused(NamedTuple):
    reason: str
    message: bytes  # as the reader gave it, or of the row alone
    row: int | None


class DeadLetters:
    """Sends refused rows to a topic, each as its producer wrote it: value, key, headers and timestamp, to the byte. Behind its own
    headers stand `tfonline.reason`, `tfonline.topic`, `tfonline.partition` and `tfonline.offset`. Of a message of many rows
    it sends the refused row alone, as a message of its own, with `tfonline.row`.

    Readers give values only, so refused rows are read again. One that retention has taken since is sent without key, headers and
    timestamp of its own. After a crash a row may be sent twice: these headers say which letters are of one row.

    Args:
      servers: `host:port[,host:port]`.
      topic: where the letters go.
      source: the topic that the rows came from.
      properties: further librdkafka properties; may hold secrets.
      timeout_secs: how long the broker may take to give a refused row again, and to acknowledge a letter.
      stop: see Originals.
      say: where a broker that does not answer is told of.

    Raises:
      UserError: the producer refuses a property (exit 64).
    """

    def __init__(
        self,
        servers: str,
        topic: str,
        source: str,
        properties: dict[str, str],
        timeout_secs: float,
        stop: Stop,
        say: Callable[[str], None],
    ):
        self._topic, self._source, self._timeout_secs = topic, source, timeout_secs
        self._waiting: dict[tuple[int, int], list[_Refused]] = {}  # by partition and offset
        self._num_waiting = 0
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
        self._originals = Originals(servers, source, properties, timeout_secs, stop, say)

    def send(self, partition: int, offset: int, reason: str, message: bytes, row: int | None = None) -> None:
        """Queues a letter; waits where the queue is full.

        Args:
          partition: of the row.
          offset: likewise.
          reason: the name of why it is refused.
          message: as it came, or of the row alone.
          row: its number in its message; None where a message is a row.

        Raises:
          UserError: the refused rows that wait cannot be read again: the broker is away (exit 69), or refuses the log-in (77).
        """
        self._waiting.setdefault((partition, offset), []).append(_Refused(reason, message, row))
        self._num_waiting += 1
        if self._num_waiting >= _READ_AT_ONCE:
            self._send_waiting()

    def _send_waiting(self) -> None:
        for original in self._originals.read(self._waiting):
            place = (original.partition(), original.offset())
            for refused in self._waiting.pop(place):
                value = original.value() if refused.row is None else refused.message
                self._produce(place, refused, value, **_kept(original))
        for place, rows in self._waiting.items():
            for refused in rows:
                self._produce(place, refused, refused.message)
        self._waiting.clear()
        self._num_waiting = 0

    def _produce(self, place: tuple[int, int], refused: _Refused, value: bytes | None, headers: Any = (), **kept: Any) -> None:
        about = {"reason": refused.reason, "topic": self._source, "partition": str(place[0]), "offset": str(place[1])}
        if refused.row is not None:
            about["row"] = str(refused.row)
        headers = [*headers, *((f"tfonline.{name}", text.encode()) for name, text in about.items())]
        while True:
            try:
                self._producer.produce(self._topic, value, headers=headers, on_delivery=self._on_delivery, **kept)
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
            self._send_waiting()
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


def _kept(original: Message) -> dict[str, Any]:
    """What a letter has of its original beside the value, for Producer.produce."""
    kept = {"key": original.key(), "headers": original.headers() or []}
    kind, ms = original.timestamp()
    # A producer takes the time 0 for "now".
    return kept | ({"timestamp": ms} if kind != TIMESTAMP_NOT_AVAILABLE and ms > 0 else {})
