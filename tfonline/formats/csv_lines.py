"""Lines of CSV, as RFC 4180 has them: commas, and quotes around a field that holds one. Imports no TensorFlow until it decodes."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tfonline.formats.by_python import EachByPython, Refused
from tfonline.formats.writing import check_writable, example_fields, one_a_column

if TYPE_CHECKING:
    from tfonline.features.column import Column
    from tfonline.features.schema import Schema

# What the canonical row, which is TSV, has no place for.
_UNWRITABLE = re.compile(r"[\t\r\n]")


class Csv(EachByPython):
    """See Format. A message is one line without its end, and has no header. An empty field is a missing value, quoted or not."""

    name, named, lines = "csv", False, True

    def row_of(self, columns: "Sequence[Column]") -> Callable[[bytes], bytes]:
        """See EachByPython."""
        num_commas = len(columns) - 1

        def row_of(message: bytes) -> bytes:
            if b'"' not in message and message.count(b",") == num_commas and not _UNWRITABLE.search(message.decode("latin-1")):
                return message.replace(b",", b"\t")  # what is no UTF-8 the graph finds
            fields = _fields(message)
            if len(fields) != len(columns):
                raise Refused("fields", f"it has {len(fields)} fields, expected are {len(columns)}")
            for column, field in zip(columns, fields, strict=True):
                if _UNWRITABLE.search(field):
                    raise Refused("type", f"{column.name} holds a tab or a line end, which no text of a column may")
            return "\t".join(fields).encode()

        return row_of

    def encode(self, fields: Sequence[str], columns: "Sequence[Column]") -> bytes:
        """See Format."""
        check_writable(fields, _UNWRITABLE, self.name)
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(fields)
        return line.getvalue().encode()

    def texts(self, message: bytes, columns: "Sequence[Column]") -> list[str]:
        """See Format."""
        return one_a_column(_fields(message), columns)

    def contents(self, message: bytes) -> list[str]:
        """See Format."""
        return _fields(message)

    def example(self, columns: "Sequence[Column]") -> bytes:
        """See Format."""
        return self.encode(example_fields(columns), columns)

    def expected(self, num_fields: int) -> str:
        """See Format."""
        return f"CSV: {num_fields} fields separated by commas"

    def resembles(self, text: str, num_fields: int) -> str:
        """See Format."""
        try:
            found = len(_fields(text.encode()))
        except ValueError:
            return ""
        return f"CSV: {num_fields} fields separated by commas" if found == num_fields > 1 else ""

    def fault(self, text: str, schema: "Schema") -> str:
        """See Format."""
        return ""


def _fields(message: bytes) -> list[str]:
    """The fields of a line.

    Raises:
      Refused: it is no line of CSV.
    """
    try:
        lines = list(csv.reader(io.StringIO(message.decode(), newline=""), strict=True))
    except UnicodeDecodeError as e:
        raise Refused("encoding", f"byte {e.start + 1}, 0x{message[e.start]:02x}, is not UTF-8") from None
    except csv.Error as e:
        raise Refused("csv", f"it is no line of CSV: {e}") from None
    if len(lines) != 1:
        raise Refused("csv", f"it is {len(lines)} lines, expected is one without its end")
    return lines[0]
