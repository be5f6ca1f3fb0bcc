"""Judges scores of first sight when the labels of their rows are settled, where rows are learned from before (--late_labels)."""

import numpy as np

from tfonline.evaluate.first_sights import FirstSights
from tfonline.evaluate.progressive import ProgressiveMetrics
from tfonline.events import Event, Rows, Saved, Saving, Seen, WindowEnd
from tfonline.state import Position


class Mature:
    """An action, behind the one that counts.

    Args:
      position: where the model is, and from which offsets on labels are not settled.
      metrics: of the scores.
      sights: the scores of rows whose labels are not settled.

    Attributes:
      settled: of the last window's end, logits and labels of the rows whose labels have been settled with it, float32 [n] each.
    """

    def __init__(self, position: Position, metrics: ProgressiveMetrics, sights: FirstSights):
        self._position, self._metrics, self._sights = position, metrics, sights
        self.settled = np.zeros(0, np.float32), np.zeros(0, np.float32)

    def __call__(self, event: Event, seen: Seen | None) -> None:
        """Raises OSError where the disk is full."""
        match event:
            case Rows(element=element) if seen:
                origin, first = element.batch.origin, seen.valid.ravel()
                partition, offset = origin.partition.numpy(), origin.offset.numpy()
                self._sights.add(partition[first], offset[first], seen.logits.ravel()[first], seen.labels.ravel()[first])
                if seen.late is not None and seen.late.any():
                    late = seen.late.ravel()
                    logits = self._sights.mark(partition[late], offset[late])
                    self._metrics.relabel(logits[~np.isnan(logits)])
            case WindowEnd(window=window) if window.labels:
                self.settled = self._settle(window.labels.rows)
            case Saving():
                self._sights.flush()
            case Saved():
                self._sights.forget()

    def _settle(self, until: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        position = self._position
        position.settled += position.start[len(position.settled) :]
        parts = [self._sights.take(p, start, stop) for p, (start, stop) in enumerate(zip(position.settled, until, strict=False))]
        position.settled = [max(a, b) for a, b in zip(position.settled, until, strict=False)]
        logits, labels = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        if len(labels):
            self._metrics.settle(logits, labels)
        return logits, labels
