"""What the trainer is fed: synthetic rows at a steady rate, which a fault may change on their way."""

import random
import threading
import time
from collections.abc import Callable

import synthetic
from confluent_kafka import Producer

_BURSTS_PER_SEC = 20
_MOST_WAITING = 90_000  # a broker that is away must not fill the queue

# Makes another row of a good one: its fields, its number and chance.
Change = Callable[[list[bytes], int, random.Random], list[bytes]]


class Feed:
    """Produces in a thread until it is closed.

    Args:
      bootstrap: the broker.
      topic: with its partitions.
      rows_per_sec: how many.

    Attributes:
      change: of the next rows; None: they are as they should be.
      age_secs: how old the next rows are by their timestamps.
      paused: while it is True none are produced.
      rows: how many have been produced.
      problem: why it has ended, if it has.
    """

    def __init__(self, bootstrap: str, topic: str, partitions: int, rows_per_sec: int):
        self._topic, self._partitions, self._rows_per_sec = topic, partitions, rows_per_sec
        self._producer = Producer({"bootstrap.servers": bootstrap, "reconnect.backoff.max.ms": 500, "log_level": 0})
        self.change: Change | None = None
        self.age_secs, self.paused, self.rows, self.problem = 0.0, False, 0, ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it; what is not delivered by then is not."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._produce()
        except Exception as e:  # whatever it is, it is told with the fault that waits for rows
            self.problem = repr(e)

    def _produce(self) -> None:
        rng, lines = random.Random(1), (line for block in synthetic.rows(10**9, seed=1) for line in block.lines)
        due, before = 0.0, time.monotonic()
        while not self._ended.wait(1 / _BURSTS_PER_SEC):
            now = time.monotonic()
            due, before = due + (0 if self.paused else (now - before) * self._rows_per_sec), now
            while due >= 1 and len(self._producer) < _MOST_WAITING:
                row = next(lines)
                if change := self.change:
                    row = b"\t".join(change(row.split(b"\t"), self.rows, rng))
                at = int((time.time() - self.age_secs) * 1000)
                self._producer.produce(self._topic, row, partition=self.rows % self._partitions, timestamp=at)
                self.rows, due = self.rows + 1, due - 1
            due = min(due, self._rows_per_sec)  # after a broker that was away: no burst
            self._producer.poll(0)


def labels_in_doubt(fields: list[bytes], number: int, _: random.Random) -> list[bytes]:
    """The label is inverted in every other 1,500 rows: two programs that disagree about it write in turns."""
    inverted = number // 1500 % 2 == 0
    return [(b"1" if fields[0] == b"0" else b"0") if inverted else fields[0], *fields[1:]]


def cut_short(fields: list[bytes], _: int, rng: random.Random) -> list[bytes]:
    """One row in twenty lacks its last columns."""
    return fields[:-7] if rng.random() < 0.05 else fields


def label_in(place: int) -> Change:
    """A column is empty unless the row is a click."""
    return lambda fields, number, rng: [*fields[:place], fields[place] if fields[0] == b"1" else b"", *fields[place + 1 :]]


def without_column(place: int) -> Change:
    """A column is empty; the label is at place 0."""
    return lambda fields, number, rng: [*fields[:place], b"", *fields[place + 1 :]]
