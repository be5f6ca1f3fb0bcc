"""Whether the newest version scores the stream worse than the version before it. Imports no TensorFlow."""

from collections import deque
from typing import NamedTuple

import numpy as np

from tfonline.evaluate.progressive import log_losses

# A span is judged from so many rows on, and where its mean is above the limit by so many standard errors of it.
MIN_ROWS = 1000
_STANDARD_ERRORS = 5.0
# Sums are kept for blocks of so many rows at least: spans begin where a block does.
_BLOCK_ROWS = 100


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
        self.limit, self._rows = limit, max(rows, MIN_ROWS)
        self._blocks: deque[np.ndarray] = deque()  # float64 [3]: rows, the sum of their differences, the sum of the squares
        self._num_rows = 0

    def add(self, labels: np.ndarray, newest: np.ndarray, before: np.ndarray) -> None:
        """Rows: float32 [n] labels, 0 or 1, and both versions' logits."""
        difference = log_losses(newest, labels) - log_losses(before, labels)
        block = np.array([len(labels), difference.sum(), (difference**2).sum()])
        if self._blocks and self._blocks[-1][0] < _BLOCK_ROWS:
            self._blocks[-1] += block
        else:
            self._blocks.append(block)
        self._num_rows += len(labels)
        while self._num_rows - self._blocks[0][0] >= self._rows:
            self._num_rows -= int(self._blocks.popleft()[0])

    def forget(self) -> None:
        """Other versions are compared from here on."""
        self._blocks.clear()
        self._num_rows = 0

    def worse(self) -> Worse | None:
        """The span over which the newest version is worse most clearly; None: there is none."""
        if self._num_rows < MIN_ROWS:
            return None
        n, total, squares = np.cumsum(np.array(self._blocks)[::-1], axis=0).T
        mean = total / n
        error = np.sqrt(np.maximum(squares / n - mean**2, 0) / n)
        surely = np.where(n >= MIN_ROWS, mean - _STANDARD_ERRORS * error, -np.inf)
        span = int(np.argmax(surely))
        return Worse(int(n[span]), float(mean[span]), float(error[span])) if surely[span] > self.limit else None
