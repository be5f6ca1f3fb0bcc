"""Where the numbers of a chart have their place: round ticks, limits, and fewer points than there are."""

import datetime
import math
from collections.abc import Sequence

import numpy as np

BUCKETS = 220  # of a chart: a curve has the lowest and the highest point of each
_SHARE_OUTSIDE = 0.02  # of all points, at each end


def logit(share: float) -> float:
    """Infinite where the share is 0 or 1."""
    return math.log(share / (1 - share)) if 0 < share < 1 else math.copysign(math.inf, share - 0.5)


def downsample(x: np.ndarray, y: np.ndarray, buckets: int = BUCKETS) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last point, and the lowest and the highest of each bucket; the buckets are of equal length along x.

    Args:
      x: float64 [n], not falling.
      y: float64 [n], finite.
      buckets: into which x is cut.

    Returns:
      x and y of 2 * buckets + 2 points at most, in their order.
    """
    if len(x) <= 2 * buckets + 2:
        return x, y
    bucket = np.minimum((x - x[0]) / (x[-1] - x[0] or 1) * buckets, buckets - 1).astype(np.int64)
    begins = np.flatnonzero(np.diff(bucket, prepend=-1))
    order = np.lexsort((y, bucket))  # by bucket, and in it by height
    ends = np.append(begins[1:], len(x)) - 1
    kept = np.unique(np.concatenate([[0, len(x) - 1], order[begins], order[ends]]))
    return x[kept], y[kept]


def limits(y: np.ndarray, reach: tuple[float, ...] = (), whole: bool = False) -> tuple[float, float, int]:
    """The lowest and the highest number of an axis, and how many of the numbers lie beyond.

    Beyond are at most 2 % at each end, and only where they would press all others together.

    Args:
      y: float64 [n], of which at least one is finite.
      reach: numbers that are on the axis in any case.
      whole: whether all are.
    """
    y = np.sort(y[np.isfinite(y)])
    low, high = y[0], y[-1]
    if not whole:
        most_low, most_high = np.quantile(y, [_SHARE_OUTSIDE, 1 - _SHARE_OUTSIDE])
        margin = 0.5 * (most_high - most_low)
        low, high = max(low, most_low - margin), min(high, most_high + margin)
    low, high = min(low, *reach, low), max(high, *reach, high)
    outside = int((y < low).sum() + (y > high).sum())
    margin = 0.04 * (high - low) or 0.1 * abs(high) or 1.0
    return float(low - margin if low else low), float(high + margin), outside


def with_gaps(x: np.ndarray, y: np.ndarray, at: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The same points with a gap (NaN) at each of some places: nothing is known of between two runs.

    Args:
      x: float64 [n], not falling.
      y: float64 [n].
      at: places on x.
    """
    places = [place for place in np.searchsorted(x, at).tolist() if 0 < place < len(x)]
    return np.insert(x, places, x[places]), np.insert(y, places, np.nan)


def ticks(low: float, high: float, count: int = 5) -> list[tuple[float, str]]:
    """Round numbers between two, with their labels: some `count` of them, at equal distances."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= 0.8 * rough)
    numbers = [i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    most = max(abs(low), abs(high))
    large = ((u, s) for u, s in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if most >= 10 * u)
    unit, letter = next(large, (1, ""))
    digits = max(0, -math.floor(math.log10(step / unit) + 1e-9))
    if abs(round(step / unit, digits) - step / unit) > 1e-9 * step / unit:
        digits += 1  # 2.5
    return [(n, f"{n / unit:,.{digits}f}{letter if n else ''}") for n in numbers]


_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_TIME_STEPS = (1, 2, 5, 10, 15, 30, _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR,
               3 * _HOUR, 6 * _HOUR, 12 * _HOUR, _DAY, 2 * _DAY, 5 * _DAY, 10 * _DAY, 30 * _DAY, 90 * _DAY, 365 * _DAY)  # fmt: skip


def time_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Round times (UTC) between two, seconds since 1970, with their labels: seven at most, and five where labels have a date."""
    most = 6.5 if high - low <= _DAY else 4.5
    step = next((s for s in _TIME_STEPS if (high - low) / s <= most), _TIME_STEPS[-1])
    form = "%H:%M:%S" if step < _MINUTE else "%H:%M" if high - low <= _DAY else "%d %b %H:%M" if step < _DAY else "%d %b %Y"
    times = [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [(t, f"{datetime.datetime.fromtimestamp(t, datetime.UTC):{form}}") for t in times]
