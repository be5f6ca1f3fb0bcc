"""The first bad row of the files of process_data, and what such rows look like: for the error that there are too many."""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from process_data_files import read_bad_line, read_blocks

from tfonline.features.column import Column
from tfonline.features.kinds import KINDS, texts_of
from tfonline.features.schema import Schema
from tfonline.formats import find
from tfonline.formats.patterns import row_pattern
from tfonline.formats.reasons import REASONS
from tfonline.formats.recognise import guess, shown
from tfonline.formats.tsv import Tsv
from tfonline.stream.messages import Wanted, form_of_lines, has_header

_SEARCHED_ROWS = 10_000_000  # about a minute
_GUESSED_ROWS = 1000


def describe_first_bad_row(files: Iterable[str], schema: Schema, head_rows: int) -> str:
    """Where the first bad row stands, what is wrong with it, the row itself, and what it looks like.

    Args:
      files: as they were counted.
      schema: the columns of a row.
      head_rows: how many rows were counted; 0: all.

    Returns:
      Sentences, each with a space in front of it; '' where the first ten million rows are good ones.
    """
    check = _Check(schema)
    rows = itertools.islice(_rows(files, schema.columns), min(head_rows or _SEARCHED_ROWS, _SEARCHED_ROWS))
    for path, number, row in rows:
        if problem := check.problem(row):
            # The rows behind it tell a CSV file from one line with commas.
            behind = (other for _, _, other in itertools.islice(rows, _GUESSED_ROWS - 1) if check.problem(other))
            if bad := read_bad_line(row):
                row, form = bad.row, find(form_of_lines(path))
                others = [other.row for line in behind if (other := read_bad_line(line))]
            else:
                form, others = Tsv(), [line for line in behind if not read_bad_line(line)]
            looks = guess([row, *others], schema, form)
            return f" The first is {path}, line {number}: {shown(row)}. {problem}.{looks and ' '}{looks}"
    return ""


class _Check:
    """Says in words what is wrong with a row; the rules are those of process_data_sql and of the trainer."""

    def __init__(self, schema: Schema):
        self._schema = schema
        self._row = re.compile(row_pattern(schema.columns))

    def problem(self, row: bytes) -> str:
        """'' for a good row."""
        if bad := read_bad_line(row):
            return bad.words
        try:
            text = row.decode()
        except UnicodeDecodeError as e:
            return f"Its byte {e.start + 1}, 0x{row[e.start]:02x}, is not UTF-8"
        if "\r" in text:
            return "It holds a carriage return; expected are lines that end in a line feed alone"
        if self._row.fullmatch(text):
            return ""
        texts, columns = text.split("\t"), self._schema.columns
        if len(texts) != len(columns):
            names = self._schema.names if len(columns) < 4 else (*self._schema.names[:2], "...", self._schema.names[-1])
            number = "1 field" if len(texts) == 1 else f"{len(texts)} fields"
            return f"It has {number} between tabs, expected are {len(columns)}: {', '.join(names)}"
        # The label's mistake before a number's, as the reasons are counted.
        fields = sorted(zip(columns, texts, strict=True), key=lambda field: REASONS.index(KINDS[field[0].kind].reason))
        column, field = next(f for f in fields if not re.fullmatch(texts_of(f[0]).pattern, f[1]))
        return f"{column.name} is {shown(field.encode())}, expected is {texts_of(column).expected}"


def _rows(files: Iterable[str], columns: Sequence[Column]) -> Iterator[tuple[str, int, bytes]]:
    """(file, number of the line, row) of each line that is not empty."""
    for path in files:
        number = has_header(path, Wanted(columns, lines=form_of_lines(path)))
        for block in read_blocks([path], columns):
            for line in block.split(b"\n")[:-1]:
                number += 1
                if line:
                    yield path, number, line
