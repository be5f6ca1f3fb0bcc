"""Which rows of the tables a run has touched: marks beside the model, in no checkpoint."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

IDS = "ids"  # the input by which all tables are looked up
_FEW = 0.05  # of the rows: so many marks are taken off one by one


class Touched:
    """A mark for each row that was learned by or counted since the marks were taken last.

    The marks follow from the rows learned from, as all else does, and one replica's stand for all. No tf.Module: what it holds is
    no part of the model.

    Args:
      sizes: the rows there are, by the input whose values are their numbers.
      device: where the marks are: the first replica's.

    Attributes:
      marks: bool [rows] variables, by input.
    """

    def __init__(self, sizes: Mapping[str, int], device: str):
        with tf.device(device):
            self.marks = {name: tf.Variable(tf.zeros([n], tf.bool), trainable=False) for name, n in sizes.items()}

    def mark(self, name: str, rows: tf.Tensor) -> None:
        """In the train step of the first replica: marks rows, int [...]."""
        _set(self.marks[name], tf.reshape(rows, [-1]))

    def take(self) -> dict[str, np.ndarray]:
        """The marked rows by input, int64 [n] each, ascending; afterwards none is marked."""
        found = {}
        for name, marks in self.marks.items():
            rows = found[name] = np.flatnonzero(np.asarray(marks.value()))  # numpy() would copy them once more
            if len(rows) < _FEW * marks.shape[0]:
                _set(marks, tf.constant(rows), False)
            else:
                marks.assign(tf.zeros_like(marks))
        return found

    def give_back(self, rows: Mapping[str, np.ndarray]) -> None:
        """Marks rows that were taken."""
        for name, of_input in rows.items():
            _set(self.marks[name], tf.constant(of_input, tf.int64))


def _set(marks: tf.Variable, rows: tf.Tensor, to: bool = True) -> None:
    tf.raw_ops.ResourceScatterUpdate(resource=marks.handle, indices=rows, updates=tf.constant(to))
