"""The one interface of whatever reports numbers at a step."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # numpy starts threads, and the console, which needs no more than the names here, is there before them
    from tfonline.evaluate.progressive import Counts

Scalars = dict[str, float]


class Writer(Protocol):
    """Takes scalars at a step; names are the same for all writers."""

    def write(self, step: int, scalars: Scalars) -> None:
        """Reports `scalars` at `step`."""

    def write_scores(self, step: int, counts: "Counts") -> None:
        """Reports how the scores counted in `counts` are distributed, and how true they are."""

    def close(self) -> None:
        """Nothing is reported afterwards."""
