"""Whether the newest version scores the stream worse than the version before it. Imports no TensorFlow."""

from typing import NamedTuple

import numpy as np

from tfonline.evaluate.progressive import log_losses, relabelled
from tfonline.publish.spans import MIN_ROWS, STANDARD_ERRORS, Spans


class Worse(NamedTuple):
    """The newest version is worse.

    Attributes:
      rows: over so many last rows.
      by: its mean log loss is above that of the version before it by so much, nats.
      error: the standard error of that.
    """

    rows: int
    by: float
    error: float


class Regression:
    """Compares two versions row by row, over spans of the stream that end now.

    A version may be bad only for what the stream brings later: one that has learned from poisoned rows is the better one for as
    long as they last. So every span that ends with the last row is looked at, not the mean since the publication. A span counts
    where its mean difference is above the limit by five standard errors: chance alone does that once in 3.5 million looks.

    Args:
      limit: the newest version's mean log loss may be above that of the version before it by so much, nats.
      rows: the longest span; older rows are forgotten.

    Attributes:
      limit: as given.
    """

    def __init__(self, limit: float, rows: int):
        self.limit = limit
        # The sums of w, w d, w^2, w^2 d and w^2 d^2, with a row's weight w and difference d.
        self._spans = Spans(rows)

    def add(
        self,
        labels: np.ndarray,
        newest: np.ndarray,
        before: np.ndarray,
        weights: np.ndarray | None = None,
        late: np.ndarray | None = None,
    ) -> None:
        """Rows: float32 [n] labels, 0 or 1, both versions' logits, how much each counts (None: 1), and late ones as in Gate.add."""
        rows, weights = len(labels), np.ones(len(labels)) if weights is None else weights.astype(np.float64)
        if late is not None:
            rows -= int(late.sum())
            labels, weights, newest, before = relabelled(late, labels, weights, newest, before)
        difference = log_losses(newest, labels) - log_losses(before, labels)
        by_power = [weights, weights * difference, weights**2, weights**2 * difference, (weights * difference) ** 2]
        self._spans.add(rows, *(x.sum() for x in by_power))

    def forget(self) -> None:
        """Other versions are compared from here on."""
        self._spans.forget()

    def worse(self) -> Worse | None:
        """The span over which the newest version is worse most clearly; None: there is none."""
        if len(self._spans) < MIN_ROWS:
            return None
        n, w, wd, ww, wwd, wwdd = self._spans.sums()
        w = np.where(w > 0, w, np.inf)  # of late rows alone
        mean = wd / w
        error = np.sqrt(np.maximum(wwdd - 2 * mean * wwd + mean**2 * ww, 0)) / w
        surely = np.where(n >= MIN_ROWS, mean - STANDARD_ERRORS * error, -np.inf)
        span = int(np.argmax(surely))
        return Worse(int(n[span]), float(mean[span]), float(error[span])) if surely[span] > self.limit else None
