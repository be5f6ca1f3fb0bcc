"""The rows that produce.py sends: from files, from stdin or made, with the line that each is from, in bursts."""

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from tfonline.formats.header import WITH_HEADER
from tfonline.lifecycle import Exit, UserError
from tfonline.stream.messages import Messages, Wanted, form_of_lines, is_parquet, open_messages
from tfonline.stream.row_files import open_rows

if TYPE_CHECKING:
    from tfonline.features.column import Column

_BLOCK_BYTES = 256 * 1024
_BURST_ROWS = 2000


class Rows(NamedTuple):
    """Rows that go out together.

    Attributes:
      partition: where they go; None: to the partitions in turn.
      lines: their texts.
      source: the file that they are from, or what made them.
      numbers: the line in that file of each, counted from 1.
      are_messages: whether they have the messages' format already.
    """

    partition: int | None
    lines: list[bytes]
    source: str
    numbers: Sequence[int]
    are_messages: bool = False

    def part(self, first: int, stop: int) -> "Rows":
        """Rows first .. stop of these."""
        return self._replace(lines=self.lines[first:stop], numbers=self.numbers[first:stop])


class Files:
    """Reads lines from files (plain, .gz, "-" for stdin) and counts what it leaves out.

    Attributes:
      num_returns: lines whose carriage return was cut off.
      num_empty: lines left out because nothing stood in them.
    """

    def __init__(self, names: list[str], message_format: str = "tsv", columns: "Callable[[], Sequence[Column]]" = tuple):
        """Raises UserError if one cannot be opened (exit 66) or is damaged (65), before a row of any is sent.

        Args:
          names: of the files.
          message_format: the name of the messages' format: lines that have it, and are not TSV, are messages as they are.
          columns: of the rows, asked for where a file is not TSV.
        """
        self._names, self._message_format, self._columns = names, message_format, columns
        self.num_returns = 0
        self.num_empty = 0
        for name in names:
            if _is_tsv(name):
                with _open(name):
                    pass
            else:
                self._messages(name).close()

    def one_after_the_other(self) -> Iterator[Rows]:
        """The rows of the first file, then those of the second, ..., to the partitions in turn."""
        for name in self._names:
            yield from self._blocks(name)

    def side_by_side(self) -> Iterator[Rows]:
        """File k to partition k: a block of each file in turn, until all are through."""
        left = {k: self._blocks(name) for k, name in enumerate(self._names)}
        while left:
            for k in list(left):
                rows = next(left[k], None)
                if rows is None:
                    del left[k]
                else:
                    yield rows._replace(partition=k)

    def _messages(self, name: str) -> Messages:
        if not self._are_messages(name):
            return open_messages(name, Wanted(self._columns(), lines=form_of_lines(name)))
        columns = self._columns() if self._message_format in WITH_HEADER else ()
        return open_messages(name, Wanted(columns, self._message_format))

    def _are_messages(self, name: str) -> bool:
        return form_of_lines(name) == self._message_format and not is_parquet(name)

    def _blocks(self, name: str) -> Iterator[Rows]:
        return self._lines(name) if _is_tsv(name) else self._rows_of_messages(name)

    def _rows_of_messages(self, name: str) -> Iterator[Rows]:
        number = 1
        with contextlib.closing(self._messages(name)) as file:
            while not file.at_end:
                try:
                    messages = file.take(_BURST_ROWS)
                except UserError as e:
                    raise UserError(f"{e} The rows before were sent.", e.code) from e
                skipped = int(file.header and number == 1)
                rows = self._clean(name, number + skipped, messages[skipped:])
                yield rows._replace(are_messages=self._are_messages(name))
                number += len(messages)

    def _lines(self, name: str) -> Iterator[Rows]:
        rest, number = b"", 1
        with _open(name) as file:
            try:
                # read1 gives what is there, so that rows of a slow pipe are not held back.
                while block := file.read1(_BLOCK_BYTES):
                    *lines, rest = (rest + block).split(b"\n")
                    yield self._clean(name, number, lines)
                    number += len(lines)
            except UserError as e:
                raise UserError(f"{e} The rows before were sent.", e.code) from e
            except OSError as e:
                raise UserError(f"stdin cannot be read to its end ({e}). The rows before were sent.", Exit.NO_INPUT) from e
        yield self._clean(name, number, [rest] if rest else [])

    def _clean(self, name: str, first: int, lines: list[bytes]) -> Rows:
        cut = [line[:-1] if line.endswith(b"\r") else line for line in lines]
        whole = [line for line in cut if line]
        numbers = range(first, first + len(lines))
        if len(whole) < len(lines):
            numbers = [number for number, line in zip(numbers, cut, strict=True) if line]
        self.num_returns += sum(map(len, lines)) - sum(map(len, cut))
        self.num_empty += len(lines) - len(whole)
        return Rows(None, whole, name, numbers)


class Synthetic:
    """Makes rows with tools/synthetic.py or synthetic_streams.py and keeps their true probabilities for the summary."""

    def __init__(self, num_rows: int, seed: int, id_lifetime: int = 0, data: str = "criteo"):
        self._num_rows, self._seed, self._id_lifetime, self._data = num_rows, seed, id_lifetime, data
        self._probabilities: list[Any] = []

    def rows(self) -> Iterator[Rows]:
        """The rows, to the partitions in turn."""
        import synthetic
        from synthetic_streams import STREAMS

        self._probabilities = []
        number = 1
        if self._data in STREAMS:
            blocks = STREAMS[self._data].rows(self._num_rows, self._seed, 0)
        else:
            blocks = synthetic.rows(self._num_rows, self._seed, lifetime=self._id_lifetime)
        for block in blocks:
            self._probabilities.append(block.probability)
            yield Rows(None, block.lines, "--synthetic", range(number, number + len(block.lines)))
            number += len(block.lines)

    def summary(self) -> str:
        """What the best possible model scores on the rows made."""
        import numpy as np
        import synthetic

        made = np.concatenate(self._probabilities or [np.empty(0)])
        return synthetic.summary(made) if len(made) > 1 else "synthetic: too few rows for a score"


def bursts(source: Callable[[], Iterator[Rows]], rate: int, loop: bool, limit: int | None, together: int = 1) -> Iterator[Rows]:
    """The source's rows in small bursts, so that pace and Ctrl-C are looked at often; over and over with `loop`.

    Args:
      source: makes the rows.
      rate: rows a second; 0: as fast as it goes.
      loop: whether to begin again at the end.
      limit: so many rows at most; None: all.
      together: rows a message.
    """
    # A hundred bursts a second are even enough, and one message is the least.
    size = min(_BURST_ROWS, max(1, rate // 100)) if rate else _BURST_ROWS
    size = -(-size // together) * together
    left = sys.maxsize if limit is None else limit
    for _ in itertools.count() if loop else range(1):
        before = left
        for rows in source():
            for first in range(0, len(rows.lines), size):
                burst = rows.part(first, first + min(size, left))
                yield burst
                left -= len(burst.lines)
                if not left:
                    return
        if loop and left == before:
            raise UserError("--loop over input without a row would never end. Name a file with rows.", Exit.NO_INPUT)


def _is_tsv(name: str) -> bool:
    return name == "-" or not (is_parquet(name) or form_of_lines(name) != "tsv")


def _open(name: str) -> BinaryIO:
    return open(sys.stdin.fileno(), "rb", closefd=False) if name == "-" else open_rows(name)
