"""What has become of the exports of a run, and what they took. Imports no TensorFlow."""

import contextlib
import time
from collections.abc import Callable, Iterator

from tfonline.report.writers import Scalars

_OUTCOMES = ("published", "refused", "failed")


class Exports:
    """Counts exports, one after the other.

    Args:
      clock: seconds, monotonic.

    Attributes:
      counts: by outcome; `failed` also counts what else went wrong with publishing, `rolled_back` versions that were published and
        left again.
      secs: from the save of the checkpoint to the outcome, summed up by outcome.
      stall_secs: how long training has stood still for all of them.
      paused: whether publishing was paused by a person when a model was due last.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self.counts = dict.fromkeys((*_OUTCOMES, "rolled_back"), 0)
        self.secs, self.stall_secs = dict.fromkeys(_OUTCOMES, 0.0), 0.0
        self.paused = False
        self._began = self._ended = clock()
        self._stalled_before = 0.0
        self._last: Scalars = {}

    def begin(self) -> None:
        """An export begins."""
        self._began, self._stalled_before = self._clock(), self.stall_secs

    def end(self) -> None:
        """It has ended, whatever its outcome is; from any thread."""
        self._ended = self._clock()

    @contextlib.contextmanager
    def stall(self) -> Iterator[None]:
        """What training stands still for."""
        began = self._clock()
        try:
            yield
        finally:
            self.stall_secs += self._clock() - began

    def count(self, outcome: str, timed: bool = True) -> None:
        """The export that has ended has this outcome; not `timed` where something else has failed, which took no such time."""
        self.counts[outcome] += 1
        if timed:
            self.secs[outcome] += self._ended - self._began

    def was_published(self) -> None:
        """All that the export stalled has gone on."""
        self._last = {"export/secs": self._ended - self._began, "export/stall_secs": self.stall_secs - self._stalled_before}

    def scalars(self) -> Scalars:
        """The counts and, of the last one that was published, what it took."""
        return {f"export/{outcome}": float(count) for outcome, count in self.counts.items()} | self._last
