"""The gate between two versions: whether the model may be served as it is now. Imports no TensorFlow."""

from collections import deque

import numpy as np

from tfonline.evaluate.progressive import relabelled, sigmoid
from tfonline.publish.gate import Limits
from tfonline.publish.regression import MIN_ROWS, Regression

_STANDARD_ERRORS = 5.0
_BLOCK_ROWS = 100


class DeltaGate:
    """Looks at spans of the last rows that end now, of 1,000 rows and more, each scored before it was learned from.

    A version is judged by --gate_rows rows: what has gone wrong within seconds would hardly show in so many. A span counts where it
    is beyond a limit by five standard errors, see Regression.

    Args:
      limits: those of versions. The AUC is not looked at: that of few rows says little.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self._regression = Regression(limits.gate_max_regression, limits.gate_rows)
        self._rows = max(limits.gate_rows, MIN_ROWS)
        # float64 [4]: rows, the sums of w p, of w y, and of w^2 p (1 - p), with a row's weight w, prediction p and label y.
        self._blocks: deque[np.ndarray] = deque()
        self._num_rows = 0

    def add(
        self,
        labels: np.ndarray,
        logits: np.ndarray,
        served: np.ndarray | None,
        weights: np.ndarray | None,
        late: np.ndarray | None = None,
    ) -> None:
        """Rows that were scored: float32 [n] each; see Gate.add."""
        if served is not None and not np.isnan(served).any():
            self._regression.add(labels, logits, served, weights, late)
        rows, w = len(labels), np.ones(len(labels)) if weights is None else weights.astype(np.float64)
        if late is not None:
            labels, w, logits = relabelled(late, labels, w, logits)
        p = sigmoid(logits).astype(np.float64)
        block = np.array([rows, w @ p, w @ labels, (w**2) @ (p * (1 - p))])
        if self._blocks and self._blocks[-1][0] < _BLOCK_ROWS:
            self._blocks[-1] += block
        else:
            self._blocks.append(block)
        self._num_rows += rows
        while self._num_rows - self._blocks[0][0] >= self._rows:
            self._num_rows -= int(self._blocks.popleft()[0])

    def other_version(self) -> None:
        """From here on the scores of another version are compared."""
        self._regression.forget()

    def refusal(self) -> str:
        """Why the model is not served as it is; '': it is."""
        if worse := self._regression.worse():
            return (
                f"its log loss is above that of the published version by {worse.by:.4f} on the last {worse.rows:,} rows; "
                f"--gate_max_regression={self._limits.gate_max_regression:g}"
            )
        limit = self._limits.gate_calibration
        if not limit or not self._blocks:
            return ""
        rows, predicted, clicks, variance = np.cumsum(np.array(self._blocks)[::-1], axis=0).T
        excess = np.abs(predicted - clicks) - _STANDARD_ERRORS * np.sqrt(variance) - limit * clicks
        excess = np.where(rows >= MIN_ROWS, excess / np.maximum(rows, 1), -np.inf)
        span = int(np.argmax(excess))
        if not excess[span] > 0:
            return ""
        found = predicted[span] / clicks[span] if clicks[span] else np.inf
        return f"its calibration is {found:.3f} on the last {rows[span]:,.0f} rows; --gate_calibration={limit:g} from 1"
