"""What a run needs where labels come in a topic of their own."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tfonline.settings.labels import LabelSettings
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.journal import unread_since
from tfonline.stream.labels.fields import OutcomeFields, RowFields
from tfonline.stream.labels.held import Held
from tfonline.stream.labels.join import Gone, Join, Times
from tfonline.stream.labels.ready import Ready, lost
from tfonline.stream.readers.consumer import ConsumerReader

if TYPE_CHECKING:
    from tfonline.config import Config
    from tfonline.features.schema import Schema
    from tfonline.formats import Format
    from tfonline.report.console import Console

_OUTCOMES_FILE, _ROWS_FILE = "waiting_outcomes.sqlite", "waiting_rows.sqlite"


def make_late_labels(
    config: "Config",
    rows: KafkaTopic | None,
    outcomes: KafkaTopic | None,
    schema: "Schema",
    form: "Format",
    console: "Console",
) -> "LateLabels | None":
    """Those of a run; None where rows have their labels. See LateLabels."""
    if outcomes is None or rows is None:
        return None
    folder, on_lost, say = config.keeping.model_dir, config.windows.on_lost_rows, console.saying("labels")
    return LateLabels(config.labels, config.model.late_labels, rows, outcomes, schema, form, folder, on_lost, say)


class LateLabels:
    """Labels of a topic of their own.

    Args:
      settings: the flags.
      policy: --late_labels.
      rows: the topic of rows.
      outcomes: that of outcomes.
      schema: the columns; see check_label_columns.
      form: the messages' format.
      folder: the model folder.
      on_lost: --on_lost_rows.
      say: where lines for people go.

    Attributes:
      join: says the rows' labels.
    """

    def __init__(
        self,
        settings: LabelSettings,
        policy: str,
        rows: KafkaTopic,
        outcomes: KafkaTopic,
        schema: "Schema",
        form: "Format",
        folder: str,
        on_lost: str,
        say: Callable[[str], None],
    ):
        self._settings, self._policy, self._rows, self._outcomes = settings, policy, rows, outcomes
        self._on_lost, self._say = on_lost, say
        late, most = policy != "wait", settings.label_memory_rows
        wait_ms = round(1000 * settings.label_wait_secs)
        first_sight_ms = {"wait": wait_ms, "es_dfm": round(1000 * settings.label_elapsed_secs)}.get(policy, -1)
        self.join = Join(
            ConsumerReader(outcomes, outcomes.num_partitions, keys=True),
            ConsumerReader(rows, rows.num_partitions, keys=True) if late else None,
            RowFields(schema, form, settings),
            OutcomeFields(schema, form, settings),
            Times(wait_ms, first_sight_ms),
            Held(most, os.path.join(folder, _OUTCOMES_FILE)),
            Held(most, os.path.join(folder, _ROWS_FILE)) if late else None,
            self._gone(outcomes, "outcomes that a window is joined with"),
            self._gone(rows, "rows that an outcome may still come for"),
            lambda offsets: unread_since(folder, offsets),
        )

    def ready(self, position: Sequence[int]) -> Ready:
        """The rows that may be learned from, as the planner asks for them; `position` is where it begins."""
        return Ready(self._rows, self._outcomes, self._settings, self._policy, position, self._on_lost, self._say)

    def _gone(self, topic: KafkaTopic, what: str) -> Gone:
        """See Join."""

        def gone(ranges: str) -> Sequence[int]:
            lost(self._on_lost, self._say, topic.name, what, ranges)
            return topic.at_timestamp(0)  # not `begins`, which may find new partitions: the planner asks for them in another thread

        return gone
