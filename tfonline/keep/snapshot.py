"""Copies of variables in memory, which a thread can write to disk while the model learns on."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfonline.keep.packed_counts import PackedCounts
from tfonline.model.tables.replicas import read_first


class Snapshot:
    """Copies of variables, outside of any strategy. What is written packed is copied packed.

    Args:
      variables: by name.

    Attributes:
      copies: by the same names.
    """

    def __init__(self, variables: Mapping[str, Any]):
        self._variables = {name: v for name, v in variables.items() if not isinstance(v, PackedCounts)}
        with tf.device("CPU:0"):
            copies = {name: tf.Variable(read_first(v), trainable=False) for name, v in self._variables.items()}
        self.copies = {**variables, **copies}

    def take(self) -> None:
        """Makes the copies equal to the variables. What is learned afterwards does not reach them."""
        for name, copy in self.copies.items():
            if isinstance(copy, PackedCounts):
                copy.take()
            else:
                copy.assign(read_first(self._variables[name]))
