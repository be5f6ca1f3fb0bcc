"""How much a row counts where the model learns. Imports no TensorFlow until it parses."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import pydantic

from tfonline.features.column import Texts, ValueColumn

if TYPE_CHECKING:
    import tensorflow as tf

# A number as of kind number, without a minus.
_PATTERN = r"(?:(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,2})?)?"
_TEXTS = Texts(_PATTERN, "", "1", "a decimal number that is not negative, such as 0.5, or nothing")


class WeightColumn(ValueColumn):
    """A column of kind weight.

    Attributes:
      minimum: what is less counts as much.
      maximum: what is more counts as much.
    """

    kind: Literal["weight"] = "weight"
    minimum: Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)] = 0.0
    maximum: Annotated[float, pydantic.Field(gt=0, le=1e9, allow_inf_nan=False)] = 1e6

    @pydantic.model_validator(mode="after")
    def _check_limits(self) -> "WeightColumn":
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} of column {self.name} is above its maximum, {self.maximum}")
        return self


class Weight:
    """See Kind. A missing weight is 1. A row of weight 0 is scored, and its gradient is 0."""

    name, is_feature, column = "weight", False, WeightColumn
    reason, numbers = "number", ""

    def texts(self, column: WeightColumn) -> Texts:
        """See Kind."""
        return _TEXTS

    def dictionary(self, column: WeightColumn) -> str:
        """See Kind."""
        return ""

    def parse(self, text: "tf.Tensor", columns: Sequence[WeightColumn]) -> "tf.Tensor":
        """See Kind: float32 [b, k], within the limits."""
        import tensorflow as tf

        number = tf.strings.to_number(tf.where(text == "", "1", text), tf.float64)
        low, high = ([getattr(c, limit) for c in columns] for limit in ("minimum", "maximum"))
        return tf.cast(tf.clip_by_value(number, tf.constant(low, tf.float64), tf.constant(high, tf.float64)), tf.float32)
