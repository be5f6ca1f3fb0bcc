"""Which rows are learned from when, with which label: the rules of --late_labels, and others to compare with."""

import itertools
from typing import NamedTuple

import numpy as np

from benchmarks.delayed.planted import A_DAY, ROWS, WINDOW


class Lesson(NamedTuple):
    """What is learned from in a window, n rows in the order of the lesson.

    Attributes:
      rows: int [n], which.
      label: float32 [n].
      late: bool [n], whether a row is there once more.
    """

    rows: np.ndarray
    label: np.ndarray
    late: np.ndarray


class Way(NamedTuple):
    """A way to learn.

    Attributes:
      name: in the table.
      policy: --late_labels.
      rule: frozen, oracle, settled, daily, at_once or elapsed.
      windows: how many a row waits for, with settled, daily and elapsed.
    """

    name: str
    policy: str
    rule: str
    windows: int = 0

    @property
    def label(self) -> str:
        """The name, with how long it waits."""
        return f"{self.name} {self.windows / A_DAY:.3g} d" if self.windows else self.name


def history(way: Way, clicks: np.ndarray, delays: np.ndarray) -> list[Lesson]:
    """The lessons of the start, whose labels are all known: each late click follows in its row's own window.

    Args:
      way: to learn.
      clicks: bool [rows], of the start.
      delays: float64 [rows], seconds.
    """
    windows = np.arange(len(clicks)) // ROWS
    if way.policy in ("wait", "fnw"):
        return _lessons(windows, clicks)
    known = clicks & (delays <= way.windows * WINDOW) if way.rule == "elapsed" else np.zeros(len(clicks), bool)
    return _lessons(windows, known, np.where(clicks & ~known, windows, -1))


def stream(way: Way, clicks: np.ndarray, delays: np.ndarray) -> list[Lesson]:
    """The lessons of the stream, one a window: what its end has brought. Arguments as of `history`, of the stream."""
    windows = np.arange(len(clicks)) // ROWS
    comes = ((np.arange(len(clicks)) / ROWS * WINDOW + delays) / WINDOW).astype(int)  # in which window the outcome does
    waited = clicks & (delays <= way.windows * WINDOW)
    if way.rule == "frozen":
        return _lessons(np.full(len(clicks), -1), clicks, num=int(windows[-1]) + 1)
    if way.rule == "oracle":
        return _lessons(windows, clicks)
    if way.rule == "at_once":
        return _lessons(windows, np.zeros(len(clicks), bool), np.where(clicks, comes, -1))
    due = windows + way.windows
    if way.rule == "elapsed":
        return _lessons(due, waited, np.where(clicks & ~waited, np.maximum(comes, due), -1))
    return _lessons(due if way.rule == "settled" else (due // A_DAY + 1) * A_DAY - 1, waited)


def _lessons(first: np.ndarray, label: np.ndarray, late: np.ndarray | None = None, num: int = 0) -> list[Lesson]:
    """A lesson a window.

    Args:
      first: int [rows], in which window each is learned from first; -1: in none.
      label: bool [rows], with which label.
      late: int [rows], in which it is learned from once more; -1: in none.
      num: so many windows; 0: as many as rows fill.
    """
    num = num or -(-len(first) // ROWS)
    late = np.full(len(first), -1) if late is None else late
    shuffle = np.random.default_rng(0)
    lessons = []
    of_first, of_late = (_by_window(of, num) for of in (first, late))
    for new, again in zip(of_first, of_late, strict=True):
        lesson = Lesson(
            np.append(new, again),
            np.append(label[new], np.ones(len(again))).astype(np.float32),
            np.append(np.zeros(len(new), bool), np.ones(len(again), bool)),
        )
        order = shuffle.permutation(len(lesson.rows)) if len(again) else slice(None)
        lessons.append(Lesson(*(x[order] for x in lesson)))
    return lessons


def _by_window(windows: np.ndarray, num: int) -> list[np.ndarray]:
    """Of each of so many windows its rows, in order."""
    order = np.argsort(windows, kind="stable")
    edges = np.searchsorted(windows[order], np.arange(num + 1))
    return [order[a:b] for a, b in itertools.pairwise(edges)]
