"""Counts the rows that were scored and learned from: metrics, the model's counters, loss.log and predictions.bin."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tfonline.evaluate.progressive import PREDICTION, PREDICTION_IN_MESSAGE, ProgressiveMetrics, prediction_of
from tfonline.events import Event, Rows, Seen, WindowEnd
from tfonline.lifecycle import UserError
from tfonline.report.files import SideFile, loss_line
from tfonline.report.writers import Writer
from tfonline.state import Position
from tfonline.stream.window import Window

if TYPE_CHECKING:
    from tfonline.features.batch import Element


class Count:
    """An action.

    Args:
      position: whose rows, steps and fingerprint are counted on.
      metrics: of the scores.
      planned: the window of a number, to name it in an error.
      not_finite: makes the error for a loss that is none.
      writer: gets each window's metrics; None: they go nowhere.
      loss_log: gets a line every so many steps, or None.
      loss_log_every_steps: 0: no line.
      predictions: gets each row's score, or None.
    """

    def __init__(
        self,
        position: Position,
        metrics: ProgressiveMetrics,
        planned: Callable[[int], Window],
        not_finite: Callable[[str, list[Window]], UserError],
        writer: Writer | None = None,
        loss_log: SideFile | None = None,
        loss_log_every_steps: int = 0,
        predictions: SideFile | None = None,
    ):
        self._position, self._metrics, self._planned, self._not_finite = position, metrics, planned, not_finite
        self._writer, self._loss_log, self._every, self._predictions = writer, loss_log, loss_log_every_steps, predictions

    def __call__(self, event: Event, seen: Seen | None) -> None:
        """Raises UserError where the loss is not finite (exit 70)."""
        if isinstance(event, Rows | WindowEnd):
            self._position.leave_out(event.left_out)
        if isinstance(event, WindowEnd):
            self._position.join(event.outcomes)
        if isinstance(event, Rows) and seen:
            self._count(event.element, seen)
        elif isinstance(event, WindowEnd):
            reports = {scope: report for scope, report in self._metrics.end_window().items() if report["rows"]}
            if self._writer and reports:
                scalars = {f"{scope}/{name}": value for scope, report in reports.items() for name, value in report.items()}
                self._writer.write(self._position.step, scalars)

    def _count(self, element: "Element", seen: Seen) -> None:
        position, valid = self._position, seen.valid
        for i in seen.steps:
            losses = {name: float(values[i]) for name, values in seen.losses.items()}
            *_, loss = losses.values()  # with all that is added to it
            if not math.isfinite(loss):
                what = f"the loss is {loss} at step {position.step + 1}"
                raise self._not_finite(what, [self._planned(int(element.window))])
            self._metrics.add(*seen.of_batch(i), seen.others_of(i))
            position.step += 1
            if self._loss_log and self._every and position.step % self._every == 0:
                self._loss_log.write(loss_line(position.step, losses))
        position.rows += int(valid.sum())
        position.late += 0 if seen.late is None else int(seen.late.sum())
        position.fingerprint = (position.fingerprint + int(element.fingerprint)) % 2**64
        if self._predictions:
            origin, place, of_rows = element.batch.origin, element.batch.place, valid.ravel()
            scored = np.empty(int(valid.sum()), prediction_of(PREDICTION_IN_MESSAGE if place else PREDICTION, tuple(seen.others)))
            if place:
                scored["row"] = place.row.numpy()[of_rows]
            scored["partition"], scored["offset"] = origin.partition.numpy()[of_rows], origin.offset.numpy()[of_rows]
            scored["label"], scored["logit"] = seen.labels[valid], seen.logits[valid]
            for name, (labels, logits) in seen.others.items():
                scored[f"label_{name}"], scored[f"logit_{name}"] = labels[valid], logits[valid]
            self._predictions.write(scored.tobytes())
