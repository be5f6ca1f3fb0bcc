"""Rows from files: a partition is a file, a row a line or a row of Parquet, its offset the number of it."""

from collections.abc import Iterator, Sequence

import tensorflow as tf

from tfonline.lifecycle import Exit, UserError
from tfonline.stream.messages import Messages, Wanted, open_messages
from tfonline.stream.readers.generated import PIECE_ROWS, generated_rows


class FileReader:
    """Reads files. Windows are read one after the other, so each file is read once from its beginning.

    The header of a file is an offset without a row.

    Args:
      paths: the files, in the order of their partitions.
      wanted: what is to be made of their rows.

    Attributes:
      paths: as above; read from whenever a window begins, so that another order may be given before the first one.
      wanted: as above.
      error: what failed in Python under a read, if anything did: a file that was taken away or cut since the start.
    """

    def __init__(self, paths: Sequence[str], wanted: Wanted = Wanted()):  # noqa: B008 - a tuple that nothing changes
        self.paths, self.wanted = list(paths), wanted
        self.error: Exception | None = None
        self._open: dict[int, tuple[int, Messages]] = {}  # partition to the next offset and the file

    def rows(self, partition: tf.Tensor, start: tf.Tensor, stop: tf.Tensor) -> tf.data.Dataset:
        """See Reader."""
        return generated_rows(self._pieces, partition, start, stop)

    def close(self) -> None:
        """Closes the files that are not read to their end."""
        for _, file in self._open.values():
            file.close()

    def _pieces(self, partition: int, start: int, stop: int) -> Iterator[tuple[int, list[bytes]]]:
        try:
            yield from self._read(partition, start, stop)
        except UserError as e:  # tf.data would turn it into a text of its own; the training loop raises this one
            self.error = e
            raise

    def _read(self, partition: int, start: int, stop: int) -> Iterator[tuple[int, list[bytes]]]:
        at, file = self._open.pop(partition, (0, None))
        if file is not None and at != start:
            file.close()
        if file is None or at != start:
            file = open_messages(self.paths[partition], self.wanted, start)
        for first in range(start, stop, PIECE_ROWS):
            wanted = min(PIECE_ROWS, stop - first)
            messages = file.take(wanted)
            if len(messages) < wanted:
                raise UserError(
                    f"--input_files: {self.paths[partition]} has no rows [{first + len(messages)}, {stop}) any more, which were "
                    "there when their window was planned: the file was cut or replaced since. Put it back as it was, then run the "
                    "same command again.",
                    Exit.CONFIG,
                )
            is_header = first == 0 and file.header
            yield first + is_header, messages[is_header:]
        if file.at_end:
            file.close()
        else:
            self._open[partition] = (stop, file)
