"""The columns of a data set, read from YAML. Imports no TensorFlow, so that the tools start fast."""

import pathlib
import re
from typing import Annotated, Literal

import pydantic
import yaml

from tfonline.features.kinds import KINDS, feature_kinds
from tfonline.lifecycle import Exit, UserError

_RANGE = re.compile(r"([A-Za-z]+)(\d+)\.\.([A-Za-z]+)(\d+)")

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(\.\.[A-Za-z][A-Za-z0-9]*)?")


def _check_name(name: str) -> str:
    """Names stand before "_" in the dictionary's keys (C1_68fd1e64), so they hold none."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no column name. Expected letters a-z, A-Z and digits, a letter first, or a range such as I1..I13: in the "
            'dictionaries a name ends at the first "_", as in C1_68fd1e64. Rows carry no names, so any other name will do.'
        )
    return name


Name = Annotated[str, pydantic.AfterValidator(_check_name)]


class Column(pydantic.BaseModel):
    """One column: its name and what it holds."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    name: Name
    kind: Literal[tuple(KINDS)]


class Schema(pydantic.BaseModel):
    """The columns of a row in the order of the message: exactly one label, at least one feature, no name twice."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    name: str
    columns: tuple[Column, ...]

    @pydantic.field_validator("columns", mode="after")
    @classmethod
    def _expand_and_check(cls, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        expanded = tuple(Column(name=name, kind=c.kind) for c in columns for name in _expand(c.name))
        names = [c.name for c in expanded]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"column names stand twice: {', '.join(twice)}; every column needs a name of its own")
        labels = [c.name for c in expanded if c.kind == "label"]
        if len(labels) != 1:
            raise ValueError(f"expected exactly one column of kind label, found {len(labels)} {labels}")
        if not any(KINDS[c.kind].is_feature for c in expanded):
            kinds = " or ".join(kind.name for kind in feature_kinds())
            raise ValueError(f"expected at least one column of kind {kinds} beside the label")
        return expanded

    @property
    def names(self) -> tuple[str, ...]:
        """All column names in the order of the message."""
        return tuple(c.name for c in self.columns)

    @property
    def label(self) -> str:
        """The label's name."""
        return next(c.name for c in self.columns if c.kind == "label")

    @property
    def ranged(self) -> tuple[str, ...]:
        """The names of the columns whose range the dictionaries hold, in order."""
        return tuple(c.name for c in self.columns if KINDS[c.kind].dictionary == "range")

    @property
    def listed(self) -> tuple[str, ...]:
        """The names of the columns whose values have ids in the dictionaries, in order."""
        return tuple(c.name for c in self.columns if KINDS[c.kind].dictionary == "values")

    def of_kind(self, kind: str) -> tuple[str, ...]:
        """The names of the columns of a kind, in order."""
        return tuple(c.name for c in self.columns if c.kind == kind)

    def index(self, *names: str) -> list[int]:
        """Where the named columns stand in a message, counted from 0."""
        return [self.names.index(n) for n in names]


def load_schema(path: str) -> Schema:
    """Reads a schema from a YAML file such as configs/criteo.yaml.

    Raises:
      UserError: the file is not there (exit 66) or does not describe columns (exit 64).
    """
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as e:
        raise UserError(
            f"--columns={path} cannot be read ({e.strerror}). Expected a YAML file such as configs/criteo.yaml.",
            Exit.NO_INPUT,
        ) from e
    try:
        return Schema.model_validate(yaml.safe_load(data.decode()))
    except (UnicodeDecodeError, yaml.YAMLError) as e:
        raise UserError(f"--columns={path} is not YAML: {e}", Exit.FLAGS) from e
    except pydantic.ValidationError as e:
        problems = "; ".join(f"{'.'.join(map(str, p['loc'])) or 'the file'}: {p['msg']}" for p in e.errors(include_url=False))
        raise UserError(f"--columns={path} does not describe a row: {problems}", Exit.FLAGS) from e


def _expand(name: str) -> list[str]:
    """I1..I13 to I1, I2, ... I13; any other name to itself."""
    if ".." not in name:
        return [name]
    match = _RANGE.fullmatch(name)
    if not match or match[1] != match[3] or int(match[2]) > int(match[4]):
        raise ValueError(f"{name!r} is no range of columns; expected one such as I1..I13")
    return [f"{match[1]}{i}" for i in range(int(match[2]), int(match[4]) + 1)]
