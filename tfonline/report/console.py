"""The console: lines for an operator and, on a terminal, a progress bar. Imports no TensorFlow: it speaks before that is there."""

import datetime
import sys
from typing import TextIO

from tqdm import tqdm

from tfonline.report.backlog import in_words
from tfonline.report.writers import Scalars


class Console:
    """Lines with the time before them and, on a terminal and for a run with an end, a progress bar with the time left.

    Args:
      out: text stream; None: standard output.
    """

    def __init__(self, out: TextIO | None = None):
        self._out, self._bar, self._warned = out or sys.stdout, None, set()

    def expect(self, total_rows: int | None, done_rows: int) -> None:
        """The run has this many rows from the model's beginning to its end, of which some are done. None: no end."""
        if total_rows and self._out.isatty():
            self._bar = tqdm(total=total_rows, initial=done_rows, unit=" rows", file=self._out, dynamic_ncols=True)

    def progress(self, rows: int) -> None:
        """`rows` are done, from the model's beginning."""
        if self._bar is not None:
            self._bar.update(rows - self._bar.n)

    def say(self, text: str) -> None:
        """A line."""
        line = f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S} {text}"
        if self._bar is not None:
            self._bar.write(line, file=self._out)
        else:
            print(line, file=self._out, flush=True)

    def warn_once(self, text: str) -> None:
        """A warning that is said once, however often it is given."""
        if text not in self._warned:
            self._warned.add(text)
            self.say(f"warning: {text}")

    def write(self, step: int, scalars: Scalars) -> None:
        """The line that an operator reads: the running metrics, speed, lag, how long a backlog still takes, and rejections."""
        s = scalars
        left = f" ({in_words(s['secs_left'])} left)" if "secs_left" in s else ""
        behind = f", {in_words(s['lag_secs'])}" if "lag_secs" in s else ""
        self.say(
            f"step {step:,}  rows {s['rows']:,.0f}  loss {s['running/log_loss']:.4f} "
            f"(trivial {s['running/trivial_log_loss']:.4f})  auc {s['running/auc']:.4f}  ne {s['running/ne']:.4f}  "
            f"calibration {s['running/calibration']:.3f}  {s['rows_per_sec']:,.0f} rows/s  lag {s['lag_rows']:,.0f}{behind}{left}  "
            f"rejected {s['rejected_rows']:,.0f}"
        )

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
