"""Which rows of texts their columns take, as regular expressions: for the trainer's graph and the tools. Imports no TensorFlow.

A row's texts stand with a tab between them. RE2, Java and Python understand the expressions alike.
"""

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

from tfonline.features.column import ANY_TEXT
from tfonline.features.kinds import KINDS, texts_of
from tfonline.formats.reasons import REASONS

if TYPE_CHECKING:
    from tfonline.features.column import Column


def row_pattern(columns: "Sequence[Column]") -> str:
    """Of the rows whose texts their columns take."""
    return _pattern(columns, REASONS)


def reason_patterns(columns: "Sequence[Column]") -> list[tuple[str, str]]:
    """Reasons to refuse a row of text, by name, and of each the rows to which it does not apply.

    The first that applies is the row's reason. At least one applies to each row that `row_pattern` does not match.
    """
    reasons = sorted({KINDS[column.kind].reason for column in columns} - {""}, key=REASONS.index)
    return [("fields", _pattern(columns, ())), *((reason, _pattern(columns, (reason,))) for reason in reasons)]


def line_patterns(columns: "Sequence[Column]") -> dict[str, list[int]]:
    """Of the columns that do not take every text: expressions of any number of such texts with a line feed behind each, and the
    numbers of the columns that have them."""
    found: dict[str, list[int]] = {}
    for i, column in enumerate(columns):
        if KINDS[column.kind].reason:
            found.setdefault(f"(?:{texts_of(column).pattern}\\n)*", []).append(i)
    return found


def _pattern(columns: "Sequence[Column]", reasons: Container[str]) -> str:
    """Texts that would be refused for one of the reasons have to fit their columns; any other text may be anything."""
    return "\t".join(texts_of(column).pattern if KINDS[column.kind].reason in reasons else ANY_TEXT for column in columns)
