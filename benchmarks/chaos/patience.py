"""How long to wait, and who is to blame when nothing moves: the feeder, the broker or the trainer. Decides only; asks nobody."""

import dataclasses
import math
from typing import NamedTuple

PATIENCE_SECS = 90.0  # without a move, where the next one takes a second or ten
# A trainer makes thousands on a free machine. It is not called slow for sharing two cores with ten others.
LEAST_ROWS_PER_SEC = 100.0


def limit_secs(rows: int) -> float:
    """The longest that a trainer may take for so many rows, whatever else the machine does."""
    return 2 * PATIENCE_SECS + rows / LEAST_ROWS_PER_SEC


@dataclasses.dataclass(frozen=True)
class Sample:
    """What is known of the three at one moment.

    Attributes:
      secs: when, of a monotonic clock.
      ends: the topic's end offset a partition; () where the broker did not answer.
      trainer: (phase, window, step), of its status file.
      next: the offsets at which the trainer's window begins, a number a partition; partitions it does not know of are missing.
      fed: rows that were handed to the feeder's producer, or None where nothing is to be fed.
      acknowledged: those of them that the broker has, or that were given up.
      problem: why the feeder has ended; '' where it goes on.
    """

    secs: float
    ends: tuple[int, ...]
    trainer: tuple[str, int, int]
    next: tuple[int, ...]
    fed: int | None = None
    acknowledged: int = 0
    problem: str = ""

    @property
    def left(self) -> int:
        """Rows that the trainer has yet to learn from; 0 where the broker did not answer."""
        return sum(self.ends) - sum(self.next[: len(self.ends)]) if self.ends else 0

    def __str__(self) -> str:
        phase, window, step = self.trainer
        fed = "" if self.fed is None else f"feeder: {self.fed:,} rows handed over, {self.acknowledged:,} settled; "
        ends = f"ends at {list(self.ends)}" if self.ends else "no answer"
        return f"{fed}broker: {ends}; trainer: {phase} in window {window}, step {step}, which begins at {list(self.next)}"


class Fault(NamedTuple):
    """Who stands still (`feeder`, `broker` or `trainer`), and a sentence about it."""

    who: str
    text: str


class Patience:
    """Looks at samples of one wait and says when it is over.

    Nobody is blamed for what another one keeps from them: without a broker neither feeder nor trainer can move, and without rows
    no trainer can. A trainer that moves is let be for as long as the rows that lay before it may take.

    Args:
      due_rows: how many rows must be there before the trainer begins a window; 1 where windows close by time.
    """

    def __init__(self, due_rows: int = 1):
        self._due_rows = due_rows
        self._first: Sample | None = None
        self._last: Sample | None = None
        self._moved = {"feeder": math.inf, "broker": math.inf, "trainer": math.inf}
        self._silent_secs = 0.0  # without the broker, and so no time of the others

    def look(self, sample: Sample) -> Fault | None:
        """Whether somebody has stood still for too long; samples come in the order of time."""
        last, self._last = self._last, sample
        if self._first is None or last is None:
            self._first = last = sample
            self._moved = dict.fromkeys(self._moved, sample.secs)
        if sample.ends:
            self._moved["broker"] = sample.secs
        else:
            self._silent_secs += sample.secs - last.secs
        if not sample.ends or sample.acknowledged != last.acknowledged or sample.acknowledged == sample.fed or sample.fed is None:
            self._moved["feeder"] = sample.secs
        # Where nothing is fed any more, the trainer is to learn the rest and end.
        has_work = sample.fed is None or sample.trainer[0] != "reading" or sample.left >= self._due_rows
        if not sample.ends or sample.trainer != last.trainer or not has_work:
            self._moved["trainer"] = sample.secs
        if sample.problem:
            return Fault("feeder", f"the feeder has ended ({sample.problem}). {sample}")
        for who, since in self._moved.items():
            if sample.secs - since > PATIENCE_SECS:
                return Fault(who, f"the {who} has stood still for {sample.secs - since:.0f} s. {sample}")
        waited, limit = sample.secs - self._first.secs - self._silent_secs, limit_secs(self._first.left)
        if waited <= limit:
            return None
        if not has_work:
            return Fault("feeder", f"the feeder gave too few rows for a window in {waited:.0f} s. {sample}")
        what = f"{self._first.left:,} rows lay before it, which may take {limit:.0f} s"
        return Fault("trainer", f"the trainer moves, but not to where it should be after {waited:.0f} s: {what}. {sample}")
