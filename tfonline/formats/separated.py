"""Rows of text with a tab between the fields: checked and cut, vectorised. A bad row is set aside; it never fails its batch."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfonline.features.schema import Column
from tfonline.formats.reasons import REASONS

# At most 18 digits, so that the number fits an int64.
_PATTERNS = {"label": "[01]", "integer": "(-?[0-9]{1,18})?", "category": r"[^\t\r\n]*"}


class Decoded(NamedTuple):
    """The columns of b rows, n of them, as texts that are what their columns ask for.

    Attributes:
      text: string [b, n]; '' where the value is missing. Of a refused row the label is 0 and all else missing.
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
    kinds = [column.kind for column in columns]
    # One pass over the whole row checks the number of fields, the label and all numbers.
    good = tf.strings.regex_full_match(row, "\t".join(_PATTERNS[kind] for kind in kinds)) & ~no_row
    default = "\t".join("0" if kind == "label" else "" for kind in kinds)
    # All good is the usual case, and then neither a copy nor the reasons cost anything.
    whole, reason = tf.cond(
        tf.reduce_all(good),
        lambda: (row, tf.zeros_like(row, tf.int32)),
        lambda: (tf.where(good, row, default), tf.where(good, 0, _reasons(row, no_row, kinds, malformed))),
    )
    return Decoded(tf.reshape(tf.strings.split(whole, "\t").flat_values, [-1, len(kinds)]), reason)


def _reasons(row: tf.Tensor, no_row: tf.Tensor, kinds: Sequence[str], malformed: str) -> tf.Tensor:
    """The first reason that fits each row, int32 [b]; only meaningful where the row is bad."""
    any_fields = "\t".join([_PATTERNS["category"]] * len(kinds))
    label_fits = "\t".join(_PATTERNS["label" if k == "label" else "category"] for k in kinds)
    tests = [
        ("empty", tf.equal(row, "")),
        ("encoding", ~tf.strings.regex_full_match(row, "(?s).*")),  # RE2 matches no invalid UTF-8
        *([(malformed, no_row)] if malformed else []),
        ("fields", ~tf.strings.regex_full_match(row, any_fields)),
        ("label", ~tf.strings.regex_full_match(row, label_fits)),
    ]
    reason = tf.fill(tf.shape(row), REASONS.index("number"))
    for name, holds in reversed(tests):
        reason = tf.where(holds, REASONS.index(name), reason)
    return reason
