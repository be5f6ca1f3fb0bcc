"""Lists of categories to ids: a fixed number of places a list, some of which hold nothing."""

import math
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from tfonline.features.kinds.category import hashed
from tfonline.features.kinds.category_keys import CategoryKeys
from tfonline.features.kinds.category_ops import CategoryOp, ColumnIds
from tfonline.features.kinds.hashed_categories import SomeHashed
from tfonline.features.spec import Input, Inputs

if TYPE_CHECKING:
    from tfonline.features.kinds.categories import CategoriesColumn

# What n values are multiplied by, before they are added up.
_COMBINERS = {"mean": lambda n: 1 / n, "sum": tf.ones_like, "sqrtn": tf.math.rsqrt}
_FOLDER = "lists"  # beside the table of the category columns


class CategoriesOp(tf.Module):
    """See kinds.Op. A list is a field of `max_length` places, filled from the first on; the others hold nothing.

    A list without a value has the id of a missing value at its first place. The lists whose values have keys stand first.

    Args:
      columns: in the order of the values.
      sources: what makes ids of the values, a column each.
      own: the op that `sources` belong to where they are not another kind's; None: it is not wanted.

    Attributes:
      names: of the lists, in the order of the fields.
    """

    scaled_fields = 0

    def __init__(
        self,
        columns: "Sequence[CategoriesColumn]",
        sources: Sequence[ColumnIds],
        own: CategoryOp | CategoryKeys | SomeHashed | None,
    ):
        super().__init__(name="categories")
        self._own = own
        order = sorted(range(len(columns)), key=lambda i: not sources[i].keyed)
        self._lists = [(i, columns[i], sources[i]) for i in order]
        self.lists = tuple(column.max_length for _, column, _ in self._lists)
        self.names = tuple(column.name for _, column, _ in self._lists)
        self.num_fields, self.num_ids = len(columns), own.num_ids if own else 0
        keyed = [column for _, column, source in self._lists if source.keyed]
        self.keyed = tuple(column.name for column in keyed for _ in range(column.max_length))
        self.inputs = {"keys": Input(len(self.keyed), "int64", 0)} if keyed else {}

    def __call__(self, values: tf.Tensor) -> Inputs:
        """See Op: string [b, k]."""
        ids, weights, keys = [], [], [tf.zeros([tf.shape(values)[0], 0], tf.int64)]
        for i, column, source in self._lists:
            text, count = places(values[:, i], column.separator, column.max_length, column.keep)
            holds = tf.range(column.max_length)[None, :] < tf.maximum(count, 1)[:, None]
            found, found_keys = source.look_up(hashed(_log2(text) if column.log2 else text))
            ids.append(tf.where(holds, found, -1))
            weight = _COMBINERS[column.combiner](tf.cast(tf.maximum(count, 1), tf.float32))
            weights.append(tf.where(holds, weight[:, None], 0.0))
            if source.keyed:
                keys.append(found_keys)
        if not ids:
            ids, weights = [tf.zeros_like(keys[0], tf.int32)], [tf.zeros_like(keys[0], tf.float32)]
        none, *_ = keys
        own = {"keys": tf.concat(keys, axis=1)} if self.inputs else {}
        return Inputs(tf.concat(ids, axis=1), tf.concat(weights, axis=1), none, own)

    def shares(self, values: tf.Tensor) -> dict[str, tf.Tensor]:
        """See Op."""
        return {"missing": values == ""}

    def keep_in(self, folder: str | os.PathLike) -> None:
        """See Op: the table of the lists' own values, in a folder of its own."""
        if self._own:
            inside = pathlib.Path(folder) / _FOLDER
            inside.mkdir(exist_ok=True)
            self._own.keep_in(inside)


def _log2(text: tf.Tensor) -> tf.Tensor:
    """Whole numbers as texts, string [...], to the whole part of log2(1 + x) as texts; what is no such number is ''."""
    is_number = tf.strings.regex_full_match(text, "[0-9]{1,18}")
    number = tf.strings.to_number(tf.where(is_number, text, "0"), tf.float64)
    return tf.where(is_number, tf.strings.as_string(tf.cast(tf.math.log1p(number) / math.log(2), tf.int32)), "")


def places(text: tf.Tensor, separator: str, length: int, keep: str) -> tuple[tf.Tensor, tf.Tensor]:
    """Lists as texts, string [b], to their values.

    Args:
      text: as above.
      separator: what stands between values; nothing between two separators is no value.
      length: L, so many values are kept at most.
      keep: which, `first` or `last`.

    Returns:
      values: string [b, L], from the first place on, and '' behind them.
      count: int32 [b], how many there are, 0 to L.
    """
    values = tf.strings.split(text, separator)
    values = tf.ragged.boolean_mask(values, values != "")
    values = values[:, :length] if keep == "first" else values[:, -length:]
    return values.to_tensor(default_value="", shape=[None, length]), tf.cast(values.row_lengths(), tf.int32)
