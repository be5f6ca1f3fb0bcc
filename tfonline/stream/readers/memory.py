"""Rows in memory, for tests and trials."""

from collections.abc import Iterator, Mapping, Sequence

import tensorflow as tf

from tfonline.lifecycle import Stop
from tfonline.stream.readers.generated import PIECE_ROWS, generated_rows


class MemorySource:
    """Rows in lists, one a partition: reader and admin side in one. More rows may be appended at any time."""

    topic_id = ""
    error = None

    def __init__(self, partitions: Sequence[list[bytes]], name: str = "memory"):
        self.partitions, self.name = list(partitions), name
        self.num_partitions = len(self.partitions)

    def begins(self) -> list[int]:
        """0 for each partition."""
        return [0] * self.num_partitions

    def ends(self) -> list[int]:
        """The number of rows of each partition."""
        return [len(rows) for rows in self.partitions]

    def wait_for_rows(self, ends: Sequence[int], stop: Stop, secs: float) -> bool:
        """See Source; a row that is appended waits for a twentieth of a second at most."""
        stop.wait(min(secs, 0.05))
        return True

    def close(self) -> None:
        """Nothing."""

    def fetch(self, ranges: Mapping[int, tuple[int, int]]) -> dict[int, list[tuple[int, bytes]]]:
        """The rows of each range of offsets, `[start, stop)`: offset and message."""
        return {p: list(enumerate(self.partitions[p]))[start:stop] for p, (start, stop) in ranges.items()}

    def rows(self, partition: tf.Tensor, start: tf.Tensor, stop: tf.Tensor) -> tf.data.Dataset:
        """See Reader."""
        return generated_rows(self._pieces, partition, start, stop)

    def _pieces(self, partition: int, start: int, stop: int) -> Iterator[tuple[int, list[bytes]]]:
        for at in range(start, stop, PIECE_ROWS):
            yield at, self.partitions[partition][at : min(at + PIECE_ROWS, stop)]
