"""What a run keeps from one start to the next. Imports no TensorFlow."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from tfonline.stream.window import UNREAD, Window

NEGATIVES = "negatives"


class Stateful(Protocol):
    """A part of what a checkpoint holds: variables of TensorFlow, plain data, or both.

    Attributes:
      name: of the part in checkpoints.
      version: of its plain data; a part reads its own older versions.
    """

    name: str
    version: int

    def variables(self) -> Mapping[str, Any]:
        """Its tf.Variables by their names in checkpoints, such as `model/wide/table`."""

    def get_state(self) -> Any:
        """Its plain data, as JSON can hold it."""

    def set_state(self, state: Any, version: int) -> None:
        """Takes over plain data of a version up to its own."""


@dataclasses.dataclass
class Position:
    """Where in the stream the model is, and what it has learned from. Plain data; changed by the training loop and its actions.

    Attributes:
      next: the next offset of each partition.
      start: the offsets at which the model's first window began.
      stop: the offsets at which the run ends, or None.
      stop_at: the flag that `stop` was resolved from.
      window: the next window's number.
      step: train steps done.
      rows: rows trained.
      rejected: rows refused, by reason.
      skipped: offsets passed over unread, by trigger of the window (skip, lost, passed); and negatives that were left out, as
        `negatives`.
      late: rows that were learned from once more, as their outcome came (--late_labels); beside `rows`.
      outcomes: what became of the outcomes of --label_topic, see stream.labels.COUNTED.
      settled: with --late_labels other than wait, from which offset of each partition on labels are not settled; else empty.
      labels: with --label_topic, what outcomes the last window was joined with, as windows.Labels; else empty.
      fingerprint: sum of the fingerprints of the trained rows, mod 2^64.
      files_read: with --input_files, the file of each partition, as `stream.file_source.InputFile` has it; else empty.
    """

    next: list[int]
    start: list[int]
    stop: list[int] | None = None
    stop_at: str = ""
    window: int = 0
    step: int = 0
    rows: int = 0
    rejected: dict[str, int] = dataclasses.field(default_factory=dict)
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    late: int = 0
    outcomes: dict[str, int] = dataclasses.field(default_factory=dict)
    settled: list[int] = dataclasses.field(default_factory=list)
    labels: list[list[int]] = dataclasses.field(default_factory=list)
    fingerprint: int = 0
    files_read: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    # No fields: without annotations.
    name = "position"
    version = 1

    def variables(self) -> dict[str, Any]:
        """None."""
        return {}

    def get_state(self) -> dict[str, Any]:
        """See Stateful."""
        return dataclasses.asdict(self)

    def set_state(self, state: Mapping[str, Any], version: int) -> None:
        """See Stateful."""
        for name, value in dataclasses.asdict(Position(**state)).items():
            setattr(self, name, value)

    def move(self, window: Window) -> None:
        """To a window's end: from here on its rows are part of the model."""
        self.next, self.window = list(window.stop), window.number + 1
        self.start += [0] * (len(window.stop) - len(self.start))  # the topic has got more partitions
        if window.labels:
            self.labels = list(map(list, window.labels))
        if window.trigger in UNREAD:
            self._skip(window.trigger, window.rows)

    def join(self, outcomes: Mapping[str, int]) -> None:
        """What became of a window's outcomes."""
        for what, count in outcomes.items():
            self.outcomes[what] = self.outcomes.get(what, 0) + count

    def leave_out(self, negatives: int) -> None:
        """So many negatives are not learned from, see --keep_negatives."""
        if negatives:
            self._skip(NEGATIVES, negatives)

    @property
    def left_out(self) -> int:
        """How many negatives were not learned from."""
        return self.skipped.get(NEGATIVES, 0)

    def _skip(self, why: str, rows: int) -> None:
        self.skipped[why] = self.skipped.get(why, 0) + rows


class FileLengths:
    """The lengths of the files beside a checkpoint, to cut them back to; a part of it, see Stateful.

    Attributes:
      by_name: in bytes.
    """

    name = "files"
    version = 1

    def __init__(self) -> None:
        self.by_name: dict[str, int] = {}

    def variables(self) -> dict[str, Any]:
        """None."""
        return {}

    def get_state(self) -> dict[str, int]:
        """See Stateful."""
        return self.by_name

    def set_state(self, state: Mapping[str, int], version: int) -> None:
        """See Stateful."""
        self.by_name = dict(state)
