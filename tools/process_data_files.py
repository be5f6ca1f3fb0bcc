"""The files of process_data: their rows as lines of TSV, and the lines that are no rows whatever their columns."""

import collections
import contextlib
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from tfonline.features.column import Column
from tfonline.formats.reasons import REASONS
from tfonline.lifecycle import Exit, UserError
from tfonline.stream.messages import Wanted, form_of_lines, has_header, is_parquet, open_messages
from tfonline.stream.row_files import open_rows

BLOCK_BYTES = 1 << 20  # read at once, up to the end of a line
LINE_BYTES = 1 << 20  # a longer line, its line feed counted, is no row (Kafka takes 1 MB by default)
_ROWS_AT_ONCE = 4096  # of files of another form
CHUNK_BYTES = 64 << 20  # handed to DuckDB at once
_REASONS = {reason.encode() for reason in REASONS if reason}


def read_blocks(
    files: Iterable[str], columns: Sequence[Column], progress: Callable[[int], object] = lambda _: None
) -> Iterator[bytes]:
    """Yields whole lines, each with its line feed, about 1 MiB at a time; the last line of a file gets one if it has none.

    Files of another form give the lines that TSV would have, and a bad_line for each that has none. `progress` is called with the
    bytes read since its last call, as they lie on disk. Raises UserError for a file that cannot be read (exit 66), is damaged, has
    no lines or lacks a column (65).
    """
    for path in files:
        yield from _read_rows(path, columns, progress) if is_other(path, columns) else _read_file(path, progress)


def is_other(path: str, columns: Sequence[Column]) -> bool:
    """Whether a file is Parquet, or its lines are not TSV, or stand below a header. Raises UserError if it cannot be read."""
    return is_parquet(path) or form_of_lines(path) != "tsv" or has_header(path, Wanted(columns))


def damaged(path: str, problem: object) -> UserError:
    """A file that is named as gzip and is none, or not all of it, as Spark found."""
    return UserError(f"{path} is no whole gzip file: {problem}. Fetch it again, or leave it out.", Exit.DATA)


def too_long(path: str) -> UserError:
    """A file with a line that cannot be a row."""
    problem = f"{path} has a line of more than {LINE_BYTES} bytes"
    return UserError(f"{problem}. Expected TSV, one row a line; gzipped files end in .gz.", Exit.DATA)


def first_rows(blocks: Iterator[bytes], num_rows: int) -> Iterator[bytes]:
    """The blocks up to their row `num_rows`; empty lines are no rows."""
    for block in blocks:
        kept = []
        for line in block.split(b"\n")[:-1]:
            kept.append(line + b"\n")
            num_rows -= line != b""
            if num_rows == 0:
                break
        yield b"".join(kept)
        if num_rows == 0:
            return


class Bad(NamedTuple):
    """A line of a file of another form that is no row.

    Attributes:
      reason: its name, as in REASONS.
      words: what is wrong with it.
      row: the line.
    """

    reason: str
    words: str
    row: bytes


def bad_line(row: bytes, reason: str, words: str) -> bytes:
    """A line of TSV in the place of one that is no row, and says why: with a carriage return, which no row has."""
    return b"\r".join((b"", reason.encode(), " ".join(words.split()).encode(), row))


def read_bad_line(line: bytes) -> Bad | None:
    """What bad_line has written; None for any other line. One of TSV that happens to look so is bad for its carriage returns."""
    mark, *found = line.split(b"\r", 3)
    if mark or len(found) < 3 or found[0] not in _REASONS:
        return None
    reason, words, row = found
    return Bad(reason.decode(), words.decode(errors="replace"), row)


class RowReader:
    """Writes rows to chunk files for DuckDB, without the lines that its CSV reader would change.

    That reader ends a line at a carriage return, skips a byte order mark and fails on invalid UTF-8, so lines with these are
    sorted out here, and a chunk starts with a header.

    Attributes:
      sorted_out: lines sorted out, by reason; `empty` is one.
    """

    def __init__(self, blocks: Iterator[bytes]):
        self._blocks = blocks
        self.sorted_out: collections.Counter[str] = collections.Counter()

    def write_chunk(self, path: pathlib.Path) -> int:
        """Writes the next rows to `path`; returns how many, 0 at the end of the input."""
        num_rows = 0
        with path.open("wb") as f:
            f.write(b"line\n")
            while f.tell() < CHUNK_BYTES and (block := next(self._blocks, None)) is not None:
                block = self._without_bad_lines(block)
                num_rows += block.count(b"\n")
                f.write(block)
        return num_rows

    def _without_bad_lines(self, block: bytes) -> bytes:
        if b"\r" not in block and b"\n\n" not in block and not block.startswith(b"\n") and _is_utf8(block):
            return block
        kept = []
        for line in block.split(b"\n")[:-1]:
            if not line:
                self.sorted_out["empty"] += 1
            elif not _is_utf8(line):
                self.sorted_out["encoding"] += 1
            elif b"\r" in line:
                bad = read_bad_line(line)
                self.sorted_out[bad.reason if bad else "carriage_return"] += 1
            else:
                kept.append(line + b"\n")
        return b"".join(kept)


def _read_file(path: str, progress: Callable[[int], object]) -> Iterator[bytes]:
    position = 0
    with open_rows(path) as file:
        while block := file.read(BLOCK_BYTES):
            rest = file.readline(LINE_BYTES)
            block += rest if (rest or block).endswith(b"\n") else rest + b"\n"
            # Only the last line can be longer than a block allows for, and only with what was read to end it.
            if len(block) - block.rfind(b"\n", 0, -1) - 1 > LINE_BYTES:
                raise too_long(path)
            yield block
            progress(file.disk_bytes - position)
            position = file.disk_bytes


def _read_rows(path: str, columns: Sequence[Column], progress: Callable[[int], object]) -> Iterator[bytes]:
    with contextlib.closing(open_messages(path, Wanted(columns, "tsv", form_of_lines(path), bad_line))) as file:
        some = file.take(_ROWS_AT_ONCE)[file.header :]
        while some or not file.at_end:
            if max(map(len, some), default=0) >= LINE_BYTES:
                raise too_long(path)
            # A line end in a text makes it a bad row, and must not make it two.
            yield b"".join(row.replace(b"\n", b"\r") + b"\n" for row in some)
            some = file.take(_ROWS_AT_ONCE)
    progress(os.path.getsize(path))


def _is_utf8(data: bytes) -> bool:
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False
