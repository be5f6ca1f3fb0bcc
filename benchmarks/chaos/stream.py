"""What the trainer is fed: synthetic rows at a steady rate, one in a hundred poisoned, and transactions at the beginning."""

import random
import threading
import time

import synthetic
from confluent_kafka import KafkaError, Message, Producer

from benchmarks.chaos.poison import poisoned
from benchmarks.chaos.trainer import HarnessFailed

POISON_ONE_IN = 100
_BURSTS_PER_SEC = 20
_GIVE_UP_SECS = 60


def preload(bootstrap: str, topic: str, partitions: int, rows: int, seed: int) -> None:
    """Writes rows in transactions, every third of which is aborted: gaps and aborted rows lie between the good ones."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"{topic}-preload"})
    producer.init_transactions()
    lines = [line for block in synthetic.rows(rows, seed) for line in block.lines]
    for number, first in enumerate(range(0, rows, 200)):
        producer.begin_transaction()
        for i, line in enumerate(lines[first : first + 200]):
            producer.produce(topic, line, partition=(first + i) % partitions)
        producer.flush()
        if number % 3 == 2:
            producer.abort_transaction()
        else:
            producer.commit_transaction()


class Feeder:
    """Produces in a thread until it is stopped; a broker that is away is waited for.

    Not exactly once: what counts is what lies in the topic, and the check reads that. A row that is given up, or is there twice,
    does no harm, while an idempotent producer that waits without end may stand still for good, and say nothing.

    Attributes:
      num_rows: rows handed to the producer.
    """

    def __init__(self, bootstrap: str, topic: str, partitions: int, rows_per_sec: int, seed: int):
        self._topic, self._partitions, self._rows_per_sec, self._seed = topic, partitions, rows_per_sec, seed
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "message.timeout.ms": _GIVE_UP_SECS * 1000,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
                "on_delivery": self._settled,
                "error_cb": self._note,
            }
        )
        self._ended = threading.Event()
        self.num_rows = 0
        self._num_acknowledged = self._num_given_up = 0
        self._error = self._problem = ""
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)
        self._thread.start()

    def state(self) -> dict[str, int | str]:
        """The feeder's part of a Sample: rows handed over and settled, and why it has ended, if it has."""
        return {"fed": self.num_rows, "acknowledged": self._num_acknowledged + self._num_given_up, "problem": self._problem}

    def stop(self) -> str:
        """Ends the production, waits until the broker has every row, and returns what became of them.

        Raises:
          HarnessFailed: it has ended before, or rows are neither acknowledged nor given up in time.
        """
        self._ended.set()
        self._thread.join()
        left = self._producer.flush(2.0 * _GIVE_UP_SECS)
        if self._problem or left:
            why = self._problem or f"{left:,} of {self.num_rows:,} rows are neither acknowledged nor given up"
            raise HarnessFailed(f"the feeder has ended: {why} (librdkafka: {self._error or 'no error'})")
        return f"{self._num_acknowledged:,} rows, {self._num_given_up} given up"

    def _run(self) -> None:
        try:
            self._produce()
        except Exception as e:  # whatever it is, it is the harness's own fault and must be told as that
            self._problem = repr(e)

    def _produce(self) -> None:
        rng = random.Random(self._seed)
        lines = (line for block in synthetic.rows(10**9, self._seed) for line in block.lines)
        began = time.monotonic()
        while not self._ended.wait(1 / _BURSTS_PER_SEC):
            due = (time.monotonic() - began) * self._rows_per_sec
            while self.num_rows < due and len(self._producer) < 90_000:  # a broker that is away must not fill the queue
                line = next(lines)
                value = poisoned(line, rng) if rng.randrange(POISON_ONE_IN) == 0 else line
                self._producer.produce(self._topic, value, partition=self.num_rows % self._partitions)
                self.num_rows += 1
            self._producer.poll(0)

    def _settled(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._num_acknowledged += 1
        else:
            self._num_given_up += 1
            self._error = error.str()

    def _note(self, error: KafkaError) -> None:
        self._error = error.str()
        if error.fatal():
            self._problem = error.str()
