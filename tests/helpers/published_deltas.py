"""What published deltas lead to, as a server has it."""

import tensorflow as tf

from tfonline.deltas.file import read
from tfonline.deltas.weights import Weights, of_manifest
from tfonline.keep.variables import named_variables


def loaded(versions, number):
    """A version's variables by name, and its weights."""
    of_version = tf.saved_model.load(str(versions.path(number)))
    return named_variables(of_version), Weights(of_version, *of_manifest(versions.manifest(number)))


def bits(variables):
    return {name: v.numpy().tobytes() for name, v in variables.items()}


def moved_on(weights, folder, last=None):
    """Applies all deltas that follow, up to one; those of a later epoch as a server does."""
    for key in folder.keys:
        follows = key.epoch > weights.at.epoch or key.number > weights.at.number
        if follows and key.epoch >= weights.at.epoch and (last is None or key <= last):
            weights.apply(read(folder.file(key)), weights.at._replace(epoch=key.epoch, number=key.number))
