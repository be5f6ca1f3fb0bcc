"""Drift of the inputs and of the model, as a checkpoint keeps it and a run tells it. No TensorFlow."""

import math
from collections.abc import Sequence
from typing import Any

from tfonline.evaluate.input_drift import InputDrift
from tfonline.evaluate.model_drift import ModelDrift


class Drift:
    """Both. A part of the checkpoint, see state.Stateful.

    Args:
      columns: that are features, by name, in order.
      rows: of a window; 0: nothing is looked at.
      limit: a column's PSI above it is drift.
      others: of several labels all but the first.

    Attributes:
      rows: as above.
      inputs: of the columns.
      model: of the scores; of several labels those of the first.
      others: of the scores of each other label, by its name, over the rows that have it.
      told: episodes that have begun.
      anew: those of the other labels that the checkpoint knew nothing of.
    """

    name = "drift"
    version = 1

    def __init__(self, columns: Sequence[str], rows: int, limit: float, others: Sequence[str] = ()):
        self._columns, self.rows, self._limit, self._others = tuple(columns), rows, limit, tuple(others)
        self._forget()

    def _forget(self) -> None:
        self.inputs = InputDrift(self._columns, self.rows, self._limit, self._others)
        self.model, self.told = ModelDrift(self.rows), 0
        self.others, self.anew = {label: ModelDrift(self.rows, label) for label in self._others}, ()

    def scalars(self) -> dict[str, float]:
        """For TensorBoard, by name: each column's PSI in the last whole window, and the model's charts, another label's with its
        name behind.
        """
        scalars = {f"drift/psi_{name}": column.psi for name, column in self.inputs.columns.items() if not math.isnan(column.psi)}
        for suffix, model in (("", self.model), *((f"_{label}", model) for label, model in self.others.items())):
            scalars |= {f"drift/model_{name}{suffix}": s for name, s in model.charts.items()}
        return scalars

    def episodes(self) -> dict[str, int]:
        """How many go on now: of `column`, and of `model` (all rows, and a part of them), of another label as `model_<label>`.

        Empty where nothing is watched.

        May be called from another thread.
        """
        if not self.rows:
            return {}
        columns = sum(column.over > 0 for column in self.inputs.columns.values())
        models = {"model": ("", self.model), **{f"model_{label}": (label, model) for label, model in self.others.items()}}
        wrong = self.inputs.wrong
        return {"column": columns, **{of: bool(model.episode) + bool(wrong[label]) for of, (label, model) in models.items()}}

    def summary(self) -> dict[str, Any]:
        """For summary.json; empty where nothing is looked at."""
        if not self.rows:
            return {}
        columns, wrong = self.inputs.columns, self.inputs.wrong
        of_others = {label: {"model": model.episode, "model_for": wrong[label]} for label, model in self.others.items()}
        return {
            "windows": self.inputs.windows,
            "told": self.told,
            "columns": [name for name, column in columns.items() if column.over],
            "model": self.model.episode,
            "model_for": wrong[""],
            **({"by_label": of_others} if of_others else {}),
            "psi": {name: round(column.psi, 4) for name, column in columns.items() if not math.isnan(column.psi)},
        }

    def variables(self) -> dict[str, Any]:
        """None."""
        return {}

    def get_state(self) -> dict[str, Any] | None:
        """See Stateful."""
        if not self.rows:
            return None
        state = {"inputs": self.inputs.get_state(), "model": self.model.get_state(), "told": self.told}
        of_others = {label: model.get_state() for label, model in self.others.items()}
        return {**state, "others": of_others} if of_others else state

    def set_state(self, state: dict[str, Any] | None, version: int) -> None:
        """See Stateful. What was kept of windows of another size is not taken over; a label that the state has not begins anew."""
        self._forget()
        if state and self.rows:
            self.told = state["told"]
            self.inputs.set_state(state["inputs"])
            self.model.set_state(state["model"])
            of_others = state.get("others", {})
            for label in self.others.keys() & of_others.keys():
                self.others[label].set_state(of_others[label])
            self.anew = tuple(label for label in self.others if label not in of_others)
