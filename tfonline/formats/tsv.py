"""Tab separated values: no quotes, no escapes, no line end. Imports no TensorFlow until it decodes."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfonline.features.kinds import KINDS
from tfonline.formats.writing import check_writable, example_fields, one_a_column

if TYPE_CHECKING:
    import tensorflow as tf

    from tfonline.features.column import Column
    from tfonline.features.schema import Schema
    from tfonline.formats.separated import Decoded

_UNWRITABLE = re.compile(r"[\t\r\n]")


class Tsv:
    """See Format. It cannot write a tab or a line end, nor a row of one field without a value: that would be no byte at all."""

    name, in_graph, named, lines, many, error, decoders = "tsv", True, False, True, False, None, None
    about = {"format": name}  # noqa: RUF012 - it has no settings

    def decode(self, message: "tf.Tensor", columns: "Sequence[Column]") -> "Decoded":
        """See Format."""
        import tensorflow as tf

        from tfonline.formats.separated import cut

        # Where there is but one column, nothing else tells an empty message from a missing value.
        return cut(message, tf.equal(message, ""), columns)

    def encode(self, fields: Sequence[str], columns: "Sequence[Column]") -> bytes:
        """See Format."""
        check_writable(fields, _UNWRITABLE, self.name)
        if list(fields) == [""]:
            raise ValueError("field 1, '', is all of the row, and the trainer takes a tsv message without a byte for no row")
        return "\t".join(fields).encode()

    def texts(self, message: bytes, columns: "Sequence[Column]") -> list[str]:
        """See Format."""
        return one_a_column(message.decode().split("\t"), columns)

    def contents(self, message: bytes) -> list[str]:
        """See Format."""
        return message.decode().split("\t")

    def example(self, columns: "Sequence[Column]") -> bytes:
        """See Format."""
        return self.encode(example_fields(columns), columns)

    def expected(self, num_fields: int) -> str:
        """See Format."""
        return f"{num_fields} fields separated by tabs, no quotes"

    def resembles(self, text: str, num_fields: int) -> str:
        """See Format; text with another number of tabs may be anything."""
        return f"{num_fields} fields separated by tabs" if text.count("\t") + 1 == num_fields else ""

    def fault(self, text: str, schema: "Schema") -> str:
        """See Format."""
        fields = text.split("\t")
        # A category may hold quotes as any other characters; a label or a number that is quoted is no such value.
        checked = (field for field, column in zip(fields, schema.columns, strict=True) if KINDS[column.kind].reason)
        quoted = any(re.fullmatch('".*"', field) for field in checked)
        return f"{len(fields)} fields separated by tabs, with quotes around them" if quoted else ""
