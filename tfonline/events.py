"""What happens in a run, in order. The training loop makes events of what it reads, and tells each of them to its actions.

Imports no TensorFlow, so that what actions do can be tried without.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfonline.stream.window import Window

if TYPE_CHECKING:
    from tfonline.features.batch import Element, Examples


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of the window that is open.

    Attributes:
      element: as the pipeline gave it.
      examples: what is learned from, where the learner wants it.
      refused: how many of the rows were refused, by reason's index; with several workers, of all of them.
      left_out: how many negatives were left out since the rows before, see --keep_negatives.
    """

    element: "Element"
    examples: "Examples"
    refused: Sequence[int]
    left_out: int = 0


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the model made of Rows before it learned from them: N batches of B rows, as --steps_per_call has them.

    Attributes:
      valid: bool [N, B], the places that hold a row at its first sight.
      labels: float32 [N, B], 0 or 1.
      logits: float32 [N, B].
      weights: float32 [N, B], how much each row counts by its column of kind weight; None: all 1.
      importance: float32 [N, B], for how many rows of the stream each stands; None: for itself.
      late: bool [N, B], the places of rows that were learned from before as negatives, and are here once more, as their outcome has
        come; None: there are none.
      steps: int [k], which of the N batches were a step.
      losses: by the network's names for them, float32 [N] each; the last one is the whole loss.
      when: time.monotonic, after the step.
      others: of several labels, all but the first, by name: labels, NaN where missing, and logits, float32 [N, B] each. All else is
        of the first one.
    """

    valid: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    steps: np.ndarray
    losses: Mapping[str, np.ndarray]
    when: float
    weights: np.ndarray | None = None
    importance: np.ndarray | None = None
    late: np.ndarray | None = None
    others: Mapping[str, tuple[np.ndarray, np.ndarray]] = dataclasses.field(default_factory=dict)

    @property
    def places(self) -> np.ndarray:
        """Those that hold a row, of first sight or once more: bool [N, B]."""
        return self.valid if self.late is None else self.valid | self.late

    def among(self, good: np.ndarray) -> np.ndarray:
        """Which of the first places are good, bool [b], and of first sight: their numbers, int [n]."""
        return np.flatnonzero(good if self.late is None else good & ~self.late.ravel()[: len(good)])

    def rows(self, *which: np.ndarray | int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Of some places, an index of [N, B], or of all rows of first sight: logits, labels, importance and weights, [n] each."""
        places = which or (self.valid,)
        return self.logits[places], self.labels[places], *(x if x is None else x[places] for x in (self.importance, self.weights))

    def of_all_labels(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits and labels of some places, an index of [N, B]: [n] each, or of H > 1 labels [n, H]."""
        if not self.others:
            return self.logits[places], self.labels[places]
        pairs = [(self.labels, self.logits), *self.others.values()]
        labels, logits = (np.stack(of, axis=-1)[places] for of in zip(*pairs, strict=True))
        return logits, labels

    def others_of(self, i: int | np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Of the batch i, or of several, int [k], by the names of `others`: logits and labels of the rows whose label is known, [n]
        each.
        """
        known = {name: self.valid[i] & ~np.isnan(labels[i]) for name, (labels, _) in self.others.items()}
        return {name: (logits[i][known[name]], labels[i][known[name]]) for name, (labels, logits) in self.others.items()}

    def of_batch(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
        """`rows` of the batch i, those that hold one."""
        return self.rows(i, self.valid[i])


@dataclasses.dataclass(frozen=True)
class WindowEnd:
    """All rows of a window were learned from, and the position has moved to its end.

    Attributes:
      window: which.
      left_out: how many negatives were left out since its last rows, see --keep_negatives.
      outcomes: what became of its outcomes, see stream.labels.COUNTED; empty where rows have their labels.
    """

    window: Window
    left_out: int = 0
    outcomes: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Tick:
    """Nothing has come for a while."""


@dataclasses.dataclass(frozen=True)
class Saving:
    """The model is about to be saved as it is now. Who raises an error keeps it from being saved.

    Attributes:
      windows: those that it has learned from since it was saved last; none for a new model.
    """

    windows: tuple[Window, ...]


@dataclasses.dataclass(frozen=True)
class Saved:
    """A checkpoint is on disk.

    Attributes:
      path: of the checkpoint.
      next: the next offset of each partition, as saved.
    """

    path: str
    next: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Dropped:
    """A window did not end in time after a stop was asked for: what was learned of it is not kept.

    Attributes:
      number: of the window.
    """

    number: int


@dataclasses.dataclass(frozen=True)
class Ended:
    """There are no more rows in this run."""


Event = Rows | WindowEnd | Tick | Saving | Saved | Dropped | Ended
