"""Tables of growth: each figure, its ratio to the smallest point, and the power by which it grows between two neighbours."""

import itertools
import math
from collections.abc import Mapping, Sequence

Point = Mapping[str, float]

# A figure's heading; the first one is what the closing line tells.
FIGURES = {
    "cpu_us": "CPU a row, µs",
    "wall_us": "wall time a row, µs",
    "memory_mb": "memory at most, MB",
    "checkpoint_mb": "checkpoint, MB",
    "checkpoint_secs": "checkpoint, s",
}


def ratios(values: Sequence[float]) -> list[float]:
    """Each as a ratio to the first one; NaN where that is 0."""
    return [value / values[0] if values[0] else math.nan for value in values]


def exponents(sizes: Sequence[float], values: Sequence[float]) -> list[float]:
    """Between two neighbours: log of the values' ratio / log of the sizes'. 0: it does not grow; 1: as the size does."""
    pairs = zip(itertools.pairwise(sizes), itertools.pairwise(values), strict=True)
    return [math.log(b / a) / math.log(n / m) if a > 0 and b > 0 else math.nan for (m, n), (a, b) in pairs]


def lines(axis: str, variant: str, points: Mapping[float, Point]) -> list[str]:
    """A Markdown table of one way to measure an axis: a row a figure, a column a point."""
    sizes = sorted(points)
    named = f"{axis}, {variant}" if variant else axis
    found = [f"| {named} | {' | '.join(f'{size:,.0f}' for size in sizes)} |", "|---" * (1 + len(sizes)) + "|"]
    others = dict.fromkeys(name for size in sizes for name in points[size] if name not in FIGURES)
    for name in (*FIGURES, *others):
        values = [points[size].get(name, math.nan) for size in sizes]
        if all(map(math.isnan, values)):
            continue
        powers = [math.nan, *exponents(sizes, values)]
        cells = (f" {_cell(*of)}".rstrip() for of in zip(values, ratios(values), powers, strict=True))
        found.append(f"| {FIGURES.get(name, name)} |{' |'.join(cells)} |")
    return found


def largest(points: Mapping[float, Point], name: str = "cpu_us") -> float:
    """The largest ratio of a figure to that of the smallest point, of all larger points."""
    values = [points[size][name] for size in sorted(points)]
    return max(ratios(values)[1:], default=1.0)


def _cell(value: float, ratio: float, power: float) -> str:
    if math.isnan(value):
        return ""
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return text if math.isnan(power) else f"{text} ({'' if math.isnan(ratio) else f'{ratio:.2f}; '}{power:+.2f})"
