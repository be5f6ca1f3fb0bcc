"""How long a backlog still takes. Imports no TensorFlow."""

from collections import deque

# Speeds are over the last minute: one look would tell of a single window or of a save.
_OVER_SECS = 60.0
_LOOK_EVERY_SECS = 1.0
# Less than this is no backlog: rows always wait for their window to fill, and their number goes up and down.
_LEAST_SECS = 30.0
_MOST_SECS = 30 * 86_400.0


class Backlog:
    """Watches how fast the rows that are still to be read become fewer: rows trained less rows that arrive meanwhile."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float, float]] = deque()  # (time, rows left, rows done)

    def secs_left(self, now: float, rows_left: float, rows_done: float) -> float | None:
        """Seconds until no row is left, at the speeds of the last minute.

        Args:
          now: seconds, of a monotonic clock.
          rows_left: rows still to be read.
          rows_done: rows read so far.

        Returns:
          None where there is no answer: the rows left do not become fewer, they are fewer than half a minute's work, they take
          longer than a month, or nothing has been seen before.
        """
        if not self._seen or now - self._seen[-1][0] >= _LOOK_EVERY_SECS:
            self._seen.append((now, rows_left, rows_done))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _OVER_SECS:
            self._seen.popleft()
        then, left_then, done_then = self._seen[0]
        fewer, done = left_then - rows_left, rows_done - done_then
        if now <= then or fewer <= 0 or rows_left * (now - then) < _LEAST_SECS * done:
            return None
        secs = rows_left * (now - then) / fewer
        return secs if secs <= _MOST_SECS else None


def in_words(secs: float) -> str:
    """A time for people, to two figures or so: `0.3 s`, `40 s`, `12 min`, `3.2 h`, `4.1 days`."""
    if secs < 10:
        return f"{secs:.1f} s"
    if secs < 100:
        return f"{secs:.0f} s"
    if secs < 100 * 60:
        return f"{secs / 60:.0f} min"
    if secs < 48 * 3600:
        return f"{secs / 3600:.1f} h"
    return f"{secs / 86_400:.1f} days"
