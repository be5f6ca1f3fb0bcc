"""Avro messages, decoded by Python a batch at once. Imports no TensorFlow until it decodes."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfonline.formats import avro_writing
from tfonline.formats.avro_schema import Parsed, fields_of, parse, parse_written, resolve, types_at
from tfonline.formats.fields import Field
from tfonline.formats.of_batches import OfBatches
from tfonline.formats.schemas import Schemas
from tfonline.formats.writing import check_writable, one_a_column

if TYPE_CHECKING:
    from tfonline.features.column import Column
    from tfonline.formats.avro_reader import Read
    from tfonline.formats.cursor import Cursor, Rows

_UNWRITABLE = re.compile(r"[\t\r\n]")


class Avro(OfBatches):
    """See Format. A column's value is the field of its name, or of its path: `item.price` is `price` in the record `item`.

    An array is a list for a column of categories.

    Args:
      message_schema: JSON. With framing it is the reader's schema: its aliases and defaults say what becomes of fields that a
        writer has under another name, or has not. Without, all messages are written by it. '': there is none; without framing the
        messages are then as `encode` writes them.
      framing: one of FRAMINGS.
      schemas: the writers', where there is framing; or such as Schemas.about gives.
      own_id: the id of the schema that `encode` writes by, where there is framing.

    Raises:
      ValueError: message_schema is no schema.
    """

    name, kind = "avro", "AVRO"

    def __init__(
        self,
        message_schema: str = "",
        framing: str = "none",
        schemas: Schemas | Mapping[str, Mapping] | None = None,
        own_id: int = 0,
    ):
        super().__init__(framing, schemas, own_id)
        self.message_schema = message_schema
        self._own = parse(message_schema) if message_schema else None
        self._made: dict[tuple[Column, ...], Parsed] = {}

    @property
    def about(self) -> dict[str, Any]:
        """See Format."""
        return {**super().about, "message_schema": self.message_schema}

    def unknown(self, columns: "Sequence[Column]") -> list[str]:
        """The paths of columns that message_schema has no field for."""
        paths = [column.key for column in columns]
        return [path for path in paths if self._own and types_at(self._own, path.split(".")) is None]

    def fields_of(self, number: int) -> dict[str, Field]:
        """See OfBatches."""
        return fields_of(self._own or parse_written(number, self.schemas.get(number)))

    def schema_of(self, columns: "Sequence[Column]") -> str:
        """See OfBatches: JSON."""
        return self.message_schema or avro_writing.schema_of_columns(columns)

    def encode(self, fields: Sequence[str], columns: "Sequence[Column]") -> bytes:
        """See Format."""
        check_writable(fields, _UNWRITABLE, self.name)
        written = avro_writing.write(self._writes(tuple(columns)), one_a_column(list(fields), columns), columns)
        return self.frame() + written

    def make_reader(self, number: int, columns: "tuple[Column, ...]") -> "Read":
        """See OfBatches."""
        from tfonline.formats.avro_reader import make_reader
        from tfonline.formats.framing import refuse_what_is_left

        paths = [column.steps for column in columns]
        if self.framing == "none":
            written = self._writes(columns)
        else:
            written = parse_written(number, self.schemas.get(number))
        wanted, defaults, missing = resolve(written, self._own or written, paths)
        self.say_missing(number, [".".join(paths[column]) for column in missing])
        separators = {i: column.separator for i, column in enumerate(columns) if column.kind == "categories"}
        inner = make_reader(written.schema, written.named, wanted, separators)

        def read(cursor: "Cursor", rows: "Rows") -> None:
            for column, text in defaults.items():
                cursor.put_texts([column], rows, [text] * len(cursor.numbers(rows)))
            inner(cursor, rows)
            refuse_what_is_left(cursor, rows, self.name)

        return read

    def _writes(self, columns: "tuple[Column, ...]") -> Parsed:
        """The schema that `encode` writes by."""
        if self._own:
            return self._own
        if columns not in self._made:
            self._made[columns] = parse(avro_writing.schema_of_columns(columns))
        return self._made[columns]
