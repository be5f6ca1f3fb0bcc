"""Formats of messages: bytes to the texts of a row's columns, and back. `--message_format` names one.

A format is one module with one class, and knows of bytes what nobody else has to:

- `decode` finds the columns' texts of many messages at once. It is a graph of TensorFlow's own operations, for the SavedModel runs
  it where no Python is. A row that it refuses has a reason, and costs no other row anything.
- `encode` is its inverse, for the tools: `decode` gives back what it writes, field by field. A text that the format has no place
  for it refuses, and names the field. It needs no TensorFlow, so that the tools start fast.
- `example` is a message that `decode` takes.
- `expected`, `resembles` and `fault` are the words for messages that turn out to be something else (see recognise).

What a format does not do: a default for a missing value, a hash, a scale. That is for the features behind it, the same for all.

A new format is a module here, a line in FORMATS, and a line in tests/features/test_format_contract.py, which holds it to all this.
If its messages can be wrong in a way that no reason tells, its reason goes behind the others in reasons.py, and into
docs/data.md and serving/page.html.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from tfonline.formats.json_list import JsonList
from tfonline.formats.tsv import Tsv

if TYPE_CHECKING:
    import tensorflow as tf

    from tfonline.features.column import Column
    from tfonline.features.schema import Schema
    from tfonline.formats.separated import Decoded


class Format(Protocol):
    """One format. Where `columns` are asked for, they are those of the messages, in order: without the label where they have none.

    Attributes:
      name: as `--message_format` says it.
    """

    name: str

    def decode(self, message: "tf.Tensor", columns: "Sequence[Column]") -> "Decoded":
        """The columns' texts and the reasons of `message`, string [b]; b may be 0."""

    def encode(self, fields: Sequence[str]) -> bytes:
        """The message of a row.

        Args:
          fields: the columns' texts, in order; '' for a missing value. Whether each fits its column is for `decode` to say.

        Raises:
          ValueError: a field cannot be written; its number (from 1), its text and why, in words.
        """

    def example(self, columns: "Sequence[Column]") -> bytes:
        """A message that `decode` takes, with as many missing values as there can be."""

    def expected(self, num_fields: int) -> str:
        """What messages of so many fields look like, for the words of an error."""

    def resembles(self, text: str, num_fields: int) -> str:
        """What such messages are called, where `text` was meant for one of this format; else ''."""

    def fault(self, text: str, schema: "Schema") -> str:
        """What a text that `resembles` looks like, where that is not what is expected; else ''."""


# Of two formats that a text resembles the later one is told: there is little that TSV cannot be.
FORMATS: dict[str, Format] = {each.name: each for each in (Tsv(), JsonList())}


def find(name: str) -> Format:
    """The format of this name.

    Raises:
      ValueError: there is none.
    """
    if name not in FORMATS:
        raise ValueError(f"{name!r} is no format of messages. Expected one of {', '.join(FORMATS)}.")
    return FORMATS[name]
