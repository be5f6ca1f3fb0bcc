"""Curves over a stream as an SVG, which is text."""

from collections.abc import Mapping, Sequence

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 900, 440, 70, 50, 20, 70
_COLOURS = ("#4269d0", "#ff725c", "#3ca951", "#efb118", "#6b6b6b")
_NAMES_A_LINE = 3
_GRID = 0.01  # of the AUC
_TICKS = 5  # of the rows


def draw(curves: Mapping[str, Sequence[float]], num_rows: int) -> str:
    """The SVG.

    Args:
      curves: name to the AUC of each window; all as long, in the order of the stream.
      num_rows: of the stream.
    """
    values = [value for curve in curves.values() for value in curve]
    low, high = int(min(values) / _GRID) * _GRID, (int(max(values) / _GRID) + 1) * _GRID
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x(share: float) -> float:
        return _LEFT + share * (right - _LEFT)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - _TOP)

    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" font-size="13">'
    parts = [svg, f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>']
    lines = round((high - low) / _GRID)
    for i in range(0, lines + 1, max(1, lines // 8)):
        at = low + i * _GRID
        parts.append(f'<line x1="{_LEFT}" y1="{y(at):.1f}" x2="{right}" y2="{y(at):.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y(at) + 4:.1f}" text-anchor="end">{at:.2f}</text>')
    for i in range(_TICKS + 1):
        rows = num_rows * i // _TICKS
        parts.append(f'<text x="{x(i / _TICKS):.1f}" y="{bottom + 20}" text-anchor="middle">{rows:,}</text>')
    for i, ((name, curve), colour) in enumerate(zip(curves.items(), _COLOURS, strict=False)):
        points = " ".join(f"{x((k + 0.5) / len(curve)):.1f},{y(value):.1f}" for k, value in enumerate(curve))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        left, top = _LEFT + 270 * (i % _NAMES_A_LINE), _HEIGHT - 40 + 20 * (i // _NAMES_A_LINE)
        parts.append(f'<rect x="{left}" y="{top}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{left + 18}" y="{top + 10}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
