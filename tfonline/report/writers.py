"""The one interface of whatever reports numbers at a step."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # numpy starts threads, and the console, which needs no more than the names here, is there before them
    from tfonline.evaluate.progressive import Counts

Scalars = dict[str, float]


class Writer(Protocol):
    """Takes scalars at a step; names are the same for all writers."""

    def write(self, step: int, scalars: Scalars) -> None:
        """Reports `scalars` at `step`."""

    def write_scores(self, step: int, counts: "Counts", label: str = "") -> None:
        """Reports how the scores counted in `counts` are distributed, and how true they are; '' is the first label."""

    def close(self) -> None:
        """Nothing is reported afterwards."""


class Latest:
    """A Writer that keeps each scalar as it was written last.

    Attributes:
      scalars: by name. Replaced as a whole: another thread never sees half of a change.
    """

    def __init__(self) -> None:
        self.scalars: Scalars = {}

    def write(self, step: int, scalars: Scalars) -> None:
        """See Writer."""
        self.scalars = {**self.scalars, **scalars}

    def write_scores(self, step: int, counts: "Counts", label: str = "") -> None:
        """Nothing: it is no scalar."""

    def close(self) -> None:
        """Nothing."""


class Writers:
    """A Writer that tells several, one after the other."""

    def __init__(self, *writers: Writer):
        self._writers = writers

    def write(self, step: int, scalars: Scalars) -> None:
        """See Writer."""
        for writer in self._writers:
            writer.write(step, scalars)

    def write_scores(self, step: int, counts: "Counts", label: str = "") -> None:
        """See Writer."""
        for writer in self._writers:
            writer.write_scores(step, counts, label)

    def close(self) -> None:
        """Closes all."""
        for writer in self._writers:
            writer.close()
