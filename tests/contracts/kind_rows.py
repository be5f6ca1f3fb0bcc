"""Schemas, rows and dictionaries to try a kind of columns with."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfonline.features.column import Texts
from tfonline.features.dictionaries import Dictionaries
from tfonline.features.kinds import KINDS, Kind, dictionary_of, texts_of
from tfonline.features.pipeline import Features
from tfonline.features.schema import Schema


class Case(NamedTuple):
    """Examples for a kind.

    Attributes:
      kind: its name.
      takes: texts that are values, none of them like another to a model; of listed values the dictionaries lack the last one.
      refuses: texts that are none.
      served_refuses: what the signature `columns` may be given and refuses.
      not_served: those that it takes and the signature `columns` cannot be given.
      options: what the YAML says of such columns beside name and kind.
    """

    kind: str
    takes: Sequence[str]
    refuses: Sequence[str] = ()
    served_refuses: Sequence[float | str] = ()
    not_served: Sequence[str] = ()
    options: dict[str, Any] = {}  # noqa: RUF012


# Each with all that kinds may make of it.
FLAGS = (
    {"numeric": "minmax", "cross_buckets": 50},
    {"numeric": "log", "oov_buckets": 20},
    {"numeric": "bucket", "oov_buckets": 20, "cross_buckets": 50},
)


def schema_with(kind: Kind, case: Case, count: int = 1) -> Schema:
    """So many columns of the kind, named K1 and on, and two of another kind; the label, where it is not of the kind, is amidst."""
    other = "integer" if kind.name == "category" else "category"
    columns = [(f"K{i + 1}", kind.name) for i in range(count)]
    columns[1:1] = [("Z1", other)] if kind.name == "label" else [("click", "label"), ("Z1", other)]
    columns = [{"name": name, "kind": of} for name, of in (*columns, ("Z2", other))]
    columns = [{**column, **case.options} if column["name"].startswith("K") else column for column in columns]
    return Schema.model_validate({"name": "contract", "columns": columns})


def rows_with(schema: Schema, kind: Kind, texts: Sequence[str]) -> list[list[str]]:
    """A row a text, which the first column of the kind has; a second one has the text after it. Other columns have values."""
    places = schema.index(*schema.of_kind(kind.name))
    rows = []
    for i in range(len(texts)):
        row = [texts_of(column).example for column in schema.columns]
        for j, place in enumerate(places):
            row[place] = texts[(i + j) % len(texts)]
        rows.append(row)
    return rows


def messages_of(rows: Sequence[Sequence[str]]) -> tf.Tensor:
    """As TSV."""
    return tf.constant(["\t".join(row).encode() for row in rows], tf.string)


def features_of(schema: Schema, case: Case, **flags: Any) -> Features:
    """With dictionaries that know all values but the last one."""
    ids = {name: i for i, name in enumerate([*schema.ranged, *(f"OOV{name}" for name in schema.listed)])}
    for name in schema.listed:
        for value in case.takes[:-1] if name.startswith("K") else ("0", "1"):
            ids[f"{name}_{value}"] = len(ids)
    boundaries = {column.name: (-1.0, 0.0, 1.0, 2.0) for column in schema.columns if dictionary_of(column) == "quantiles"}
    ranges = dict.fromkeys(schema.ranged, 99), dict.fromkeys(schema.ranged, -9)
    return Features(schema, Dictionaries(*ranges, ids, boundaries), **flags)


def texts_with(kind: Kind, case: Case) -> Texts:
    """Which texts a column of the kind takes."""
    return kind.texts(schema_with(kind, case).columns_of(kind.name)[0])


def can_be_missing(kind: Kind, case: Case) -> bool:
    """Whether a row may lack a value of the kind."""
    return texts_with(kind, case).blank == ""


def served(kind: Kind, text: str) -> float | str:
    """What the signature `columns` is given for a text of a feature."""
    if not text:
        return kind.served_missing
    return text if kind.served_dtype == "string" else float(text)


def columns_of(schema: Schema, rows: Sequence[Sequence[str]]) -> dict[str, tf.Tensor]:
    """What the signature `columns` is given for rows."""
    given = {}
    for i, column in enumerate(schema.columns):
        if (kind := KINDS[column.kind]).is_feature:
            given[column.name] = tf.constant([served(kind, row[i]) for row in rows], kind.served_dtype)
    return given


def counts(kind: Kind) -> tuple[int, ...]:
    """How many columns of the kind a schema is tried with."""
    return (1,) if kind.name in ("label", "weight") else (1, 2)


@contextlib.contextmanager
def in_place(kind: Kind) -> Iterator[None]:
    """Has the kind stand in KINDS for a while, in place of the one of its name."""
    before = KINDS[kind.name]
    KINDS[kind.name] = kind
    try:
        yield
    finally:
        KINDS[kind.name] = before
