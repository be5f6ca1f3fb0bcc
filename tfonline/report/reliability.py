"""A reliability diagram: the share of clicks against the predicted one, in parts of equal size by score. Imports no TensorFlow.

It is an SVG, which TensorBoard shows as it shows other images: text and lines, without a library that draws.
"""

import math
from collections.abc import Sequence

WIDTH = HEIGHT = 420  # small: TensorBoard shows it as wide as a card, and letters must be read there
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 24, 72, 62
# Both axes are logits, as the model's own output: shares near 0 are told apart as well as those in the middle.
_TICKS = (0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.99, 0.999, 0.9999)
_Z = 1.96  # of a 95 % interval


def interval(share: float, rows: float) -> tuple[float, float]:
    """The 95 % interval of a share that was seen in so many rows (Wilson, JASA 1927)."""
    z2 = _Z * _Z / rows
    middle, half = share + z2 / 2, _Z * math.sqrt((share * (1 - share) + z2 / 4) / rows)
    return max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2))


def reliability_svg(parts: Sequence[tuple[float, float, float]]) -> bytes:
    """The diagram.

    Args:
      parts: of the rows: how many, their mean predicted probability, their share of clicks. At least one.
    """
    shares = [share for _, predicted, clicked in parts for share in (predicted, clicked) if 0 < share < 1]
    low = max((tick for tick in _TICKS if tick <= min(shares, default=0.1)), default=_TICKS[0])
    high = min((tick for tick in _TICKS if tick >= max(shares, default=0.5)), default=_TICKS[-1])
    if low == high:
        at = _TICKS.index(low)
        low, high = _TICKS[max(0, at - 1)], _TICKS[min(len(_TICKS) - 1, at + 1)]
    first, last = _logit(low), _logit(high)

    def place(share: float) -> float:
        """0 at the axis' beginning, 1 at its end; what lies beyond is put there."""
        return min(1.0, max(0.0, (_logit(share) - first) / (last - first)))

    def x(share: float) -> float:
        return _LEFT + place(share) * (WIDTH - _LEFT - _RIGHT)

    def y(share: float) -> float:
        return HEIGHT - _BOTTOM - place(share) * (HEIGHT - _TOP - _BOTTOM)

    left, right, top, bottom = x(low), x(high), y(high), y(low)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="13" fill="#333">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        _text(WIDTH / 2, 24, "Are the predicted shares of clicks true?", 'font-size="16" font-weight="bold"'),
        _text(WIDTH / 2, 46, f"recent rows by score, in {len(parts)} parts of equal size; bars: 95 %"),
        _text(WIDTH / 2, 63, "above the line: more clicks than predicted; below: fewer"),
    ]
    for tick in (t for t in _TICKS if low <= t <= high):
        drawn += [
            f'<path d="M{x(tick):.1f} {bottom:.1f}V{top:.1f}M{left:.1f} {y(tick):.1f}H{right:.1f}" stroke="#e4e4e4"/>',
            _text(x(tick), bottom + 19, f"{100 * tick:g} %"),
            _text(left - 8, y(tick) + 4, f"{100 * tick:g} %", 'text-anchor="end"'),
        ]
    drawn += [
        f'<path d="M{left:.1f} {bottom:.1f}L{right:.1f} {top:.1f}" stroke="#888" stroke-dasharray="5 4"/>',
        _text((left + right) / 2, HEIGHT - 16, "predicted (mean of a part)"),
        _text(0, 0, "share of clicks", f'transform="translate(18 {(top + bottom) / 2:.1f}) rotate(-90)"'),
    ]
    for rows, predicted, clicked in parts:
        lowest, highest = interval(clicked, rows)
        drawn += [
            f'<path d="M{x(predicted):.1f} {y(lowest):.1f}V{y(highest):.1f}" stroke="#e8710a" stroke-width="2"/>',
            f'<circle cx="{x(predicted):.1f}" cy="{y(clicked):.1f}" r="4.5" fill="#e8710a"/>',
        ]
    return "\n".join([*drawn, "</svg>"]).encode()


def _logit(share: float) -> float:
    return math.log(share / (1 - share)) if 0 < share < 1 else math.copysign(math.inf, share - 0.5)


def _text(x: float, y: float, text: str, more: str = "") -> str:
    anchor = "" if "text-anchor" in more else 'text-anchor="middle" '
    return f'<text x="{x:.1f}" y="{y:.1f}" {anchor}{more}>{text}</text>'
