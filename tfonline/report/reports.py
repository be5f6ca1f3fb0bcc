"""The console's line and TensorBoard's events while a run goes on: when it is time, and only where something is new."""

import datetime
import time
from collections.abc import Callable, Mapping
from typing import Any

from tfonline.evaluate.progressive import Counts
from tfonline.lifecycle import Every
from tfonline.report.backlog import Backlog
from tfonline.report.console import Console
from tfonline.report.worse import WorseThanTrivial
from tfonline.report.writers import Scalars, Writer
from tfonline.state import NEGATIVES

# Distributions, the reliability diagram and the columns' shares are larger than all else, and TensorBoard shows few of them.
_PICTURES_EVERY_SECS = 60.0


class Reports:
    """Tells of a run from time to time. Nothing is told twice: a stream without new rows is told of once.

    Args:
      report_secs: stand between two reports; 0: at each look.
      writer: gets the numbers.
      console: gets a line.
      worse: looks whether the model predicts anything.
      step: steps done at the run's start.
      rows: rows trained by then.
      column_shares: makes scalars of some rows, see ColumnShares; None: it is not told how columns are filled.
      clock: seconds, monotonic.
      wall_clock: seconds since 1970.
    """

    def __init__(
        self,
        report_secs: float,
        writer: Writer,
        console: Console,
        worse: WorseThanTrivial,
        step: int,
        rows: int,
        column_shares: Callable[[Any], Scalars] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ):
        self._writer, self._console, self._clock, self._wall_clock = writer, console, clock, wall_clock
        self._cadence = Every(secs=report_secs or 1e-9, clock=clock)
        self._first_step = step
        self._reported, self._rows_reported = clock(), rows
        self._backlog, self._worse = Backlog(), worse
        self._told: tuple[float, ...] = ()
        self._idle = False
        self._column_shares, self._newest = column_shares, None
        self._row_came = wall_clock()
        self._pictured: float | None = None

    def rows_came(self, fields: Any) -> None:
        """Rows have come, be they good or refused: as they were parsed, see features.parse.Fields."""
        self._row_came, self._newest = self._wall_clock(), fields

    def due(self) -> bool:
        """Whether it is time for a report."""
        return self._cadence.due(0)

    def report(self, step: int, scalars: Scalars, counts: Mapping[str, Counts], rows_left: float) -> None:
        """Tells how the run stands.

        Args:
          step: steps done.
          scalars: all that is known, by the names of TensorBoard; rows_per_sec and secs_left are added here.
          counts: of the rows' scores, by label: '' for the first, another one by its name.
          rows_left: rows still to be read: the lag or, where the run has an end, the rows before it.
        """
        self._cadence.done(0)
        now, rows = self._clock(), scalars["rows"] + scalars.get(f"unread_rows/{NEGATIVES}", 0.0)
        scalars = {**scalars, "rows_per_sec": (rows - self._rows_reported) / max(now - self._reported, 1e-9)}
        self._reported, self._rows_reported = now, rows
        secs_left = self._backlog.secs_left(now, rows_left, rows + scalars["rejected_rows"])
        if secs_left is not None:
            scalars["secs_left"] = secs_left
        news = (step, rows, scalars["lag_rows"], scalars["rejected_rows"])
        if news == self._told:
            self._say_idle(scalars["lag_rows"])
            return
        self._told, self._idle = news, False
        if step == self._first_step:
            return  # nothing was learned: there are no metrics of this run
        self._writer.write(step, scalars)
        if self._pictured is None or now - self._pictured >= _PICTURES_EVERY_SECS:
            self._write_pictures(step, counts)
        self._console.write(step, scalars)
        self._warn(self._worse.look(scalars))

    def final(self, step: int, scalars: Scalars, counts: Mapping[str, Counts]) -> None:
        """At a run's end: TensorBoard's last events, and what is to be said before the closing table."""
        if step > self._first_step:
            self._writer.write(step, scalars)
            self._write_pictures(step, counts)
            self._warn(self._worse.at_end(scalars))

    def _write_pictures(self, step: int, counts: Mapping[str, Counts]) -> None:
        self._pictured = self._clock()
        for label, of_label in counts.items():
            self._writer.write_scores(step, of_label, label)
        if self._column_shares and self._newest is not None:
            self._writer.write(step, self._column_shares(self._newest))

    def _warn(self, text: str | None) -> None:
        if text:
            self._console.say(f"warning: {text}", "worse")

    def _say_idle(self, lag_rows: float) -> None:
        """Once, until something is new."""
        if self._idle:
            return
        self._idle = True
        line = f"idle: no new row since {datetime.datetime.fromtimestamp(self._row_came):%H:%M:%S}"
        if lag_rows:
            line += f"; {lag_rows:,.0f} wait until their window is full (--window_rows) or due (--window_secs)"
        self._console.say(line, "idle", lag_rows=lag_rows)
