"""A vocabulary that grows with the stream, under the faults: nearly full before the first one, and changing hands all the while."""

import pathlib
from collections.abc import Collection
from typing import NamedTuple

LEAST_LOAD = 0.95  # before the first fault
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_TALLY = f"learner/admission/tally{_VALUE}"
# What says which value has which row, and what decides who gets one.
_DECIDES = ("seen", "since", "hits", "misses", "counted", "claims", "now", "tally")
_COMPARED = {"keys": f"learner/model/vocabulary/keys{_VALUE}"} | {name: f"learner/admission/{name}{_VALUE}" for name in _DECIDES}


class Tally(NamedTuple):
    """Totals of a checkpoint, as tfonline/model/tables/admission.py counts them.

    Attributes:
      in_use: rows of the vocabulary that a value has.
      admitted: values that got a row since the beginning.
      reused: of these, that got another's.
      refused: how often none was to be had.
    """

    in_use: int
    admitted: int
    reused: int
    refused: int


class GrowingVocabulary:
    """What the run knows of it.

    Args:
      rows: of the vocabulary.
      model_dir: of the trainer that is killed.

    Attributes:
      flags: of the trainer. Rows change hands all the while: many values are not seen for 500 rows, and two sightings admit one.
      at_first_kill: the totals that the trainer went on with; None: not killed yet.
    """

    def __init__(self, rows: int, model_dir: pathlib.Path):
        self._rows, self._model_dir = rows, model_dir
        self.flags: dict[str, object] = {"vocabulary_rows": rows, "admit_after": 2, "expire_rows": 500, "admit_counters": 4096}
        self.at_first_kill: Tally | None = None
        self._looked_at: str | None = None

    def is_full(self) -> bool:
        """Whether 95 % of the rows are in use in the newest checkpoint, which is what a kill goes back to.

        False where there is none since the last look, so that it may be asked thousands of times a second.
        """
        path = _newest(self._model_dir)
        if path == self._looked_at:
            return False
        self._looked_at = path
        tally = tally_of(path)
        return tally is not None and tally.in_use >= LEAST_LOAD * self._rows

    def note_kill(self) -> None:
        """The trainer was killed."""
        self.at_first_kill = self.at_first_kill or tally_of(_newest(self._model_dir))

    @property
    def load(self) -> float:
        """The share of rows that was in use at the first kill; 0 where there was none."""
        return self.at_first_kill.in_use / self._rows if self.at_first_kill else 0.0

    def outcome(self, compared: Collection[str]) -> tuple[str, list[str]]:
        """A sentence, and what is not as promised.

        Args:
          compared: the names of the tensors that were held against those of the undisturbed run.
        """
        before, end = self.at_first_kill or Tally(0, 0, 0, 0), tally_of(_newest(self._model_dir)) or Tally(0, 0, 0, 0)
        changed = end.reused - before.reused
        found = [name for name, tensor in _COMPARED.items() if tensor in compared]
        said = (
            f"vocabulary: {before.in_use:,} of {self._rows:,} rows in use at the first kill ({self.load:.1%}), {changed:,} changed "
            f"hands afterwards; compared to the bit: {', '.join(found) or 'nothing of it'}"
        )
        problems = []
        if self.load < LEAST_LOAD:
            problems.append(f"rows in use at the first kill: {self.load:.1%} found, at least {LEAST_LOAD:.0%} expected")
        if changed <= 0:
            problems.append(f"rows that changed hands under the kills: {changed} found, more expected")
        if missing := _COMPARED.keys() - set(found):
            problems.append(f"tensors of the vocabulary that were not compared: {sorted(missing)} found, [] expected")
        return said, problems


def tally_of(path: str | None) -> Tally | None:
    """A checkpoint's totals; None where there is no checkpoint any more, or none yet.

    Raises:
      ValueError: it has no vocabulary that grows.
    """
    import tensorflow as tf

    if path is None:
        return None
    try:
        reader = tf.train.load_checkpoint(path)
    except (tf.errors.OpError, ValueError):  # the trainer has just removed it: there is a newer one
        return None
    if not reader.has_tensor(_TALLY):
        raise ValueError(f"{path} holds no {_TALLY}: the trainer ran without --vocabulary_rows")
    return Tally(*reader.get_tensor(_TALLY).tolist())


def _newest(model_dir: pathlib.Path) -> str | None:
    import tensorflow as tf

    return tf.train.latest_checkpoint(str(model_dir))
