"""Watches for drift: of what columns hold, and of how true scores are; says it, and writes it down, once an episode."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tfonline.evaluate.drift import Drift
from tfonline.evaluate.input_drift import Errors, Finding
from tfonline.evaluate.progressive import sigmoid
from tfonline.events import Event, Rows, Seen, WindowEnd
from tfonline.report.console import Console
from tfonline.report.files import SideFile
from tfonline.report.writers import Writer
from tfonline.state import Position

if TYPE_CHECKING:
    from tfonline.features.parse import Fields
    from tfonline.features.schema import Schema

Compared = Callable[["Fields", np.ndarray], Mapping[str, np.ndarray]]


class WatchDrift:
    """An action, behind the one that counts. Of several workers it is the chief's, which sees the columns of its own rows alone.

    Args:
      drift: what is known of it.
      compared: the values of some rows by column, see `compared_values`.
      position: where the model is.
      console: where lines go.
      file: gets a line of JSON where an episode begins or ends.
      writer: gets the numbers of each window.
      settled: logits and labels of the rows whose labels were settled at the last window's end, where rows are seen before their
        labels are known; None: they have them. Then a column's values are not held against labels.
      logits_of_kept: the logits among the rows that are learned from: what is counted of these is as sure as their number says.
    """

    def __init__(
        self,
        drift: Drift,
        compared: Compared,
        position: Position,
        console: Console,
        file: SideFile,
        writer: Writer | None = None,
        settled: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None,
        logits_of_kept: Callable[[np.ndarray], np.ndarray] = lambda logits: logits,
    ):
        self._logits_of_kept, self._settled = logits_of_kept, settled
        self._drift, self._compared, self._position = drift, compared, position
        self._console, self._file, self._writer = console, file, writer

    def __call__(self, event: Event, seen: Seen | None) -> None:
        """Raises nothing."""
        inputs, windows, found = self._drift.inputs, self._drift.inputs.windows, []
        if isinstance(event, Rows) and seen:
            found = self._of_rows(event, seen)
        elif isinstance(event, WindowEnd) and self._settled:
            logits, labels = self._settled()
            found = self._drift.model.add(logits, labels) if len(labels) else []
        for finding in found:
            self._drift.told += finding.begins
            line = {"rows": self._position.rows, "about": finding.about, "begins": finding.begins, **finding.numbers}
            self._console.say(f"{'warning: ' if finding.begins else ''}{finding.text}", "drift", **line)
            self._file.write(json.dumps({**line, "text": finding.text}, ensure_ascii=False).encode() + b"\n")
        if self._writer and (found or inputs.windows > windows):
            self._writer.write(self._position.step, self._drift.scalars())

    def _of_rows(self, event: Rows, seen: Seen) -> list[Finding]:
        inputs, found, all_logits = self._drift.inputs, [], self._logits_of_kept(seen.logits)
        if not self._settled:
            batches = seen.steps.astype(np.int64)
            places = seen.valid[batches]
            found += self._drift.model.add(all_logits[batches][places], seen.labels[batches][places])
            for label, (logits, labels) in seen.others_of(batches).items():
                found += self._drift.others[label].add(logits, labels)
        fields = event.element.fields
        good = seen.among(fields.reason.numpy() == 0)
        if len(good):
            logits = all_logits.ravel()
            labels = sigmoid(logits) if self._settled else seen.labels.ravel()  # nothing is known of them yet
            of_labels = {"": (labels, logits)}
            of_labels |= {label: (y.ravel(), x.ravel()) for label, (y, x) in seen.others.items()}
            sample = [good[places] for places in inputs.take(len(good))]
            of_sample = [
                (self._compared(fields, rows), {label: Errors.of(x[rows], y[rows]) for label, (y, x) in of_labels.items()})
                for rows in sample
            ]
            found += inputs.add(len(good), of_sample)
        return found


def compared_values(schema: "Schema", names: tuple[str, ...] = ()) -> Compared:
    """What gives the values of some rows by column, as input_drift.Bins.of has them.

    Args:
      schema: the columns.
      names: those that are wanted; (): all that are features.
    """
    import tensorflow as tf

    from tfonline.features.kinds import feature_kinds

    kinds = [(kind, schema.columns_of(kind.name)) for kind in feature_kinds()]
    wanted = [(kind, columns) for kind, columns in kinds if any(not names or c.name in names for c in columns)]

    def compared(fields: "Fields", rows: np.ndarray) -> dict[str, Any]:
        values = {}
        with tf.device("CPU:0"):  # where the fields are: a GPU would be sent all of them for the few rows that are asked for
            for kind, columns in wanted:
                of_rows = tf.nest.map_structure(lambda of_all: tf.gather(of_all, rows), fields.values[kind.name])
                array = kind.compared(of_rows, columns)
                values |= {column.name: array[:, i] for i, column in enumerate(columns)}
        return values

    return compared
