"""JSON lists of the values, as the replaced system's producer writes them. Imports no TensorFlow until it decodes."""

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfonline.formats.by_python import Refused
from tfonline.formats.writing import check_writable, example_fields, one_a_column

if TYPE_CHECKING:
    import tensorflow as tf

    from tfonline.features.column import Column
    from tfonline.features.schema import Schema
    from tfonline.formats.separated import Decoded

# What `decode` cannot undo. Its regular expressions know no escapes, and take each comma for the end of a value.
_UNWRITABLE = re.compile(r'[",\\\x00-\x1f]')
# A value that they can take: no tab, comma, quote or escape inside.
_VALUE = r'("[^"\\,\x00-\x1f]*"|-?[0-9]+|null)'
_LIST = rf"\s*\[\s*{_VALUE}(\s*,\s*{_VALUE})*\s*\]\s*"


class JsonList:
    """See Format. A value is a string, a whole number or null (missing).

    A string with a comma, a quote, a backslash or a control character has no vectorised form: it is refused, and not written.
    """

    name, in_graph, named, lines, many, error, decoders = "json", True, False, True, False, None, None
    about = {"format": name}  # noqa: RUF012 - it has no settings

    def decode(self, message: "tf.Tensor", columns: "Sequence[Column]") -> "Decoded":
        """See Format."""
        import tensorflow as tf

        from tfonline.formats.separated import cut

        plain = tf.strings.regex_full_match(message, _LIST)
        # A tab, which no plain value holds, between the values, and nothing around them.
        row = tf.strings.regex_replace(message, r"^\s*\[\s*|\s*\]\s*$", "")
        row = tf.strings.regex_replace(row, r"\s*,\s*", "\t")
        row = tf.strings.regex_replace(row, r"(^|\t)null", r"\1")
        row = tf.strings.regex_replace(row, '"', "")
        return cut(tf.where(plain, row, message), ~plain, columns, malformed="json")

    def encode(self, fields: Sequence[str], columns: "Sequence[Column]") -> bytes:
        """See Format."""
        check_writable(fields, _UNWRITABLE, self.name)
        # Letters beyond ASCII stay as they are: their \u escapes are such as the reader cannot undo.
        return json.dumps(fields, ensure_ascii=False).encode()

    def texts(self, message: bytes, columns: "Sequence[Column]") -> list[str]:
        """See Format."""
        return one_a_column(["" if value is None else str(value) for value in self.contents(message)], columns)

    def contents(self, message: bytes) -> list[str | int | None]:
        """See Format."""
        if not re.fullmatch(_LIST, message.decode()):
            raise Refused("json", "it is no JSON list of plain strings, whole numbers and null")
        return json.loads(message)

    def example(self, columns: "Sequence[Column]") -> bytes:
        """See Format."""
        return self.encode(example_fields(columns), columns)

    def expected(self, num_fields: int) -> str:
        """See Format."""
        return f"JSON lists of {num_fields} values"

    def resembles(self, text: str, num_fields: int) -> str:
        """See Format."""
        stripped = text.strip()
        return "JSON lists" if stripped.startswith("[") and stripped.endswith("]") else ""

    def fault(self, text: str, schema: "Schema") -> str:
        """See Format."""
        try:
            num_values = len(json.loads(text.strip()))
        except ValueError:
            return "JSON lists that are cut or damaged"
        return "" if num_values == len(schema.columns) else f"JSON lists of {num_values} values"
