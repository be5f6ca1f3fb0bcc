"""Messages of files, one after the other: their lines, with or without a header, or the rows of Parquet. Imports no TensorFlow."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tfonline.formats.header import WITH_HEADER, HeaderError, Make, Refuse, by_header, by_texts, is_header
from tfonline.lifecycle import Exit, UserError
from tfonline.stream.parquet import MAGIC, ParquetRows
from tfonline.stream.row_files import open_rows

if TYPE_CHECKING:
    from tfonline.features.column import Column

_LONGEST_HEADER = 1 << 20  # bytes
_BY_NAME = {(".csv",): "csv", (".jsonl", ".ndjson"): "json_objects"}


class Wanted(NamedTuple):
    """What is to be made of files.

    Attributes:
      columns: of a message, in order; none: lines are passed on as they are, and no line is a header.
      message_format: the name of the messages' format.
      lines: the name of the lines' format; '': they have the messages'.
      refuse: of a line of another format, or below a header, that is no row; None: it becomes a message that is refused.
    """

    columns: "Sequence[Column]" = ()
    message_format: str = "tsv"
    lines: str = ""
    refuse: Refuse | None = None

    @property
    def form(self) -> str:
        """The name of the lines' format."""
        return self.lines or self.message_format


class Messages(Protocol):
    """An open file. Close it.

    Attributes:
      header: whether its offset 0 is a header, and has no message.
      num_rows: of the file; None where only reading it tells.
      at_end: whether nothing comes any more.
    """

    header: bool
    num_rows: int | None

    @property
    def at_end(self) -> bool:
        """See above."""

    def take(self, most: int) -> list[bytes]:
        """The messages of the next offsets, so many at most; fewer at the end. That of a header is the header itself.

        Raises:
          UserError: it cannot be read (exit 66), or is cut or damaged (65).
        """

    def close(self) -> None:
        """Closes the file."""


def is_parquet(path: str) -> bool:
    """Whether a file begins as Parquet files do. May raise what open_rows raises."""
    return _first_line(path).startswith(MAGIC)


def has_header(path: str, wanted: Wanted) -> bool:
    """Whether a file's first line is a header of the columns. May raise what open_rows raises."""
    return bool(wanted.columns) and wanted.form in WITH_HEADER and is_header(_first_line(path), wanted.columns, wanted.form)


def form_of_lines(path: str) -> str:
    """The format of a file's lines, where its name alone says it: CSV, JSON objects, or TSV."""
    name = path.lower().removesuffix(".gz")
    return next((form for endings, form in _BY_NAME.items() if name.endswith(endings)), "tsv")


def open_messages(path: str, wanted: Wanted, start: int = 0) -> Messages:
    """Opens a file at an offset: the number of a line or of a row of Parquet, counted from 0.

    Raises:
      UserError: it cannot be read (exit 66), is no whole file, or does not have the columns (65).
    """
    if wanted.columns and is_parquet(path):
        return _OfParquet(path, wanted, start)
    return _OfLines(path, wanted, start)


class _OfLines:
    num_rows = None

    def __init__(self, path: str, wanted: Wanted, start: int):
        self._file = open_rows(path)
        try:
            self.header = has_header(path, wanted)
            self._make = _maker(path, wanted, self.header)
            for _ in itertools.islice(self._file, start):  # lines of windows that an earlier run has trained
                pass
        except UserError:
            self.close()
            raise

    @property
    def at_end(self) -> bool:
        return not self._file.peek(1)

    def take(self, most: int) -> list[bytes]:
        make = self._make
        return [make(line.rstrip(b"\n")) for line in itertools.islice(self._file, most)]

    def close(self) -> None:
        self._file.close()


class _OfParquet:
    header = False

    def __init__(self, path: str, wanted: Wanted, start: int):
        self._rows, self._at = ParquetRows(path, wanted.columns, wanted.message_format, start), start
        self.num_rows = self._rows.num_rows

    @property
    def at_end(self) -> bool:
        return self._at >= self.num_rows

    def take(self, most: int) -> list[bytes]:
        messages = self._rows.take(most)
        self._at += len(messages)
        return messages

    def close(self) -> None:
        self._rows.close()


def _maker(path: str, wanted: Wanted, header: bool) -> Make:
    if not header:
        return (
            bytes
            if wanted.form == wanted.message_format
            else by_texts(wanted.columns, wanted.form, wanted.message_format, wanted.refuse)
        )
    try:
        return by_header(_first_line(path), wanted.columns, wanted.form, wanted.message_format, wanted.refuse)
    except HeaderError as e:
        raise UserError(
            f"{path} {e}. Mend the file, or give a column's name there as its `path` in --columns, or leave the column out there.",
            Exit.DATA,
        ) from e


def _first_line(path: str) -> bytes:
    with open_rows(path) as file:
        return file.readline(_LONGEST_HEADER).rstrip(b"\n")
