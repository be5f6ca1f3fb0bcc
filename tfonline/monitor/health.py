"""Whether the trainer lives, and whether it reads its stream."""

import time
from collections.abc import Callable

from tfonline.actions.tally import Tally
from tfonline.lifecycle import Liveness, Stop
from tfonline.report.status import Status

# XLA compiles for minutes, and a disk may take as long for a checkpoint; no phase goes on for longer.
_LONGEST_PHASE_SECS = 1800.0


class Health:
    """Answers for --monitor_port, from any thread.

    Args:
      status: what the trainer does.
      stop: ends the run.
      clock: seconds, monotonic; that of the status.

    Attributes:
      liveness: watches the waits for rows, once there are any.
      tally: of the run, once there is one.
    """

    def __init__(self, status: Status, stop: Stop, clock: Callable[[], float] = time.monotonic):
        self._status, self._stop, self._clock = status, stop, clock
        self.liveness: Liveness | None = None
        self.tally: Tally | None = None

    def hangs(self) -> str:
        """In what the trainer hangs, in words; '' where it works, or waits for rows as long as a stream without any lets it."""
        waited = self.liveness.overdue_secs if self.liveness else 0.0
        if waited:
            return f"the next rows have not come for {waited:.0f} s: the broker is away, or a read hangs"
        stage = self._status.stage
        secs = self._clock() - stage.since
        return f"{stage.phase} has gone on for {secs:.0f} s" if secs > _LONGEST_PHASE_SECS else ""

    def not_ready(self) -> str:
        """Why the trainer does not read its stream, in words; '' where it does."""
        if hangs := self.hangs():
            return hangs
        if self._stop.requested():
            return f"stopped by {self._stop.reason}"
        if self._status.stage.phase == "ended":
            return "ended"
        return "" if self.tally and self.tally.reading else "starting: no window has been read yet"
