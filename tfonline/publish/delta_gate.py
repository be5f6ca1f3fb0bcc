"""The gate between two versions: whether the model may be served as it is now. Imports no TensorFlow."""

import numpy as np

from tfonline.evaluate.progressive import relabelled, sigmoid
from tfonline.publish.gate import Limits
from tfonline.publish.regression import Regression
from tfonline.publish.spans import MIN_ROWS, STANDARD_ERRORS, Spans


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
        # The sums of w p, of w y, and of w^2 p (1 - p), with a row's weight w, prediction p and label y.
        self._spans = Spans(limits.gate_rows)

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
            rows -= int(late.sum())  # one that is here once more is not another one
            labels, w, logits = relabelled(late, labels, w, logits)
        p = sigmoid(logits).astype(np.float64)
        self._spans.add(rows, w @ p, w @ labels, (w**2) @ (p * (1 - p)))

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
        if not limit or not len(self._spans):
            return ""
        rows, predicted, clicks, variance = self._spans.sums()
        excess = np.abs(predicted - clicks) - STANDARD_ERRORS * np.sqrt(variance) - limit * clicks
        excess = np.where(rows >= MIN_ROWS, excess / np.maximum(rows, 1), -np.inf)
        span = int(np.argmax(excess))
        if not excess[span] > 0:
            return ""
        found = predicted[span] / clicks[span] if clicks[span] else np.inf
        return f"its calibration is {found:.3f} on the last {rows[span]:,.0f} rows; --gate_calibration={limit:g} from 1"
