"""The curves of a model's life, put together from the files that each of its runs has written for TensorBoard. No TensorFlow."""

import dataclasses
from array import array
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

ROWS = "train/stream/rows"  # rows that the model had learned from, by step


class Point(NamedTuple):
    """A number at a step."""

    tag: str
    step: int
    time: float
    value: float


@dataclasses.dataclass(frozen=True)
class Series:
    """A curve.

    Attributes:
      step: int64 [n], rising.
      time: float64 [n], when it was written, seconds since 1970.
      value: float64 [n].
    """

    step: np.ndarray
    time: np.ndarray
    value: np.ndarray

    @property
    def last(self) -> float:
        """The newest number."""
        return float(self.value[-1])


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of the trainer: from its start to its end, or up to now.

    Attributes:
      began: seconds since 1970.
      last: when it has written last, likewise.
      first_step: of which it tells; None: of none.
      last_step: likewise.
      stack: what it ran on, by name; {} where an older version has not written it.
      flags: likewise, as texts.
    """

    began: float
    last: float
    first_step: int | None = None
    last_step: int | None = None
    stack: Mapping[str, str] = dataclasses.field(default_factory=dict)
    flags: Mapping[str, str] = dataclasses.field(default_factory=dict)


def joined(points: Iterable[Point]) -> dict[str, Series]:
    """The series by tag. Where a restart repeats steps, what was written of them before is cut off: the newest run counts.

    Args:
      points: in the order in which they were written.
    """
    # Arrays, as a month has millions of points: a list of numbers takes four times as much memory.
    kept: dict[str, tuple[array, array, array]] = {}
    for tag, step, time, value in points:
        if tag not in kept:
            kept[tag] = array("q"), array("d"), array("d")
        steps, times, values = kept[tag]
        while steps and steps[-1] >= step:
            for numbers in (steps, times, values):
                numbers.pop()
        steps.append(step)
        times.append(time)
        values.append(value)
    return {
        tag: Series(np.array(steps, np.int64), np.array(times), np.array(values)) for tag, (steps, times, values) in kept.items()
    }


def rows_at(steps: np.ndarray, series: Mapping[str, Series]) -> np.ndarray:
    """How many rows the model had learned from at some steps, float64: between two reports as if it had gone on evenly.

    Args:
      steps: int64 [n].
      series: of the model; without the rows in them, the steps themselves are given.
    """
    if ROWS not in series:
        return steps.astype(np.float64)
    known = series[ROWS]
    return np.interp(steps, np.append(0, known.step), np.append(0.0, known.value))
