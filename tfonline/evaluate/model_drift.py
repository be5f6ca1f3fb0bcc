"""Drift of the model: whether its scores, given before a row is learned from, still say what comes. No TensorFlow.

A score is a probability p with logit x. If it is right, the sums of `y - p` and of `(y - p) x` over rows have mean 0 and variances
that the scores alone give, whatever the order in which rows depend on those before them (Spiegelhalter, Statistics in Medicine 5,
1986; Cox, Biometrika 45, 1958). So there are two z-scores a block of rows:

- `calibration = sum(y - p) / sqrt(sum(p (1 - p)))`: more clicks than predicted, or fewer;
- `confidence = -sum((y - p) (x - m)) / sqrt(sum(p (1 - p) (x - m)^2))`, m the mean logit weighted by p (1 - p): high scores too
  high and low ones too low. That is how a normalised entropy rises: the log loss of a row is `entropy(p) - (y - p) x`.

Three CUSUM charts look at them (Page, Biometrika 41, 1954), `S = max(0, S + z - k)`, alarm at `S >= h`: of calibration, of its
negative, and of confidence. With k = 1 and h = 8 one chart of standard normal z gives a false alarm every
`(exp(2 k b) - 2 k b - 1) / (2 k^2) = 4.6e7` blocks, b = h + 1.166 (Siegmund, Sequential Analysis, 1985); the three together every
1.5e7 blocks or less seldom only by what z is not normal: blocks of 1000 rows, every 1.5e10 rows. A model that is off by less than
k standard errors of a block for ever, 5 % of the clicks for blocks of 1000 rows with 250 clicks, is no alarm.
"""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfonline.evaluate.input_drift import WINDOWS_TO_LEARN, Finding, in_parts
from tfonline.evaluate.progressive import log_losses, sigmoid

ALLOWANCE = 1.0  # k: half the shift that is found fastest
ALARM = 8.0  # h
_BLOCKS = 10  # a window has so many blocks
# A block goes on until its clicks have this variance: of fewer than 25 clicks or so the z-scores are not normal.
_LEAST_VARIANCE = 25.0
_ROWS_AT_ONCE = 4096  # what is made of so many rows stays in a processor's cache
# By name, what an alarm of each says.
CHARTS = {
    "more_clicks": "there are more {positives} than predicted",
    "fewer_clicks": "there are fewer {positives} than predicted",
    "over_confident": "scores are over-confident",
}


def blocks_between_alarms(allowance: float, alarm: float) -> float:
    """Siegmund's mean number of blocks until a false alarm of one chart of standard normal z-scores."""
    x = 2 * allowance * (alarm + 1.166)
    return (math.exp(x) - x - 1) / (2 * allowance**2)


class ModelDrift:
    """The charts of one label's scores.

    Args:
      rows: of a window; a block has a tenth of them.
      label: '' for the first one, and where there is no other. Else its name, which stands in what is told: its rows are counted by
        themselves, and a label of 1 need not be a click.

    Attributes:
      charts: S of each, by name, from 0 to ALARM.
      episode: the chart whose alarm began what lasts, until all charts are below half of ALARM; '' where nothing lasts.
    """

    def __init__(self, rows: int, label: str = ""):
        self._label, self._positives = label, "positives" if label else "clicks"
        self._block_rows = max(1, rows // _BLOCKS)
        self._rows = 0  # in whole blocks
        self._open = np.zeros(9)  # see _parts
        self._last: deque[list[float]] = deque(maxlen=_BLOCKS)  # rows, clicks, sum of p, loss of the last blocks
        self._before: list[float] = []  # likewise, of the last window without any chart above its half
        self.charts = dict.fromkeys(CHARTS, 0.0)
        self._since = dict.fromkeys(CHARTS, 0)  # rows at which each was 0 last
        self.episode = ""

    def add(self, logits: np.ndarray, labels: np.ndarray) -> list[Finding]:
        """Takes in rows in order: logits float32 [n] and labels [n], 0 or 1."""
        found = []
        for begin in range(0, len(labels), _ROWS_AT_ONCE):
            some = slice(begin, begin + _ROWS_AT_ONCE)
            parts, first = _parts(logits[some], labels[some]), 0
            while first < parts.shape[1]:
                # Where a block has its rows but not its variance, it grows by as many rows again.
                left = self._block_rows - self._open[0] % self._block_rows
                stop = min(parts.shape[1], first + int(left))
                self._open += parts[:, first:stop].sum(axis=1)
                first = stop
                if self._open[0] % self._block_rows == 0 and self._open[5] >= _LEAST_VARIANCE:
                    found += self._end_block()
        return found

    def _end_block(self) -> list[Finding]:
        sums, self._open = self._open, np.zeros_like(self._open)
        rows, *_ = sums
        self._last.append(sums[:4].tolist())
        self._rows += int(rows)
        if self._rows <= WINDOWS_TO_LEARN * _BLOCKS * self._block_rows:
            self._since = dict.fromkeys(CHARTS, self._rows)
            return []
        calibration, confidence = z_scores(sums)
        found = []
        for name, z in zip(CHARTS, (calibration, -calibration, confidence), strict=True):
            s = min(ALARM, max(0.0, self.charts[name] + z - ALLOWANCE))
            self.charts[name] = s
            if s == 0:
                self._since[name] = self._rows
            elif s == ALARM and not self.episode:
                self.episode = name
                found.append(self._alarm(name))
        if max(self.charts.values()) < ALARM / 2:
            self._before = np.sum(self._last, axis=0).tolist()
            if self.episode:
                self.episode = ""
                found.append(self._finding(False, f"no more drift of the model{self._for_label}: {self._now()}"))
        return found

    def _alarm(self, name: str) -> Finding:
        before = f"; before: {self._quality(self._before)}" if self._before else ""
        since = f"since about row {self._since[name]:,}" + (" of those that have it" if self._label else "")
        why = f"{CHARTS[name].format(positives=self._positives)} ({self._now()}{before})"
        return self._finding(True, f"drift of the model{self._for_label} {since}: {why}", since_row=float(self._since[name]))

    def _finding(self, begins: bool, text: str, **numbers: float) -> Finding:
        return Finding("model", begins, text, {**({"label": self._label} if self._label else {}), **numbers})

    @property
    def _for_label(self) -> str:
        return f" for label {self._label}" if self._label else ""

    def _now(self) -> str:
        return self._quality(np.sum(self._last, axis=0).tolist())

    def _quality(self, sums: list[float]) -> str:
        rows, clicks, predicted, loss = sums
        rate = clicks / rows
        if not 0 < rate < 1:
            return f"{clicks:.0f} {self._positives} in {rows:.0f} rows"
        entropy = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))
        return f"calibration {predicted / clicks:.2f}, NE {loss / rows / entropy:.3f}"

    def get_state(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "block_rows": self._block_rows,
            "rows": self._rows,
            "open": self._open.tolist(),
            "last": list(self._last),
            "before": self._before,
            "charts": self.charts,
            "since": self._since,
            "episode": self.episode,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` gave; nothing of blocks of another size, and the charts begin again."""
        if state["block_rows"] == self._block_rows:
            self._rows, self._open, self._before = state["rows"], np.array(state["open"]), state["before"]
            self._last = deque(state["last"], maxlen=_BLOCKS)
            self.charts, self._since, self.episode = dict(state["charts"]), dict(state["since"]), state["episode"]


def z_scores(sums: np.ndarray) -> tuple[float, float]:
    """Calibration and confidence of a block's sums; 0 where its scores do not differ."""
    _, _, _, _, residual, variance, residual_x, variance_x, variance_xx = sums.tolist()
    mean = variance_x / variance
    spread = variance_xx - mean * variance_x
    confidence = -(residual_x - mean * residual) / math.sqrt(spread) if spread > 1e-9 * variance_xx else 0.0
    return residual / math.sqrt(variance), confidence


def _parts(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What each row adds to a block, float64 [9, n]: 1, y, p, its log loss, y - p, v, (y - p) x, v x and v x^2, with v = p (1 - p).

    Whole parts of 2^-32, so that their sums are exact: the same for whatever batches the rows come in.
    """
    x, parts = logits.astype(np.float64), np.empty([9, len(labels)])
    ones, y, p, loss, residual, variance, residual_x, variance_x, variance_xx = parts
    ones[:], y[:], p[:], loss[:] = 1, labels, sigmoid(logits), log_losses(logits, labels)
    np.subtract(y, p, out=residual)
    np.multiply(p, 1 - p, out=variance)
    for factor, product in ((residual, residual_x), (variance, variance_x), (variance_x, variance_xx)):
        np.multiply(factor, x, out=product)
    return in_parts(parts)
