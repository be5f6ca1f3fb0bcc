"""Tells of the run from time to time, and sums it up at its end."""

import json
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tfonline.evaluate.progressive import ProgressiveMetrics
from tfonline.events import Event, Rows, Seen, Tick, WindowEnd
from tfonline.report.console import Console
from tfonline.report.reports import Reports
from tfonline.report.summary import Run, make_summary, summary_table
from tfonline.report.writers import Scalars
from tfonline.state import NEGATIVES, Position
from tfonline.stream.window import UNREAD

_VOCABULARY = "vocabulary/"  # the scalars of report.vocabulary


class Ends(Protocol):
    """What the planner knows of the stream's end.

    Attributes:
      ends: the end offsets as last seen.
      stop_at: the offsets at which the run ends, where they are known.
    """

    ends: list[int]
    stop_at: list[int] | None


class Report:
    """An action.

    Args:
      reports: when there is something to tell, and to whom.
      position: where the model is.
      metrics: of its rows.
      stream: where it ends.
      console: shows progress.
      model_dir: gets summary.json.
      more: further numbers to tell.
      also: what else the summary holds, by name; what is empty is left out.
    """

    def __init__(
        self,
        reports: Reports,
        position: Position,
        metrics: ProgressiveMetrics,
        stream: Ends,
        console: Console,
        model_dir: str,
        more: Callable[[], Scalars] = dict,
        also: Callable[[], dict[str, Any]] = dict,
    ):
        self._reports, self._position, self._metrics, self._stream = reports, position, metrics, stream
        self._console, self._folder, self._more = console, pathlib.Path(model_dir), more
        self._also = also
        self._began, self._rows_at_start = time.monotonic(), position.rows
        self._rows_before_window = self._rows_done
        self._first_step = self._last_step = None  # when it was done, and the rows by then
        self._losses: Scalars = {}

    def __call__(self, event: Event, seen: Seen | None) -> None:
        """Raises nothing."""
        match event:
            case Rows(element=element):
                self._reports.rows_came(element.fields)
                if seen:
                    self._note(seen)
                self._report()
            case WindowEnd():
                self._rows_before_window = self._rows_done
                self._report()
            case Tick():
                self._report()

    def summarise(self, ended: str, checkpoint: str) -> dict[str, Any]:
        """Writes `<model_dir>/summary.json`, prints the table of it, and returns it.

        Args:
          ended: why the run ended.
          checkpoint: the path of the newest one.
        """
        position, now, scalars = self._position, time.monotonic(), self._scalars()
        self._reports.final(position.step, scalars, self._metrics.running)
        nothing = (now, 0)
        timed = (self._first_step or nothing, self._last_step or nothing)
        run = Run(ended, position.rows - self._rows_at_start, now - self._began, timed, int(self._rows_left(None)))
        of_vocabulary = {name: value for name, value in scalars.items() if name.startswith(_VOCABULARY)}
        vocabulary = {name.removeprefix(_VOCABULARY): value for name, value in of_vocabulary.items()}
        summary = make_summary(run, position, self._metrics, checkpoint, {"vocabulary": vocabulary, **self._also()})
        (self._folder / "summary.json").write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
        self._console.close()
        tensorboard = pathlib.Path(sys.executable).with_name("tensorboard")
        table = summary_table(summary)
        self._console.say(f"{ended}\n{table}\n\n{tensorboard} --logdir {self._folder}/tensorboard", "ended", **summary)
        return summary

    @property
    def _rows_done(self) -> int:
        return self._position.rows + self._position.left_out + sum(self._position.rejected.values())

    def _note(self, seen: Seen) -> None:
        self._last_step = (seen.when, self._position.rows + self._position.left_out)
        self._first_step = self._first_step or self._last_step
        self._losses = {name: float(losses[seen.steps[-1]]) for name, losses in seen.losses.items()}
        self._console.progress(self._rows_done)

    def _report(self) -> None:
        if self._reports.due():
            losses = {f"train/{name}": value for name, value in self._losses.items()}
            rows_left = self._rows_left(self._stream.stop_at)
            self._reports.report(self._position.step, self._scalars() | losses, self._metrics.running, rows_left)

    def _rows_left(self, offsets: Sequence[int] | None) -> float:
        """Rows that are still to be read before `offsets`, or before the end as last seen. Falls within a window, too."""
        of_window = self._rows_done - self._rows_before_window
        before = sum(self._stream.ends if offsets is None else offsets)
        return float(max(0, before - sum(self._position.next) - max(0, of_window)))

    def _scalars(self) -> Scalars:
        p = self._position
        scalars = {f"{scope}/{n}": v for scope in self._metrics.kept for n, v in self._metrics.report(scope).items()}
        scalars["lag_rows"] = self._rows_left(None)
        scalars["rejected_rows"] = float(sum(p.rejected.values()))
        scalars |= {f"unread_rows/{trigger}": float(p.skipped.get(trigger, 0)) for trigger in UNREAD}
        if p.left_out:
            scalars[f"unread_rows/{NEGATIVES}"] = float(p.left_out)
        scalars["rows"] = float(p.rows)
        return scalars | self._more()
