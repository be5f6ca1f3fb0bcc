"""The newest published version: which it is, and its scores of the stream, where it is one of this model.

Beside it stands the version that one would go back to: while nothing is exported, the servable that the next version is loaded into
holds that one.
"""

import contextlib
import threading
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfonline.features.batch import Batch
from tfonline.keep.variables import named_variables
from tfonline.lifecycle import UserError
from tfonline.publish.pins import Pins
from tfonline.publish.servable import Servable
from tfonline.publish.versions import Versions
from tfonline.report.writers import Scalars

_NOT_SCORED = "the stream is not scored by it; the gate will ask its SavedModel for its scores"


class Newest:
    """The newest version of an export folder, when it was looked at last.

    Args:
      versions: of the folder.
      pins: the checkpoints of this model's versions.
      servables: two that differ in nothing. In turn: while the stream is scored by one, the next version is loaded into the other.
      say: where lines go.
      with_before: whether the version before is to be scored, too.

    Attributes:
      number: which version it is; 0: there is none.
      scored: whether it is one of this model, whose weights score the stream row by row.
      since: time.time() and the model's rows, when it was taken up.
      published_at: when it was published, seconds since 1970; None where its manifest cannot be read.
      before: the version that one would go back to, where it is scored, too; 0: it is not, or there is none.
      newest_row_at: the time of the newest row that it has learned from, likewise; None where rows have no time, too.
    """

    def __init__(
        self,
        versions: Versions,
        pins: Pins,
        servables: tuple[Servable, Servable],
        say: Callable[[str], None],
        with_before: bool = False,
    ):
        self._versions, self._pins, self._say, self._with_before = versions, pins, say, with_before
        self._servable, self._spare = servables
        self._taking = threading.Lock()  # the spare is taken in the thread that exports
        self.number, self.scored, self.since, self.before = 0, False, (0.0, 0), 0
        self.published_at: float | None = None
        self.newest_row_at: float | None = None

    def look(self, rows: int) -> bool:
        """Looks which version is the newest now; says whether it is another one, which it takes up.

        That is so after a restart, after a roll-back, and where another trainer publishes into the folder.

        Args:
          rows: of the model, up to now.

        Raises:
          OSError: the folder cannot be read.
        """
        newest = max(self._versions.numbers, default=0)
        if newest == self.number:
            return False
        self.number, self.scored, self.before = newest, False, 0
        self.published_at = self.newest_row_at = None
        if newest and self._load(newest):
            self._take_up(newest, rows)
            self.load_before()
        return True

    def take_spare(self) -> Servable:
        """The Servable that the next version is loaded into. The version before is not scored any more. From any thread."""
        with self._taking:
            self.before = 0
            return self._spare

    def published(self, number: int, rows: int) -> None:
        """From here on this is the newest version: it is in the spare, which scores the stream now."""
        before = self.number if self.scored and self._with_before else 0
        self._take_up(number, rows)
        self.published_at, self.newest_row_at, self.before = time.time(), None, before
        with contextlib.suppress(UserError):  # it has just been removed
            self.newest_row_at = self._versions.manifest(number).get("newest_row_time")

    def load_before(self) -> None:
        """Loads the version that one would go back to into the spare, where it is to be scored and is of this model."""
        self.before = 0
        number = self._versions.way_back() if self._with_before and self.scored else None
        if number is None:
            return
        try:
            kept = self._pins.find(self._versions.manifest(number))
            if kept:
                self._spare.load(str(kept))
                self.before = number
        except Exception as e:  # whatever it is: the newest version is scored all the same
            self._say(f"warning: version {number}, the one before, cannot be read: the two are not compared ({_first_line(e)})")

    def scalars(self, rows: int) -> Scalars:
        """Which version it is and how old, as `served/...`; `newest_row_age_secs` where its newest row's time is known.

        Args:
          rows: of the model, up to now.
        """
        now, (since, rows_then) = time.time(), self.since
        scalars = {"version": float(self.number), "age_secs": now - since, "age_rows": float(rows - rows_then)}
        if self.newest_row_at is not None:
            scalars["newest_row_age_secs"] = max(0.0, now - self.newest_row_at)
        return {f"served/{name}": value for name, value in scalars.items()}

    def weights(self) -> dict[str, tf.Tensor]:
        """All variables of the version that scores the stream, by their names in its SavedModel."""
        return {f"model/{name}": v.read_value() for name, v in named_variables(self._servable.model).items()}

    def score(self, batch: Batch) -> np.ndarray | None:
        """Its logits of all rows of a batch, float32 [B], of H > 1 labels [B, H]; None where it is not scored row by row.

        Raises:
          tf.errors.OpError and more: it cannot score.
        """
        if not self.scored:
            return None
        return self._servable.score_features(batch.features).numpy()

    def score_before(self, batch: Batch) -> np.ndarray | None:
        """The logits of `before`, likewise; None where it is not scored, or an export has taken the spare meanwhile.

        Raises:
          tf.errors.OpError and more: it cannot score.
        """
        before, spare = self.before, self._spare
        if not before:
            return None
        logits = spare.score_features(batch.features).numpy()
        with self._taking:
            return logits if self.before == before else None

    def _take_up(self, number: int, rows: int) -> None:
        self._servable, self._spare = self._spare, self._servable
        self.number, self.scored, self.since = number, True, (time.time(), rows)

    def _load(self, number: int) -> bool:
        """Loads the version's checkpoint into the spare, if that is kept here and whole."""
        try:
            manifest = self._versions.manifest(number)
        except UserError as e:
            self._say(f"warning: version {number} is damaged: {_NOT_SCORED} ({e})")
            return False
        self.published_at, self.newest_row_at = manifest.get("published"), manifest.get("newest_row_time")
        kept = self._pins.find(manifest)
        if not kept:
            self._say(f"version {number} is not of this model, or its checkpoint is gone or damaged: {_NOT_SCORED}")
            return False
        try:
            self._spare.load(str(kept))
        except Exception as e:  # a checksum, memory, rights: its SavedModel may be readable all the same
            self._say(f"warning: the checkpoint of version {number} cannot be read: {_NOT_SCORED} ({_first_line(e)})")
            return False
        return True


def _first_line(error: Exception) -> str:
    return str(getattr(error, "message", None) or error or type(error).__name__).splitlines()[0]
