"""Moments, of which the hour and the weekday are features. Imports no TensorFlow until it parses; the op is in time_ops.py."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import pydantic

from tfonline.features.column import Texts, ValueColumn

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from tfonline.features.dictionaries import Dictionaries
    from tfonline.features.kinds import Options
    from tfonline.features.kinds.time_ops import TimeOp

_EPOCH = Texts("(?:-?[0-9]{1,18})?", "", "0", "a whole number of {} since 1970, or nothing")
_DATE, _HOUR = "[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])", "(?:[01][0-9]|2[0-3])"
_ZONE = f"(?:Z|[+-]{_HOUR}:[0-5][0-9])"
_ISO = f"(?:{_DATE}[T ]{_HOUR}:[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{{1,9}})?)?{_ZONE}?)?"
_YYMMDDHH = f"(?:[0-9]{{2}}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01]){_HOUR})?"
# Of the units that are numbers.
UNITS_A_SECOND = {"s": 1, "ms": 1000, "us": 1_000_000}
_TEXTS = {
    "s": _EPOCH._replace(expected=_EPOCH.expected.format("seconds")),
    "ms": _EPOCH._replace(expected=_EPOCH.expected.format("milliseconds")),
    "us": _EPOCH._replace(expected=_EPOCH.expected.format("microseconds")),
    "iso": Texts(_ISO, "", "1970-01-01T00:00:00Z", "a moment such as 2026-11-29T13:05:00+01:00 (without a zone: UTC), or nothing"),
    "yymmddhh": Texts(_YYMMDDHH, "", "70010100", "year, month, day and hour in two digits each such as 14102100, or nothing"),
}


class Times(NamedTuple):
    """The moments of b rows of k columns.

    Attributes:
      secs: int64 [b, k], since 1970 in UTC, rounded down; 0 where missing.
      missing: bool [b, k].
    """

    secs: "tf.Tensor"
    missing: "tf.Tensor"


class TimeColumn(ValueColumn):
    """A column of kind time.

    Attributes:
      unit: how messages say it: seconds, milliseconds or microseconds since 1970, ISO 8601, or year, month, day and hour.
      parts: in the YAML `as`: of each a feature is made, in UTC.
    """

    model_config = pydantic.ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    kind: Literal["time"] = "time"
    unit: Literal["s", "ms", "us", "iso", "yymmddhh"] = "s"
    parts: Annotated[tuple[Literal["hour", "weekday"], ...], pydantic.Field(alias="as", min_length=1)] = ("hour", "weekday")

    @pydantic.field_validator("parts")
    @classmethod
    def _check_parts(cls, parts: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(parts)) < len(parts):
            raise ValueError(f"as: {list(parts)} has a part twice")
        return parts


class Time:
    """See FeatureKind. The signature `columns` takes the texts that messages have."""

    name, is_feature, column = "time", True, TimeColumn
    reason, numbers = "number", ""
    served_dtype, served_missing = "string", ""

    def texts(self, column: TimeColumn) -> Texts:
        """See Kind."""
        return _TEXTS[column.unit]

    def dictionary(self, column: TimeColumn) -> str:
        """See Kind."""
        return ""

    def parse(self, text: "tf.Tensor", columns: "Sequence[TimeColumn]") -> Times:
        """See Kind."""
        import tensorflow as tf

        from tfonline.features.kinds.time_ops import seconds

        missing = tf.equal(text, "")
        of_columns = [seconds(tf.where(missing[:, i], _TEXTS[c.unit].example, text[:, i]), c.unit) for i, c in enumerate(columns)]
        return Times(tf.stack(of_columns, axis=1), missing)

    def parse_served(self, given: "tf.Tensor", columns: "Sequence[TimeColumn]") -> "tuple[Times, tf.Tensor]":
        """See FeatureKind."""
        import tensorflow as tf

        of_columns = [tf.strings.regex_full_match(given[:, i], self.texts(c).pattern) for i, c in enumerate(columns)]
        taken = tf.stack(of_columns, axis=1)
        return self.parse(tf.where(taken, given, ""), columns), taken

    def compared(self, values: Times, columns: "Sequence[TimeColumn]") -> "np.ndarray":
        """See FeatureKind."""
        import numpy as np

        return np.where(values.missing.numpy(), np.nan, 0.0)

    def make_op(self, columns: "Sequence[TimeColumn]", dictionaries: "Dictionaries", first_id: int, options: "Options") -> "TimeOp":
        """See FeatureKind."""
        from tfonline.features.kinds.time_ops import TimeOp

        return TimeOp([column.parts for column in columns], first_id)
