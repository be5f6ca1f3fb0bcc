"""Formats of messages: bytes to the texts of a row's columns, and back. `--message_format` or the YAML of columns names one.

A format is one module with one class, and knows of bytes what nobody else has to:

- `decode` finds the columns' texts of many messages at once. A row that it refuses has a reason, and costs no other row anything.
  With `in_graph` it is a graph of TensorFlow's own operations, which the SavedModel runs where no Python is. Other formats are
  decoded by Python, in the trainer's graph, and made of ByPython; models that learned from them take rows as TSV, see canonical.
- `encode` is its inverse, for the tools: `decode` gives back what it writes, field by field. A text that the format has no place
  for it refuses, and names the field. It needs no TensorFlow, so that the tools start fast.
- `texts` finds a refused message's texts once more, in Python, to say what is wrong with it.
- `contents` is what a message holds where nobody has said yet which columns there are, for tools/schema.py.
- `example` is a message that `decode` takes.
- `expected`, `resembles` and `fault` are the words for messages that turn out to be something else (see recognise).

What a format does not do: a default for a missing value, a hash, a scale. That is for the features behind it, the same for all.

A new format is a module here, a line in FORMATS, and a line in tests/features/test_format_contract.py, which holds it to all this.
If its messages can be wrong in a way that no reason tells, its reason goes behind the others in reasons.py, and into
docs/data.md.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tfonline.formats.arrow import Arrow
from tfonline.formats.avro import Avro
from tfonline.formats.by_python import ByPython
from tfonline.formats.csv_lines import Csv
from tfonline.formats.json_list import JsonList
from tfonline.formats.json_objects import JsonObjects
from tfonline.formats.protobuf import Protobuf
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
      in_graph: whether `decode` is a graph of TensorFlow's own operations.
      named: whether messages name their values. If not, a value is known by its place, and a message has one a column.
      lines: whether a message is a line of text, so that files can hold one a line.
      many: whether a message may have many rows; then the format is an Arrow, and the trainer decodes by coded.decode.
      about: what `of` makes the same format of: plain data, the name of the format and its settings.
      decoders: processes that decode messages, where Python does that in some; see ByPython.
      error: why a message could not be decoded that may be a row, once there was such a one; see ByPython.
    """

    name: str
    in_graph: bool
    named: bool
    lines: bool
    many: bool
    error: Exception | None
    decoders: Any

    @property
    def about(self) -> dict[str, Any]:
        """See above."""

    def decode(self, message: "tf.Tensor", columns: "Sequence[Column]") -> "Decoded":
        """The columns' texts and the reasons of `message`, string [b]; b may be 0."""

    def encode(self, fields: Sequence[str], columns: "Sequence[Column]") -> bytes:
        """The message of a row.

        Args:
          fields: the columns' texts, in order; '' for a missing value. Whether each fits its column is for `decode` to say.
          columns: of the message.

        Raises:
          ValueError: a field cannot be written; its number (from 1), its text and why, in words.
        """

    def texts(self, message: bytes, columns: "Sequence[Column]") -> list[str]:
        """The columns' texts of a message that is refused, one each, whether the columns take them or not; see explain.

        Raises:
          ValueError: it has none; what is wrong with it, in words.
        """

    def contents(self, message: bytes) -> dict[str, Any] | list[Any]:
        """What a message holds, whatever the columns: values by name, objects inside objects, or values by place.

        Only formats of lines have it: what other messages hold their schema says, see OfBatches.fields.

        Raises:
          ValueError: it is no message of this format; what is wrong with it, in words.
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
FORMATS: dict[str, Format] = {each.name: each for each in (Tsv(), Csv(), JsonList(), JsonObjects(), Avro(), Protobuf(), Arrow())}


def find(name: str) -> Format:
    """The format of this name.

    Raises:
      ValueError: there is none.
    """
    if name not in FORMATS:
        raise ValueError(f"{name!r} is no format of messages. Expected one of {', '.join(FORMATS)}.")
    return FORMATS[name]


def of(about: Mapping[str, Any]) -> Format:
    """The format that is described by such data, see Format.about.

    Raises:
      ValueError: there is none of this name.
    """
    form = find(about["format"])
    settings = {name: value for name, value in about.items() if name != "format"}
    return type(form)(**settings) if settings else form


def of_manifest(manifest: Mapping[str, Any]) -> Format:
    """The format of the messages that a published version has learned from, by its manifest."""
    return of(manifest.get("messages") or {"format": manifest.get("message_format", Tsv.name)})


def served(form: Format) -> Format:
    """The format of the messages that a published model takes, where it has learned from those of this one."""
    return form if form.in_graph else FORMATS[Tsv.name]


def canonical(
    form: Format, messages: Sequence[bytes], columns: "Sequence[Column]", places: Sequence[tuple[int, int]] | None = None
) -> list[bytes]:
    """Messages of this format as a published model takes them, see served; one that is no row becomes one that it refuses.

    Args:
      form: the format.
      messages: of a row each, unless `places` says more.
      columns: of the messages.
      places: which rows of messages are wanted: the number of a message, and of a row in it; None: each message is a row.
    """
    if places is not None and isinstance(form, Arrow):
        rows, lines = form.canonical_rows(messages, columns)
        of_place = dict(zip(zip(rows.message.tolist(), rows.row.tolist(), strict=True), lines, strict=True))
        return [of_place.get(place, b"") for place in places]
    return form.canonical(messages, tuple(columns))[0] if isinstance(form, ByPython) else list(messages)
