"""A copy of a model's variables in memory, which a thread can write to disk while the model learns on."""

import tensorflow as tf

from tfonline.model.tables.replicas import read_first


class Snapshot:
    """Copies of all variables that a checkpoint of `model` would hold, under the same names, outside of any strategy.

    Args:
      model: what is copied; it must have all of its variables.

    Attributes:
      copy: stands for the model in a tf.train.Checkpoint; the files are the same.
    """

    def __init__(self, model: tf.Module):
        self._pairs: list[tuple[tf.Variable, tf.Variable]] = []
        self.copy = self._copy(model, {})

    def take(self) -> None:
        """Makes the copies equal to the model. What the model learns afterwards does not reach them."""
        for variable, copy in self._pairs:
            copy.assign(read_first(variable))

    def give_back(self) -> None:
        """Makes the model equal to the copies."""
        for variable, copy in self._pairs:
            variable.assign(copy)

    def _copy(self, node: tf.Module, known: dict) -> tf.train.Checkpoint | tf.Variable | None:
        """The tree below a node, without what holds no variable; what two nodes share is shared."""
        if id(node) in known:
            return known[id(node)]
        known[id(node)] = None
        if hasattr(node, "assign"):
            with tf.device("CPU:0"):
                known[id(node)] = tf.Variable(read_first(node), trainable=False)
            self._pairs.append((node, known[id(node)]))
            return known[id(node)]
        children = {name: self._copy(child, known) for name, child in tf.train.TrackableView.children(node).items()}
        children = {name: child for name, child in children.items() if child is not None}
        known[id(node)] = tf.train.Checkpoint(**children) if children else None
        return known[id(node)]
