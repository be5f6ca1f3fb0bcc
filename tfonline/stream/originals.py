"""Messages of a topic by their offsets, whole: with key, headers and timestamp, which the readers do not give."""

import time
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tfonline.stream.broker_errors import ClientEvents

# Offsets that are further apart are gone to, and not read through.
_READ_THROUGH = 500
_SLICE_SECS = 0.5
_GONE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}


class Originals:
    """Reads single messages. For one thread.

    Args:
      servers: `host:port[,host:port]`.
      topic: its name.
      properties: librdkafka properties; may hold secrets.
      timeout_secs: how long the broker may give nothing.
      clock: seconds, monotonic.

    Attributes:
      events: what the client has reported beside its answers.
    """

    def __init__(
        self,
        servers: str,
        topic: str,
        properties: dict[str, str],
        timeout_secs: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._topic, self._timeout_secs, self._clock = topic, timeout_secs, clock
        self.events = ClientEvents(servers, properties)
        self._settings = {
            "log_level": 2,
            "reconnect.backoff.max.ms": 1000,
            **properties,
            "bootstrap.servers": servers,
            "group.id": f"{topic}-originals",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "error_cb": self.events.note,
        }
        self._consumer: Consumer | None = None

    def read(self, wanted: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Message]:
        """The messages of `(partition, offset)`. One that is not in the log any more is left out.

        Raises:
          KafkaException: the broker gives nothing for `timeout_secs`, or refuses.
        """
        if self._consumer is None:
            self._consumer = Consumer(self._settings)
        by_partition: dict[int, list[int]] = {}
        for partition, offset in sorted(set(wanted)):
            by_partition.setdefault(partition, []).append(offset)
        found: dict[tuple[int, int], Message] = {}
        for partition, offsets in by_partition.items():
            while offsets:
                offsets = self._read_on(partition, offsets, found)
        self._consumer.unassign()
        return found

    def _read_on(self, partition: int, offsets: list[int], found: dict[tuple[int, int], Message]) -> list[int]:
        """Reads from the first of the offsets on; gives those that are left, further on."""
        self._consumer.assign([TopicPartition(self._topic, partition, offsets[0])])
        deadline, left = self._clock() + self._timeout_secs, list(offsets)
        while left:
            message = self._consumer.poll(_SLICE_SECS)
            if message is None:
                if self._clock() > deadline:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
                continue
            error = message.error()
            if error is not None and error.code() in _GONE:
                return left[1:]
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                if self._clock() > deadline:
                    raise KafkaException(error)
                continue
            deadline = self._clock() + self._timeout_secs
            if error is None and message.offset() in left[:1]:
                found[partition, message.offset()] = message
            # Behind the end of the partition there are none.
            left = [offset for offset in left if offset > message.offset()] if error is None else []
            if left and error is None and left[0] - message.offset() > _READ_THROUGH:
                return left
        return []
