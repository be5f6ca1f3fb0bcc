"""What is wrong with the rows of a request that have no score, in words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tfonline.formats import Format
from tfonline.formats.explain import examine
from tfonline.formats.reasons import IN_WORDS, REASONS

if TYPE_CHECKING:
    from tfonline.features.column import Column

# Refused rows of a request that are looked at, each for up to some milliseconds; of more the reason alone is told.
MOST = 10


class Reading(NamedTuple):
    """How rows are read.

    Attributes:
      form: their format.
      columns: of a row.
    """

    form: Format
    columns: "Sequence[Column]"


def why(message: bytes, reason: int, reading: Reading) -> str:
    """What is wrong with a message, such as `item.price is 'x', expected is a decimal number`; see of_reason where nobody can say.

    Args:
      message: a row.
      reason: why it is none, an index into REASONS.
      reading: of the row.
    """
    found = examine(message, reading.columns, reading.form)
    return found.words if found.words and REASONS[reason : reason + 1] == (found.reason,) else of_reason(reason)


def of_reason(reason: int) -> str:
    """What a reason means; '' of one that only a newer trainer knows."""
    return IN_WORDS.get(REASONS[reason], "") if 0 <= reason < len(REASONS) else ""
