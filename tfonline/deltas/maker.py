"""Makes deltas beside training: what the training thread copies, and what a thread makes of it."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfonline.deltas.checksum import moved, row_hashes, total
from tfonline.deltas.file import Change, Header, Unreadable, read, write
from tfonline.deltas.folder import DeltaFolder, Key
from tfonline.keep.variables import named_variables
from tfonline.model.learner import Learner
from tfonline.model.tables.replicas import read_first
from tfonline.model.tables.touched import IDS
from tfonline.state import Position

# Variables with fewer rows are written whole: those of dense layers change in all their rows.
_FEW_ROWS = 4096
_ROWS_AT_ONCE = 1 << 15
# So many deltas since the last version are kept; who makes more without one has something else to mend.
MOST = 10_000


class NotMade(Exception):
    """A delta is not published, for the reason in the text; the next one has its rows."""


class Early(NamedTuple):
    """Rows that were touched up to some step, copied while training goes on: what is touched since may be of a later step.

    Attributes:
      rows: by input, int64 [n] each, ascending.
      values: by the variable's name, those rows of it.
    """

    rows: dict[str, np.ndarray]
    values: dict[str, np.ndarray]


class Cut(NamedTuple):
    """The model between two windows, as far as it may have changed.

    Attributes:
      touched: the rows that were touched, by input, int64 [n] each, ascending; None: all of the model was copied.
      values: by the variable's name, those rows of it, or all of it.
      position: where it was, as Position.get_state has it.
      made: seconds since 1970.
      early: rows that were touched before, and copied; of those that are in `touched`, too, its values count.
      newest_row_time: see Header.
    """

    touched: dict[str, np.ndarray] | None
    values: dict[str, tf.Tensor]
    position: Mapping[str, Any]
    made: float
    early: Early | None = None
    newest_row_time: float | None = None


class Served:
    """The variables of a learner that its SavedModels have, by their names there.

    Args:
      learner: has its steps mark what they touch.
    """

    def __init__(self, learner: Learner):
        learner.mark_touched()
        self._marks = learner.touched
        self._variables = {f"model/{name}": variable for name, variable in named_variables(learner.model).items()}
        of_ids = {id(v) for v in learner.rows_of_ids}
        of_inputs = {id(v): name for name, counted in learner.model.statistics_of_inputs.items() for v in counted}
        # By the input whose values are their rows' numbers; all others by themselves.
        self.groups: dict[str, list[str]] = {}
        for name, variable in self._variables.items():
            group = IDS if id(variable) in of_ids else of_inputs.get(id(variable), name)
            self.groups.setdefault(group, []).append(name)
        # The first replica's copies: in another thread a strategy does not say which they are.
        self._first = {name: tf.distribute.get_strategy().experimental_local_results(v)[0] for name, v in self._variables.items()}
        self._ended: list[int] = []  # generations of marks that are in no cut so far

    def early(self) -> Callable[[], Early]:
        """Begins a cut while training goes on: what it gives is to be called in another thread, and its rows need not be copied
        while training waits.
        """
        self._ended.append(self._marks.next_generation())
        return functools.partial(self._copy, list(self._ended))

    def cut(self, position: Position, whole: bool = False, early: Early | None = None) -> Cut:
        """What was touched since the last cut, or all; the training thread waits for it.

        Args:
          position: of the learner.
          whole: all.
          early: of the last call of `early`, where that was after the last cut.
        """
        ended = self._marks.next_generation()
        touched = None if whole else self._marks.rows([ended] if early else [*self._ended, ended])
        self._ended = []
        rows = self._by_name(touched or {})
        values = {
            name: tf.gather(self._first[name], rows[name]) if name in rows else read_first(variable)
            for name, variable in self._variables.items()
        }
        return Cut(touched, values, position.get_state(), time.time(), None if whole else early)

    def give_back(self, cut: Cut) -> None:
        """Has the next cut hold what this one does, too."""
        for rows in (cut.touched, cut.early and cut.early.rows):
            if rows:
                self._marks.give_back(rows)

    def _copy(self, generations: Sequence[int]) -> Early:
        """In another thread. A few rows at once, as a step that writes a variable waits for who reads it."""
        touched = self._marks.rows(generations)
        values = {}
        for name, rows in self._by_name(touched).items():
            parts = np.array_split(rows, max(1, len(rows) // _ROWS_AT_ONCE))
            values[name] = np.concatenate([tf.gather(self._first[name], part).numpy() for part in parts])
        return Early(touched, values)

    def _by_name(self, touched: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: touched[group] for group in touched for name in self.groups.get(group, ())}


@dataclasses.dataclass
class Chain:
    """Up to where deltas have come, one after the other from a version on.

    Attributes:
      groups: see Served.
      hashes: of each row as it is in the last delta, uint64 [rows] by group: the sum over the group's variables.
      checksum: their sum, see checksum.
      root_version: from which the epoch's first delta leads on.
      root_checksum: its checksum.
      window: the next one of what the last delta leads to.
      epoch: 0: it has no delta yet.
      number: of the last delta.
      digest: of the last delta.
    """

    groups: Mapping[str, list[str]]
    hashes: dict[str, np.ndarray]
    checksum: int
    root_version: int
    root_checksum: int
    window: int
    epoch: int = 0
    number: int = 0
    digest: str = ""

    @classmethod
    def of(cls, groups: Mapping[str, list[str]], values: Mapping[str, Any], version: int, window: int) -> "Chain":
        """That of a version, from all its variables."""
        hashes = {group: _sum_of_hashes(names, values) for group, names in groups.items()}
        checksum = sum(map(total, hashes.values())) % 2**64
        return cls(groups, hashes, checksum, version, checksum, window)

    @property
    def state(self) -> dict[str, Any]:
        """What the manifest says of a version that is what the last delta leads to."""
        return {"checksum": f"{self.checksum:016x}", "epoch": self.epoch, "number": self.number}


def make(chain: Chain, cut: Cut, folder: DeltaFolder, newest_row_time: float | None) -> int | None:
    """Makes the next delta; returns its size in bytes, None where nothing has changed.

    The first one of an epoch, where it is made of a whole cut, has all that differs from the version, and also the rows of deltas
    that epochs before have made after that version: these are void. So a server that has applied some of them is right in one step.

    Args:
      chain: becomes that of the delta; where it is not made, it stays as it is.
      cut: the model, as far as it may have changed since the last one.
      folder: of the deltas.
      newest_row_time: see Header.

    Raises:
      NotMade: the model is not finite, or there are too many deltas.
      OSError: it cannot be written.
    """
    void: dict[str, np.ndarray] = {}
    if not chain.epoch:
        void = _rows_since(folder, chain) if cut.touched is None else {}
        chain.epoch = folder.next_epoch()
    if chain.number and len(folder.keys) >= MOST:
        raise NotMade(f"there are {MOST:,} deltas and no new version. See why none is published")
    return _make(chain, cut, folder, newest_row_time, void)


def _make(chain: Chain, cut: Cut, folder: DeltaFolder, newest_row_time: float | None, void: Mapping[str, np.ndarray]) -> int | None:
    touched, values = _joined(chain.groups, cut)
    changes, new, before, after = {}, {}, 0, 0
    for group, names in chain.groups.items():
        rows = touched.get(group)
        hashes = _sum_of_hashes(names, values, rows)
        old = chain.hashes[group] if rows is None else chain.hashes[group][rows]
        different = hashes != old
        before, after = before + total(old[different]), after + total(hashes[different])
        new[group] = (rows, hashes)
        wanted = different.copy()
        for name in names:
            wanted[void.get(name, [])] = True
        changes |= _changes(names, values, rows, np.flatnonzero(wanted), len(chain.hashes[group]))
    if not changes and chain.number:
        return None
    if bad := [name for name, change in changes.items() if not _finite(cut.values[name].dtype, change.values)]:
        raise NotMade(f"{', '.join(bad)}: not finite")
    position, checksum = cut.position, moved(chain.checksum, before, after)
    header = Header(
        epoch=chain.epoch, number=chain.number + 1, from_window=chain.window, to_window=position["window"],
        step=position["step"], rows=position["rows"], next=tuple(position["next"]), root_version=chain.root_version,
        root_checksum=f"{chain.root_checksum:016x}", checksum=f"{checksum:016x}", previous=chain.digest,
        newest_row_time=newest_row_time, made=cut.made,
    )  # fmt: skip
    digest, size = write(folder.file(Key(header.epoch, header.number)), header, changes)
    for group, (rows, hashes) in new.items():
        chain.hashes[group][slice(None) if rows is None else rows] = hashes
    chain.checksum, chain.number, chain.window, chain.digest = checksum, header.number, header.to_window, digest
    return size


def _joined(groups: Mapping[str, list[str]], cut: Cut) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The rows that a cut has by group, those of its early part, too, and its values by name."""
    touched, values = dict(cut.touched or {}), {name: _bits(tensor.numpy()) for name, tensor in cut.values.items()}
    for group, early in cut.early.rows.items() if cut.early else ():
        rows = touched[group]
        place = np.searchsorted(rows, early)
        place[place == len(rows)] = 0
        kept = rows[place] != early if len(rows) else np.ones(len(early), bool)
        both = np.concatenate([rows, early[kept]])
        order = np.argsort(both, kind="stable")
        touched[group] = both[order]
        for name in groups.get(group, ()):
            values[name] = np.concatenate([values[name], _bits(cut.early.values[name])[kept]])[order]
    return touched, values


def _changes(
    names: Iterable[str], values: Mapping[str, np.ndarray], rows: np.ndarray | None, changed: np.ndarray, num_rows: int
) -> dict[str, Change]:
    """Of the variables of a group, those of their values [n, ...] that have changed.

    Args:
      names: of the variables.
      values: by name, these rows of them.
      rows: the numbers of these rows; None: all of them.
      changed: which of the values have changed.
      num_rows: of the variables.
    """
    if not len(changed):
        return {}
    if rows is None and (num_rows < _FEW_ROWS or 2 * len(changed) > num_rows):
        return {name: Change(values[name], None, values[name].shape) for name in names}
    numbers = changed if rows is None else rows[changed]
    return {name: Change(values[name][changed], numbers, (num_rows, *values[name].shape[1:])) for name in names}


def _rows_since(folder: DeltaFolder, chain: Chain) -> dict[str, np.ndarray]:
    """The rows by variable that a server may have from deltas after the chain's version."""
    found: dict[str, list[np.ndarray]] = {}
    for key in folder.keys:
        with contextlib.suppress(Unreadable, OSError):  # of such a one nobody can have applied the rest
            delta = read(folder.file(key))
            for part in delta.parts() if delta.header.to_window > chain.window else ():
                for name, change in part.items():
                    rows = np.arange(change.shape[0] if change.shape else 1) if change.rows is None else change.rows
                    found.setdefault(name, []).append(rows)
    return {name: np.unique(np.concatenate(rows)) for name, rows in found.items()}


def _sum_of_hashes(names: Iterable[str], values: Mapping[str, Any], rows: np.ndarray | None = None) -> np.ndarray:
    return sum(row_hashes(name, _bits(np.asarray(values[name])), rows) for name in names)


def _bits(values: np.ndarray) -> np.ndarray:
    """A type that numpy does not know by itself, such as bfloat16, as whole numbers."""
    return values.view(f"<u{values.dtype.itemsize}") if values.dtype.kind == "V" else values


def _finite(dtype: tf.DType, values: np.ndarray) -> bool:
    return not dtype.is_floating or bool(np.isfinite(values.view(dtype.as_numpy_dtype)).all())
