"""What Avro and Protobuf have in common: readers by the schema's id, which read a batch of messages at once.

Imports no numpy until it decodes: numpy starts threads, which the trainer must not have before it blocks its signals.
"""

import abc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfonline.formats.by_python import ByPython, Refused
from tfonline.formats.fields import Field, merged
from tfonline.formats.patterns import line_patterns
from tfonline.formats.reasons import REASONS
from tfonline.formats.schemas import Schemas
from tfonline.formats.writing import example_fields

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from tfonline.features.column import Column
    from tfonline.features.schema import Schema
    from tfonline.formats.avro_reader import Read
    from tfonline.formats.cursor import Cursor, Rows
    from tfonline.formats.separated import Decoded


class OfBatches(ByPython):
    """See Format.

    Attributes:
      kind: what a registry calls such schemas.

    Args:
      framing: one of FRAMINGS.
      schemas: the writers', where there is framing; or such as Schemas.about gives.
      own_id: the id of the schema that `encode` writes by, where there is framing.
    """

    kind: str
    named, lines = True, False

    def __init__(self, framing: str, schemas: Schemas | Mapping[str, Mapping] | None, own_id: int):
        self.framing, self.own_id = framing, own_id
        self.schemas = schemas if isinstance(schemas, Schemas) else Schemas(schemas)
        self._readers: dict[Any, Read] = {}

    @property
    def about(self) -> dict[str, Any]:
        """See Format."""
        return {"format": self.name, "framing": self.framing, "schemas": self.schemas.about, "own_id": self.own_id}

    @abc.abstractmethod
    def unknown(self, columns: "Sequence[Column]") -> list[str]:
        """The paths of columns that the given schema has no field for."""

    @abc.abstractmethod
    def fields_of(self, number: int) -> dict[str, Field]:
        """What the schema of this id (0 without framing) says of its fields, by their paths."""

    @abc.abstractmethod
    def schema_of(self, columns: "Sequence[Column]") -> str:
        """The schema that `encode` writes by, as a registry takes it; where none is given, one that is made of the columns."""

    @abc.abstractmethod
    def make_reader(self, number: int, columns: "tuple[Column, ...]") -> "Read":
        """What reads messages that were written by the schema of this id (0 without framing), behind their frames.

        Raises:
          Refused: such messages cannot be read.
        """

    def decode(self, message: "tf.Tensor", columns: "Sequence[Column]") -> "Decoded":
        """See Format. Texts get to the graph without an object of Python for each, and are not cut from rows there."""
        import tensorflow as tf

        from tfonline.formats.decoders import decoded
        from tfonline.formats.separated import Decoded, check

        patterns = line_patterns(columns)
        types = [tf.string, tf.int32, tf.bool, *[tf.string] * len(patterns)]
        given = (tuple(columns), list(patterns.values()))
        text, refused, is_utf8, *lines = decoded(self, message, _texts_and_lines, given, types)
        text = tf.reshape(tf.io.parse_tensor(tf.ensure_shape(text, []), tf.string), [-1, len(columns)])
        refused = tf.reshape(refused, tf.shape(message))
        fits = tf.ensure_shape(is_utf8, [])
        for line, pattern in zip(lines, patterns, strict=True):
            fits &= tf.strings.regex_full_match(tf.ensure_shape(line, []), pattern)
        found = check(text, (refused > 0) | (message == ""), fits, columns)
        return Decoded(found.text, tf.where(refused > 0, refused, found.reason))

    def canonical(self, messages: Sequence[bytes], columns: "tuple[Column, ...]") -> tuple[list[bytes], list[int]]:
        """See ByPython."""
        cursor, rows = self._rows(messages, columns)
        return rows, cursor.reason.tolist()

    def fields(self, messages: Sequence[bytes]) -> dict[str, Field]:
        """What the schemas that wrote these messages say of their fields, by path; those without a frame are passed by.

        Raises:
          UserError: the registry does not know a schema or does not answer (exit 75), or refuses to (77).
        """
        from tfonline.formats import framing
        from tfonline.formats.cursor import Cursor, sizes

        cursor = Cursor(b"".join(messages), sizes(messages), 0, malformed=self.name)
        ids = [number for number, _ in framing.by_id(cursor, framing.not_empty(cursor))] if self.framing == "confluent" else [0]
        return merged(map(self.fields_of, ids))

    def texts(self, message: bytes, columns: "Sequence[Column]") -> list[str]:
        """See Format."""
        cursor, [row] = self._rows([message], tuple(columns))
        if cursor.why:
            raise Refused(REASONS[cursor.reason[0]], cursor.why[0])
        return [_decoded_text(text, column) for text, column in zip(row.split(b"\t"), columns, strict=True)]

    def example(self, columns: "Sequence[Column]") -> bytes:
        """See Format."""
        return self.encode(example_fields(columns), columns)

    def expected(self, num_fields: int) -> str:
        """See Format."""
        frame = " in Confluent's frame" if self.framing == "confluent" else ""
        return f"{self.name.capitalize()} messages of {num_fields} columns{frame}"

    def resembles(self, text: str, num_fields: int) -> str:
        """See Format: they are no text."""
        return ""

    def fault(self, text: str, schema: "Schema") -> str:
        """See Format."""
        return ""

    def frame(self) -> bytes:
        """What `encode` writes before a message."""
        from tfonline.formats.framing import header

        return header(self.own_id) if self.framing == "confluent" else b""

    def say_missing(self, number: int, paths: Sequence[str]) -> None:
        """Says which columns a schema has no field for."""
        if paths and self.framing != "none":
            self.schemas.say(
                f"warning: schema {number} has no field for {', '.join(paths)}: a missing value in each of its messages"
            )

    def read(self, messages: bytes, size: "np.ndarray", columns: "tuple[Column, ...]") -> "Cursor":
        """What reads the texts of the columns in messages, and has read them. `messages`, `size`: as Cursor has them."""
        from tfonline.formats import framing
        from tfonline.formats.cursor import Cursor

        cursor = Cursor(messages, size, len(columns), malformed=self.name)
        rows = framing.not_empty(cursor)
        for number, some in framing.by_id(cursor, rows) if self.framing == "confluent" else [(0, rows)]:
            self._read(cursor, some, number, columns)
        return cursor

    def _rows(self, messages: Sequence[bytes], columns: "tuple[Column, ...]") -> "tuple[Cursor, list[bytes]]":
        from tfonline.formats.cursor import sizes

        cursor = self.read(b"".join(messages), sizes(messages), columns)
        rows = cursor.rows([column.key for column in columns])
        return cursor, [row if message else b"" for row, message in zip(rows, messages, strict=True)]

    def _read(self, cursor: "Cursor", rows: "Rows", number: int, columns: "tuple[Column, ...]") -> None:
        if not len(cursor.numbers(rows)):
            return
        try:
            if (number, columns) not in self._readers:
                self._readers[number, columns] = self.make_reader(number, columns)
        except Refused as e:
            cursor.refuse_all(rows, "framing", str(e))
            return
        self._readers[number, columns](cursor, rows)


def _texts_and_lines(
    form: OfBatches, sizes: "np.ndarray", content: bytes, columns: "tuple[Column, ...]", checked: list[list[int]]
) -> tuple:
    """What `decode` asks of Python. `checked`: numbers of columns whose texts it looks at, in groups.

    Returns:
      The texts as string_tensor.serialized has them; reasons, int32 [m]; whether all is UTF-8; and each group's texts as lines.
    """
    import numpy as np

    from tfonline.formats.cursor import is_utf8
    from tfonline.string_tensor import serialized

    cursor = form.read(content, sizes, columns)
    size, texts = cursor.texts_of_rows([column.key for column in columns])
    lines = (cursor.lines(some) for some in checked)
    return serialized(size, texts.data), cursor.reason, np.array(is_utf8(size, texts)), *lines


def _decoded_text(text: bytes, column: "Column") -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as e:
        raise Refused("encoding", f"byte {e.start + 1} of {column.key}, 0x{text[e.start]:02x}, is not UTF-8") from None
