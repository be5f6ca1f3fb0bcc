"""Decimal numbers, such as prices and rates. Imports no TensorFlow until it parses; the op is in number_ops.py."""

import itertools
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import pydantic

from tfonline.features.column import Texts, ValueColumn

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from tfonline.features.dictionaries import Dictionaries
    from tfonline.features.kinds import Options
    from tfonline.features.kinds.number_ops import NumberOp

# So few digits that no float64 overflows: TensorFlow reads 1e400 as infinity.
_PATTERN = r"(?:-?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,2})?)?"
_TEXTS = Texts(_PATTERN, "", "0", "a decimal number such as -1.5 or 2e-3, or nothing")
_LARGEST = 1e139  # above all that the pattern takes

# Where nobody has said or counted how numbers lie: steps of half an octave, from a millionth to a trillion, on both sides of 0.
_MAGNITUDES = [2.0 ** (i / 2) for i in range(-40, 81)]
HALF_OCTAVES = (*(-m for m in reversed(_MAGNITUDES)), 0.0, sys.float_info.min, *_MAGNITUDES)


class Numbers(NamedTuple):
    """The numbers of b rows of k columns.

    Attributes:
      number: float64 [b, k]; 0 where missing.
      missing: bool [b, k].
    """

    number: "tf.Tensor"
    missing: "tf.Tensor"


class NumberColumn(ValueColumn):
    """A column of kind number.

    Attributes:
      boundaries: where its buckets begin, in rising order; None: as the dictionaries say, or steps of half an octave.
      buckets: so many tools/process_data.py makes of about as many values each; fewer where values are many times the same.
    """

    kind: Literal["number"] = "number"
    boundaries: tuple[Annotated[float, pydantic.Field(allow_inf_nan=False)], ...] | None = None
    buckets: Annotated[int, pydantic.Field(ge=2, le=10_000)] = 64

    @pydantic.field_validator("boundaries")
    @classmethod
    def _check_boundaries(cls, boundaries: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if boundaries is not None and (not boundaries or any(a >= b for a, b in itertools.pairwise(boundaries))):
            raise ValueError(f"{list(boundaries)} are no boundaries of buckets; expected numbers in rising order, at least one")
        return boundaries


class Number:
    """See FeatureKind. At most 40 digits before and after the point, and two of the exponent."""

    name, is_feature, column = "number", True, NumberColumn
    reason, numbers = "number", "float64"
    served_dtype, served_missing = "float64", math.nan

    def texts(self, column: NumberColumn) -> Texts:
        """See Kind."""
        return _TEXTS

    def dictionary(self, column: NumberColumn) -> str:
        """See Kind."""
        return "" if column.boundaries else "quantiles"

    def parse(self, text: "tf.Tensor", columns: "Sequence[NumberColumn]") -> Numbers:
        """See Kind."""
        import tensorflow as tf

        missing = tf.equal(text, "")
        return Numbers(tf.strings.to_number(tf.where(missing, "0", text), tf.float64), missing)

    def of_numbers(self, number: "tf.Tensor", valid: "tf.Tensor") -> Numbers:
        """See Kind."""
        return Numbers(number, ~valid)

    def parse_served(self, given: "tf.Tensor", columns: "Sequence[NumberColumn]") -> "tuple[Numbers, tf.Tensor]":
        """See FeatureKind. All finite numbers below 1e139 in size are taken."""
        import tensorflow as tf

        taken = tf.abs(given) < _LARGEST
        return Numbers(tf.where(taken, given, tf.zeros_like(given)), ~taken), tf.math.is_nan(given) | taken

    def compared(self, values: Numbers, columns: "Sequence[NumberColumn]") -> "np.ndarray":
        """See FeatureKind."""
        import numpy as np

        return np.where(values.missing.numpy(), np.nan, values.number.numpy())

    def make_op(
        self, columns: "Sequence[NumberColumn]", dictionaries: "Dictionaries", first_id: int, options: "Options"
    ) -> "NumberOp":
        """See FeatureKind."""
        from tfonline.features.kinds.number_ops import NumberOp

        known = dictionaries.boundaries
        return NumberOp([column.boundaries or known.get(column.name) or HALF_OCTAVES for column in columns], first_id)
