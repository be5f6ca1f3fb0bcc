"""Which rows of the tables a run has touched: marks beside the model, in no checkpoint."""

import functools
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

IDS = "ids"  # the input by which all tables are looked up
_MOST_GENERATIONS = 255


class Touched:
    """A mark for each row: the generation in which it was learned by or counted last.

    The marks follow from the rows learned from, as all else does, and one replica's stand for all. Generations begin between two
    steps, and their numbers come again after 255 of them: so a row may be found that was not touched since, and none is missed.
    No tf.Module: what it holds is no part of the model.

    Args:
      sizes: the rows there are, by the input whose values are their numbers.
      device: where the marks are: the first replica's.

    Attributes:
      marks: uint8 [rows] variables, by input; 0: never.
    """

    def __init__(self, sizes: Mapping[str, int], device: str):
        with tf.device(device):
            self.marks = {name: tf.Variable(tf.zeros([n], tf.uint8), trainable=False) for name, n in sizes.items()}
            self._generation = tf.Variable(tf.constant(1, tf.uint8), trainable=False)

    def mark(self, name: str, rows: tf.Tensor) -> None:
        """In the train step of the first replica: marks rows, int [...]."""
        self._set(name, tf.reshape(rows, [-1]))

    def next_generation(self) -> int:
        """Begins one, and says which has ended."""
        ended = int(self._generation.numpy())
        self._generation.assign(ended % _MOST_GENERATIONS + 1)
        return ended

    def rows(self, generations: Iterable[int]) -> dict[str, np.ndarray]:
        """The rows by input that have the mark of one of these, int64 [n] each, ascending. Other threads may ask, too."""
        found = {}
        for name, marks in self.marks.items():
            values = np.asarray(marks.value())  # numpy() would copy them once more
            found[name] = np.flatnonzero(functools.reduce(np.logical_or, (values == g for g in generations)))
        return found

    def give_back(self, rows: Mapping[str, np.ndarray]) -> None:
        """Marks rows, as of this generation."""
        for name, of_input in rows.items():
            self._set(name, tf.constant(of_input, tf.int64))

    def _set(self, name: str, rows: tf.Tensor) -> None:
        tf.raw_ops.ResourceScatterUpdate(resource=self.marks[name].handle, indices=rows, updates=self._generation.read_value())
