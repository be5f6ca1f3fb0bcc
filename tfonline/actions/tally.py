"""Counts what this process has done, for who asks meanwhile. Nothing of it is saved: a model's own numbers are its position's."""

import time
from collections.abc import Callable

from tfonline.events import Event, Rows, Saved, Saving, Seen, Tick, WindowEnd
from tfonline.formats.reasons import REASONS
from tfonline.state import NEGATIVES
from tfonline.stream.labels import COUNTED
from tfonline.stream.window import UNREAD

# What closes a window that is read, see stream.window.Window.
_READ = ("rows", "secs", "end")


class Tally:
    """An action. All numbers only rise, and are of this process: who adds up their rises counts a row again that is learned again.

    Args:
      saved_at: when the checkpoint was written that this run begins from, seconds since 1970; None: there is none.
      clock: seconds since 1970.

    Attributes:
      reading: whether anything has come: rows, a window's end, or word that there is nothing yet.
      rows: learned from.
      steps: train steps.
      windows: that have ended, by trigger.
      unread: offsets passed over unread, by the window's trigger; and negatives that were left out.
      rejected: rows refused, by reason.
      late: rows learned from once more, as their outcome came.
      outcomes: what became of outcomes, by stream.labels.COUNTED.
      checkpoints: that have come to disk.
      checkpoint_secs: from the copy of the model until it is on disk, summed up.
      saved_at: as above, of the newest checkpoint: when the model was as it is there.
    """

    def __init__(self, saved_at: float | None = None, clock: Callable[[], float] = time.time):
        self._clock = clock
        self.reading, self.saved_at = False, saved_at
        self.rows = self.steps = self.checkpoints = self.late = 0
        self.outcomes = dict.fromkeys(COUNTED, 0)
        self.checkpoint_secs = 0.0
        self.windows = dict.fromkeys((*_READ, *UNREAD), 0)
        self.unread = dict.fromkeys((*UNREAD, NEGATIVES), 0)
        self.rejected = dict.fromkeys(filter(None, REASONS), 0)
        self._saving: float | None = None

    def __call__(self, event: Event, seen: Seen | None) -> None:
        """Raises nothing."""
        match event:
            case Rows(refused=refused, left_out=left_out):
                self.reading = True
                self.unread[NEGATIVES] += left_out
                if seen:
                    self.rows += int(seen.valid.sum())
                    self.steps += len(seen.steps)
                    self.late += 0 if seen.late is None else int(seen.late.sum())
                for reason, count in enumerate(refused):
                    if count:
                        self.rejected[REASONS[reason]] += int(count)
            case WindowEnd(window=window, left_out=left_out, outcomes=outcomes):
                for what, count in outcomes.items():
                    self.outcomes[what] += count
                self.reading = True
                self.unread[NEGATIVES] += left_out
                self.windows[window.trigger] = self.windows.get(window.trigger, 0) + 1
                if window.trigger in UNREAD:
                    self.unread[window.trigger] += window.rows
            case Tick():
                self.reading = True
            case Saving():
                self._saving = self._clock()
            case Saved() if self._saving is not None:
                self.checkpoints += 1
                self.checkpoint_secs += max(0.0, self._clock() - self._saving)
                self.saved_at, self._saving = self._saving, None
