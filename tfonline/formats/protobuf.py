"""Protobuf messages, decoded by Python a batch at once. Imports no TensorFlow until it decodes."""

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfonline.features.kinds import texts_of
from tfonline.formats.by_python import Refused
from tfonline.formats.fields import Field
from tfonline.formats.of_batches import OfBatches
from tfonline.formats.protobuf_message import Messages
from tfonline.formats.protobuf_text import set_of_text
from tfonline.formats.protobuf_type import as_text, fields_at, fields_of, indexes_of, set_of_columns, type_of
from tfonline.formats.schemas import Schemas
from tfonline.formats.writing import check_writable, example_fields, one_a_column
from tfonline.lifecycle import Exit, UserError

if TYPE_CHECKING:
    import numpy as np
    from google.protobuf.descriptor import Descriptor

    from tfonline.features.column import Column
    from tfonline.formats.avro_reader import Read
    from tfonline.formats.cursor import Cursor, Rows

_UNWRITABLE = re.compile(r"[\t\r\n]")


class Protobuf(OfBatches):
    """See Format. A column's value is the field of its name, or of its path: `item.price` is `price` in the message `item`.

    Args:
      message_schema: a serialised FileDescriptorSet, or its base64. With framing, too, messages are read by it, whoever wrote them.
        Empty: by the schemas that wrote them; without framing they are as `encode` writes them.
      message_type: the full name of the messages' type; '': the schema has but one.
      framing: one of FRAMINGS.
      schemas: of the registry, where there is framing; or such as Schemas.about gives.
      own_id: the id of the schema that `encode` writes by, where there is framing.

    Raises:
      ValueError: message_schema is no descriptor set, or has no such type.
    """

    name, kind = "protobuf", "PROTOBUF"

    def __init__(
        self,
        message_schema: bytes | str = b"",
        message_type: str = "",
        framing: str = "none",
        schemas: Schemas | Mapping[str, Mapping] | None = None,
        own_id: int = 0,
    ):
        super().__init__(framing, schemas, own_id)
        set_ = base64.b64decode(message_schema) if isinstance(message_schema, str) else message_schema
        self.descriptor_set, self.message_type = set_, message_type
        self._own = type_of(set_, message_type) if set_ else None
        self._made: dict[tuple[Column, ...], tuple[Descriptor, Messages]] = {}
        self._written: dict[int, Descriptor] = {}

    @property
    def about(self) -> dict[str, Any]:
        """See Format."""
        return {**super().about, "message_schema": as_text(self.descriptor_set), "message_type": self.message_type}

    def unknown(self, columns: "Sequence[Column]") -> list[str]:
        """The paths of columns that message_type has no field for."""
        paths = [column.steps for column in columns]
        return [".".join(path) for path in paths if self._own and fields_at(self._own, path) is None]

    def fields_of(self, number: int) -> dict[str, Field]:
        """See OfBatches."""
        return fields_of(self._type(number))

    def encode(self, fields: Sequence[str], columns: "Sequence[Column]") -> bytes:
        """See Format. A row without a value that is written has no message where there is no frame, as it would have no byte."""
        check_writable(fields, _UNWRITABLE, self.name)
        _, messages = self._of(tuple(columns))
        written = self.frame() + messages.write(one_a_column(list(fields), columns))
        if not written:
            raise ValueError(f"field 1, {fields[0]!r}, and all others are missing: a message without a byte is no row")
        return written

    def example(self, columns: "Sequence[Column]") -> bytes:
        """See Format."""
        first, *others = example_fields(columns)
        return self.encode([first or texts_of(columns[0]).example, *others], columns)

    def schema_of(self, columns: "Sequence[Column]") -> str:
        """The file of the type that `encode` writes, as a registry takes it."""
        from google.protobuf import descriptor_pb2

        type_, _ = self._of(tuple(columns))
        file = descriptor_pb2.FileDescriptorProto()
        type_.file.CopyToProto(file)
        return as_text(file.SerializeToString(deterministic=True))

    def frame(self) -> bytes:
        """See OfBatches; behind the id stands where the type is in its file."""
        if self.framing == "none":
            return b""
        from tfonline.formats.framing import indexes

        return super().frame() + indexes(indexes_of(self._own) if self._own else [0])

    def make_reader(self, number: int, columns: "tuple[Column, ...]") -> "Read":
        """See OfBatches."""
        from tfonline.formats.framing import refuse_other_types
        from tfonline.formats.protobuf_reader import Type, readable

        if self.framing == "confluent":
            type_ = self._type(number)
            messages = Messages(type_, columns)
        else:
            type_, messages = self._of(columns)
        found = {i: (column.steps, fields) for i, column in enumerate(columns) if (fields := fields_at(type_, column.steps))}
        self.say_missing(number, [column.key for i, column in enumerate(columns) if i not in found])
        all_readable = all(readable(fields) for _, fields in found.values())
        fast = Type(type_, [path for path, _ in found.values()], list(found)) if all_readable else None
        indexes = indexes_of(type_)

        def read(cursor: "Cursor", rows: "Rows") -> None:
            if self.framing == "confluent":
                rows = refuse_other_types(cursor, rows, indexes, type_.full_name)
            rows = cursor.numbers(rows)
            begin = cursor.at[rows]
            if fast:
                fast.read(cursor, rows)
                odd = cursor.reason[rows] > 0
                begin, rows = begin[odd], rows[odd]
            _one_by_one(cursor, rows, begin, messages.texts)

        return read

    def _type(self, number: int) -> "Descriptor":
        """The type by which messages of this schema are read.

        Raises:
          UserError: the schema is of another kind, or has no such type (exit 64); see set_of_text and Schemas.get.
        """
        if self.framing == "none":
            return self._own
        written = self.schemas.get(number)
        if written.kind != self.kind:
            raise UserError(
                f"the schema with id {number} is one of {written.kind.lower()}, messages are read as protobuf.", Exit.FLAGS
            )
        if self._own:
            return self._own
        if number not in self._written:
            try:
                self._written[number] = type_of(set_of_text(number, written), self.message_type, in_last=True)
            except ValueError as e:
                raise UserError(f"the schema with id {number} of the registry: {e}.", Exit.FLAGS) from e
        return self._written[number]

    def _of(self, columns: "tuple[Column, ...]") -> "tuple[Descriptor, Messages]":
        if columns not in self._made:
            type_ = self._own or type_of(set_of_columns(columns), "")
            self._made[columns] = type_, Messages(type_, columns)
        return self._made[columns]


def _one_by_one(cursor: "Cursor", rows: "np.ndarray", begin: "np.ndarray", texts: Callable[[bytes], list[str]]) -> None:
    """Reads rows by the library, which has the last word about them, from these places on."""
    for row, first in zip(rows.tolist(), begin.tolist(), strict=True):
        cursor.reason[row] = 0
        cursor.why.pop(row, None)
        try:
            found = texts(cursor.data[first : cursor.end[row]].tobytes())
        except Refused as e:
            cursor.refuse_row(row, e)
            continue
        cursor.put_row(row, found)
