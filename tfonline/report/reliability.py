"""A reliability diagram: the share of clicks against the predicted one, in parts of equal size by score. Imports no TensorFlow.

It is a PNG: TensorBoard 2.21 shows no SVG any more.
"""

import io
import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

WIDTH = HEIGHT = 420  # small: TensorBoard shows it as wide as a card, and letters must be read there
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 24, 72, 62
_TIMES = 4  # it is drawn larger and then reduced, so that lines and circles are smooth
# Both axes are logits, as the model's own output: shares near 0 are told apart as well as those in the middle.
TICKS = (0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.99, 0.999, 0.9999)
_Z = 1.96  # of a 95 % interval
_GRID, _DIAGONAL, _TEXT, POINT = "#e4e4e4", "#888888", "#333333", "#e8710a"


def interval(share: float, rows: float) -> tuple[float, float]:
    """The 95 % interval of a share that was seen in so many rows (Wilson, JASA 1927)."""
    z2 = _Z * _Z / rows
    middle, half = share + z2 / 2, _Z * math.sqrt((share * (1 - share) + z2 / 4) / rows)
    return max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2))


class Axes(NamedTuple):
    """Both axes: they go from the first mark to the last one.

    Attributes:
      ticks: the shares that have a mark, at least two.
    """

    ticks: tuple[float, ...]

    @classmethod
    def around(cls, parts: Sequence[tuple[float, float, float]]) -> "Axes":
        """The shortest ones between whose ends all shares lie, of those that have a place on an axis of logits."""
        shares = [share for _, predicted, clicked in parts for share in (predicted, clicked) if 0 < share < 1]
        low = max((tick for tick in TICKS if tick <= min(shares, default=0.1)), default=TICKS[0])
        high = min((tick for tick in TICKS if tick >= max(shares, default=0.5)), default=TICKS[-1])
        if low == high:
            at = TICKS.index(low)
            low, high = TICKS[max(0, at - 1)], TICKS[min(len(TICKS) - 1, at + 1)]
        return cls(tuple(tick for tick in TICKS if low <= tick <= high))

    def x(self, share: float) -> float:
        """Pixels from the left; what lies beyond the axis is put at its end."""
        return _LEFT + self._place(share) * (WIDTH - _LEFT - _RIGHT)

    def y(self, share: float) -> float:
        """Pixels from the top; what lies beyond the axis is put at its end."""
        return HEIGHT - _BOTTOM - self._place(share) * (HEIGHT - _TOP - _BOTTOM)

    def _place(self, share: float) -> float:
        first, last = _logit(self.ticks[0]), _logit(self.ticks[-1])
        return min(1.0, max(0.0, (_logit(share) - first) / (last - first)))


def reliability_png(parts: Sequence[tuple[float, float, float]], label: str = "") -> bytes:
    """The diagram, WIDTH x HEIGHT pixels.

    Args:
      parts: of the rows: how many, their mean predicted probability, their share of clicks. At least one.
      label: '' for the first one, of clicks; another one stands in the title, as far as there is room.
    """
    clicks = "positives" if label else "clicks"
    axes, picture = Axes.around(parts), _Picture()
    left, right, top, bottom = _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM
    picture.text(WIDTH / 2, 19, _cut(f"Are the predicted shares of {label or clicks} true?", size=17), size=17)
    picture.text(WIDTH / 2, 42, f"recent rows by score, in {len(parts)} parts of equal size; bars: 95 %")
    picture.text(WIDTH / 2, 59, f"above the line: more {clicks} than predicted; below: fewer")
    for tick in axes.ticks:
        picture.line(axes.x(tick), bottom, axes.x(tick), top, _GRID)
        picture.line(left, axes.y(tick), right, axes.y(tick), _GRID)
        picture.text(axes.x(tick), bottom + 15, f"{100 * tick:g} %")
        picture.text(left - 8, axes.y(tick), f"{100 * tick:g} %", anchor="rm")
    picture.line(left, bottom, right, top, _DIAGONAL)
    picture.text((left + right) / 2, HEIGHT - 20, "predicted (mean of a part)")
    picture.text(18, (top + bottom) / 2, f"share of {clicks}", upwards=True)
    for rows, predicted, clicked in parts:
        lowest, highest = interval(clicked, rows)
        picture.line(axes.x(predicted), axes.y(lowest), axes.x(predicted), axes.y(highest), POINT, 2)
        picture.circle(axes.x(predicted), axes.y(clicked), 4.5, POINT)
    return picture.png()


class _Picture:
    def __init__(self):
        self._image = Image.new("RGB", (WIDTH * _TIMES, HEIGHT * _TIMES), "white")
        self._draw = ImageDraw.Draw(self._image)

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: str, width: int = 1) -> None:
        self._draw.line([_TIMES * v for v in (x0, y0, x1, y1)], colour, width * _TIMES)

    def circle(self, x: float, y: float, radius: float, colour: str) -> None:
        self._draw.circle((_TIMES * x, _TIMES * y), _TIMES * radius, colour)

    def text(self, x: float, y: float, text: str, size: int = 13, anchor: str = "mm", upwards: bool = False) -> None:
        font = ImageFont.load_default(size * _TIMES)
        if not upwards:
            self._draw.text((_TIMES * x, _TIMES * y), text, _TEXT, font, anchor)
            return
        long, high = (round(v) for v in font.getbbox(text)[2:])
        written = Image.new("RGB", (long, high), "white")
        ImageDraw.Draw(written).text((0, 0), text, _TEXT, font)
        self._image.paste(written.rotate(90, expand=True), (round(_TIMES * x - high / 2), round(_TIMES * y - long / 2)))

    def png(self) -> bytes:
        file = io.BytesIO()
        # Of 32 colours it is a quarter as large. The octree keeps the colours as they are; the median cut does not.
        small = self._image.reduce(_TIMES)
        small.quantize(32, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(file, "PNG")
        return file.getvalue()


def _cut(text: str, size: int) -> str:
    """A text, or as much of it as there is room for."""
    font, room = ImageFont.load_default(size), WIDTH - 16
    if font.getlength(text) <= room:
        return text
    return next(cut for n in range(len(text), 0, -1) if font.getlength(cut := f"{text[:n]}…") <= room)


def _logit(share: float) -> float:
    return math.log(share / (1 - share)) if 0 < share < 1 else math.copysign(math.inf, share - 0.5)
