"""Charts as SVG: curves over rows or time, the distribution of scores, a reliability diagram. No scripts.

Colours and letters come from STYLE, which a page has once; `standalone` gives a chart its own, for a file by itself.
"""

import dataclasses
import html
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from report_scales import BUCKETS, downsample, limits, logit, ticks, time_ticks

from tfonline.report.reliability import TICKS, interval

WIDTH, HEIGHT = 480, 290  # in units of the picture: a page shows it as wide as there is room
_LEFT, _RIGHT, _BOTTOM, _TITLE, _LEGEND = 58, 16, 42, 24, 17
_LETTER = 6.7  # how wide a letter of the legend is, on average
_COLOURS = 6

STYLE = """
.chart { --ink: #24292f; --soft: #6e7781; --grid: #d8dee4; --c0: #0969da; --c1: #c2410c; --c2: #1a7f37; --c3: #8250df;
  --c4: #9a6700; --c5: #bf3989; font: 12px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { .chart { --ink: #e6edf3; --soft: #9da7b1; --grid: #363d46; --c0: #58a6ff; --c1: #ff9b5e;
  --c2: #4ac26b; --c3: #bc8cff; --c4: #e3b341; --c5: #ff7eb6; } }
.chart text { fill: var(--ink); } .chart .title { font-size: 14px; font-weight: 600; } .chart .tick { fill: var(--soft); }
.chart .grid { stroke: var(--grid); stroke-width: 1; } .chart .level { stroke: var(--soft); stroke-width: 1; }
.chart .mark { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 1 3; }
.chart .curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
.chart .thin { stroke-width: 1; stroke-opacity: .55; } .chart .dashed { stroke-dasharray: 6 4; }
""" + "".join(
    f".chart .s{i} {{ stroke: var(--c{i}); }} .chart .f{i} {{ fill: var(--c{i}); }}\n" for i in range(_COLOURS)
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
      name: as the legend has it.
      x: float64 [n], not falling.
      y: float64 [n]; what is not finite leaves a gap.
      colour: 0 to 5.
      look: "", "thin" or "dashed".
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    colour: int = 0
    look: str = ""


class Axis(NamedTuple):
    """What stands along the bottom.

    Attributes:
      name: with the unit.
      time: whether its numbers are seconds since 1970.
    """

    name: str
    time: bool = False


class _Scale(NamedTuple):
    """Where numbers have their place: `low` at pixel `start`, `high` at pixel `stop`."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float | np.ndarray) -> float | np.ndarray:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)


def line_chart(
    title: str,
    lines: Sequence[Line],
    axis: Axis,
    marks: Sequence[float] = (),
    level: float | None = None,
    reach: tuple[float, ...] = (),
    whole: bool = False,
) -> str:
    """Curves in one picture; "" where none of them has a point.

    Where few points are far from all others, as a new model's first ones, the picture leaves them out and says so, unless `whole`.

    Args:
      title: with the unit of the numbers.
      lines: those without a point are left out.
      axis: along the bottom.
      marks: where a run begins, in units of the axis.
      level: a number with a line of its own, where it lies in the picture.
      reach: numbers that the vertical axis reaches in any case.
      whole: whether it reaches each number of the curves.
    """
    lines = [line for line in lines if np.isfinite(line.y).any()]
    if not lines:
        return ""
    entries = [(line.name, f"s{line.colour} {line.look}") for line in lines]
    legend = _legend([*entries, *([("a run begins", "mark")] if marks else [])])
    top, bottom = _TITLE + _LEGEND * (1 + max(row for row, *_ in legend)) + 8, HEIGHT - _BOTTOM
    low, high, outside = limits(np.concatenate([line.y for line in lines]), reach, whole)
    first, last = min(line.x[0] for line in lines), max(line.x[-1] for line in lines)
    x = _Scale(first, last if last > first else first + 1, _LEFT, WIDTH - _RIGHT)
    y = _Scale(low, high, bottom, top)
    parts = [_text(8, 16, title, "title"), *_drawn_legend(legend)]
    parts += _grid(x, time_ticks(x.low, x.high) if axis.time else ticks(x.low, x.high), y, ticks(low, high), axis.name)
    if within := _apart([(at, "") for at in sorted(marks) if x.low < at < x.high], x, 3):
        parts.append(f'<path class="mark" d="{"".join(f"M{x(at):.1f} {top}V{bottom}" for at, _ in within)}"/>')
    if level is not None and low <= level <= high:
        parts.append(_line(_LEFT, y(level), WIDTH - _RIGHT, y(level), "level"))
    for line in lines:
        parts.append(f'<path class="curve s{line.colour} {line.look}" d="{_path(line, x, y)}"/>')
    if outside:
        parts.append(_text(WIDTH - _RIGHT, HEIGHT - 8, f"{outside:,} point{'s' if outside > 1 else ''} outside", "tick", "end"))
    return _svg(title, parts)


def distribution(
    title: str, counts: Sequence[tuple[str, np.ndarray, np.ndarray]], axis: str = "predicted probability of a click"
) -> str:
    """How many rows have which score, on an axis of logits; "" of no rows.

    Args:
      title: what it shows.
      counts: name, edges (logits, float64 [n + 1]) and rows (float64 [n]) of each part; drawn one before the other.
      axis: what stands along the bottom.
    """
    counts = [(name, edges, rows) for name, edges, rows in counts if len(rows)]
    if not counts:
        return ""
    legend = _legend([(name, f"f{i}") for i, (name, *_) in enumerate(counts)])
    top, bottom = _TITLE + _LEGEND * (1 + max(row for row, *_ in legend)) + 8, HEIGHT - _BOTTOM
    x = _Scale(min(e[0] for _, e, _ in counts), max(e[-1] for _, e, _ in counts), _LEFT, WIDTH - _RIGHT)
    y = _Scale(0.0, 1.05 * max(float(rows.max()) for *_, rows in counts), bottom, top)
    places = [(logit(share), f"{100 * share:g} %") for share in TICKS if x.low <= logit(share) <= x.high]
    parts = [_text(8, 16, title, "title"), *_drawn_legend(legend)]
    parts += _grid(x, _apart(places, x, 46), y, ticks(0.0, y.high), f"{axis} (the axis is of logits)")
    for i, (_, edges, rows) in enumerate(counts):
        outline = "".join(f"V{y(n):.1f}H{x(edge):.1f}" for n, edge in zip(rows.tolist(), edges[1:].tolist(), strict=True))
        parts.append(
            f'<path class="f{i}" fill-opacity="{0.35 if i == 0 else 0.85}" d="M{x(edges[0]):.1f} {bottom}{outline}V{bottom}z"/>'
        )
    return _svg(title, parts)


def reliability(
    title: str, of: Sequence[tuple[str, Sequence[tuple[float, float, float]]]], axis: str = "predicted share of clicks"
) -> str:
    """The share of clicks against the predicted one, with 95 % intervals (Wilson); both axes are of logits. "" of no rows.

    Args:
      title: what it shows.
      of: a name, and the parts by score: rows, mean predicted probability, share of clicks.
      axis: what stands along the bottom.
    """
    of = [(name, parts) for name, parts in of if parts]
    shares = [s for _, parts in of for _, predicted, clicked in parts for s in (predicted, clicked) if 0 < s < 1]
    if not of or not shares:
        return ""
    low = logit(max((t for t in TICKS if t <= min(shares)), default=TICKS[0]))
    high = logit(min((t for t in TICKS if t >= max(shares)), default=TICKS[-1]))
    low, high = (low, high) if low < high else (low - 1, high + 1)
    legend = _legend([(name, f"f{i}") for i, (name, _) in enumerate(of)])
    top, bottom = _TITLE + _LEGEND * (1 + max(row for row, *_ in legend)) + 8, HEIGHT - _BOTTOM
    x, y = _Scale(low, high, _LEFT, WIDTH - _RIGHT), _Scale(low, high, bottom, top)
    places = [(logit(t), f"{100 * t:g} %") for t in TICKS if low <= logit(t) <= high]
    parts = [
        _text(8, 16, title, "title"),
        *_drawn_legend(legend),
        *_grid(x, _apart(places, x, 46), y, places, axis),
    ]
    parts.append(_line(_LEFT, bottom, WIDTH - _RIGHT, top, "level"))

    def place(share: float, scale: _Scale) -> float:
        return scale(min(high, max(low, logit(share))))

    for i, (_, points) in enumerate(of):
        for rows, predicted, clicked in points:
            at, (least, most) = place(predicted, x), interval(clicked, rows)
            parts.append(_line(at, place(least, y), at, place(most, y), f"s{i}"))
            look = f'class="s{i}" fill="none" r="6.5"' if i else 'class="f0" r="3.5"'  # those in front hide nothing
            parts.append(f'<circle {look} cx="{at:.1f}" cy="{place(clicked, y):.1f}"/>')
    return _svg(title, parts)


def sparkline(y: np.ndarray, high: float, colour: int = 0) -> str:
    """A small curve without axes, from 0 to `high`, for a table's cell; "" of less than two points."""
    if len(y) < 2:
        return ""
    _, y = downsample(np.arange(float(len(y))), y, 50)
    points = " ".join(f"{100 * i / (len(y) - 1):.0f},{19 - 18 * min(1.0, v / (high or 1)):.0f}" for i, v in enumerate(y.tolist()))
    svg = f'<polyline class="curve s{colour}" style="stroke-width:1.2" points="{points}"/>'
    return f'<svg class="chart spark" viewBox="0 0 100 20" width="100" height="20" aria-hidden="true">{svg}</svg>'


def standalone(svg: str) -> str:
    """A chart as a file of its own, on a ground of its own."""
    style = (
        f"{STYLE}.chart .ground {{ fill: #ffffff; }} @media (prefers-color-scheme: dark) {{ .chart .ground {{ fill: #0d1117; }} }}"
    )
    ground = f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>'
    begin, rest = svg.split(">", 1)
    return f'{begin} xmlns="http://www.w3.org/2000/svg" width="{1.5 * WIDTH:g}"><style>{style}</style>{ground}{rest}\n'


def _apart(places: Iterable[tuple[float, str]], scale: _Scale, pixels: float) -> list[tuple[float, str]]:
    """Of marks those that stand so far apart that their labels do not touch."""
    kept: list[tuple[float, str]] = []
    for value, label in places:
        if not kept or scale(value) - scale(kept[-1][0]) >= pixels:
            kept.append((value, label))
    return kept


def _path(line: Line, x: _Scale, y: _Scale) -> str:
    """Its pieces between gaps; what lies beyond the picture is drawn at its edge."""
    there = np.isfinite(line.y)
    pieces = np.split(np.arange(len(line.y)), np.flatnonzero(np.diff(there)) + 1)
    commands = []
    for piece in pieces:
        if not len(piece) or not there[piece[0]]:
            continue
        buckets = math.ceil(BUCKETS * (line.x[piece[-1]] - line.x[piece[0]]) / (x.high - x.low))  # as many as it is long
        xs, ys = downsample(line.x[piece], line.y[piece], max(1, buckets))
        xs, ys = x(xs), y(np.clip(ys, y.low, y.high))
        commands.append("M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(xs.tolist(), ys.tolist(), strict=True)))
        if len(xs) == 1:
            commands.append("h.1")  # a point by itself is seen
    return "".join(commands)


def _grid(x: _Scale, x_ticks: Sequence[tuple[float, str]], y: _Scale, y_ticks: Sequence[tuple[float, str]], name: str) -> list[str]:
    bottom, top, parts = y.start, y.stop, []
    for value, label in y_ticks:
        parts += [_line(_LEFT, y(value), WIDTH - _RIGHT, y(value), "grid"), _text(_LEFT - 6, y(value) + 4, label, "tick", "end")]
    for value, label in x_ticks:
        at = min(max(x(value), _LEFT), WIDTH - _RIGHT)
        half = _LETTER * len(label) / 2
        parts.append(_line(at, bottom, at, top, "grid"))
        parts.append(_text(min(at, WIDTH - 2 - half), bottom + 16, label, "tick", "middle"))
    return [*parts, _text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 8, name, "tick", "middle")]


def _legend(entries: Sequence[tuple[str, str]]) -> list[tuple[int, float, str, str]]:
    """Row, place, name and class of each entry: as many in a row as there is room for."""
    placed, row, at = [], 0, 8.0
    for name, look in entries:
        wide = 26 + _LETTER * len(name) + 12
        if at > 8 and at + wide > WIDTH:
            row, at = row + 1, 8.0
        placed.append((row, at, name, look))
        at += wide
    return placed


def _drawn_legend(legend: Sequence[tuple[int, float, str, str]]) -> list[str]:
    parts = []
    for row, at, name, look in legend:
        y = _TITLE + _LEGEND * row + 10
        sign = _square if look.startswith("f") else _stroke
        parts += [sign(at, y, look), _text(at + 24, y + 4, name)]
    return parts


def _stroke(x: float, y: float, look: str) -> str:
    return _line(x, y, x + 19, y, look if look == "mark" else f"curve {look}")


def _square(x: float, y: float, look: str) -> str:
    return f'<rect class="{look}" x="{x + 4:.1f}" y="{y - 5:.1f}" width="11" height="11" rx="2"/>'


def _line(x0: float, y0: float, x1: float, y1: float, look: str) -> str:
    return f'<line class="{look}" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>'


def _text(x: float, y: float, text: str, look: str = "", anchor: str = "start") -> str:
    return f'<text class="{look}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _svg(title: str, parts: Sequence[str]) -> str:
    name = html.escape(title, quote=True)
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">{"".join(parts)}</svg>'
