"""Planted times: when each row of a stream comes, and how long after it its outcome does. Imports no TensorFlow.

Time is cut into windows of ROWS rows, 15 of them a day. Of the positives 35 % have their outcome within an hour, half of them
within a day, and the others up to thirty days later. How soon a row's comes hangs on two of its columns, by a score of its own:
`chance + effect of C14's value + effect of C17's value`; the ranks of the scores are the shares just said. At half time, C17's
effect turns into its opposite: whose outcomes were slow has fast ones now. The shares hold before and after.
"""

import hashlib

import numpy as np

ROWS, A_DAY = 100, 15  # rows a window, windows a day
HOUR = 3600.0
DAY = 24 * HOUR
WINDOW = DAY / A_DAY  # seconds
_COLUMNS = (-13, -10)  # C14 and C17 of 26, from the end of a line
_EFFECT = 0.8  # of a column's value, at most; chance has a deviation of 1
# Shares of the positives, and seconds from the row to its outcome; between them evenly in the logarithm.
_SHARES, _SECS = (0.0, 0.35, 0.5, 1.0), (20.0, HOUR, DAY, 30 * DAY)


def delays(lines: list[bytes], first: int, seed: int) -> np.ndarray:
    """Seconds from each row to its outcome, if it has one, float64 [rows].

    Args:
      lines: all rows.
      first: the first row of the stream; half time is in the middle between it and the end.
      seed: of chance.
    """
    turned = np.arange(len(lines)) >= (first + len(lines)) // 2
    score = np.random.default_rng(seed).normal(size=len(lines))
    for column, sign in zip(_COLUMNS, (1.0, np.where(turned, -1.0, 1.0)), strict=True):
        score += sign * np.array([_effect(line.rsplit(b"\t")[column]) for line in lines])
    half = (first + len(lines)) // 2
    rank = np.concatenate([(np.argsort(np.argsort(part)) + 0.5) / len(part) for part in np.split(score, [first, half])])
    return np.exp(np.interp(rank, _SHARES, np.log(_SECS)))


def _effect(value: bytes) -> float:
    """-0.8 to 0.8, by a hash of the value."""
    return (int.from_bytes(hashlib.blake2b(value, digest_size=4).digest()) / 2**31 - 1) * _EFFECT
