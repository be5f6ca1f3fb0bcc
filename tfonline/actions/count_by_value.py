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
        for key in metrics.keys_without_text():
            rows = good[keys == key]
            if len(rows):
                metrics.texts[key] = "missing" if key == MISSING_KEY else self._text(element, int(rows[0]))


def make_text(parse: "Parse", name: str) -> "Callable[[Element, int], str]":
    """What gives the text that a row of an element has in the column `name`."""

    def text(element: "Element", row: int) -> str:
        if not parse.form.many:
            return parse.text(element.message.numpy()[row], name)
        place = element.batch.place
        message = element.message.numpy()[int(place.message[row])]
        return parse.text(parse.form.one(message, int(place.row[row])), name)

    return text
