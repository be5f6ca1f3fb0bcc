"""Messages as Arrow IPC streams (https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format): many rows in each.

Imports no pyarrow until it reads or writes: it starts threads, which the trainer must not have before it blocks its signals.
"""

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tfonline.formats.by_python import ByPython, Refused
from tfonline.formats.reasons import REASONS
from tfonline.formats.writing import check_writable, example_fields, one_a_column

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from tfonline.features.column import Column
    from tfonline.features.schema import Schema


_UNWRITABLE = re.compile(r"[\t\r\n]")


class Rows(NamedTuple):
    """The R rows of some messages, in their order. A message that cannot be read is one row.

    Attributes:
      distinct: the texts of n columns, column by column; one may stand there twice.
      first: int64 [n + 1]: the texts of column i are `distinct[first[i]:first[i + 1]]`.
      place: int32 [n, R], where a row's text stands among its column's, counted from 1; 0 where the value is missing.
      numbers: by the name of a kind, the numbers of its columns, [k, R] of the type that the kind says, 0 where missing; and which
        are there, bool [k, R]. Columns that are here have no texts.
      reason: int32 [R], an index into REASONS; 0: not refused so far.
      message: int32 [R], the place of a row's message among the messages.
      row: int32 [R], the place of a row in its message.
      why: of refused rows, by their place: what is wrong, in words.
    """

    distinct: "pa.StringArray"
    first: "np.ndarray"
    place: "np.ndarray"
    numbers: "dict[str, tuple[np.ndarray, np.ndarray]]"
    reason: "np.ndarray"
    message: "np.ndarray"
    row: "np.ndarray"
    why: dict[int, str]


class Arrow(ByPython):
    """See Format. A message is the unit of an offset: a window never cuts it.

    What is for formats whose messages are one row each (`decode`, `canonical`, `texts`, `encode`) refuses a message of more.
    """

    name, named, lines, many = "arrow", True, False, True

    def read(self, messages: Sequence[bytes], columns: "Sequence[Column]", numbers: Collection[str] = ()) -> Rows:
        """The rows of messages.

        Args:
          messages: as they came.
          columns: whose values are wanted; those of a kind in `numbers` stand together.
          numbers: the kinds of which numbers are wanted, and not texts.
        """
        from tfonline.formats.arrow_reader import read

        return read(messages, columns, numbers)

    def canonical_rows(self, messages: Sequence[bytes], columns: "Sequence[Column]") -> tuple[Rows, list[bytes]]:
        """The rows of messages, and each as canonical row; b'' of a refused one."""
        rows = self.read(messages, columns)
        texts, first = rows.distinct.to_pylist(), rows.first.tolist()
        of_columns = [
            [texts[begin + place - 1] if place else "" for place in places.tolist()]
            for begin, places in zip(first, rows.place, strict=False)
        ]
        lines = ["\t".join(row).encode() for row in zip(*of_columns, strict=True)]
        return rows, [b"" if reason else line for line, reason in zip(lines, rows.reason.tolist(), strict=True)]

    def canonical(self, messages: Sequence[bytes], columns: "tuple[Column, ...]") -> tuple[list[bytes], list[int]]:
        """See ByPython."""
        rows, lines = self.canonical_rows(messages, columns)
        places: list[list[int]] = [[] for _ in messages]
        for place, message in enumerate(rows.message.tolist()):
            places[message].append(place)
        reason, not_one = rows.reason.tolist(), REASONS.index(self.name)
        found = [(lines[of[0]], reason[of[0]]) if len(of) == 1 else (b"", not_one) for of in places]
        return [line for line, _ in found], [0 if not m else why for (_, why), m in zip(found, messages, strict=True)]

    def alone(self, message: bytes, rows: Sequence[int] | None = None) -> list[bytes]:
        """Messages of one row each, of those rows of a message, None: of all. What cannot be read is itself for each of them."""
        from tfonline.formats.arrow_reader import alone

        return alone(message, rows)

    def one(self, message: bytes, row: int) -> bytes:
        """The message of one row of a message, see `alone`."""
        [found] = self.alone(message, [row])
        return found

    def texts(self, message: bytes, columns: "Sequence[Column]") -> list[str]:
        """See Format."""
        rows, lines = self.canonical_rows([message], columns)
        if rows.why:
            place = min(rows.why)
            raise Refused(REASONS[rows.reason[place]], rows.why[place])
        if len(lines) != 1:
            raise Refused(self.name, f"it has {len(lines)} rows, expected is one")
        return lines[0].decode().split("\t")

    def encode(self, fields: Sequence[str], columns: "Sequence[Column]") -> bytes:
        """See Format."""
        return self.encode_rows([fields], columns)

    def encode_rows(self, rows: Sequence[Sequence[str]], columns: "Sequence[Column]") -> bytes:
        """A message of several rows.

        Raises:
          ValueError: as of encode, of the first row that cannot be written.
        """
        from tfonline.formats.arrow_writing import write

        for fields in rows:
            self.check(fields, columns)
        return write(rows, columns)

    def check(self, fields: Sequence[str], columns: "Sequence[Column]") -> None:
        """Raises ValueError where a row cannot be written, as encode does."""
        check_writable(fields, _UNWRITABLE, self.name)
        one_a_column(list(fields), columns)

    def contents(self, message: bytes) -> dict[str, Any]:
        """See Format: of a message of one row."""
        from tfonline.formats.arrow_reader import contents

        found = contents(message)
        if len(found) != 1:
            raise Refused(self.name, f"it has {len(found)} rows, expected is one")
        return found[0]

    def example(self, columns: "Sequence[Column]") -> bytes:
        """See Format."""
        return self.encode(example_fields(columns), columns)

    def expected(self, num_fields: int) -> str:
        """See Format."""
        return f"Arrow IPC streams of {num_fields} columns"

    def resembles(self, text: str, num_fields: int) -> str:
        """See Format: they are no text."""
        return ""

    def fault(self, text: str, schema: "Schema") -> str:
        """See Format."""
        return ""
