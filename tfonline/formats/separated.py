"""Rows of text with a tab between the fields: checked and cut, vectorised. A bad row is set aside; it never fails its batch."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfonline.features.column import Column
from tfonline.features.kinds import KINDS, texts_of
from tfonline.formats.patterns import reason_patterns, row_pattern
from tfonline.formats.reasons import REASONS

# Of a longer pattern RE2 may find no room for its automaton: it then writes a line to stderr at each row.
_LONGEST_PATTERN = 3000


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
    blank = "\t".join(texts_of(column).blank for column in columns)
    if len(row_pattern(columns)) > _LONGEST_PATTERN:
        return _cut_many(row, no_row, columns, malformed, blank)
    # One pass over the whole row checks the number of fields, the label and all numbers.
    good = tf.strings.regex_full_match(row, row_pattern(columns)) & ~no_row
    # All good is the usual case, and then neither a copy nor the reasons cost anything.
    whole, reason = tf.cond(
        tf.reduce_all(good),
        lambda: (row, tf.zeros_like(row, tf.int32)),
        lambda: (tf.where(good, row, blank), tf.where(good, 0, _reasons(row, no_row, columns, malformed))),
    )
    return Decoded(tf.reshape(tf.strings.split(whole, "\t").flat_values, [-1, len(columns)]), reason)


def check(text: tf.Tensor, no_row: tf.Tensor, fits: tf.Tensor, columns: Sequence[Column]) -> Decoded:
    """Checks texts that are cut already.

    Args:
      text: string [b, n], without a tab or a line end.
      no_row: bool [b]: whether it is refused already.
      fits: bool []: whether all texts are known to be what their columns ask for, in UTF-8. If not, rows are looked at one by one.
      columns: of a row, n of them.
    """

    def by_row() -> Decoded:
        row = tf.strings.reduce_join(text, axis=1, separator="\t")
        return cut(tf.where(no_row, "", row), no_row, columns)

    # All good is the usual case.
    return tf.cond(fits & ~tf.reduce_any(no_row), lambda: Decoded(text, tf.zeros_like(no_row, tf.int32)), by_row)


def _cut_many(row: tf.Tensor, no_row: tf.Tensor, columns: Sequence[Column], malformed: str, blank: str) -> Decoded:
    """As `cut`, of many columns: rows are cut first, and then the fields are checked."""
    (_, of_any_texts), *_ = reason_patterns(columns)
    whole = tf.strings.regex_full_match(row, of_any_texts) & ~no_row
    text = tf.reshape(tf.strings.split(tf.where(whole, row, blank), "\t").flat_values, [-1, len(columns)])
    fits = _fits(text, columns)
    tests = [*_without_fields(row, no_row, malformed), ("fields", ~whole), *((name, ~fit) for name, fit in fits.items())]
    reason = tf.zeros_like(row, tf.int32)
    for name, holds in reversed(tests):
        reason = tf.where(holds, REASONS.index(name), reason)
    return Decoded(tf.where((reason == 0)[:, None], text, tf.constant(blank.split("\t"))), reason)


def _fits(text: tf.Tensor, columns: Sequence[Column]) -> dict[str, tf.Tensor]:
    """By reason, in their order, whether no field of a row is refused for it, bool [b]."""
    found: dict[str, tf.Tensor] = {}
    alike: dict[tuple[str, str], list[int]] = {}  # which columns take the same texts
    for i, column in enumerate(columns):
        if reason := KINDS[column.kind].reason:
            alike.setdefault((reason, texts_of(column).pattern), []).append(i)
    for (reason, pattern), places in sorted(alike.items(), key=lambda item: REASONS.index(item[0][0])):
        fit = tf.reduce_all(tf.strings.regex_full_match(tf.gather(text, places, axis=1), pattern), axis=1)
        found[reason] = found[reason] & fit if reason in found else fit
    return found


def _without_fields(row: tf.Tensor, no_row: tf.Tensor, malformed: str) -> list[tuple[str, tf.Tensor]]:
    """Reasons for which a row is refused whatever its fields are, and to which rows they apply."""
    tests = [("empty", tf.equal(row, "")), ("encoding", ~tf.strings.regex_full_match(row, "(?s).*"))]  # RE2 takes UTF-8 alone
    return [*tests, *([(malformed, no_row)] if malformed else [])]


def _reasons(row: tf.Tensor, no_row: tf.Tensor, columns: Sequence[Column], malformed: str) -> tf.Tensor:
    """The first reason that fits each row, int32 [b]; only meaningful where the row is bad."""
    of_fields = [(name, ~tf.strings.regex_full_match(row, pattern)) for name, pattern in reason_patterns(columns)]
    tests = [*_without_fields(row, no_row, malformed), *of_fields]
    *tests, (last, _) = tests  # one of them applies
    reason = tf.fill(tf.shape(row), REASONS.index(last))
    for name, holds in reversed(tests):
        reason = tf.where(holds, REASONS.index(name), reason)
    return reason
