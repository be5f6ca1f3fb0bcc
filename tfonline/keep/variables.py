"""Variables by their names in checkpoints."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfonline.model.tables.served_counts import LoadedCounts, is_served_counts


def named_variables(module: tf.Module) -> dict[str, Any]:
    """All tf.Variables that a module holds, by the path of attributes to each, such as `model/wide/table`; each once.

    Of a Keras variable, the tf.Variable within. Counts to score by are one variable: a ServedCounts or, of a SavedModel that was
    loaded, LoadedCounts.
    """
    found: dict[str, Any] = {}
    _collect(module, "", found, set())
    return found


def release(variables: Mapping[str, Any]) -> None:
    """Gives back what TensorFlow would keep for good of a SavedModel that was loaded; no row is scored by it any more.

    Args:
      variables: all of the SavedModel's, by name.
    """
    for variable in variables.values():
        if isinstance(variable, LoadedCounts):
            variable.release()


def _collect(node: Any, path: str, found: dict[str, Any], seen: set[int]) -> None:
    if id(node) in seen:
        return
    seen.add(id(node))
    if hasattr(node, "assign"):
        # A tf.Variable has a method `value`, a Keras variable has the tf.Variable there. Keras is not loaded for that: who serves
        # has no use for it.
        value = getattr(node, "value", node)
        found[path] = node if callable(value) else value
        return
    children = tf.train.TrackableView.children(node)
    if is_served_counts(children):
        found[path] = LoadedCounts(node)
        return
    for name, child in children.items():
        _collect(child, f"{path}/{name}" if path else name, found, seen)


def as_objects(variables: Mapping[str, Any]) -> dict[str, Any]:
    """What a tf.train.Checkpoint takes as its attributes to write variables under their names: a part of a path is an attribute."""
    tree: dict[str, Any] = {}
    for path, variable in variables.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = variable
    return {name: _as_object(child) for name, child in tree.items()}


def _as_object(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    return tf.train.Checkpoint(**{name: _as_object(child) for name, child in node.items()})
