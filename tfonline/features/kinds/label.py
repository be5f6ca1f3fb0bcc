"""What is learned: whether a row is a click. Imports no TensorFlow until it parses."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import pydantic

from tfonline.features.column import ANY_TEXT, Column, Texts

if TYPE_CHECKING:
    import tensorflow as tf

# What a label is where the column does not say which texts are positive.
POSITIVE, NEGATIVE = ("1", "true"), ("0", "false")
_TEXTS = Texts("(?:[01]|true|false)", "0", "0", "0 or 1, true or false")
_OPTIONAL = Texts("(?:[01]|true|false|)", "", "0", "0 or 1, true or false, or nothing")


class LabelColumn(Column):
    """A column of kind label.

    Attributes:
      positive: texts that are a 1, all others are a 0, also where the value is missing; (): 0, 1, true and false are what they are.
      optional: the value may be missing, and is then neither 0 nor 1: nothing is learned from it. Of several labels; the first one
        is always known.
    """

    kind: Literal["label"] = "label"
    positive: tuple[Annotated[str, pydantic.Field(min_length=1, pattern=f"^{ANY_TEXT}$")], ...] = ()
    optional: bool = False


class Label:
    """See Kind. Never missing, unless it is optional or texts say what is positive.

    A request for a score may come in messages without the label.
    """

    name, is_feature, column = "label", False, LabelColumn
    reason, numbers = "label", ""

    def texts(self, column: LabelColumn) -> Texts:
        """See Kind."""
        if column.positive:
            return Texts(ANY_TEXT, "", column.positive[0], "any text")
        return _OPTIONAL if column.optional else _TEXTS

    def dictionary(self, column: LabelColumn) -> str:
        """See Kind."""
        return ""

    def parse(self, text: "tf.Tensor", columns: Sequence[LabelColumn]) -> "tf.Tensor":
        """See Kind: float32 [b, k], 0 or 1; NaN where an optional one is missing."""
        import tensorflow as tf

        of_columns = [_is_one_of(text[:, i], column.positive or POSITIVE) for i, column in enumerate(columns)]
        labels = tf.cast(tf.stack(of_columns, axis=1), tf.float32)
        optional = [column.optional for column in columns]
        return tf.where((text == "") & optional, float("nan"), labels) if any(optional) else labels


def _is_one_of(text: "tf.Tensor", values: Sequence[str]) -> "tf.Tensor":
    """string [b] to bool [b]."""
    import tensorflow as tf

    return tf.reduce_any(text[:, None] == tf.constant(list(values)), axis=1)
