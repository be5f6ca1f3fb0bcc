"""Rows from files: a partition is a file, a row a line, its offset the number of the line."""

import itertools
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import tensorflow as tf

from tfonline.lifecycle import Exit, UserError
from tfonline.stream.readers.generated import PIECE_ROWS, generated_rows
from tfonline.stream.row_files import open_rows


class FileReader:
    """Reads lines of files, plain or .gz. Windows are read one after the other, so each file is read once from its beginning.

    Args:
      paths: the files, in the order of their partitions.

    Attributes:
      paths: as above; read from whenever a window begins, so that another order may be given before the first one.
      error: what failed in Python under a read, if anything did: a file that was taken away or cut since the start.
    """

    def __init__(self, paths: Sequence[str]):
        self.paths = list(paths)
        self.error: Exception | None = None
        self._open: dict[int, tuple[int, BinaryIO]] = {}  # partition to the next line's number and the file

    def rows(self, partition: tf.Tensor, start: tf.Tensor, stop: tf.Tensor) -> tf.data.Dataset:
        """See Reader."""
        return generated_rows(self._pieces, partition, start, stop)

    def close(self) -> None:
        """Closes the files that are not read to their end."""
        for _, file in self._open.values():
            file.close()

    def _pieces(self, partition: int, start: int, stop: int) -> Iterator[list[bytes]]:
        try:
            yield from self._read(partition, start, stop)
        except UserError as e:  # tf.data would turn it into a text of its own; the training loop raises this one
            self.error = e
            raise

    def _read(self, partition: int, start: int, stop: int) -> Iterator[list[bytes]]:
        at, file = self._open.pop(partition, (0, None))
        if file is not None and at > start:
            file.close()
        if file is None or at > start:
            at, file = 0, open_rows(self.paths[partition])
        for _ in itertools.islice(file, start - at):  # lines of windows that an earlier run has trained
            pass
        for first in range(start, stop, PIECE_ROWS):
            wanted = min(PIECE_ROWS, stop - first)
            lines = [line.rstrip(b"\n") for line in itertools.islice(file, wanted)]
            if len(lines) < wanted:
                raise UserError(
                    f"--input_files: {self.paths[partition]} has no rows [{first + len(lines)}, {stop}) any more, which were there "
                    "when their window was planned: the file was cut or replaced since. Put it back as it was, then run the same "
                    "command again.",
                    Exit.CONFIG,
                )
            yield lines
        if file.peek(1):
            self._open[partition] = (stop, file)
        else:
            file.close()
