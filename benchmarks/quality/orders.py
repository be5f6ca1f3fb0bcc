"""A stream in another order: what helps in time order alone helps by recency."""

import numpy as np

ORDERS = ("forward", "reversed", "blocks")
_BLOCK = 1000  # rows


def in_order(num_rows: int, order: str) -> np.ndarray:
    """The rows' numbers, int64 [num_rows], as they are, backwards, or in blocks of 1,000 rows that are shuffled."""
    rows = np.arange(num_rows)
    if order == "reversed":
        return rows[::-1]
    if order == "blocks":
        starts = np.random.default_rng(1).permutation(rows[::_BLOCK])
        return np.concatenate([rows[start : start + _BLOCK] for start in starts])
    return rows
