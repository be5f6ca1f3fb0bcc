"""What is wrong with a refused message, in words: the place, what stands there and what was expected. Imports no TensorFlow."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tfonline.features.kinds import KINDS, texts_of
from tfonline.formats import Format
from tfonline.formats.by_python import Refused
from tfonline.formats.of_batches import OfBatches
from tfonline.formats.reasons import REASONS

if TYPE_CHECKING:
    from tfonline.features.column import Column

_SHOWN_CHARACTERS = 100
_AT_ONCE = 4096  # messages


class Examined(NamedTuple):
    """What a message is.

    Attributes:
      texts: its columns' texts; [] where it has none.
      reason: the name of what it is refused for, as in REASONS; '' of a row.
      column: the name of the column that is wrong; '' where it is none, or not one alone.
      words: what is wrong, in words; '' of a row, and of a message without a byte.
    """

    texts: list[str]
    reason: str
    column: str
    words: str


def examine(message: bytes, columns: "Sequence[Column]", form: Format) -> Examined:
    """Looks at a message as the trainer does, by Python alone.

    Args:
      message: as it came.
      columns: of a message.
      form: the messages' format.
    """
    if not message:
        return Examined([], "empty", "", "")
    try:
        texts = form.texts(message, columns)
    except ValueError as e:
        reason, words = reason_of(e)
        return Examined([], reason, "", words)
    return _of_texts(texts, columns)


def reason_of(error: ValueError) -> tuple[str, str]:
    """What a format's `texts` or `contents` has raised of a message: the name of the reason, as in REASONS, and the words."""
    if isinstance(error, UnicodeDecodeError):
        return "encoding", f"byte {error.start + 1}, 0x{error.object[error.start]:02x}, is not UTF-8"
    return REASONS[error.reason] if isinstance(error, Refused) else "fields", str(error)


def examine_all(messages: Sequence[bytes], columns: "Sequence[Column]", form: Format) -> Iterator[Examined]:
    """Looks at messages as `examine` does. Those of Avro and Protobuf are read side by side: one at a time takes milliseconds.

    Args: see examine.
    """
    if not isinstance(form, OfBatches):
        yield from (examine(message, columns, form) for message in messages)
        return
    for first in range(0, len(messages), _AT_ONCE):
        some = messages[first : first + _AT_ONCE]
        rows, reasons = form.canonical(some, tuple(columns))
        for message, row, reason in zip(some, rows, reasons, strict=True):
            texts = None if reason or not message else _texts_of(row)
            yield examine(message, columns, form) if texts is None else _of_texts(texts, columns)


def _texts_of(row: bytes) -> list[str] | None:
    """Of a canonical row; None where it is no UTF-8."""
    try:
        return row.decode().split("\t")
    except UnicodeDecodeError:
        return None


def _of_texts(texts: list[str], columns: "Sequence[Column]") -> Examined:
    # The label's mistake before a number's, as the reasons are counted.
    for column, text in sorted(zip(columns, texts, strict=True), key=lambda pair: REASONS.index(KINDS[pair[0].kind].reason)):
        expected = texts_of(column)
        if not re.fullmatch(expected.pattern, text):
            shown = repr(text) if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]!r}..."
            words = f"{column.key} is {shown}, expected is {expected.expected}"
            return Examined([], KINDS[column.kind].reason or "fields", column.name, words)
    return Examined(texts, "", "", "")


def explain(message: bytes, columns: "Sequence[Column]", form: Format) -> str:
    """One clause, such as `item.price is 'x', expected is a decimal number`; '' of a message that is a row, or has no byte.

    Args: see examine.
    """
    return examine(message, columns, form).words
