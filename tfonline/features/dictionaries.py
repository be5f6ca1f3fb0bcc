"""The dictionaries of a data set: ranges of the integer columns and ids of the category values. Imports no TensorFlow.

They are the three pickles of the system that tfonline replaces. A pickle can run any code when it is read, so these are read by
an unpickler that admits dicts, strings, numbers and numpy scalars and nothing else.
"""

import functools
import hashlib
import itertools
import json
import math
import os
import pathlib
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tfonline.features.entries import Entries, take_apart
from tfonline.features.kinds import dictionary_of
from tfonline.features.schema import Schema
from tfonline.lifecycle import Exit, UserError

MAX_FILE = "all_val_max_dict.pkl"
MIN_FILE = "all_val_min_dict.pkl"
IDS_FILE = "cat2id_dict.pkl"
BOUNDARIES_FILE = "boundaries.json"  # only where there are columns of decimal numbers

_HASHED_AT_ONCE = 1 << 18  # ids; bounds the memory of a fingerprint
_SHOWN = 5  # offenders in a message
_LARGEST = 10**18 - 1  # an integer has at most 18 digits


@dataclass(frozen=True)
class Dictionaries:
    """Ranges and ids. `load_dictionaries` checks them; a hand-made one should keep the same rules.

    Attributes:
      max: integer column to its largest value.
      min: integer column to its smallest value.
      cat2id: integer columns to 0..n-1, `OOV<category>` to n..n+m-1, `<category>_<value>` to n+m and on.
      boundaries: column of decimal numbers to where its buckets begin, in rising order; none where it has no value.
    """

    max: dict[str, int]
    min: dict[str, int]
    cat2id: dict[str, int]
    boundaries: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def without_values(cls, schema: Schema, ranges: "Dictionaries | None" = None) -> "Dictionaries":
        """Those of a stream whose values nobody knows beforehand: the columns' own ids, and no value.

        Args:
          schema: the columns.
          ranges: whose ranges and boundaries they have; None: the ranges of all numbers that a message can hold.
        """
        own = [*schema.ranged, *(f"OOV{c}" for c in schema.listed)]
        largest, smallest = (ranges.max, ranges.min) if ranges else (dict.fromkeys(schema.ranged, n) for n in (_LARGEST, -_LARGEST))
        return cls(largest, smallest, {key: i for i, key in enumerate(own)}, ranges.boundaries if ranges else {})

    @property
    def num_ids(self) -> int:
        """The largest id + 1."""
        return max(self.cat2id.values(), default=-1) + 1

    def fingerprint(self) -> str:
        """SHA-256 of the content, in hex: the same for the same names and numbers, in whatever order and pickle they came."""
        digest = hashlib.sha256()
        for ranges in (self.max, self.min):
            digest.update(json.dumps(sorted(ranges.items())).encode() + b"\n")
        if self.boundaries:
            digest.update(json.dumps(sorted(self.boundaries.items())).encode() + b"\n")
        keys, ids = self.by_id
        for i in range(0, len(keys), _HASHED_AT_ONCE):
            some = slice(i, i + _HASHED_AT_ONCE)
            digest.update(json.dumps([keys[some], ids[some].tolist()]).encode() + b"\n")
        return digest.hexdigest()

    def values_of(self, columns: Sequence[str]) -> tuple[Entries, np.ndarray]:
        """The `<column>_<value>` entries of these columns in the order of their ids, for building a lookup table.

        Returns:
          entries: n values, each of one of the columns.
          ids: int64 [n].
        """
        keys, ids = self.by_id
        entries = take_apart(keys, columns)
        known = entries.column >= 0
        return Entries(entries.column[known], entries.size[known], entries.content), ids[known]

    @functools.cached_property
    def by_id(self) -> tuple[list[str], np.ndarray]:
        """Keys and ids, int64 [n], in the order of the ids."""
        keys, ids = list(self.cat2id), np.fromiter(self.cat2id.values(), np.int64, len(self.cat2id))
        if (ids[1:] > ids[:-1]).all():  # as they are written
            return keys, ids
        order = np.argsort(ids, kind="stable")
        return [keys[i] for i in order], ids[order]


def check_names(schema: Schema) -> None:
    """Refuses columns whose values cannot be told apart by their keys in the dictionaries: `user_id_5` is of user and of user_id.

    Raises:
      UserError: the names of the columns (exit 64).
    """
    fixed = {**{name: name for name in schema.ranged}, **{f"OOV{name}": name for name in schema.listed}}
    for name in schema.listed:
        begins = f"{name}_"
        others = [other for other in schema.listed if other.startswith(begins)]
        others += [column for key, column in fixed.items() if key.startswith(begins)]
        if others:
            raise UserError(
                f"in the dictionaries the values of column {name} stand under {name}_<value>, so they cannot be told from what "
                f"belongs to {' and '.join(others)}. Give {name} another name in --columns (and where messages have names, its own "
                "as the `path`), or have ids come with the stream (--vocabulary_rows), which needs no dictionaries.",
                Exit.FLAGS,
            )


def load_dictionaries(folder: str, schema: Schema) -> Dictionaries:
    """Reads and checks the three pickles in `folder`; the files of the replaced system's process_data.py load unchanged.

    Raises:
      UserError: a file is missing (exit 66); it is no pickle of plain data, or it does not fit the columns (exit 65); the columns'
        names are ambiguous (64).
    """
    check_names(schema)
    maximum, minimum, ids = (_read(pathlib.Path(folder) / name) for name in (MAX_FILE, MIN_FILE, IDS_FILE))
    dictionaries = Dictionaries(maximum, minimum, ids, _read_boundaries(pathlib.Path(folder) / BOUNDARIES_FILE, schema))
    _check_ranges(dictionaries, schema, folder)
    _check_ids(dictionaries.cat2id, schema, folder)
    return dictionaries


def save_dictionaries(folder: str, dictionaries: Dictionaries) -> None:
    """Writes the three pickles, and the boundaries where there are any. A reader never sees half a file.

    Equal dictionaries give equal bytes.

    Raises:
      OSError: the folder cannot be made or written.
    """
    directory = pathlib.Path(folder)
    directory.mkdir(parents=True, exist_ok=True)
    in_order = sorted(dictionaries.max, key=dictionaries.cat2id.__getitem__)
    content = {
        MAX_FILE: {c: int(dictionaries.max[c]) for c in in_order},
        MIN_FILE: {c: int(dictionaries.min[c]) for c in in_order},
        IDS_FILE: dict(zip(dictionaries.by_id[0], dictionaries.by_id[1].tolist(), strict=True)),
    }
    if dictionaries.boundaries:
        content[BOUNDARIES_FILE] = dict(sorted(dictionaries.boundaries.items()))
    beside = {name: directory / f".{name}.{os.getpid()}.tmp" for name in content}
    try:
        for name, numbers in content.items():
            with beside[name].open("wb") as f:
                if name == BOUNDARIES_FILE:
                    f.write(json.dumps(numbers, indent=1).encode() + b"\n")
                else:
                    pickle.dump(numbers, f, protocol=4)
        # All are whole before the first is put in place, so that a full disk leaves no mixture of old and new.
        for name, path in beside.items():
            path.replace(directory / name)
    finally:
        for path in beside.values():
            path.unlink(missing_ok=True)


class _Dtype:
    """Stands in for numpy.dtype: keeps what the pickle says of it and builds nothing."""

    def __init__(self, code: str, *_):
        self.code, self.byte_order = code, "="

    def __setstate__(self, state: tuple) -> None:
        self.byte_order = {"|": "="}.get(state[1], state[1])


def _scalar(dtype: _Dtype, data: bytes) -> int | float:
    """Stands in for numpy's scalar(), which would also take objects."""
    if dtype.code not in {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}:
        raise pickle.UnpicklingError(f"a numpy scalar of type {dtype.code!r}")
    return np.frombuffer(data, dtype.byte_order + dtype.code, count=1)[0].item()


def _bytes(text: str, _encoding: str = "latin1") -> bytes:
    """Stands in for _codecs.encode, by which protocols 0 to 2 hold bytes."""
    return text.encode("latin1")


_ADMITTED = {
    ("numpy.core.multiarray", "scalar"): _scalar,  # numpy 1
    ("numpy._core.multiarray", "scalar"): _scalar,  # numpy 2
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _bytes,
}


class _PlainUnpickler(pickle.Unpickler):
    """Reads dicts, strings, numbers and numpy scalars. A global is looked up here and never imported."""

    def find_class(self, module: str, name: str) -> object:
        """The stand-in for an admitted global; raises UnpicklingError for any other."""
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which could run code")
        return _ADMITTED[module, name]


def _read(path: pathlib.Path) -> dict[str, int]:
    try:
        with path.open("rb") as f:
            content = _PlainUnpickler(f).load()
    except OSError as e:
        raise UserError(
            f"{path} cannot be read ({e.strerror}). Expected the three dictionaries {MAX_FILE}, {MIN_FILE} and {IDS_FILE} in "
            f"one folder. Make them with: python tools/process_data.py FILES --output_dir={path.parent}",
            Exit.NO_INPUT,
        ) from e
    # A file that is no pickle can make the unpickler raise nearly anything.
    except Exception as e:
        problem = f"is refused: {str(e) or type(e).__name__}. Expected a pickle of a dict of strings to whole numbers"
        raise _bad(path, problem) from e
    if not isinstance(content, dict):
        raise _bad(path, f"holds a {type(content).__name__}. Expected a dict of names to whole numbers")
    if set(map(type, content)) <= {str} and set(map(type, content.values())) <= {int}:
        return content
    wrong = [(k, v) for k, v in content.items() if type(k) is not str or type(v) not in (int, float) or v != v // 1]
    if wrong:
        raise _bad(path, f"holds {_some(wrong)}. Expected names and whole numbers")
    return {key: int(value) for key, value in content.items()}


def _read_boundaries(path: pathlib.Path, schema: Schema) -> dict[str, tuple[float, ...]]:
    """Of the columns whose boundaries the dictionaries hold; {} where there is no such column."""
    wanted = [column.name for column in schema.columns if dictionary_of(column) == "quantiles"]
    if not wanted:
        return {}
    try:
        content = json.loads(path.read_bytes())
    except OSError as e:
        raise UserError(
            f"{path} cannot be read ({e.strerror}), and the columns {_some(wanted)} have no boundaries in --columns. Make the "
            "dictionaries anew with tools/process_data.py.",
            Exit.NO_INPUT,
        ) from e
    except ValueError as e:
        raise _bad(path, f"is no JSON: {e}") from e
    if not isinstance(content, dict) or sorted(content) != sorted(wanted):
        raise _bad(path, f"does not hold the columns {_some(wanted)} of the data set {schema.name!r}, and no others")
    for name, of_column in content.items():
        numbers = isinstance(of_column, list) and all(type(n) in (int, float) and math.isfinite(n) for n in of_column)
        if not numbers or any(a >= b for a, b in itertools.pairwise(of_column)):
            raise _bad(path, f"holds for {name} what is no list of numbers in rising order")
    return {name: tuple(map(float, of_column)) for name, of_column in content.items()}


def _check_ranges(dictionaries: Dictionaries, schema: Schema, folder: str) -> None:
    for name, ranges in ((MAX_FILE, dictionaries.max), (MIN_FILE, dictionaries.min)):
        path = pathlib.Path(folder) / name
        if missing := [c for c in schema.ranged if c not in ranges]:
            raise _bad(path, f"lacks the integer columns {_some(missing)} of the data set {schema.name!r}")
        if foreign := [c for c in ranges if c not in schema.ranged]:
            raise _bad(path, f"holds {_some(foreign)}, no integer columns of the data set {schema.name!r}")
    low, high = dictionaries.min, dictionaries.max
    if crossed := [f"{c}: {low[c]} > {high[c]}" for c in schema.ranged if low[c] > high[c]]:
        raise _bad(pathlib.Path(folder), f"holds minima above the maxima ({_some(crossed)}): {MIN_FILE} against {MAX_FILE}")


def _check_ids(ids: dict[str, int], schema: Schema, folder: str) -> None:
    path = pathlib.Path(folder) / IDS_FILE
    fixed = [*schema.ranged, *(f"OOV{c}" for c in schema.listed)]
    if missing := [key for key in fixed if key not in ids]:
        raise _bad(path, f"lacks the keys {_some(missing)} of the data set {schema.name!r}")
    if moved := [f"{key}: {ids[key]} instead of {i}" for i, key in enumerate(fixed) if ids[key] != i]:
        raise _bad(path, f"has other ids than the columns' order gives ({_some(moved)})")
    known, keys = set(fixed), list(ids)
    # A key without a value (C1_) is foreign too: a missing category has no id but its column's OOV.
    without_value = np.flatnonzero(take_apart(keys, schema.listed).size == 0)
    if foreign := [keys[i] for i in without_value if keys[i] not in known]:
        raise _bad(path, f"holds {len(foreign)} keys of no column of the data set {schema.name!r}: {_some(foreign)}")
    within = not ids or (min(ids.values()) >= 0 and max(ids.values()) < len(ids))
    if not within or np.bincount(np.fromiter(ids.values(), np.int64, len(ids))).max(initial=0) > 1:
        for expected, found in enumerate(sorted(ids.values())):
            if found == expected:
                continue
            what = f"gives the id {found} twice" if found < expected else f"leaves out the id {expected}"
            raise _bad(path, f"{what}. Expected every id from 0 to {len(ids) - 1} once")


def _some(items: Iterable[object]) -> str:
    items = list(items)
    return ", ".join(map(str, items[:_SHOWN])) + (f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else "")


def _bad(path: pathlib.Path, problem: str) -> UserError:
    return UserError(
        f"{path} {problem}. Make the dictionaries anew with tools/process_data.py and the same --columns as the trainer's.",
        Exit.DATA,
    )
