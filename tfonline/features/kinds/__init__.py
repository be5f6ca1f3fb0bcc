"""Kinds of columns: which texts a column takes, and what becomes of them. The YAML of columns names a kind for each column.

A kind is a class in a module of its own, and knows of its columns what nobody else has to:

- `column` is the class of its columns: what the YAML may say of one beside its name.
- `texts` and `reason` say which texts a column takes, for the trainer and for the tools.
- `dictionary` says what the dictionaries hold of a column, and so what `tools/process_data.py` makes of its values.
- `parse` makes typed values of texts: any nest of tensors. A kind whose values are numbers also takes them as such, `of_numbers`.
- Where its columns are features, `parse_served` makes the same typed values of what the SavedModel's signature `columns` is given,
  and `make_op` gives the op that makes a network's inputs of them.

A kind's module imports no TensorFlow until it parses, so that the tools start fast; its ops stand in a module beside it
(`integer_ops.py`). Parsing and ops are graphs of TensorFlow's own operations, for the SavedModel runs them where no Python is.

What a kind does not do: find a column's text in a message, which is for the formats, and cross columns with each other, which
`Features` does by their keys. Whoever pads, splits, copies or gathers typed values or inputs maps over the nest.

A new kind is a module here, a line in KINDS, and a line in tests/features/test_kind_contract.py, which holds it to all this. It
comes behind the others in KINDS, but before categories, as lists are the last fields: ids and fields are in this order, in
checkpoints, too. A network that wants an input of the
kind's own names it. A kind whose columns are neither a label nor features has values alone; what is done with them, `Features`
says. A reason of its own goes behind the others in formats/reasons.py, and into docs/data.md and serving/page.html.
"""

import os
import types
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from tfonline.features.column import Column, Texts
from tfonline.features.kinds.categories import Categories
from tfonline.features.kinds.category import Category
from tfonline.features.kinds.ignore import Ignore
from tfonline.features.kinds.integer import Integer
from tfonline.features.kinds.label import Label
from tfonline.features.kinds.number import Number
from tfonline.features.kinds.time import Time
from tfonline.features.kinds.weight import Weight

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from tfonline.features.dictionaries import Dictionaries
    from tfonline.features.spec import Input, Inputs


# What the dictionaries hold of a column: the range of its numbers, an id for each of its values, boundaries between as many of its
# numbers each, or nothing.
Held = Literal["range", "values", "quantiles", ""]


class Kind(Protocol):
    """One kind of columns.

    Attributes:
      name: as the YAML says it.
      is_feature: whether its columns are features; then the kind is a FeatureKind.
      column: the class of its columns.
      reason: the name in formats.reasons.REASONS for a text that a column does not take; '' where all take any text.
      numbers: the type that `of_numbers` takes, `int64` or `float64`; '' where a kind has texts alone, and no such method.
    """

    name: str
    is_feature: bool
    column: type[Column]
    reason: str
    numbers: Literal["int64", "float64", ""]

    def texts(self, column: Column) -> Texts:
        """Which texts a column takes."""

    def dictionary(self, column: Column) -> Held:
        """What the dictionaries hold of a column."""

    def parse(self, text: "tf.Tensor", columns: Sequence[Column]) -> Any:
        """Texts that the columns take, string [b, k] of k columns, to typed values [b, k, ...]; b may be 0."""

    def of_numbers(self, number: "tf.Tensor", valid: "tf.Tensor") -> Any:
        """As `parse`, of numbers: [b, k] of the type above, 0 where missing; and which are there, bool [b, k]."""


class FeatureKind(Kind, Protocol):
    """A kind whose columns are features.

    Attributes:
      served_dtype: what the signature `columns` takes for a column, `float64` or `string`.
      served_missing: a missing value there.
    """

    served_dtype: str
    served_missing: float | str

    def parse_served(self, given: "tf.Tensor", columns: Sequence[Column]) -> "tuple[Any, tf.Tensor]":
        """What the signature `columns` was given, [b, k] of the type above.

        Returns:
          values: typed, as `parse` gives them.
          taken: bool [b, k], whether the kind takes it; a row with one that it does not take is refused for `reason`.
        """

    def compared(self, values: Any, columns: Sequence[Column]) -> "np.ndarray":
        """What is compared of rows, to see whether columns are filled as they were.

        Args:
          values: typed.
          columns: of the kind, in order.

        Returns:
          [rows, k]. Keys, int64 and -1 where missing, of values that have no order; else numbers, float64 and NaN where missing.
          Where no value comes again, as with moments, all that are there are 0.
        """

    def make_op(self, columns: Sequence[Column], dictionaries: "Dictionaries", first_id: int, options: "Options") -> "Op":
        """The op for columns of this kind; there may be none.

        Args:
          columns: in the order of the message.
          dictionaries: their ids and ranges.
          first_id: the first of the ids that the op may use beyond the dictionaries'.
          options: the flags that kinds have.

        Raises:
          UserError: the dictionaries do not suit the options (exit 65).
        """


class Op(Protocol):
    """Makes a network's inputs of the typed values of a kind's columns. One that holds a table is a tf.Module.

    Attributes:
      num_fields: F, the fields of a row.
      lists: the last of them have so many places each, all others one; () for a kind without lists.
      keyed: the columns' names of the input `keys`, one a place; they are the op's first places. () where there are no keys.
      num_ids: so many ids it uses beyond the dictionaries', also where there are no columns.
      scaled_fields: as in spec.Spec, of these fields alone; 0 where no value is anything but 1, but for lists.
      inputs: those that not every kind has, by name. What several kinds have under one name stands side by side, kind by kind.
    """

    num_fields: int
    lists: tuple[int, ...]
    keyed: tuple[str, ...]
    num_ids: int
    scaled_fields: int | None
    inputs: "Mapping[str, Input]"

    def __call__(self, values: Any) -> "Inputs":
        """Typed values of b rows to their inputs. A row's inputs depend on that row alone."""

    def shares(self, values: Any) -> "dict[str, tf.Tensor]":
        """Of which values something holds, bool [b, k], by what is to be reported: `missing`, or `unknown` to the dictionaries."""

    def keep_in(self, folder: str | os.PathLike) -> None:
        """Has what a SavedModel takes along as a file read from `folder`; most ops have no such thing.

        Raises:
          OSError: it cannot be written.
        """


class Options(NamedTuple):
    """The flags that kinds have.

    Attributes:
      numeric: how an integer becomes an id and a value: minmax, log or bucket.
      oov_buckets: values of a category that the dictionary does not hold share so many ids.
      growing: whether categories have keys, by which a vocabulary that grows with the stream finds their ids.
      made: the ops of the kinds before this one, by name.
    """

    numeric: str
    oov_buckets: int
    growing: bool = False
    made: "Mapping[str, Op]" = types.MappingProxyType({})


KINDS: dict[str, Kind] = {
    each.name: each for each in (Label(), Integer(), Category(), Ignore(), Number(), Time(), Weight(), Categories())
}


def texts_of(column: Column) -> Texts:
    """Which texts the column takes."""
    return KINDS[column.kind].texts(column)


def dictionary_of(column: Column) -> Held:
    """What the dictionaries hold of the column."""
    return KINDS[column.kind].dictionary(column)


def feature_kinds() -> list[FeatureKind]:
    """The kinds whose columns are features, in the order of their ids and fields."""
    return [kind for kind in KINDS.values() if kind.is_feature]
