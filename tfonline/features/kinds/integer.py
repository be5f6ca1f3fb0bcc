"""Whole numbers. Imports no TensorFlow until it parses; the ops are in integer_ops.py."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tfonline.features.spec import Input

if TYPE_CHECKING:
    import tensorflow as tf

    from tfonline.features.dictionaries import Dictionaries
    from tfonline.features.kinds import Options
    from tfonline.features.kinds.integer_ops import IntegerOp
    from tfonline.features.schema import Column

_LARGEST = 2.0**53  # from here on float64, in which the numbers of the signature `columns` come, has no longer every whole number


class Integers(NamedTuple):
    """The numbers of b rows of k columns.

    Attributes:
      number: int64 [b, k]; 0 where missing.
      missing: bool [b, k].
    """

    number: "tf.Tensor"
    missing: "tf.Tensor"


class Integer:
    """See FeatureKind. At most 18 digits, so that the number fits an int64."""

    name, is_feature = "integer", True
    pattern = "(?:-?[0-9]{1,18})?"
    blank, example = "", "0"
    reason, expected = "number", "a whole number of at most 18 digits, or nothing"
    dictionary = "range"
    served_dtype, served_missing = "float64", math.nan

    def parse(self, text: "tf.Tensor") -> Integers:
        """See Kind."""
        import tensorflow as tf

        missing = tf.equal(text, "")
        return Integers(tf.strings.to_number(tf.where(missing, "0", text), tf.int64), missing)

    def parse_served(self, given: "tf.Tensor") -> "tuple[Integers, tf.Tensor]":
        """See FeatureKind. Whole numbers below 2^53 in size are taken."""
        import tensorflow as tf

        nan = tf.math.is_nan(given)
        whole = tf.equal(given, tf.floor(given)) & (tf.abs(given) < _LARGEST)
        return Integers(tf.cast(tf.where(whole, given, tf.zeros_like(given)), tf.int64), ~whole), nan | whole

    def make_op(self, columns: "Sequence[Column]", dictionaries: "Dictionaries", first_id: int, options: "Options") -> "IntegerOp":
        """See FeatureKind."""
        from tfonline.features.kinds.integer_ops import IntegerOp, make_numeric

        names = [column.name for column in columns]
        return IntegerOp(make_numeric(options.numeric, dictionaries, names, first_id), len(names))


def numeric_input(num_numbers: int) -> dict[str, Input]:
    """The input `numeric` of so many numbers: their logarithms, NaN where missing. None where there are no numbers."""
    return {"numeric": Input(num_numbers, "float32", math.nan)} if num_numbers else {}
