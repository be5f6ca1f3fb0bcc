"""Moments to the ids of their hours and weekdays."""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfonline.features.kinds.time import UNITS_A_SECOND, Times
from tfonline.features.spec import Inputs

_HOUR, _DAY = 3600, 86_400
# Of a part, the length of a step in seconds, the steps of a cycle, and where the first one of 1970 stands: it was a Thursday.
_PARTS = {"hour": (_HOUR, 24, 0), "weekday": (_DAY, 7, 3)}
# Two digits of a year below this are of the 21st century, as in POSIX.
_PIVOT = 69


class TimeOp:
    """See kinds.Op. Each part of a column is a field: an id for a missing moment, then one an hour, or one a weekday from Monday.

    All values are 1, and a field's key is its id.

    Args:
      parts: of each column the parts that are features.
      first_id: the first of the op's ids; each field has a range of its own.
    """

    scaled_fields, lists, keyed = 0, (), ()

    def __init__(self, parts: Sequence[Sequence[str]], first_id: int):
        self._column = np.array([i for i, of_column in enumerate(parts) for _ in of_column], np.int32)
        fields = [_PARTS[part] for of_column in parts for part in of_column]
        self._step, self._cycle, self._shift = np.array(fields, np.int64).reshape(-1, 3).T
        self.num_fields, self.num_ids, self.inputs = len(fields), int(sum(self._cycle + 1)), {}
        self._first = first_id + np.cumsum([0, *(self._cycle + 1)])[:-1]

    def __call__(self, values: Times) -> Inputs:
        """See Op."""
        secs, missing = (tf.gather(t, self._column, axis=1) for t in values)
        part = tf.math.floormod(tf.math.floordiv(secs, self._step) + self._shift, self._cycle)
        keys = self._first + tf.where(missing, tf.constant(0, tf.int64), 1 + part)
        ids = tf.cast(keys, tf.int32)
        return Inputs(ids, tf.ones_like(ids, tf.float32), keys, {})

    def shares(self, values: Times) -> dict[str, tf.Tensor]:
        """See Op."""
        return {"missing": values.missing}

    def keep_in(self, folder: str | os.PathLike) -> None:
        """See Op: there is nothing to keep."""


def seconds(text: tf.Tensor, unit: str) -> tf.Tensor:
    """Texts that a TimeColumn of this unit takes, string [b], none missing, to seconds since 1970, int64 [b]."""
    if unit in UNITS_A_SECOND:
        return tf.math.floordiv(tf.strings.to_number(text, tf.int64), UNITS_A_SECOND[unit])
    if unit == "yymmddhh":
        year, month, day, hour = (_digits(text, at, 2) for at in (0, 2, 4, 6))
        year = tf.where(year < _PIVOT, year + 2000, year + 1900)
        return _days(year, month, day) * _DAY + hour * _HOUR
    days = _days(_digits(text, 0, 4), _digits(text, 5, 2), _digits(text, 8, 2))
    secs = days * _DAY + _digits(text, 11, 2) * _HOUR + _digits(text, 14, 2) * 60
    # Where there are no seconds, a zone or nothing stands in their place.
    rest = tf.strings.regex_replace(text, "^.{16}", "")
    secs += tf.strings.to_number(tf.strings.regex_replace(rest, r"^(?::([0-9]{2}))?.*$", r"0\1"), tf.int64)
    zone = tf.strings.regex_replace(rest, r"^[^Z+-]*", "")
    has_offset = tf.strings.regex_full_match(zone, "[+-].*")
    zone = tf.where(has_offset, zone, "+00:00")
    offset = _digits(zone, 1, 2) * _HOUR + _digits(zone, 4, 2) * 60
    return secs - tf.where(tf.strings.substr(zone, 0, 1) == "-", -offset, offset)


def _digits(text: tf.Tensor, at: int, count: int) -> tf.Tensor:
    return tf.strings.to_number(tf.strings.substr(text, at, count), tf.int64)


def _days(year: tf.Tensor, month: tf.Tensor, day: tf.Tensor) -> tf.Tensor:
    """Days since 1970-01-01 of the Gregorian calendar, int64 [b] each; years begin in March, so that a leap day is a year's last.

    Source: Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
    """
    year = tf.where(month <= 2, year - 1, year)
    era = tf.math.floordiv(year, 400)
    year_of_era = year - era * 400
    day_of_year = tf.math.floordiv(153 * tf.math.floormod(month + 9, 12) + 2, 5) + day - 1
    day_of_era = year_of_era * 365 + tf.math.floordiv(year_of_era, 4) - tf.math.floordiv(year_of_era, 100) + day_of_year
    return era * 146_097 + day_of_era - 719_468
