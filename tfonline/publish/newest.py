"""The newest published version: which it is, and its scores of the stream, where it is one of this model."""

import time
from collections.abc import Callable

import numpy as np

from tfonline.features.batch import Batch
from tfonline.lifecycle import UserError
from tfonline.publish.pins import Pins
from tfonline.publish.servable import Servable
from tfonline.publish.versions import Versions

_NOT_SCORED = "the stream is not scored by it; the gate will ask its SavedModel for its scores"


class Newest:
    """The newest version of an export folder, when it was looked at last.

    Args:
      versions: of the folder.
      pins: the checkpoints of this model's versions.
      servables: two that differ in nothing. In turn: while the stream is scored by one, the next version is loaded into the other.
      say: where lines go.

    Attributes:
      number: which version it is; 0: there is none.
      scored: whether it is one of this model, whose weights score the stream row by row.
      since: time.time() and the model's rows, when it was taken up.
      published_at: when it was published, seconds since 1970; None where its manifest cannot be read.
      spare: the Servable that scores nothing.
    """

    def __init__(self, versions: Versions, pins: Pins, servables: tuple[Servable, Servable], say: Callable[[str], None]):
        self._versions, self._pins, self._say = versions, pins, say
        self._servable, self.spare = servables
        self.number, self.scored, self.since = 0, False, (0.0, 0)
        self.published_at: float | None = None

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
        self.number, self.scored, self.published_at = newest, False, None
        if newest and self._load(newest):
            self._take_up(newest, rows)
        return True

    def published(self, number: int, rows: int) -> None:
        """From here on this is the newest version: it is in `spare`, which scores the stream now."""
        self._take_up(number, rows)
        self.published_at = time.time()

    def score(self, batch: Batch) -> np.ndarray | None:
        """Its logits of all rows of a batch, float32 [B]; None where it is not scored row by row.

        Raises:
          tf.errors.OpError and more: it cannot score.
        """
        if not self.scored:
            return None
        return self._servable.score_features(batch.features).numpy()

    def _take_up(self, number: int, rows: int) -> None:
        self._servable, self.spare = self.spare, self._servable
        self.number, self.scored, self.since = number, True, (time.time(), rows)

    def _load(self, number: int) -> bool:
        """Loads the version's checkpoint into `spare`, if that is kept here and whole."""
        try:
            manifest = self._versions.manifest(number)
        except UserError as e:
            self._say(f"warning: version {number} is damaged: {_NOT_SCORED} ({e})")
            return False
        self.published_at = manifest.get("published")
        kept = self._pins.find(manifest)
        if not kept:
            self._say(f"version {number} is not of this model, or its checkpoint is gone or damaged: {_NOT_SCORED}")
            return False
        try:
            self.spare.load(str(kept))
        except Exception as e:  # a checksum, memory, rights: its SavedModel may be readable all the same
            why = str(getattr(e, "message", None) or e or type(e).__name__).splitlines()[0]
            self._say(f"warning: the checkpoint of version {number} cannot be read: {_NOT_SCORED} ({why})")
            return False
        return True
