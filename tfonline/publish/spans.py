"""Sums over the last rows, over every span of them that ends now. Imports no TensorFlow."""

from collections import deque

import numpy as np

# A span is judged from so many rows on, and where it is beyond a limit by so many standard errors: chance alone is that once in 3.5
# million looks.
MIN_ROWS = 1000
STANDARD_ERRORS = 5.0
# Sums are kept for blocks of so many rows at least: spans begin where a block does.
_BLOCK_ROWS = 100


class Spans:
    """Keeps sums of rows block by block.

    Args:
      rows: the longest span, MIN_ROWS at least; older rows are forgotten.
    """

    def __init__(self, rows: int):
        self._rows = max(rows, MIN_ROWS)
        self._blocks: deque[np.ndarray] = deque()  # float64 [1 + k]: rows, and the sums
        self._num_rows = 0

    def __len__(self) -> int:
        return self._num_rows

    def add(self, rows: int, *sums: float) -> None:
        """So many rows, and k sums over them."""
        block = np.array([rows, *sums])
        if self._blocks and self._blocks[-1][0] < _BLOCK_ROWS:
            self._blocks[-1] += block
        else:
            self._blocks.append(block)
        self._num_rows += rows
        while self._num_rows - self._blocks[0][0] >= self._rows:
            self._num_rows -= int(self._blocks.popleft()[0])

    def forget(self) -> None:
        """Begins anew."""
        self._blocks.clear()
        self._num_rows = 0

    def sums(self) -> np.ndarray:
        """Rows and sums of each span, the shortest one first: float64 [1 + k, spans]; not while there is no row."""
        return np.cumsum(np.array(self._blocks)[::-1], axis=0).T
