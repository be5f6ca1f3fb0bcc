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


class LabelColumn(Column):
    """A column of kind label.

    Attributes:
      positive: texts that are a 1, all others are a 0, also where the value is missing; (): 0, 1, true and false are what they are.
    """

    kind: Literal["label"] = "label"
    positive: tuple[Annotated[str, pydantic.Field(min_length=1, pattern=f"^{ANY_TEXT}$")], ...] = ()


class Label:
    """See Kind. Never missing, unless texts say what is positive. A request for a score may come in messages without the label."""

    name, is_feature, column = "label", False, LabelColumn
    reason, numbers = "label", ""

    def texts(self, column: LabelColumn) -> Texts:
        """See Kind."""
        return Texts(ANY_TEXT, "", column.positive[0], "any text") if column.positive else _TEXTS

    def dictionary(self, column: LabelColumn) -> str:
        """See Kind."""
        return ""

    def parse(self, text: "tf.Tensor", columns: Sequence[LabelColumn]) -> "tf.Tensor":
        """See Kind: float32 [b, k]."""
        import tensorflow as tf

        of_columns = [_is_one_of(text[:, i], column.positive or POSITIVE) for i, column in enumerate(columns)]
        return tf.cast(tf.stack(of_columns, axis=1), tf.float32)


def _is_one_of(text: "tf.Tensor", values: Sequence[str]) -> "tf.Tensor":
    """string [b] to bool [b]."""
    import tensorflow as tf

    return tf.reduce_any(text[:, None] == tf.constant(list(values)), axis=1)
