"""A row's fields as a message, in the form that features/parse.py takes. Imports no TensorFlow, so that the tools start fast."""

import json
import re
from collections.abc import Sequence

# What the reader cannot undo. Its regular expressions know no escapes, and take each comma for the end of a value.
_UNWRITABLE = {"tsv": re.compile(r"[\t\r\n]"), "json": re.compile(r'[",\\\x00-\x1f]')}
_NAMES = {'"': "a quote", ",": "a comma", "\\": "a backslash", "\t": "a tab", "\n": "a line feed", "\r": "a carriage return"}
_SHOWN_CHARACTERS = 40


def write_message(fields: Sequence[str], message_format: str) -> bytes:
    """The message of a row: tab separated, or a JSON list of strings.

    Args:
      fields: in the order of the columns; '' for a missing value.
      message_format: `tsv` or `json`, as the trainer's flag.

    Raises:
      ValueError: a field holds a character that this form has no place for.
    """
    unwritable = _UNWRITABLE[message_format]
    if unwritable.search("".join(fields)):
        number, field = next((i, field) for i, field in enumerate(fields, start=1) if unwritable.search(field))
        character = unwritable.search(field)[0]
        name = _NAMES.get(character, f"the control character U+{ord(character):04X}")
        shown = repr(field) if len(field) <= _SHOWN_CHARACTERS else f"{field[:_SHOWN_CHARACTERS]!r}..."
        raise ValueError(f"field {number}, {shown}, holds {name}, which the trainer does not read in a {message_format} message")
    # Letters beyond ASCII stay as they are: their \u escapes are such as the reader cannot undo.
    text = json.dumps(fields, ensure_ascii=False) if message_format == "json" else "\t".join(fields)
    return text.encode()
