"""Progressive evaluation: every row is scored before it is learned from, and the score is counted here.

Scores are counted in a histogram of logits, so the state has a fixed size, can be added up, decayed and saved, and the AUC of any
number of rows costs the same. Imports no TensorFlow.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Bins of logits: width 1/512 from -16 to 16, that is at most 0.0005 of probability; the AUC is then exact to about 1e-5.
_BINS_PER_UNIT = 512
_LARGEST_LOGIT = 16
_BINS = 2 * _LARGEST_LOGIT * _BINS_PER_UNIT

# One row of predictions.bin.
PREDICTION = np.dtype([("partition", "<i4"), ("offset", "<i8"), ("label", "<f4"), ("logit", "<f4")])
# The same where messages have many rows: with the row's number in its message.
PREDICTION_IN_MESSAGE = np.dtype([*PREDICTION.descr[:2], ("row", "<i4"), *PREDICTION.descr[2:]])


def prediction_of(one_label: np.dtype, others: Sequence[str]) -> np.dtype:
    """A row of predictions.bin where there are several labels: behind the first one's, of each other one `label_<name>`, NaN where
    it is missing, and `logit_<name>`.
    """
    return np.dtype([*one_label.descr, *((f"{of}_{name}", "<f4") for name in others for of in ("label", "logit"))])


def log_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log loss of each row in nats, float64: `max(x, 0) - x y + ln(1 + exp(-|x|))`, exact for any finite logit x."""
    x = logits.astype(np.float64)
    return np.maximum(x, 0) - x * labels + np.log1p(np.exp(-np.abs(x)))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logits to probabilities, float64."""
    return 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))


def exact_auc(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Area under the ROC curve by ranks (Mann-Whitney), ties at half; NaN where a class is missing.

    With weights, float [n], a pair of a positive and a negative counts as much as the product of its rows' weights.
    """
    if weights is not None:
        _, places = np.unique(logits, return_inverse=True)
        positives, negatives = (np.bincount(places, np.where(labels == of, weights, 0.0)) for of in (1, 0))
        below = np.cumsum(negatives) - negatives / 2
        pairs = positives.sum() * negatives.sum()
        return float((positives * below).sum() / pairs) if pairs else float("nan")
    _, places, counts = np.unique(logits, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    positives = labels == 1
    n, total = int(positives.sum()), len(labels)
    if n in (0, total):
        return float("nan")
    return float((ranks[positives].sum() - n * (n + 1) / 2) / (n * (total - n)))


def relabelled(late: np.ndarray, labels: np.ndarray, weights: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Rows by which sums are right, where some of them were counted as negatives before and are positive: those count once more as
    positive, and once less as negative.

    Args:
      late: bool [n], which of them.
      labels: [n], 0 or 1; of the late ones 1.
      weights: [n], how much each counts.
      others: [n] each, of the rows.

    Returns:
      labels, weights and the others, [n + number of late ones] each.
    """
    of_late = np.zeros(late.sum(), labels.dtype), -weights[late], *(x[late] for x in others)
    return [np.concatenate(pair) for pair in zip((labels, weights, *others), of_late, strict=True)]


def _bins(logits: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(logits.astype(np.float64) * _BINS_PER_UNIT) + _BINS // 2, 0, _BINS - 1).astype(np.int64)


def without_nan(report: dict[str, float]) -> dict[str, float | None]:
    """A report for JSON, which knows no NaN: a metric that the rows do not define is null."""
    return {name: value if math.isfinite(value) else None for name, value in report.items()}


def product(*factors: np.ndarray | None) -> np.ndarray | None:
    """How much rows count for several reasons, [n] each; None: 1."""
    given = [factor for factor in factors if factor is not None]
    return np.prod(given, axis=0) if given else None


class Counts:
    """Sums over scored rows. All float64, so that they can decay.

    Attributes:
      negatives: rows with label 0, a bin of logits, [bins].
      positives: rows with label 1, likewise.
      loss: sum of the log losses, nats.
      predicted: sum of the predicted probabilities.
    """

    def __init__(self) -> None:
        self.negatives, self.positives = np.zeros(_BINS), np.zeros(_BINS)
        self.loss = self.predicted = 0.0

    def add(
        self, logits: np.ndarray, labels: np.ndarray, others: Sequence["Counts"] = (), weights: np.ndarray | None = None
    ) -> None:
        """Counts rows, here and in others: logits float32 [n], labels [n], 0 or 1, and how much each counts, [n]; None: 1."""
        if not len(logits):
            return
        bins = _bins(logits)
        # Only of the bins that these rows are in: of a thousand rows most are empty.
        first, stop = int(bins.min()), int(bins.max()) + 1
        width = stop - first
        negatives, positives = np.bincount(bins - first + width * (labels == 1), weights, 2 * width).reshape(2, width)
        by_row = log_losses(logits, labels), sigmoid(logits)
        loss, predicted = (float(x.sum() if weights is None else x @ weights) for x in by_row)
        for counts in (self, *others):
            counts.positives[first:stop] += positives
            counts.negatives[first:stop] += negatives
            counts.loss += loss
            counts.predicted += predicted

    def relabel(self, logits: np.ndarray) -> None:
        """Rows of label 0 that were counted have the label 1: logits float32 [n]."""
        counts = np.bincount(_bins(logits), minlength=_BINS)
        self.positives += counts
        self.negatives -= counts
        self.loss -= float(logits.sum(dtype=np.float64))  # -ln p + ln(1 - p)

    def decay(self, factor: float) -> None:
        """Multiplies everything by `factor`."""
        self.negatives *= factor
        self.positives *= factor
        self.loss *= factor
        self.predicted *= factor

    def report(self) -> dict[str, float]:
        """The metrics, NaN where the rows do not define one.

        Returns:
          rows: how many (decayed).
          auc: area under the ROC curve; rows of one bin count as ties.
          log_loss: mean, nats.
          trivial_log_loss: of the best constant prediction, the rows' own share of clicks: its entropy.
          ne: normalised entropy, log_loss / trivial_log_loss (He et al., ADKDD 2014); below 1 beats the trivial predictor.
          calibration: mean prediction / mean label.
        """
        p, n = self.positives.sum(), self.negatives.sum()
        rows = p + n
        if not rows:
            return dict.fromkeys(("auc", "log_loss", "trivial_log_loss", "ne", "calibration"), float("nan")) | {"rows": 0.0}
        rate = p / rows
        trivial = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate)) if 0 < rate < 1 else 0.0
        below = np.cumsum(self.negatives) - self.negatives
        auc = float((self.positives * (below + 0.5 * self.negatives)).sum() / (p * n)) if p and n else float("nan")
        loss = self.loss / rows
        return {
            "rows": float(rows),
            "auc": auc,
            "log_loss": float(loss),
            "trivial_log_loss": float(trivial),
            "ne": float(loss / trivial) if trivial else float("nan"),
            "calibration": float(self.predicted / p) if p else float("nan"),
        }

    def by_score(self, parts: int = 20) -> list[tuple[float, float, float]]:
        """The rows by their scores, in parts of equal size: a reliability diagram's points.

        Rows of one bin of logits stay together, so that parts may be fewer, and of unequal size.

        Returns:
          rows, mean predicted probability (that of the bins' middles), and share of clicks, of each part, by rising scores.
        """
        rows = self.negatives + self.positives
        used = np.flatnonzero(rows)
        rows, total = rows[used], rows.sum()
        # The part in which the middle row of a bin lies.
        part = np.minimum((np.cumsum(rows) - rows / 2) / max(total, 1e-300) * parts, parts - 1).astype(np.int64)
        predicted = sigmoid((used + 0.5 - _BINS // 2) / _BINS_PER_UNIT)
        sums = [np.bincount(part, weights, parts) for weights in (rows, rows * predicted, self.positives[used])]
        return [(float(n), float(p / n), float(c / n)) for n, p, c in zip(*sums, strict=True) if n]

    def at_thresholds(self, count: int = 201) -> tuple[np.ndarray, np.ndarray]:
        """What a decision by the score would get, for thresholds at equal distances from 0 to 1.

        A threshold is put at the nearest edge of a bin: at most 0.0003 of probability away.

        Returns:
          clicks and rows without a click whose score is at the threshold or above, float64 [count] each. At 0 they are all; at 1
          they are none.
        """
        thresholds = np.linspace(0, 1, count)[1:-1]
        edges = np.round(np.log(thresholds / (1 - thresholds)) * _BINS_PER_UNIT).astype(np.int64) + _BINS // 2
        places = np.concatenate([[0], np.clip(edges, 0, _BINS), [_BINS]])
        above = [np.append(np.cumsum(rows[::-1])[::-1], 0.0) for rows in (self.positives, self.negatives)]
        return above[0][places], above[1][places]

    def histogram(self) -> tuple[np.ndarray, np.ndarray]:
        """How many rows have which score, in bins of a quarter of a logit, without the empty ends.

        Returns:
          edges: logits, float64 [n + 1], rising.
          rows: float64 [n]; a bin at an end holds half a row at least, so that what has decayed does not stretch the whole.
        """
        rows = (self.negatives + self.positives).reshape(-1, _BINS_PER_UNIT // 4).sum(axis=1)
        held = np.flatnonzero(rows >= 0.5)
        first, stop = (held[0], held[-1] + 1) if len(held) else (0, 0)
        return np.arange(first, stop + 1) / 4 - _LARGEST_LOGIT, rows[first:stop]


class ProgressiveMetrics:
    """Metrics of the current window, of the last rows and of all rows. A part of the checkpoint, see state.Stateful.

    Args:
      metric_rows: the running metrics weigh a row by exp(-(rows since) / metric_rows).
      weighted: count the last rows also by their weights, in the scope `weighted`.
      settled: rows are counted before their labels are known: they are negatives until their outcome comes, see `relabel`; the last
        ones whose labels are settled are counted once more, in the scope `settled`.
      others: of several labels, all but the first. Each has scopes of its own: window_<label>, running_<label>, total_<label>.

    Attributes:
      counts: by scope: window, running, total, and weighted, settled and those of other labels where they are asked for.
    """

    name = "metrics"
    version = 1

    def __init__(self, metric_rows: int, weighted: bool = False, settled: bool = False, others: Sequence[str] = ()):
        self._metric_rows, self._others = metric_rows, tuple(others)
        more = [scope for scope, wanted in (("weighted", weighted), ("settled", settled)) if wanted]
        more += [f"{scope}_{label}" for label in others for scope in ("window", "running", "total")]
        self.counts = {scope: Counts() for scope in ("window", "running", "total", *more)}

    def add(
        self,
        logits: np.ndarray,
        labels: np.ndarray,
        importance: np.ndarray | None = None,
        weight: np.ndarray | None = None,
        others: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    ) -> None:
        """Counts a batch's rows, padding and refused rows left out.

        Args:
          logits: float32 [n].
          labels: [n], 0 or 1.
          importance: for how many rows of the stream each stands, [n]; None: 1.
          weight: of each where the columns have weights, [n]; None: 1. It counts in the scope `weighted` alone.
          others: of several labels all but the first, by name: logits and labels of the rows whose label is known.
        """
        for label, (of_label, its_labels) in (others or {}).items():
            window, running, total = (self.counts[f"{scope}_{label}"] for scope in ("window", "running", "total"))
            running.decay(np.exp(-len(its_labels) / self._metric_rows))
            window.add(of_label, its_labels, [running, total])
        rows = len(labels) if importance is None else float(importance.sum(dtype=np.float64))
        for scope in ("running", "weighted"):
            if scope in self.counts:
                self.counts[scope].decay(np.exp(-rows / self._metric_rows))
        window, others = self.counts["window"], [self.counts["running"], self.counts["total"]]
        window.add(logits, labels, others, importance)
        if "weighted" in self.counts:
            self.counts["weighted"].add(logits, labels, (), product(importance, weight))

    def relabel(self, logits: np.ndarray) -> None:
        """Rows that were counted as negatives have turned out to be positive: logits float32 [n], as they were counted.

        `total` is then what is known by now. `running` takes the rows that its last rows will still lose for those that older ones
        lose now: where outcomes come at a steady rate, its clicks, loss and calibration are right on average.
        """
        for scope in ("running", "total"):
            self.counts[scope].relabel(logits)

    def settle(self, logits: np.ndarray, labels: np.ndarray) -> None:
        """Rows whose labels are settled: logits of first sight, float32 [n], and labels [n]."""
        self.counts["settled"].decay(np.exp(-len(labels) / self._metric_rows))
        self.counts["settled"].add(logits, labels)

    def end_window(self) -> dict[str, dict[str, float]]:
        """The window's reports by scope: `window`, and `window_<label>` of other labels. The next rows begin a new window."""
        reports = {scope: self.report(scope) for scope in self._of_window}
        for scope in self._of_window:
            self.counts[scope] = Counts()
        return reports

    def report(self, scope: str) -> dict[str, float]:
        """The report of a scope."""
        return self.counts[scope].report()

    @property
    def running(self) -> dict[str, Counts]:
        """The last rows by label: '' for the first, and each other one by its name."""
        return {"": self.counts["running"], **{label: self.counts[f"running_{label}"] for label in self._others}}

    @property
    def kept(self) -> list[str]:
        """The scopes that go on from window to window."""
        return [scope for scope in self.counts if scope not in self._of_window]

    @property
    def _of_window(self) -> list[str]:
        return ["window", *(f"window_{label}" for label in self._others)]

    def variables(self) -> dict[str, Any]:
        """None."""
        return {}

    def get_state(self) -> str:
        """Everything counted at a window's end: an .npz in base64. The window's own counts are empty then."""
        arrays: dict[str, Any] = {}
        for scope in self.kept:
            c = self.counts[scope]
            arrays[f"{scope}_histogram"] = np.stack([c.negatives, c.positives])
            arrays[f"{scope}_sums"] = np.array([c.loss, c.predicted])
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)
        return base64.b64encode(file.getvalue()).decode()

    def set_state(self, state: str, version: int) -> None:
        """Takes over what `get_state` gave; a scope that it has not begins anew."""
        with np.load(io.BytesIO(base64.b64decode(state))) as arrays:
            for scope in self.kept:
                c = Counts()
                if f"{scope}_sums" in arrays:
                    c.negatives, c.positives = arrays[f"{scope}_histogram"]
                    c.loss, c.predicted = (float(x) for x in arrays[f"{scope}_sums"])
                self.counts[scope] = c
        for scope in self._of_window:
            self.counts[scope] = Counts()
