"""Counts the rows that were scored by the value that a column has in them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from tfonline.evaluate.by_value import MetricsByValue
from tfonline.evaluate.input_drift import MISSING_KEY
from tfonline.events import Event, Rows, Seen

if TYPE_CHECKING:
    from tfonline.features.batch import Element
    from tfonline.features.parse import Fields, Parse


class CountByValue:
    """An action. Of several workers it is the chief's, which sees the columns of its own rows alone.

    Args:
      metrics: of a column of kind category.
      compared: the keys of some rows by column, see watch_drift.compared_values.
      text: what a row of an element has in the column.
    """

    def __init__(
        self,
        metrics: MetricsByValue,
        compared: "Callable[[Fields, np.ndarray], Mapping[str, np.ndarray]]",
        text: "Callable[[Element, int], str]",
    ):
        self._metrics, self._compared, self._text = metrics, compared, text

    def __call__(self, event: Event, seen: Seen | None) -> None:
        """Raises nothing."""
        if not isinstance(event, Rows) or not seen:
            return
        element, metrics = event.element, self._metrics
        good = seen.among(element.fields.reason.numpy() == 0)
        keys = self._compared(element.fields, good)[metrics.column]
        importance = None if seen.importance is None else seen.importance.ravel()[good]
        metrics.add(keys, seen.logits.ravel()[good], seen.labels.ravel()[good], importance)
        self._find_texts(metrics, element, good, keys)
        for label, (labels, logits) in seen.others.items():
            known = ~np.isnan(labels.ravel()[good])
            rows, of_label = good[known], metrics.others[label]
            of_label.add(keys[known], logits.ravel()[rows], labels.ravel()[rows])
            self._find_texts(of_label, element, rows, keys[known])

    def _find_texts(self, metrics: MetricsByValue, element: "Element", rows: np.ndarray, keys: np.ndarray) -> None:
        """Of the values that are to be told, where one of these rows has it: places and keys, int64 [n] each."""
        for key in metrics.keys_without_text():
            of_key = rows[keys == key]
            if len(of_key):
                metrics.texts[key] = "missing" if key == MISSING_KEY else self._text(element, int(of_key[0]))


def make_text(parse: "Parse", name: str) -> "Callable[[Element, int], str]":
    """What gives the text that a row of an element has in the column `name`."""

    def text(element: "Element", row: int) -> str:
        if not parse.form.many:
            return parse.text(element.message.numpy()[row], name)
        place = element.batch.place
        message = element.message.numpy()[int(place.message[row])]
        return parse.text(parse.form.one(message, int(place.row[row])), name)

    return text
