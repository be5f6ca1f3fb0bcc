"""Rows of text with a tab between the fields: checked and cut, vectorised. A bad row is set aside; it never fails its batch."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfonline.features.column import Column
from tfonline.features.kinds import texts_of
from tfonline.formats.patterns import reason_patterns, row_pattern
from tfonline.formats.reasons import REASONS


class Decoded(NamedTuple):
    """The columns of b rows, n of them, as texts that are what their columns ask for.

    Attributes:
      text: string [b, n]; '' where the value is missing. A refused row has its kinds' blank texts: label 0, all else missing.
      reason: int32 [b], an index into REASONS; 0 for a good row.
    """

    text: tf.Tensor
    reason: tf.Tensor


def cut(row: tf.Tensor, no_row: tf.Tensor, columns: Sequence[Column], malformed: str = "") -> Decoded:
    """Cuts rows at their tabs.

    Args:
      row: string [b]; one that is refused already, as it came.
      no_row: bool [b]: whether it is refused already.
      columns: of a row.
      malformed: the reason of such a row, unless it is empty or no UTF-8.
    """
    # One pass over the whole row checks the number of fields, the label and all numbers.
    good = tf.strings.regex_full_match(row, row_pattern(columns)) & ~no_row
    blank = "\t".join(texts_of(column).blank for column in columns)
    # All good is the usual case, and then neither a copy nor the reasons cost anything.
    whole, reason = tf.cond(
        tf.reduce_all(good),
        lambda: (row, tf.zeros_like(row, tf.int32)),
        lambda: (tf.where(good, row, blank), tf.where(good, 0, _reasons(row, no_row, columns, malformed))),
    )
    return Decoded(tf.reshape(tf.strings.split(whole, "\t").flat_values, [-1, len(columns)]), reason)


def _reasons(row: tf.Tensor, no_row: tf.Tensor, columns: Sequence[Column], malformed: str) -> tf.Tensor:
    """The first reason that fits each row, int32 [b]; only meaningful where the row is bad."""
    tests = [
        ("empty", tf.equal(row, "")),
        ("encoding", ~tf.strings.regex_full_match(row, "(?s).*")),  # RE2 matches no invalid UTF-8
        *([(malformed, no_row)] if malformed else []),
        *((name, ~tf.strings.regex_full_match(row, pattern)) for name, pattern in reason_patterns(columns)),
    ]
    *tests, (last, _) = tests  # one of them applies
    reason = tf.fill(tf.shape(row), REASONS.index(last))
    for name, holds in reversed(tests):
        reason = tf.where(holds, REASONS.index(name), reason)
    return reason
