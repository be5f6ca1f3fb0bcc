"""What Avro and Protobuf have in common: readers by the schema's id, which read a batch of messages at once.

Imports no numpy until it decodes: numpy starts threads, which the trainer must not have before it blocks its signals.
"""

import abc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfonline.formats.by_python import ByPython, Refused
from tfonline.formats.fields import Field, merged
from tfonline.formats.reasons import REASONS
from tfonline.formats.schemas import Schemas
from tfonline.formats.writing import example_fields

if TYPE_CHECKING:
    from tfonline.features.column import Column
    from tfonline.features.schema import Schema
    from tfonline.formats.avro_reader import Read
    from tfonline.formats.cursor import Cursor, Rows


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

    def canonical(self, messages: Sequence[bytes], columns: "tuple[Column, ...]") -> tuple[list[bytes], list[int]]:
        """See ByPython."""
        cursor, rows = self._decoded(messages, columns)
        return rows, cursor.reason.tolist()

    def fields(self, messages: Sequence[bytes]) -> dict[str, Field]:
        """What the schemas that wrote these messages say of their fields, by path; those without a frame are passed by.

        Raises:
          UserError: the registry does not know a schema or does not answer (exit 75), or refuses to (77).
        """
        from tfonline.formats import framing
        from tfonline.formats.cursor import Cursor

        cursor = Cursor(messages, 0, malformed=self.name)
        ids = [number for number, _ in framing.by_id(cursor, framing.not_empty(cursor))] if self.framing == "confluent" else [0]
        return merged(map(self.fields_of, ids))

    def texts(self, message: bytes, columns: "Sequence[Column]") -> list[str]:
        """See Format."""
        cursor, [row] = self._decoded([message], tuple(columns))
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

    def _decoded(self, messages: Sequence[bytes], columns: "tuple[Column, ...]") -> "tuple[Cursor, list[bytes]]":
        from tfonline.formats import framing
        from tfonline.formats.cursor import Cursor

        cursor = Cursor(messages, len(columns), malformed=self.name)
        rows = framing.not_empty(cursor)
        for number, some in framing.by_id(cursor, rows) if self.framing == "confluent" else [(0, rows)]:
            self._read(cursor, some, number, columns)
        made = cursor.rows([column.key for column in columns])
        if not isinstance(rows, slice):
            for row in sorted({*range(len(messages))} - {*rows.tolist()}):
                made[row] = b""
        return cursor, made

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


def _decoded_text(text: bytes, column: "Column") -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as e:
        raise Refused("encoding", f"byte {e.start + 1} of {column.key}, 0x{text[e.start]:02x}, is not UTF-8") from None
