"""Drift of the inputs: each column's values in the newest window of rows against those of a reference window. No TensorFlow.

The measure is the population stability index, `PSI = sum over bins of (q - p) ln(q / p)`, with p and q the bin's shares of the
reference's rows n and of the window's rows m. Chance alone gives it a mean of about `(bins - 1) (1 / n + 1 / m)` (Yurdakul and
Naranjo, Journal of Risk Model Validation 14, 2020). That much is taken off, so that a small window or many bins are no drift.

In the same bins the scores p are held against the labels y: `r = sum(y - p)`, `v = sum(p (1 - p))`, `z = r / sqrt(v)`. Where
scores are right, r is as far from 0 with a probability of about `2 exp(-v h(|r| / v))` at most, for few clicks, too, with
`h(u) = (1 + u) ln(1 + u) - u` (Freedman, Annals of Probability 3, 1975). It is an alarm where that is below 2e-9 and |z| is 8 or
more: with 39 columns of 66 bins a false one in 190,000 windows. Of several labels each is held against its scores.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfonline.evaluate.progressive import sigmoid

MISSING_KEY = -1  # a missing value among keys; hashes are not negative
# Of a window at most so many rows are looked at, at equal distances.
MOST_SAMPLED = 5000
_MOST_FREQUENT = 64  # values of a category with a bin of their own
_QUANTILES = 10
# After so many windows in a row a drift is the new normal: the column gets a new reference.
_WINDOWS_TO_NORMAL = 10
# A new model is over-confident while its weights are of few rows: scores are looked at after so many windows.
WINDOWS_TO_LEARN = 5
_ALARM_Z, _ALARM_CHANCE = 8.0, 2e-9
_LEAST_VARIANCE = 1.0


class Finding(NamedTuple):
    """What is to be told of drift.

    Attributes:
      about: the column's name, or `model`.
      begins: whether an episode begins; else it has ended.
      text: what it is, in words.
      numbers: what it was reckoned from, by name.
    """

    about: str
    begins: bool
    text: str
    numbers: dict[str, float | str]


class Bins(NamedTuple):
    """The bins of a column, made of its reference.

    Attributes:
      edges: rising. Of keys, int64: the reference's most frequent ones, a bin each, and one more for all others. Of numbers,
        float64: the last number of each bin, and one more for what is above.
      counts: of the reference, int64 [len(edges) + 2]; the last bin is that of missing values.
    """

    edges: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Bins":
        """Of a reference: keys int64 [n], -1 where missing, or numbers float64 [n], NaN where missing."""
        there = values[~_is_missing(values)]
        if values.dtype == np.int64:
            keys, counts = np.unique(there, return_counts=True)
            edges = np.sort(keys[np.argsort(-counts, kind="stable")[:_MOST_FREQUENT]])
        elif len(there):
            parts = np.quantile(there, np.arange(1, _QUANTILES + 1) / _QUANTILES, method="lower")
            edges = np.unique([np.nextafter(there.min(), -np.inf), *parts])
        else:
            edges = there
        return cls(edges, np.bincount(_places(edges, values), minlength=len(edges) + 2))

    def places(self, values: np.ndarray) -> np.ndarray:
        """In which bin other values fall, int64 [n]."""
        return _places(self.edges, values)

    def name(self, place: int) -> str:
        """A bin in words."""
        if place == len(self.edges) + 1:
            return "missing"
        if self.edges.dtype == np.int64:
            if place == len(self.edges):
                return f"values other than the {len(self.edges)} most frequent"
            rank = int((self.counts[: len(self.edges)] > self.counts[place]).sum()) + 1
            return f"the value that was the {_ordinal(rank)} most frequent"
        if place == len(self.edges):
            return f"above {self.edges[-1]:g}" if len(self.edges) else "not missing"
        return f"up to {self.edges[place]:g}" if place < 2 else f"above {self.edges[place - 1]:g} up to {self.edges[place]:g}"


def psi(reference: np.ndarray, window: np.ndarray) -> tuple[float, np.ndarray]:
    """The population stability index of two counts of the same bins.

    Half a row is added to each bin that is not empty in both, as an empty one would make it infinite.

    Args:
      reference: rows a bin, int64 [bins].
      window: likewise.

    Returns:
      the index without what chance gives it, at least 0; and what each bin adds to it, float64 [bins].
    """
    used = (reference + window) > 0
    bins = int(used.sum())
    n, m = reference.sum(), window.sum()
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * bins) for counts in (reference, window))
    parts = np.where(used, (q - p) * np.log(q / p), 0.0)
    by_chance = (bins - 1) * (1 / max(n, 1) + 1 / max(m, 1))
    return max(0.0, float(parts.sum() - by_chance)), parts


# Errors are of whole parts of this size, so that their sums are exact, and the same in whatever order they are added up.
_PART = 2.0**-32
_ROUNDS = 1.5 * 2**52 * _PART  # what is added to this is rounded to whole parts: float64 has no finer ones there
_ROWS_AT_ONCE = 1000  # of a sample: to count few rows of many columns costs as much


def in_parts(x: np.ndarray) -> np.ndarray:
    """Rounded to whole parts, float64 of the same shape: sums are exact up to 2^21, in whatever order. Of x below 2^19."""
    return (x + _ROUNDS) - _ROUNDS


class Errors(NamedTuple):
    """How scores and labels differ in rows of one bin, or one by one, float64 [n].

    Attributes:
      clicks: their number.
      predicted: the sum of the scores p.
      variance: the sum of p (1 - p).
    """

    clicks: Any
    predicted: Any
    variance: Any

    @classmethod
    def of(cls, logits: np.ndarray, labels: np.ndarray) -> "Errors":
        """Of rows one by one: logits float32 [n] and labels [n], 0 or 1, or NaN where missing: such a row has none."""
        p, known = sigmoid(logits), ~np.isnan(labels)
        return cls(*(np.where(known, x, 0.0) for x in (labels.astype(np.float64), in_parts(p), in_parts(p * (1 - p)))))

    @property
    def z(self) -> Any:
        """See above; with a variance of 1 at least."""
        return (self.clicks - self.predicted) / np.sqrt(np.maximum(self.variance, _LEAST_VARIANCE))

    @property
    def strength(self) -> Any:
        """1 where it is an alarm, and more where it is more than that."""
        v = np.maximum(self.variance, _LEAST_VARIANCE)
        u = np.abs(self.clicks - self.predicted) / v
        return np.minimum(np.abs(self.z) / _ALARM_Z, v * ((1 + u) * np.log1p(u) - u) / -math.log(_ALARM_CHANCE / 2))


class ColumnDrift:
    """One column.

    Args:
      labels: '' for the first one, and the names of the others.

    Attributes:
      psi: of the last whole window; NaN before there is one.
      over: for how many windows in a row it has been above the limit.
      worst: by label, a bin of the last whole window in words, and its errors: those most like an alarm; {} before there is one.
    """

    def __init__(self, labels: Sequence[str] = ("",)):
        self._sample: list[np.ndarray] | None = []  # of the reference that is being made
        self._bins: Bins | None = None
        self._counts, self._errors = np.zeros(0, np.int64), {label: np.zeros([3, 0]) for label in labels}
        self.psi, self.over = math.nan, 0
        self.worst: dict[str, tuple[str, Errors]] = {}

    def add(self, values: np.ndarray, errors: Mapping[str, Errors]) -> None:
        """Takes in values of the window's sample, as Bins.of has them, and the errors of their rows by label."""
        if self._sample is not None:
            self._sample.append(values)
        else:
            places, bins = self._bins.places(values), len(self._counts)
            self._counts += np.bincount(places, minlength=bins)
            for label, of_label in errors.items():
                self._errors[label] += [np.bincount(places, each, bins) for each in of_label]

    def end(self, name: str, limit: float) -> Finding | None:
        """Ends a window; says what is to be told, if anything."""
        if self._sample is not None:
            self._bins, self._sample, self.worst = Bins.of(np.concatenate(self._sample)), None, {}
            self._begin_window()
            return None
        reference, counts, of_labels = self._bins.counts, self._counts, self._errors
        self._begin_window()
        for label, errors in of_labels.items():
            place = int(Errors(*errors).strength.argmax())
            self.worst[label] = self._bins.name(place), Errors(*errors[:, place].tolist())
        self.psi, parts = psi(reference, counts)
        finding = None
        if self.psi > limit:
            self.over += 1
            if self.over == 1:
                finding = self._begins(name, reference / reference.sum(), counts / counts.sum(), parts)
            elif self.over == _WINDOWS_TO_NORMAL:
                finding = Finding(name, False, f"drift in column {name} has lasted: it is compared with later rows", {})
                self._sample, self.over = [], 0
        elif self.over:
            self.over = 0
            finding = Finding(name, False, f"no more drift in column {name}: PSI {self.psi:.2f}", {"psi": self.psi})
        return finding

    def _begin_window(self) -> None:
        self._counts = np.zeros_like(self._bins.counts)
        self._errors = {label: np.zeros([3, len(self._counts)]) for label in self._errors}

    def _begins(self, name: str, before: np.ndarray, now: np.ndarray, parts: np.ndarray) -> Finding:
        most = int(parts.argmax())
        text = f"drift in column {name}: PSI {self.psi:.2f} ({self._bins.name(most)} {before[most]:.2f} -> {now[most]:.2f})"
        shares = {"missing": now[-1], "missing_before": before[-1]}
        return Finding(name, True, text, {"psi": self.psi, **{key: float(share) for key, share in shares.items()}})

    def get_state(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        errors = {label: of_label.tolist() for label, of_label in self._errors.items()}
        state = {
            "sample": _text(np.concatenate(self._sample)) if self._sample else self._sample,
            "bins": self._bins and [_text(array) for array in self._bins],
            "counts": self._counts.tolist(),
            "errors": errors.pop(""),
            "psi": None if math.isnan(self.psi) else self.psi,
            "over": self.over,
        }
        return {**state, "errors_of": errors} if errors else state

    @classmethod
    def of_state(cls, state: Mapping[str, Any], labels: Sequence[str]) -> "ColumnDrift":
        """Of what `get_state` gave; a label that the state has not has no errors yet."""
        column = cls(labels)
        column._sample = [_array(state["sample"])] if state["sample"] else state["sample"]
        column._bins = state["bins"] and Bins(*map(_array, state["bins"]))
        column._counts, known = np.array(state["counts"], np.int64), {"": state["errors"], **state.get("errors_of", {})}
        column._errors = {label: np.array(known.get(label, np.zeros([3, len(column._counts)]))) for label in labels}
        column.psi, column.over = math.nan if state["psi"] is None else state["psi"], state["over"]
        return column


class InputDrift:
    """All columns. The first window of a model is the reference, and so is that in which a drift has become the new normal.

    What it finds is a function of the rows in their order: not of batches, of time or of restarts.

    Args:
      columns: by name, in order.
      rows: of a window.
      limit: a column's PSI above it is drift.
      others: of several labels all but the first.

    Attributes:
      columns: by name.
      windows: whole ones, that of the reference among them.
      wrong: by label, '' for the first, the column in one of whose bins scores are wrong, while that lasts; else ''.
    """

    def __init__(self, columns: Sequence[str], rows: int, limit: float, others: Sequence[str] = ()):
        self._window, self._limit, self._labels = rows, limit, ("", *others)
        self._apart = -(-rows // MOST_SAMPLED)
        self.columns = {name: ColumnDrift(self._labels) for name in columns}
        self._rows = 0  # of the open window
        self._held: list[tuple[Mapping[str, np.ndarray], Mapping[str, Errors]]] = []  # of its sample, not counted yet
        self.windows, self.wrong = 0, dict.fromkeys(self._labels, "")

    def take(self, rows: int) -> list[np.ndarray]:
        """Which of the next rows belong to the sample: places, int64, of the open window and then of each that follows it."""
        places, first = [], 0
        while first < rows:
            n = min(rows - first, self._window - (self._rows + first) % self._window)
            inside = (self._rows + first) % self._window
            places.append(first + np.arange(-inside % self._apart, n, self._apart))
            first += n
        return places

    def add(self, rows: int, sample: Sequence[tuple[Mapping[str, np.ndarray], Mapping[str, Errors]]]) -> list[Finding]:
        """Takes in rows.

        Args:
          rows: how many.
          sample: for each of the arrays that `take` gave for so many rows, the values of these rows by column, as Bins.of has them,
            and their errors by label.
        """
        found = []
        for values, errors in sample:
            n = min(rows, self._window - self._rows)
            self._held.append((values, errors))
            self._rows, rows = self._rows + n, rows - n
            if sum(len(held[""].clicks) for _, held in self._held) >= _ROWS_AT_ONCE:
                self._count()
            if self._rows == self._window:
                self._count()
                found += [column.end(name, self._limit) for name, column in self.columns.items()]
                self._rows, self.windows = 0, self.windows + 1
                found += [self._where_scores_are_wrong(label) for label in self._labels]
        return [finding for finding in found if finding]

    def _count(self) -> None:
        if not self._held:
            return
        values, errors = zip(*self._held, strict=True)
        errors = {label: Errors(*map(np.concatenate, zip(*(of[label] for of in errors), strict=True))) for label in self._labels}
        self._held = []
        for name, column in self.columns.items():
            column.add(np.concatenate([of[name] for of in values]), errors)

    def _where_scores_are_wrong(self, label: str) -> Finding | None:
        worst = [(name, *column.worst[label]) for name, column in self.columns.items() if column.worst]
        if self.windows <= WINDOWS_TO_LEARN or not worst:
            return None
        name, where, errors = max(worst, key=lambda of: of[2].strength)
        named = {"label": label} if label else {}
        if self.wrong[label] and errors.strength < 1 / 2:
            self.wrong[label] = ""
            for_label = f" for label {label}" if label else ""
            return Finding("model", False, f"no more drift of the model{for_label} in a part of the rows", named)
        if self.wrong[label] or errors.strength < 1:
            return None
        self.wrong[label] = name
        for_label, clicks = (f"label {label} and ", "positives") if label else ("", "clicks")
        text = f"{errors.clicks:,.0f} {clicks} where {errors.predicted:,.0f} were predicted (z {errors.z:.1f})"
        numbers = {"column": name, "clicks": errors.clicks, "predicted": errors.predicted, "z": float(errors.z)}
        return Finding("model", True, f"drift of the model for {for_label}column {name}, {where}: {text}", {**named, **numbers})

    def get_state(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        self._count()
        columns, wrong = {name: column.get_state() for name, column in self.columns.items()}, dict(self.wrong)
        state = {"window": self._window, "rows": self._rows, "windows": self.windows, "wrong": wrong.pop(""), "columns": columns}
        return {**state, "wrong_of": wrong} if wrong else state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` gave; of other columns, or a window of another size, nothing: a new reference is made."""
        self._held = []
        if state["window"] == self._window and list(state["columns"]) == list(self.columns):
            self._rows, self.windows = state["rows"], state["windows"]
            self.wrong.update({"": state["wrong"], **state.get("wrong_of", {})})
            self.columns = {name: ColumnDrift.of_state(column, self._labels) for name, column in state["columns"].items()}


def _is_missing(values: np.ndarray) -> np.ndarray:
    return values == MISSING_KEY if values.dtype == np.int64 else np.isnan(values)


def _places(edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    places = np.searchsorted(edges, values)
    if edges.dtype == np.int64 and len(edges):
        places = np.where(edges[np.minimum(places, len(edges) - 1)] == values, places, len(edges))
    return np.where(_is_missing(values), len(edges) + 1, places)


def _ordinal(n: int) -> str:
    ending = "th" if 10 < n % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def _text(array: np.ndarray) -> str:
    file = io.BytesIO()
    np.savez_compressed(file, array)
    return base64.b64encode(file.getvalue()).decode()


def _array(text: str) -> np.ndarray:
    with np.load(io.BytesIO(base64.b64decode(text))) as arrays:
        return arrays["arr_0"]
