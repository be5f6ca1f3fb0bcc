"""How old the rows are that are learned from, by the timestamps of their messages."""

import time
from collections import deque
from collections.abc import Callable

from tfonline.events import Event, Rows, Saving, Seen
from tfonline.report.writers import Scalars
from tfonline.stream.readers import NO_TIME

# A checkpoint is published soon after it was saved.
_KEPT = 16
# A time further ahead is no time: it comes from a clock that is wrong, and would hide for as long that nothing new comes.
_AHEAD_MS = 60_000


class RowTimes:
    """An action. Knows nothing where the reader gives no timestamps.

    Args:
      otherwise: the time of the newest row in `[start, next)` of each partition, for a checkpoint that none of this run's rows are
        in, or whose rows had no time; see KafkaTopic.newest_row_time.
      clock: seconds since 1970.
    """

    def __init__(
        self,
        otherwise: Callable[[list[int], list[int]], float | None] | None = None,
        clock: Callable[[], float] = time.time,
    ):
        self._otherwise, self._clock = otherwise or (lambda start, stop: None), clock
        self._newest_ms = NO_TIME
        self._lag_secs = 0.0
        self._saved: deque[tuple[list[int], int]] = deque(maxlen=_KEPT)  # next offsets, and the newest time

    def __call__(self, event: Event, seen: Seen | None) -> None:
        """Raises nothing."""
        match event:
            case Rows(element=element) if seen:
                # Of refused rows, too: in a cluster `valid` is of all workers' rows, and the times may be the chief's alone.
                times, now = element.batch.origin.time_ms.numpy(), self._clock()
                newest = int(times[times <= now * 1000 + _AHEAD_MS].max(initial=NO_TIME))
                if newest != NO_TIME:
                    self._lag_secs = max(0.0, now - newest / 1000)
                    self._newest_ms = max(self._newest_ms, newest)
            # Not once it is saved: rows that come while it is written are not in it.
            case Saving(windows=[*_, last]) if self._newest_ms != NO_TIME:
                self._saved.append((list(last.stop), self._newest_ms))

    def scalars(self) -> Scalars:
        """Where it is known: `lag_secs`, how old the newest row of the last step was when it was learned from; and
        `newest_row_age_secs`, how old the newest row of all is now.
        """
        if self._newest_ms == NO_TIME:
            return {}
        return {"lag_secs": self._lag_secs, "newest_row_age_secs": max(0.0, self._clock() - self._newest_ms / 1000)}

    @property
    def newest(self) -> float | None:
        """The time of the newest row that this run has learned from, seconds since 1970; None where it is not known."""
        return None if self._newest_ms == NO_TIME else self._newest_ms / 1000

    def newest_row_time(self, start: list[int], position: list[int]) -> float | None:
        """The time of the newest row that a checkpoint has learned from, seconds since 1970; None where it is not known.

        Args:
          start: where the model's first window began.
          position: the next offsets of the checkpoint.
        """
        known = [ms for saved, ms in self._saved if saved == list(position)]
        return known[-1] / 1000 if known else self._otherwise(start, position)
