"""A model with a vocabulary that grows, moved to another number of rows: each value keeps what it has learned."""

import pathlib
import shutil
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfonline.keep import checkpoint_files
from tfonline.lifecycle import flush_to_disk
from tfonline.model.learner import Learner
from tfonline.model.tables.vocabulary import places_of, table_of

# Where the new checkpoint is written, until it is whole.
BESIDE = ".resized"


class Moved(NamedTuple):
    """What became of the values.

    Attributes:
      kept: so many have their row.
      lost: so many have none any more: those of full sets that were seen least.
    """

    kept: int
    lost: int


def move(old: Learner, new: Learner, variables: Mapping[str, Any], new_variables: Mapping[str, Any]) -> Moved:
    """Gives one learner all that another one has learned, but for the number of rows that their vocabularies have.

    Args:
      old: what has learned.
      new: of the same settings otherwise; overwritten.
      variables: of the old one, by name.
      new_variables: of the new one, by the same names.
    """
    of_ids = {id(v) for v in old.rows_of_ids}
    first, num_old, num_new = old.model.vocabulary.spec.first_id, old.model.vocabulary.spec.rows, new.model.vocabulary.spec.rows
    table = old.model.vocabulary.keys.numpy().ravel()
    hits, seen = old.admission.hits.numpy(), old.admission.seen.numpy()
    places = np.flatnonzero(table)
    places = places[np.lexsort((-seen[places], -hits[places]))]  # where a set is full, who was seen most stays
    new_places = places_of(table[places], new.model.vocabulary.num_sets)
    kept = new_places >= 0
    before, after = places[kept], new_places[kept]
    of_places = {id(v) for v in (old.admission.seen, old.admission.since, old.admission.hits)}
    for name, variable in variables.items():
        value, target = variable.numpy(), new_variables[name]
        if id(variable) in of_ids:
            moved = np.zeros([first + num_new + 1, *value.shape[1:]], value.dtype)
            moved[:first], moved[-1] = value[:first], value[first + num_old]
            moved[first + after] = value[first + before]
        elif id(variable) in of_places:
            moved = np.zeros(num_new, value.dtype)
            moved[after] = value[before]
        elif variable is old.model.vocabulary.keys:
            moved = table_of(table[before], after, new.model.vocabulary.num_sets)
        elif variable is old.admission.claims:
            moved = np.zeros(target.shape, value.dtype)
        elif variable is old.admission.tally:
            moved = np.array([kept.sum(), *value[1:]], value.dtype)
        else:
            moved = value
        target.assign(tf.constant(moved))
    return Moved(int(kept.sum()), int((~kept).sum()))


def put_in_place(folder: pathlib.Path) -> pathlib.Path | None:
    """Has the checkpoint that lies whole in `<folder>/.resized` be the only one, and moves the others to where they are kept.

    A call that was ended in its middle is finished by the next one.

    Returns:
      the folder in which the others are; None where there was nothing to do.
    """
    beside = folder / BESIDE
    (whole,) = checkpoint_files.paths(beside)[:1] or [None]
    if whole is None:
        return None
    aside = folder / f"before-resize-{whole.name}"
    aside.mkdir(exist_ok=True)
    for path in checkpoint_files.paths(folder):
        for file in checkpoint_files.files(path):
            file.rename(aside / file.name)
    # The index last: a checkpoint is there once its index is.
    for file in sorted(checkpoint_files.files(whole), key=lambda f: f.suffix == ".index"):
        file.rename(folder / file.name)
    flush_to_disk(folder)
    shutil.rmtree(beside)
    return aside
