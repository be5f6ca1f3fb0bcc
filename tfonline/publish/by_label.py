"""The gates of rows with several labels: a gate a label. What any of them refuses is not published. Imports no TensorFlow."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tfonline.publish.delta_gate import DeltaGate
from tfonline.publish.gate import Gate, Limits
from tfonline.publish.regression import Regression, Worse


def make_gate(limits: Limits, labels: Sequence[str]) -> "Gate | GateByLabel":
    """The gate of versions."""
    return Gate(limits) if len(labels) == 1 else GateByLabel(labels, {label: Gate(limits) for label in labels})


def make_delta_gate(limits: Limits, labels: Sequence[str]) -> "DeltaGate | DeltaGateByLabel":
    """The gate of deltas."""
    return DeltaGate(limits) if len(labels) == 1 else DeltaGateByLabel(limits, labels)


def make_regression(limit: float, rows: int, labels: Sequence[str]) -> "Regression | RegressionByLabel":
    """What compares the newest version with the one before."""
    return Regression(limit, rows) if len(labels) == 1 else RegressionByLabel(limit, rows, labels)


class GateByLabel:
    """A Gate a label. What is [n] for a Gate is [n, H] here, of H labels; a label that is missing is NaN, and counts nothing.

    Args:
      labels: their names; the first one is known of each row.
      gates: by these names.
    """

    def __init__(self, labels: Sequence[str], gates: dict[str, Gate]):
        self._first, self._gates = gates[labels[0]], gates

    @property
    def full(self) -> bool:
        """See Gate."""
        return self._first.full

    @property
    def any_compared(self) -> bool:
        """See Gate."""
        return self._first.any_compared

    @property
    def all_kept(self) -> bool:
        """See Gate."""
        return self._first.all_kept

    def add(
        self,
        labels: np.ndarray,
        logits: np.ndarray,
        served: np.ndarray | None = None,
        kept: Any = None,
        weights: np.ndarray | None = None,
        late: np.ndarray | None = None,
    ) -> None:
        """See Gate: labels, logits and served float32 [n, H], weights [n]; no row is late."""
        each = _of_each(labels, weights, logits, served)
        for gate, (label, weight, *scores) in zip(self._gates.values(), each, strict=True):
            gate.add(label, *scores, kept, weight, late)

    def published(self) -> None:
        """See Gate."""
        for gate in self._gates.values():
            gate.published()

    def copy(self) -> "GateByLabel":
        """See Gate."""
        return GateByLabel([*self._gates], {label: gate.copy() for label, gate in self._gates.items()})

    def compare(self, score: Callable[[list[Any]], np.ndarray]) -> None:
        """See Gate; `score` gives [all rows, H], and is asked once."""
        kept = self._first.kept
        asked = functools.cache(lambda: score(kept))
        for i, gate in enumerate(self._gates.values()):
            gate.compare(lambda _, i=i: asked()[:, i])

    def served(self) -> dict[str, float]:
        """See Gate: of the first label, and of another one under `<name>_<label>`."""
        return self._named(gate.served() for gate in self._gates.values())

    def report(self) -> dict[str, float]:
        """See Gate: of the first label, and of another one under `<name>_<label>`."""
        return self._named(gate.report() for gate in self._gates.values())

    def refusals(self, report: dict[str, float]) -> list[str]:
        """See Gate; each begins with the label."""
        why = []
        for i, (label, gate) in enumerate(self._gates.items()):
            names = [name for name in report if i == 0 or name.endswith(f"_{label}")]
            of_label = {name.removesuffix(f"_{label}" if i else ""): report[name] for name in names}
            why += [f"{label}: {text}" for text in gate.refusals(of_label)]
        return why

    def _named(self, reports: Iterator[dict[str, float]]) -> dict[str, float]:
        first, *others = reports
        for label, report in zip(list(self._gates)[1:], others, strict=True):
            first |= {f"{name}_{label}": value for name, value in report.items()}
        return first


class DeltaGateByLabel:
    """A DeltaGate a label; arguments as of GateByLabel."""

    def __init__(self, limits: Limits, labels: Sequence[str]):
        self._gates = {label: DeltaGate(limits) for label in labels}

    def add(
        self,
        labels: np.ndarray,
        logits: np.ndarray,
        served: np.ndarray | None,
        weights: np.ndarray | None,
        late: np.ndarray | None = None,
    ) -> None:
        """See DeltaGate."""
        each = _of_each(labels, weights, logits, served)
        for gate, (label, weight, *scores) in zip(self._gates.values(), each, strict=True):
            gate.add(label, *scores, weight, late)

    def other_version(self) -> None:
        """See DeltaGate."""
        for gate in self._gates.values():
            gate.other_version()

    def refusal(self) -> str:
        """See DeltaGate; it begins with the label."""
        return next((f"{label}: {why}" for label, gate in self._gates.items() if (why := gate.refusal())), "")


class RegressionByLabel:
    """A Regression a label; arguments as of GateByLabel.

    Attributes:
      limit: as given.
    """

    def __init__(self, limit: float, rows: int, labels: Sequence[str]):
        self.limit = limit
        self._regressions = [Regression(limit, rows) for _ in labels]

    def add(
        self,
        labels: np.ndarray,
        newest: np.ndarray,
        before: np.ndarray,
        weights: np.ndarray | None = None,
        late: np.ndarray | None = None,
    ) -> None:
        """See Regression."""
        each = _of_each(labels, weights, newest, before)
        for regression, (label, weight, *scores) in zip(self._regressions, each, strict=True):
            regression.add(label, *scores, weight, late)

    def forget(self) -> None:
        """See Regression."""
        for regression in self._regressions:
            regression.forget()

    def worse(self) -> Worse | None:
        """See Regression: of the first label of which the newest version is worse."""
        return next((worse for regression in self._regressions if (worse := regression.worse())), None)


def _of_each(labels: np.ndarray, weights: np.ndarray | None, *scores: np.ndarray | None) -> Iterator[list[np.ndarray | None]]:
    """Of each label: 0 or 1, how much each row counts, and scores, [n] each. A row whose label is missing counts nothing."""
    for i in range(labels.shape[1]):
        known = ~np.isnan(labels[:, i])
        weight = known.astype(np.float32) * (1 if weights is None else weights)
        yield [
            np.where(known, labels[:, i], 0).astype(np.float32),
            weights if known.all() else weight.astype(np.float32),
            *(None if of is None else of[:, i] for of in scores),
        ]
