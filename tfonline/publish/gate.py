"""The gate before serving: whether the model's scores of the last rows are good enough to be published. Imports no TensorFlow."""

import dataclasses
import math
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tfonline.evaluate.progressive import Counts, exact_auc, log_losses, relabelled, sigmoid


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a model must hold to be published; names as in the flags.

    Attributes:
      gate_rows: over so many last rows, each scored before it was learned from.
      gate_max_regression: its mean log loss may be above that of the published version on the same rows by so much, nats.
      gate_min_auc: its AUC must be above that; 0: any, also one that is not defined.
      gate_calibration: mean prediction / mean label may be so far from 1; 0: any.
    """

    gate_rows: int
    gate_max_regression: float
    gate_min_auc: float
    gate_calibration: float


class _Rows(NamedTuple):
    """Rows that were scored together.

    Attributes:
      scores: float32 [5, n]: labels, the trainer's logits, the published version's logits or NaN, how much each row counts, and
        whether it was here before as a negative.
      kept: what the rows can be scored from later; None: nothing.
    """

    scores: np.ndarray
    kept: Any

    @property
    def number(self) -> int:
        """How many rows: one that is here once more is not another one."""
        return int((self.scores[4] == 0).sum())


class Gate:
    """Keeps the scores of the last rows: the trainer's, and those of the published version beside them.

    The published version's come row by row, or for all rows at once, when the gate has to judge (`compare`).

    Both are progressive: each row was scored by a model that had not seen it. So the rows are fair to both, and what is compared is
    what users of the model would have got.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self._rows: deque[_Rows] = deque()
        self._num_rows = 0

    @property
    def full(self) -> bool:
        """Whether enough rows were scored to judge by."""
        return self._num_rows >= self._limits.gate_rows

    @property
    def any_compared(self) -> bool:
        """Whether the published version has scored any of the rows, too."""
        return any(not np.isnan(rows.scores[2]).all() for rows in reversed(self._rows))

    @property
    def all_kept(self) -> bool:
        """Whether `compare` has what it needs of all rows."""
        return all(rows.kept is not None for rows in self._rows)

    @property
    def kept(self) -> list[Any]:
        """What was kept of the rows, in their order."""
        return [rows.kept for rows in self._rows]

    def add(
        self,
        labels: np.ndarray,
        logits: np.ndarray,
        served: np.ndarray | None = None,
        kept: Any = None,
        weights: np.ndarray | None = None,
        late: np.ndarray | None = None,
    ) -> None:
        """Rows that were scored: float32 [n] each.

        Args:
          labels: 0 or 1.
          logits: the trainer's.
          served: the published version's; None while there is none, or while it is not asked row by row.
          kept: for `compare`.
          weights: how much each row counts; None: 1.
          late: bool [n], which of them were learned from as negatives before, and are here once more, as their outcome has come;
            None: none. With them the rates of the last rows are right where outcomes come at a steady rate.
        """
        served = np.full_like(logits, np.nan) if served is None else served
        weights = np.ones_like(logits) if weights is None else weights
        late = np.zeros_like(logits) if late is None else late
        self._rows.append(_Rows(np.stack([labels, logits, served, weights, late]), kept))
        self._num_rows += self._rows[-1].number
        while self._rows and self._num_rows - self._rows[0].number >= self._limits.gate_rows:
            self._num_rows -= self._rows.popleft().number

    def published(self) -> None:
        """From here on another version is the published one: its scores are compared, not those of the one before."""
        for rows in self._rows:
            rows.scores[2] = np.nan

    def copy(self) -> "Gate":
        """A gate with the rows as they are now. A report takes a while: a thread can make it of a copy."""
        copy = Gate(self._limits)
        copy._rows.extend(_Rows(rows.scores.copy(), rows.kept) for rows in self._rows)
        copy._num_rows = self._num_rows
        return copy

    def compare(self, score: Callable[[list[Any]], np.ndarray]) -> None:
        """Takes in the published version's scores of all rows.

        Args:
          score: gets what was kept of the rows, in their order; gives the published version's logits, float32 [all rows], NaN
            where it has none.
        """
        scores = self._scores()
        scores[2] = score(self.kept)
        self._rows = deque([_Rows(scores, None)])

    def served(self) -> dict[str, float]:
        """Of the rows that the published version scored, too: how many, its auc (to about 1e-5), log_loss, ne and calibration, NaN
        where not defined. A fraction of what `report` costs.
        """
        labels, _, served, weights = _counted(self._scores())
        both, counts = ~np.isnan(served), Counts()
        counts.add(served[both], labels[both], weights=weights[both])
        report = counts.report()
        return {name: report[name] for name in ("rows", "auc", "log_loss", "ne", "calibration")}

    def report(self) -> dict[str, float]:
        """What the last rows say, each as much as it counts; NaN where they do not define it.

        Returns:
          rows, auc, log_loss, calibration: of the trainer's scores.
          served_rows: the rows that the published version scored, too; served_auc, served_log_loss: its metrics on them.
          regression: how much greater the trainer's mean log loss is than the published version's on these rows, nats.
        """
        scores = self._scores()
        labels, logits, served, weights = _counted(scores)
        both = ~np.isnan(served)
        clicks = float(labels @ weights)
        of_auc = None if (weights == 1).all() else weights
        found = {
            "rows": float(self._num_rows),
            "auc": exact_auc(logits, labels, of_auc),
            "log_loss": _mean(log_losses(logits, labels), weights),
            "calibration": float(sigmoid(logits) @ weights / clicks) if clicks else math.nan,
            "served_rows": float((~np.isnan(scores[2]) & (scores[4] == 0)).sum()),
            "served_auc": exact_auc(served[both], labels[both], of_auc if of_auc is None else of_auc[both]),
            "served_log_loss": _mean(log_losses(served[both], labels[both]), weights[both]),
        }
        found["regression"] = _mean(log_losses(logits[both], labels[both]), weights[both]) - found["served_log_loss"]
        return found

    def refusals(self, report: dict[str, float]) -> list[str]:
        """Why a model with this report is not published; empty: it is."""
        limits, why = self._limits, []
        if not math.isfinite(report["log_loss"]):
            why.append(f"its log loss is {report['log_loss']}")
        if report["regression"] > limits.gate_max_regression:
            why.append(
                f"its log loss is above that of the published version by {report['regression']:.5f} on the same "
                f"{report['served_rows']:,.0f} rows; --gate_max_regression={limits.gate_max_regression:g}"
            )
        if limits.gate_min_auc and not report["auc"] > limits.gate_min_auc:
            why.append(f"its AUC is {report['auc']:.4f}; --gate_min_auc={limits.gate_min_auc:g}")
        if limits.gate_calibration and not abs(report["calibration"] - 1) <= limits.gate_calibration:
            why.append(f"its calibration is {report['calibration']:.3f}; --gate_calibration={limits.gate_calibration:g} from 1")
        return why

    def _scores(self) -> np.ndarray:
        """`scores` of all rows, float32 [5, n]."""
        return np.concatenate([*(rows.scores for rows in self._rows), np.zeros([5, 0], np.float32)], axis=1)


def _counted(scores: np.ndarray) -> list[np.ndarray]:
    """Labels, logits, the published version's, and how much each counts, so that sums over them are right: [n] each."""
    labels, logits, served, weights, late = scores
    labels, weights, logits, served = relabelled(late == 1, labels, weights, logits, served)
    return [labels, logits, served, weights]


def _mean(numbers: np.ndarray, weights: np.ndarray) -> float:
    total = float(weights.sum())
    return float(numbers @ weights.astype(np.float64)) / total if total else math.nan
