"""Messages of a topic by their offsets, whole: with key, headers and timestamp, which the readers do not give."""

import time
from collections.abc import Callable, Iterable, Iterator

from confluent_kafka import Message

from tfonline.lifecycle import Stop
from tfonline.stream import records
from tfonline.stream.client import Client

# Offsets that are closer to each other are read through, further ones are gone to.
_NEAR = 500


class Originals:
    """Reads single messages. For one thread.

    Args:
      servers: `host:port[,host:port]`.
      topic: its name.
      properties: librdkafka properties; may hold secrets.
      timeout_secs: how long the broker may give nothing.
      stop: for the client; it does not end a read, or what a stopped run has learned could not be saved.
      say: where a broker that does not answer is told of.

    Raises:
      UserError: a property is wrong (exit 64).
    """

    def __init__(
        self, servers: str, topic: str, properties: dict[str, str], timeout_secs: float, stop: Stop, say: Callable[[str], None]
    ):
        self._topic, self._timeout_secs = topic, timeout_secs
        # Where retention has taken an offset, what is left is read on.
        self._client = Client(
            servers, f"{topic}-originals", properties, timeout_secs, stop, say, **{"auto.offset.reset": "earliest"}
        )

    def read(self, wanted: Iterable[tuple[int, int]]) -> Iterator[Message]:
        """The messages of `(partition, offset)`, in any order. Those that are not in the log any more are left out.

        Raises:
          UserError: the broker gives nothing for so long (exit 69), or refuses this client (77).
        """
        runs: dict[int, list[list[int]]] = {}
        for partition, offset in sorted(set(wanted)):
            of_partition = runs.setdefault(partition, [])
            if of_partition and offset - of_partition[-1][-1] <= _NEAR:
                of_partition[-1].append(offset)
            else:
                of_partition.append([offset])
        try:
            while runs := {partition: left for partition, left in runs.items() if left}:
                yield from self._read_runs({partition: of_partition.pop(0) for partition, of_partition in runs.items()})
        finally:
            self._client.consumer.unassign()  # or it would fetch what follows

    def _read_runs(self, runs: dict[int, list[int]]) -> Iterator[Message]:
        came = time.monotonic()

        def nothing_came() -> None:
            if time.monotonic() > came + self._timeout_secs or self._client.events.refusal():
                raise self._client.unreachable("reading refused rows again")

        ranges = {partition: (offsets[0], offsets[-1] + 1) for partition, offsets in runs.items()}
        for record in records.read(self._client.consumer, self._topic, ranges, nothing_came):
            came = time.monotonic()
            if record.offset() in runs[record.partition()]:
                yield record
