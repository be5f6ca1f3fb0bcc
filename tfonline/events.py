"""What happens in a run, in order. The training loop makes events of what it reads, and tells each of them to its actions.

Imports no TensorFlow, so that what actions do can be tried without.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfonline.stream.windows import Window

if TYPE_CHECKING:
    from tfonline.features.batch import Element, Examples


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of the window that is open.

    Attributes:
      element: as the pipeline gave it.
      examples: what is learned from, where the learner wants it.
      refused: how many of the rows were refused, by reason's index; with several workers, of all of them.
    """

    element: "Element"
    examples: "Examples"
    refused: Sequence[int]


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the model made of Rows before it learned from them: N batches of B rows, as --steps_per_call has them.

    Attributes:
      valid: bool [N, B], the places that hold a row.
      labels: float32 [N, B], 0 or 1.
      logits: float32 [N, B].
      steps: int [k], which of the N batches were a step.
      losses: by the network's names for them, float32 [N] each; the last one is the whole loss.
      when: time.monotonic, after the step.
    """

    valid: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    steps: np.ndarray
    losses: Mapping[str, np.ndarray]
    when: float


@dataclasses.dataclass(frozen=True)
class WindowEnd:
    """All rows of a window were learned from, and the position has moved to its end."""

    window: Window


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
