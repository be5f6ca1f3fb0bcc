"""Metrics of the rows that have one value of a column, and the AUC within values. No TensorFlow.

Memory is bounded: the values with the most rows keep a place each. When there are more than twice as many values, the others lose
theirs, and begin anew if they come again. Rows are forgotten as the running metrics forget them, so that old values make room.
"""

import base64
import io
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tfonline.evaluate.progressive import log_losses, sigmoid, without_nan

# Values that keep their place; in between twice as many have one, and those of a batch: 4 MiB, at 2 x 64 float32 a value.
MOST_VALUES = 4096
# Values whose metrics are told: those with the most rows.
SHOWN = 10
_BINS, _BINS_PER_UNIT = 64, 4  # of logits from -8 to 8; rows of one bin and value count as ties in the AUC
_LARGEST_WEIGHT = 1e6
_TAG_LETTERS = 40


class OfValue(NamedTuple):
    """Of the rows of one value, lately.

    Attributes:
      key: of the value.
      rows: how many (decayed).
      ne: normalised entropy against the value's own share of clicks; NaN where it has but one class.
      calibration: mean prediction / mean label; NaN without a click.
    """

    key: int
    rows: float
    ne: float
    calibration: float


class MetricsByValue:
    """Metrics by value. A part of the checkpoint, see state.Stateful.

    Args:
      column: its name; '' where there is none, and nothing is counted.
      metric_rows: a row weighs exp(-(rows since) / metric_rows).
      most_values: see MOST_VALUES.
      others: of several labels all but the first.

    Attributes:
      column: as above.
      texts: of the values that were told, by their keys.
      others: the metrics of each other label, by its name: of the rows that have it, and of the values that have most of these.
      anew: those of the other labels that the checkpoint knew nothing of.
    """

    name = "metrics_by_value"
    version = 1

    def __init__(self, column: str, metric_rows: int, most_values: int = MOST_VALUES, others: Sequence[str] = ()):
        self.column, self.texts = column, {}
        self.others, self.anew = {label: MetricsByValue(column, metric_rows, most_values) for label in others}, ()
        self._metric_rows, self._most = metric_rows, most_values
        self._forget()

    def _forget(self) -> None:
        self._weight = 1.0  # of the next row: it grows, in place of all others' decay
        self._places: dict[int, int] = {}  # of each key in the arrays, which may be longer
        self._sums = np.zeros([0, 3])  # rows, log loss, sum of p
        self._counts = np.zeros([0, 2, _BINS], np.float32)  # rows by label and bin of logits

    def add(self, keys: np.ndarray, logits: np.ndarray, labels: np.ndarray, importance: np.ndarray | None = None) -> None:
        """Counts a batch's rows: keys int64 [n], logits float32 [n], labels [n], 0 or 1, and for how many each stands; None: 1."""
        if not len(keys):
            return
        self._weight *= math.exp(len(keys) / self._metric_rows)
        found, inverse = np.unique(keys, return_inverse=True)
        places = np.array([self._places.setdefault(key, len(self._places)) for key in found.tolist()])[inverse]
        if len(self._places) > len(self._sums):
            more = len(self._places)  # twice as many as there are: most batches make none
            self._sums = np.concatenate([self._sums, np.zeros([more, 3])])
            self._counts = np.concatenate([self._counts, np.zeros([more, 2, _BINS], np.float32)])
        bins = np.clip(np.floor(logits * _BINS_PER_UNIT) + _BINS // 2, 0, _BINS - 1).astype(np.int64)
        weights = self._weight * (np.ones(len(keys)) if importance is None else importance)
        np.add.at(self._counts, (places, (labels == 1).astype(np.int64), bins), weights.astype(np.float32))
        of_rows = np.stack([np.ones(len(keys)), log_losses(logits, labels), sigmoid(logits)], axis=1)
        np.add.at(self._sums, places, weights[:, None] * of_rows)
        if len(self._places) > 2 * self._most:
            kept = np.sort(self._with_most_rows(self._most))
            self._places = {key: place for place, key in enumerate(self._keys[kept].tolist())}
            self._sums, self._counts = self._sums[kept], self._counts[kept]
        if self._weight > _LARGEST_WEIGHT:
            self._sums /= self._weight
            self._counts /= np.float32(self._weight)
            self._weight = 1.0

    def largest(self) -> list[OfValue]:
        """The metrics of the values with the most rows, by falling rows."""
        found = []
        keys = self._keys
        for i in self._with_most_rows(SHOWN):
            rows, loss, predicted = (self._sums[i] / self._weight).tolist()
            by_label = self._counts[i].sum(axis=1, dtype=np.float64)
            clicks, rate = float(by_label[1]) / self._weight, float(by_label[1] / by_label.sum())
            entropy = -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate)) if 0 < rate < 1 else math.nan
            found.append(OfValue(int(keys[i]), rows, loss / rows / entropy, predicted / clicks if clicks else math.nan))
        return found

    @property
    def _keys(self) -> np.ndarray:
        """In the order of their places."""
        return np.fromiter(self._places, np.int64, len(self._places))

    def _with_most_rows(self, count: int) -> np.ndarray:
        """The places of so many keys, by falling rows."""
        rows = -self._sums[: len(self._places), 0]
        most = np.sort(np.argpartition(rows, count)[:count]) if count < len(rows) else np.arange(len(rows))
        return most[np.argsort(rows[most], kind="stable")]

    def gauc(self) -> float:
        """The mean of the values' AUCs, each weighted by its rows, over values with rows of both classes; NaN where there is none.

        Zhou et al., Deep Interest Network for Click-Through Rate Prediction, KDD 2018.
        """
        negatives, positives = np.moveaxis(self._counts.astype(np.float64), 1, 0)
        below = np.cumsum(negatives, axis=1) - negatives / 2
        n, p = negatives.sum(axis=1), positives.sum(axis=1)
        both = (n > 0) & (p > 0)
        if not both.any():
            return math.nan
        auc = (positives * below).sum(axis=1)[both] / (n * p)[both]
        return float(np.average(auc, weights=(n + p)[both]))

    def keys_without_text(self) -> list[int]:
        """The keys that `largest` has and `texts` has not; texts of others are forgotten."""
        keys = self._keys[self._with_most_rows(SHOWN)].tolist()
        self.texts = {key: self.texts[key] for key in keys if key in self.texts}
        return [key for key in keys if key not in self.texts]

    def scalars(self) -> dict[str, float]:
        """For TensorBoard, by name; nothing of values whose text is not known. Another label's group has its name behind."""
        if not self.column:
            return {}
        scalars = self._scalars(f"by_{self.column}")
        for label, of_label in self.others.items():
            scalars |= of_label._scalars(f"by_{self.column}_{label}")
        return scalars

    def _scalars(self, group: str) -> dict[str, float]:
        scalars = {f"{group}/gauc": self.gauc()}
        for value in self.largest():
            if value.key in self.texts:
                name = re.sub(r"[^\w.-]", "_", self.texts[value.key])[:_TAG_LETTERS]
                scalars |= {f"{group}/{what}_{name}": getattr(value, what) for what in ("rows", "ne", "calibration")}
        return {name: number for name, number in scalars.items() if not math.isnan(number)}

    def summary(self) -> dict[str, Any]:
        """For summary.json: the column, its GAUC, and its largest values; empty without a column. Other labels have their own."""
        if not self.column:
            return {}
        values = [{"value": self.texts.get(v.key), **without_nan(v._asdict())} for v in self.largest()]
        for value in values:
            del value["key"]
        return {"column": self.column, **without_nan({"gauc": self.gauc()}), "values": values}

    def variables(self) -> dict[str, Any]:
        """None."""
        return {}

    def get_state(self) -> dict[str, Any] | None:
        """See Stateful; an .npz in base64 with what is not 0."""
        if not self.column:
            return None
        file, at, sums = io.BytesIO(), np.flatnonzero(self._counts), self._sums[: len(self._places)]
        np.savez_compressed(file, keys=self._keys, sums=sums, at=at, counts=self._counts.ravel()[at])
        texts = {str(key): text for key, text in self.texts.items()}
        numbers = base64.b64encode(file.getvalue()).decode()
        state = {"column": self.column, "weight": self._weight, "texts": texts, "numbers": numbers}
        of_others = {label: of_label.get_state() for label, of_label in self.others.items()}
        return {**state, "others": of_others} if of_others else state

    def set_state(self, state: dict[str, Any] | None, version: int) -> None:
        """See Stateful. What was counted of another column is not taken over; a label that the state has not begins anew."""
        self._forget()
        self.texts = {}
        known = bool(self.column) and state is not None and state["column"] == self.column
        of_others = state.get("others", {}) if known else {}
        for label, of_label in self.others.items():
            of_label.set_state(of_others.get(label), version)
        self.anew = tuple(label for label in self.others if known and label not in of_others)
        if not known:
            return
        self._weight, self.texts = state["weight"], {int(key): text for key, text in state["texts"].items()}
        with np.load(io.BytesIO(base64.b64decode(state["numbers"]))) as arrays:
            self._places = {key: place for place, key in enumerate(arrays["keys"].tolist())}
            self._sums, self._counts = arrays["sums"], np.zeros([len(self._places), 2, _BINS], np.float32)
            self._counts.ravel()[arrays["at"]] = arrays["counts"]
