"""A version with other weights: the SavedModel that deltas lead to, as a folder of its own."""

import pathlib
import shutil
from collections.abc import Collection, Mapping

import numpy as np
import tensorflow as tf

from tfonline.keep.plain_path import plain_path
from tfonline.model.tables.served_counts import as_stored

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"  # of a variable, behind its name
_FINGERPRINT = "fingerprint.pb"  # says of the variables' files what would be wrong here; who loads does without


def write(source: pathlib.Path, target: pathlib.Path, values: Mapping[str, np.ndarray]) -> None:
    """Copies a SavedModel, with other values of its variables.

    Args:
      source: its folder.
      target: not there yet.
      values: of all its variables by name, as keep.variables has them.

    Raises:
      ValueError: the SavedModel has other variables.
      OSError, tf.errors.OpError: it cannot be read or written.
    """
    with plain_path(source) as plain:
        saved = tf.train.load_checkpoint(f"{plain}/variables/variables")
        names = sorted(saved.get_variable_to_shape_map())
        values = _as_stored(values, names)
        if {name.removesuffix(_VALUE) for name in names if name.endswith(_VALUE)} != values.keys():
            raise ValueError(f"{source} has variables that no attribute leads to: it was not written by tfonline")
        tensors = [values[n.removesuffix(_VALUE)] if n.endswith(_VALUE) else saved.get_tensor(n) for n in names]
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("variables", _FINGERPRINT))
    (target / "variables").mkdir()
    with plain_path(target / "variables") as plain:
        tf.raw_ops.SaveV2(
            prefix=f"{plain}/variables", tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors,
        )  # fmt: skip


def _as_stored(values: Mapping[str, np.ndarray], names: Collection[str]) -> dict[str, np.ndarray]:
    """Values by the names of a SavedModel's variables: counts are several there."""
    stored = {}
    for name, value in values.items():
        if f"{name}/packed{_VALUE}" in names:
            stored |= {f"{name}/{part}": of_part for part, of_part in as_stored(value).items()}
        else:
            stored[name] = value
    return stored
