"""Copies of variables in memory, which a thread can write to disk while the model learns on."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfonline.model.tables.replicas import read_first


class Snapshot:
    """Copies of variables, outside of any strategy.

    Args:
      variables: by name.

    Attributes:
      copies: by the same names.
    """

    def __init__(self, variables: Mapping[str, Any]):
        self._variables = dict(variables)
        with tf.device("CPU:0"):
            self.copies = {name: tf.Variable(read_first(v), trainable=False) for name, v in variables.items()}

    def take(self) -> None:
        """Makes the copies equal to the variables. What is learned afterwards does not reach them."""
        for name, variable in self._variables.items():
            self.copies[name].assign(read_first(variable))

    def give_back(self) -> None:
        """Makes the variables equal to the copies."""
        for name, variable in self._variables.items():
            variable.assign(self.copies[name])
