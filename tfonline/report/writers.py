"""The one interface of whatever reports numbers at a step."""

from typing import Protocol

Scalars = dict[str, float]


class Writer(Protocol):
    """Takes scalars at a step; names are the same for all writers."""

    def write(self, step: int, scalars: Scalars) -> None:
        """Reports `scalars` at `step`."""

    def close(self) -> None:
        """Nothing is reported afterwards."""
