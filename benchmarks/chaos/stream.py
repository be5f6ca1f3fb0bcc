"""What the trainer is fed: synthetic rows at a steady rate, one in a hundred poisoned, and transactions at the beginning."""

import random
import threading
import time

import synthetic
from confluent_kafka import Producer

from benchmarks.chaos.poison import poisoned

POISON_ONE_IN = 100
_BURSTS_PER_SEC = 20


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

    Attributes:
      num_rows: rows handed to the producer.
    """

    def __init__(self, bootstrap: str, topic: str, partitions: int, rows_per_sec: int, seed: int):
        self._topic, self._partitions, self._rows_per_sec, self._seed = topic, partitions, rows_per_sec, seed
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "message.timeout.ms": 0,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
                "error_cb": lambda _: None,
            }
        )
        self._ended = threading.Event()
        self.num_rows = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the production and waits until the broker has every row."""
        self._ended.set()
        self._thread.join()
        while self._producer.flush(1.0):
            pass

    def _run(self) -> None:
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
