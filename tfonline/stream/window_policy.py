"""When a window closes, and how many rows of which partition it takes."""

import dataclasses
from collections.abc import Sequence


def share(backlog: Sequence[int], rows: int) -> list[int]:
    """Splits `rows` over partitions in proportion to their backlog, none more than it has.

    The largest-remainder method; of equal remainders the lower partition goes first. `rows` is at most sum(backlog).
    """
    total = sum(backlog)
    if not total:
        return [0] * len(backlog)
    parts = [b * rows // total for b in backlog]
    remainders = sorted(range(len(backlog)), key=lambda p: (-(backlog[p] * rows % total), p))
    for p in remainders[: rows - sum(parts)]:
        parts[p] += 1
    return parts


@dataclasses.dataclass(frozen=True)
class Policy:
    """When a window closes and when the stream ends. Units as in the flags of the same names.

    Attributes:
      on_lost_rows: `fail`, or `skip` what is no longer in the log.
      stop_at: the offset of each partition at which the run ends; None: never.
      most_partitions: how many the reader can hold; 0: any number.
    """

    window_rows: int
    window_secs: float
    max_idle_secs: float = 0.0
    max_lag_rows: int = 0
    lag_policy: str = "work"
    on_lost_rows: str = "fail"
    stop_at: tuple[int, ...] | None = None
    most_partitions: int = 0

    def plan(self, position: Sequence[int], ends: Sequence[int], due: bool) -> tuple[list[int], str] | None:
        """The next window's stop offsets and its trigger, or None when it is too early.

        Args:
          position: next offset of each partition.
          ends: end offset of each partition as the broker says now.
          due: whether `window_secs` have passed since the last plan.
        """
        backlog = self.backlog(position, ends)
        total = sum(backlog)
        if self.lag_policy == "skip" and total > self.max_lag_rows:
            keep = share(backlog, self.max_lag_rows)
            return [p + b - k for p, b, k in zip(position, backlog, keep, strict=True)], "skip"
        if total >= self.window_rows:
            trigger, take = "rows", share(backlog, self.window_rows)
        elif total and self.stop_at and all(e >= s for e, s in zip(ends, self.stop_at, strict=True)):
            trigger, take = "end", backlog
        elif total and due:
            trigger, take = "secs", backlog
        else:
            return None
        return [p + t for p, t in zip(position, take, strict=True)], trigger

    def backlog(self, position: Sequence[int], ends: Sequence[int]) -> list[int]:
        """Rows of each partition that are there and not planned, as far as the run goes."""
        stops = [min(e, s) for e, s in zip(ends, self.stop_at, strict=True)] if self.stop_at else ends
        return [max(0, e - p) for p, e in zip(position, stops, strict=True)]

    def ended(self, position: Sequence[int]) -> bool:
        """Whether every partition has reached `stop_at`."""
        return self.stop_at is not None and all(p >= s for p, s in zip(position, self.stop_at, strict=True))
