"""What is wrong with a refused message, in words: the place, what stands there and what was expected. Imports no TensorFlow."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfonline.features.kinds import KINDS, texts_of
from tfonline.formats import Format
from tfonline.formats.reasons import REASONS

if TYPE_CHECKING:
    from tfonline.features.column import Column

_SHOWN_CHARACTERS = 100


def explain(message: bytes, columns: "Sequence[Column]", form: Format) -> str:
    """One clause, such as `item.price is 'x', expected is a decimal number`; '' of a message that is a row, or has no byte.

    Args:
      message: as it came.
      columns: of a message.
      form: the messages' format.
    """
    if not message:
        return ""
    try:
        texts = form.texts(message, columns)
    except UnicodeDecodeError as e:
        return f"byte {e.start + 1}, 0x{message[e.start]:02x}, is not UTF-8"
    except ValueError as e:
        return str(e)
    # The label's mistake before a number's, as the reasons are counted.
    for column, text in sorted(zip(columns, texts, strict=True), key=lambda pair: REASONS.index(KINDS[pair[0].kind].reason)):
        expected = texts_of(column)
        if not re.fullmatch(expected.pattern, text):
            shown = repr(text) if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]!r}..."
            return f"{column.path or column.name} is {shown}, expected is {expected.expected}"
    return ""
