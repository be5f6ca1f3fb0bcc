"""Columns that nothing is made of, such as the id of a request. Imports no TensorFlow."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from tfonline.features.column import ANY_TEXT, Column, Texts

if TYPE_CHECKING:
    import tensorflow as tf

_TEXTS = Texts(ANY_TEXT, "", "0", "any text without a tab or a line end")


class IgnoredColumn(Column):
    """A column of kind ignore."""

    kind: Literal["ignore"] = "ignore"


class Ignore:
    """See Kind. Its values are not counted by tools/process_data.py, either: an id of a row is a value a row."""

    name, is_feature, column = "ignore", False, IgnoredColumn
    reason, numbers = "", ""

    def texts(self, column: IgnoredColumn) -> Texts:
        """See Kind."""
        return _TEXTS

    def dictionary(self, column: IgnoredColumn) -> str:
        """See Kind."""
        return ""

    def parse(self, text: "tf.Tensor", columns: Sequence[IgnoredColumn]) -> "tf.Tensor":
        """See Kind: the texts themselves."""
        return text
