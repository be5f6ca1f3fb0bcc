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

    Attributes:
      rows: as above.
      inputs: of the columns.
      model: of the scores.
      told: episodes that have begun.
    """

    name = "drift"
    version = 1

    def __init__(self, columns: Sequence[str], rows: int, limit: float):
        self._columns, self.rows, self._limit = tuple(columns), rows, limit
        self._forget()

    def _forget(self) -> None:
        self.inputs, self.model, self.told = InputDrift(self._columns, self.rows, self._limit), ModelDrift(self.rows), 0

    def scalars(self) -> dict[str, float]:
        """For TensorBoard, by name: each column's PSI in the last whole window, and the model's charts."""
        scalars = {f"drift/psi_{name}": column.psi for name, column in self.inputs.columns.items() if not math.isnan(column.psi)}
        return scalars | {f"drift/model_{name}": s for name, s in self.model.charts.items()}

    def episodes(self) -> dict[str, int]:
        """How many go on now: of `column` and of `model` (all rows, and a part of them). Empty where nothing is watched.

        May be called from another thread.
        """
        if not self.rows:
            return {}
        columns = sum(column.over > 0 for column in self.inputs.columns.values())
        return {"column": columns, "model": bool(self.model.episode) + bool(self.inputs.wrong)}

    def summary(self) -> dict[str, Any]:
        """For summary.json; empty where nothing is looked at."""
        if not self.rows:
            return {}
        columns = self.inputs.columns
        return {
            "windows": self.inputs.windows,
            "told": self.told,
            "columns": [name for name, column in columns.items() if column.over],
            "model": self.model.episode,
            "model_for": self.inputs.wrong,
            "psi": {name: round(column.psi, 4) for name, column in columns.items() if not math.isnan(column.psi)},
        }

    def variables(self) -> dict[str, Any]:
        """None."""
        return {}

    def get_state(self) -> dict[str, Any] | None:
        """See Stateful."""
        if not self.rows:
            return None
        return {"inputs": self.inputs.get_state(), "model": self.model.get_state(), "told": self.told}

    def set_state(self, state: dict[str, Any] | None, version: int) -> None:
        """See Stateful. What was kept of windows of another size is not taken over."""
        self._forget()
        if state and self.rows:
            self.told = state["told"]
            self.inputs.set_state(state["inputs"])
            self.model.set_state(state["model"])
