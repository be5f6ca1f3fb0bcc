"""The weights of a loaded SavedModel, moved on by deltas while rows are scored by it."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfonline import garbage
from tfonline.deltas.checksum import moved, row_hashes, total
from tfonline.deltas.file import Change, Delta
from tfonline.keep.variables import named_variables
from tfonline.model.tables.served_counts import LoadedCounts

# What a delta changes is read twice where it is more: before it is known to fit, and when it is written. So a large one takes no
# memory beside that of the weights.
_KEPT_BYTES = 32 << 20


class DoesNotFit(Exception):
    """A delta does not lead to what it says, for the reason in the text: nothing was changed."""


class At(NamedTuple):
    """Up to where weights have come.

    Attributes:
      version: the full version.
      epoch: of the delta that was applied last, or that the version says that it holds; 0: none.
      number: likewise.
      newest_row_time: when the newest row came that they have learned from, seconds since 1970; None where it is not known.
    """

    version: int
    epoch: int = 0
    number: int = 0
    newest_row_time: float | None = None

    @property
    def delta(self) -> str:
        """As the answer's header has it: `<epoch>.<number>`, or 0."""
        return f"{self.epoch}.{self.number}" if self.epoch else "0"


class Weights:
    """All variables of a SavedModel.

    Rows are scored within `reading`. A delta is applied in one step, between those.

    Args:
      loaded: what tf.saved_model.load gives.
      at: the version.
      checksum: of its weights, see checksum; None: not known, and no delta can be applied.

    Attributes:
      variables: by name, as keep.variables has them.
      at: where they are; it changes only between readings.
      checksum: where they are.
    """

    def __init__(self, loaded: Any, at: At, checksum: int | None):
        self.variables = named_variables(loaded)
        self._turns = _Turns()
        self.at, self.checksum = at, checksum

    @contextlib.contextmanager
    def reading(self) -> Iterator[At]:
        """Nothing is changed within; gives where the weights are. Several threads may be in it."""
        with self._turns.shared():
            yield self.at

    def apply(self, delta: Delta, at: At) -> None:
        """Moves on to where a delta leads; from one thread.

        Args:
          delta: whole.
          at: where that is.

        Raises:
          DoesNotFit: it is not of this model, or not of what it is now.
          Unreadable: its parts do not belong together.
        """
        if self.checksum is None:
            raise DoesNotFit("the version does not say its checksum")
        before = after = size = 0
        kept = []
        for part in delta.parts():
            for name, change in part.items():
                before += total(row_hashes(name, self._rows(name, change), change.rows))
                after += total(row_hashes(name, change.values, change.rows))
                size += change.values.nbytes
            kept.append(part)
            if size > _KEPT_BYTES:
                kept.clear()
        checksum = moved(self.checksum, before, after)
        if f"{checksum:016x}" != delta.header.checksum:
            raise DoesNotFit("it leads elsewhere than it says: it is another model's, or one before it is missing")
        with self._turns.alone():
            for part in kept or delta.parts():
                for name, change in part.items():
                    self._write(name, change)
            self.at, self.checksum = at, checksum
        if size > _KEPT_BYTES:
            garbage.give_back()

    def relabel(self, at: At) -> None:
        """Says of the weights as they are that they are there."""
        with self._turns.alone():
            self.at = at

    def values(self) -> dict[str, np.ndarray]:
        """All variables by name, as they are."""
        return {name: variable.numpy() for name, variable in self.variables.items()}

    def computed(self) -> int:
        """The checksum of all variables as they are, from scratch."""
        return sum(total(row_hashes(name, v.numpy())) for name, v in self.variables.items()) % 2**64

    def _rows(self, name: str, change: Change) -> np.ndarray:
        """What a variable has in place of a change."""
        variable, values = self.variables.get(name), change.values
        expected = change.shape if change.rows is None else (len(change.rows), *change.shape[1:])
        if variable is None or tuple(variable.shape) != change.shape or variable.dtype.size != values.dtype.itemsize:
            raise DoesNotFit(f"it is for other variables: {name} {list(change.shape)} {values.dtype}")
        if values.shape != expected:
            raise DoesNotFit(f"of {name} it has {list(values.shape)} values. Expected {list(expected)}")
        if change.rows is None:
            return variable.numpy()
        if len(change.rows) and not 0 <= change.rows[-1] < change.shape[0]:
            raise DoesNotFit(f"it has a row {change.rows[-1]} of {name}, which has {change.shape[0]}")
        return variable.gather(change.rows) if isinstance(variable, LoadedCounts) else tf.gather(variable, change.rows).numpy()

    def _write(self, name: str, change: Change) -> None:
        variable = self.variables[name]
        values = change.values.view(variable.dtype.as_numpy_dtype)
        if change.rows is None:
            variable.assign(values)
        elif isinstance(variable, LoadedCounts):
            variable.scatter(change.rows, values)
        else:
            tf.raw_ops.ResourceScatterUpdate(resource=variable.handle, indices=change.rows, updates=values)


def of_manifest(manifest: Mapping[str, Any]) -> tuple[At, int | None]:
    """Where a version is, and its checksum; None where it does not say."""
    state = manifest.get("state") or {}
    at = At(manifest["version"], newest_row_time=manifest.get("newest_row_time"))
    # Deltas that were made after the model that was gone back to lead on to the one that was left.
    if "rolled_back_to" not in manifest and state.get("epoch"):
        at = at._replace(epoch=state["epoch"], number=state["number"])
    return at, int(state["checksum"], 16) if "checksum" in state else None


class _Turns:
    """A lock that many may share, and one may have alone; who wants it alone comes next."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing, self._waiting, self._alone = 0, 0, False

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not self._waiting)
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: not self._alone and not self._sharing)
            self._waiting -= 1
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()
