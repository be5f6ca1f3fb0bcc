"""What produce.py sends to two topics: rows without their labels, and outcomes some time later (--label_topic)."""

import heapq
import itertools
import random
import time
import uuid
from collections.abc import Callable, Iterator

from produce_messages import Message, Messages
from produce_rows import Rows

from tfonline.features.kinds.label import POSITIVE

_POSITIVE = [text.encode() for text in POSITIVE]


class Unlabelled(Messages):
    """Messages of lines of TSV whose first field is the label: the rest of the line, under a key of its own.

    Attributes:
      positive: called with the key of each row whose label is positive.
    """

    def __init__(self, positive: Callable[[bytes], None]):
        super().__init__()
        self._positive, self._run, self._numbers = positive, uuid.uuid4().hex[:8], itertools.count()

    def of_rows(self, rows: Rows, refuse: Callable[[str], None]) -> Iterator[Message]:
        """See Messages."""
        for line in rows.lines:
            label, _, rest = line.partition(b"\t")
            key = f"{self._run}-{next(self._numbers)}".encode()
            yield Message(key, rest, 1)
            if label in _POSITIVE:
                self._positive(key)


class Outcomes:
    """Outcomes that are due at their time, an exponentially distributed time after their rows.

    Args:
      mean_secs: of that time.
      seed: of chance.
      clock: seconds.

    Attributes:
      num_taken: outcomes that were due and were handed out.
    """

    def __init__(self, mean_secs: float, seed: int, clock: Callable[[], float] = time.monotonic):
        self._mean_secs, self._random, self._clock = mean_secs, random.Random(seed), clock
        self._waiting: list[tuple[float, bytes]] = []
        self.num_taken = 0

    def add(self, key: bytes) -> None:
        """A row has been sent whose outcome will come."""
        secs = self._random.expovariate(1 / self._mean_secs) if self._mean_secs else 0.0
        heapq.heappush(self._waiting, (self._clock() + secs, key))

    def due(self) -> Iterator[bytes]:
        """The keys of those that are due now."""
        now = self._clock()
        while self._waiting and self._waiting[0][0] <= now:
            self.num_taken += 1
            yield heapq.heappop(self._waiting)[1]

    @property
    def secs(self) -> float | None:
        """Until the next one is due; None: none waits."""
        return max(0.0, self._waiting[0][0] - self._clock()) if self._waiting else None
