"""The columns of a data set, read from YAML. Imports no TensorFlow, so that the tools start fast."""

import functools
import hashlib
import json
import operator
import pathlib
import re
from typing import Annotated, Literal

import pydantic
import yaml

from tfonline.features.column import Column
from tfonline.features.kinds import KINDS, dictionary_of, feature_kinds, texts_of
from tfonline.formats import FORMATS
from tfonline.lifecycle import Exit, UserError

_RANGE = re.compile(r"([A-Za-z][A-Za-z0-9_]*?)(\d+)\.\.([A-Za-z][A-Za-z0-9_]*?)(\d+)")

# A column is of the class that its kind names.
AnyColumn = Annotated[functools.reduce(operator.or_, (k.column for k in KINDS.values())), pydantic.Field(discriminator="kind")]


class Schema(pydantic.BaseModel):
    """The columns of a row in the order of the message: a label at least, a weight or none, a feature at least, no name twice.

    Attributes:
      name: the data set's, for error texts.
      format: the messages' format, where no flag says another one.
      framing: what stands before each message: nothing, or Confluent's frame. For avro and protobuf, as the next two.
      message_schema: a file beside the YAML: an Avro schema (.avsc), or what `protoc --include_imports --descriptor_set_out` has
        written.
      message_type: the full name of the messages' type in it, or in the registry's schema, of protobuf alone.
      columns: in the order of a message.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    name: str
    format: Literal[tuple(FORMATS)] = "tsv"
    framing: Literal["none", "confluent"] = "none"
    message_schema: str = ""
    message_type: str = ""
    columns: tuple[AnyColumn, ...]

    @pydantic.field_validator("columns", mode="after")
    @classmethod
    def _expand_and_check(cls, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        expanded = tuple(column for c in columns for column in _expand(c))
        names = [c.name for c in expanded]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"column names stand twice: {', '.join(twice)}; every column needs a name of its own")
        labels = [c for c in expanded if c.kind == "label"]
        if not labels:
            raise ValueError("expected at least one column of kind label, found none")
        if labels[0].optional:
            raise ValueError(f"the label {labels[0].name} is optional; expected is that the first label of a row is always known")
        weights = [c.name for c in expanded if c.kind == "weight"]
        if len(weights) > 1:
            raise ValueError(f"expected at most one column of kind weight, found {len(weights)} {weights}")
        if not any(KINDS[c.kind].is_feature for c in expanded):
            *kinds, last = (kind.name for kind in feature_kinds())
            raise ValueError(f"expected at least one column of kind {', '.join(kinds)} or {last} beside the label")
        categories = [c.name for c in expanded if c.kind == "category"]
        lists = {c.name: c for c in expanded if c.kind == "categories"}
        for c in lists.values():
            of = lists.get(c.along)
            if c.along and (not of or not of.shares or (of.max_length, of.keep) != (c.max_length, c.keep)):
                raise ValueError(
                    f"column {c.name} stands along {c.along!r}; expected is a column of kind categories that shares the ids of "
                    "another column and has the same max_length and keep"
                )
        for c in expanded:
            if (shared := getattr(c, "shares", "")) and shared not in categories:
                raise ValueError(f"column {c.name} shares the ids of {shared!r}; expected is a column of kind category")
            texts = texts_of(c)
            if c.default_text and not re.fullmatch(texts.pattern, c.default_text):
                raise ValueError(f"the default of column {c.name} is {c.default_text!r}; expected is {texts.expected}")
        return expanded

    @property
    def names(self) -> tuple[str, ...]:
        """All column names in the order of the message."""
        return tuple(c.name for c in self.columns)

    @property
    def label(self) -> str:
        """The first label's name: the one by which rows are counted where there are several."""
        return self.labels[0]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels' names, in order."""
        return self.of_kind("label")

    @property
    def ranged(self) -> tuple[str, ...]:
        """The names of the columns whose range the dictionaries hold, in order."""
        return tuple(c.name for c in self.columns if dictionary_of(c) == "range")

    @property
    def listed(self) -> tuple[str, ...]:
        """The names of the columns whose values have ids in the dictionaries, in order."""
        return tuple(c.name for c in self.columns if dictionary_of(c) == "values")

    @property
    def unlabelled(self) -> tuple[Column, ...]:
        """The columns of a message without the labels' fields, in order."""
        return tuple(c for c in self.columns if c.kind != "label")

    @property
    def without_label(self) -> "Schema":
        """The schema of messages that have no field for a label."""
        return self.model_copy(update={"columns": self.unlabelled})

    @property
    def fingerprint(self) -> str:
        """The first half of the SHA-256, in hex, of the columns' names, kinds and options in their order."""
        columns = json.dumps([[c.name, c.kind, *([c.options] if c.options else [])] for c in self.columns])
        return hashlib.sha256(columns.encode()).hexdigest()[:32]

    def columns_of(self, kind: str) -> tuple[Column, ...]:
        """The columns of a kind, in order."""
        return tuple(c for c in self.columns if c.kind == kind)

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


def _expand(column: Column) -> list[Column]:
    """I1..I13 to I1, I2, ... I13; any other column to itself."""
    if ".." not in column.name:
        return [column]
    match = _RANGE.fullmatch(column.name)
    if not match or match[1] != match[3] or int(match[2]) > int(match[4]):
        raise ValueError(f"{column.name!r} is no range of columns; expected one such as I1..I13")
    if column.path:
        raise ValueError(f"{column.name!r} stands for several columns, and a path for one; give each column its own line")
    return [column.model_copy(update={"name": f"{match[1]}{i}"}) for i in range(int(match[2]), int(match[4]) + 1)]
