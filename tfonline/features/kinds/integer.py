"""Whole numbers. Imports no TensorFlow until it parses; the ops are in integer_ops.py."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from tfonline.features.column import Texts, ValueColumn
from tfonline.features.spec import Input

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from tfonline.features.dictionaries import Dictionaries
    from tfonline.features.kinds import Options
    from tfonline.features.kinds.integer_ops import IntegerOp

_TEXTS = Texts("(?:-?[0-9]{1,18})?", "", "0", "a whole number of at most 18 digits, or nothing")
_LARGEST = 2.0**53  # from here on float64, in which the numbers of the signature `columns` come, has no longer every whole number


class Integers(NamedTuple):
    """The numbers of b rows of k columns.

    Attributes:
      number: int64 [b, k]; 0 where missing.
      missing: bool [b, k].
    """

    number: "tf.Tensor"
    missing: "tf.Tensor"


class IntegerColumn(ValueColumn):
    """A column of kind integer."""

    kind: Literal["integer"] = "integer"


class Integer:
    """See FeatureKind. At most 18 digits, so that the number fits an int64."""

    name, is_feature, column = "integer", True, IntegerColumn
    reason, numbers = "number", "int64"
    served_dtype, served_missing = "float64", math.nan

    def texts(self, column: IntegerColumn) -> Texts:
        """See Kind."""
        return _TEXTS

    def dictionary(self, column: IntegerColumn) -> str:
        """See Kind."""
        return "range"

    def parse(self, text: "tf.Tensor", columns: "Sequence[IntegerColumn]") -> Integers:
        """See Kind."""
        import tensorflow as tf

        missing = tf.equal(text, "")
        return Integers(tf.strings.to_number(tf.where(missing, "0", text), tf.int64), missing)

    def of_numbers(self, number: "tf.Tensor", valid: "tf.Tensor") -> Integers:
        """See Kind."""
        return Integers(number, ~valid)

    def parse_served(self, given: "tf.Tensor", columns: "Sequence[IntegerColumn]") -> "tuple[Integers, tf.Tensor]":
        """See FeatureKind. Whole numbers below 2^53 in size are taken."""
        import tensorflow as tf

        nan = tf.math.is_nan(given)
        whole = tf.equal(given, tf.floor(given)) & (tf.abs(given) < _LARGEST)
        return Integers(tf.cast(tf.where(whole, given, tf.zeros_like(given)), tf.int64), ~whole), nan | whole

    def compared(self, values: Integers, columns: "Sequence[IntegerColumn]") -> "np.ndarray":
        """See FeatureKind."""
        import numpy as np

        return np.where(values.missing.numpy(), np.nan, values.number.numpy().astype(np.float64))

    def make_op(
        self, columns: "Sequence[IntegerColumn]", dictionaries: "Dictionaries", first_id: int, options: "Options"
    ) -> "IntegerOp":
        """See FeatureKind."""
        from tfonline.features.kinds.integer_ops import IntegerOp, make_numeric

        names = [column.name for column in columns]
        return IntegerOp(make_numeric(options.numeric, dictionaries, names, first_id), len(names))


def numeric_input(num_numbers: int) -> dict[str, Input]:
    """The input `numeric` of so many numbers: their logarithms, NaN where missing. None where there are no numbers."""
    return {"numeric": Input(num_numbers, "float32", math.nan)} if num_numbers else {}
