"""The files of process_data: their lines, and the lines that are no rows whatever their columns."""

import collections
import pathlib
from collections.abc import Callable, Iterable, Iterator

from tfonline.lifecycle import Exit, UserError
from tfonline.stream.row_files import open_rows

BLOCK_BYTES = 1 << 20  # read at once, up to the end of a line
LINE_BYTES = 1 << 20  # a longer line, its line feed counted, is no row (Kafka takes 1 MB by default)
CHUNK_BYTES = 64 << 20  # handed to DuckDB at once


def read_blocks(files: Iterable[str], progress: Callable[[int], object] = lambda _: None) -> Iterator[bytes]:
    """Yields whole lines, each with its line feed, about 1 MiB at a time; the last line of a file gets one if it has none.

    `progress` is called with the bytes read since its last call, as they lie on disk. Raises UserError for a file that cannot be
    read (exit 66), is damaged or has no lines (65).
    """
    for path in files:
        yield from _read_file(path, progress)


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
                self.sorted_out["carriage_return"] += 1
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


def _is_utf8(data: bytes) -> bool:
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False
