"""What formats that hold a row as texts have in common. Imports no TensorFlow, so that the tools start fast."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfonline.features.kinds import texts_of
from tfonline.formats.by_python import Refused

if TYPE_CHECKING:
    from tfonline.features.column import Column

_NAMES = {'"': "a quote", ",": "a comma", "\\": "a backslash", "\t": "a tab", "\n": "a line feed", "\r": "a carriage return"}
_SHOWN_CHARACTERS = 40


def check_writable(fields: Sequence[str], unwritable: re.Pattern[str], name: str) -> None:
    """Refuses fields that hold a character which the format of this name has no place for.

    Raises:
      ValueError: the first such field, and the character.
    """
    if unwritable.search("".join(fields)):
        number, field = next((i, field) for i, field in enumerate(fields, start=1) if unwritable.search(field))
        character = unwritable.search(field)[0]
        what = _NAMES.get(character, f"the control character U+{ord(character):04X}")
        shown = repr(field) if len(field) <= _SHOWN_CHARACTERS else f"{field[:_SHOWN_CHARACTERS]!r}..."
        raise ValueError(f"field {number}, {shown}, holds {what}, which the trainer does not read in a {name} message")


def example_fields(columns: "Sequence[Column]") -> list[str]:
    """The texts of a row of missing values. A label cannot be missing; nor can all of a row that has a single column."""
    texts = [texts_of(column) for column in columns]
    return [each.example for each in texts] if len(texts) == 1 else [each.blank for each in texts]


def one_a_column(fields: list[str], columns: "Sequence[Column]") -> list[str]:
    """The fields.

    Raises:
      Refused: they are more or fewer than the columns, or one holds a line end.
    """
    if len(fields) != len(columns):
        raise Refused("fields", f"it has {len(fields)} {'field' if len(fields) == 1 else 'fields'}, expected are {len(columns)}")
    for column, field in zip(columns, fields, strict=True):
        if "\n" in field or "\r" in field:
            raise Refused("fields", f"{column.name} holds a line end")
    return fields
