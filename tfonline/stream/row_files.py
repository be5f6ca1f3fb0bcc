"""Files of rows: which ones are meant, and the one place where trainer and tools open them. Imports no TensorFlow."""

import glob
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterable

from tfonline.lifecycle import Exit, UserError

_BLOCK_BYTES = 256 * 1024


def find_files(patterns: Iterable[str]) -> list[str]:
    """The files that names and globs mean, each once: patterns in their order, a glob's files by number (day_2 before day_10).

    Raises:
      UserError: a pattern means no file (exit 66).
    """
    found = []
    for pattern in patterns:
        # A name with a bracket in it is a name when such a file is there.
        names = [pattern] if os.path.isfile(pattern) else filter(os.path.isfile, glob.glob(pattern))
        in_order = sorted(names, key=lambda name: (re.sub("[0-9]+", lambda number: number[0].zfill(20), name), name))
        if not in_order:
            raise UserError(
                f"{pattern} is no file, and no file matches it. Expected files of rows, plain or .gz, or a quoted glob.",
                Exit.NO_INPUT,
            )
        found += in_order
    return list(dict.fromkeys(found))


def open_rows(path: str) -> "RowFile":
    """Opens a file of rows to read its bytes; a name that ends in .gz means gzip. Close it, or use it in a `with`.

    Raises:
      UserError: it is missing, a folder or not readable (exit 66), or its name ends in .gz and it is not gzip (65). Each read
        may raise it, too: a packed file that was cut short or is corrupt shows that only there (65).
    """
    return RowFile(_Unpacked(path))


class RowFile(io.BufferedReader):
    """An open file of rows. `open_rows` makes it."""

    def __init__(self, unpacked: "_Unpacked"):
        super().__init__(unpacked, _BLOCK_BYTES)

    @property
    def disk_bytes(self) -> int:
        """How much of the file has been read so far, in bytes as they lie on disk: for a progress bar."""
        return self.raw.disk_bytes


class _Unpacked(io.RawIOBase):
    """The bytes of a file after unpacking. What goes wrong in a read is a UserError that names the file and the place."""

    def __init__(self, path: str):
        self._path, self._given = path, 0
        self._disk = self._file = None  # so that `close` finds them where opening fails
        try:
            self._disk = self._file = open(path, "rb")  # noqa: SIM115 - `close` closes it
            if path.endswith(".gz"):
                # Asked before the first row is used: a plain file with this name is a mistake in the name.
                if not self._disk.peek(1).startswith(b"\x1f"):
                    raise UserError(
                        f"{path} is no whole gzip file: it does not begin as one. Fetch it again; if it holds plain text, take "
                        ".gz off its name.",
                        Exit.DATA,
                    )
                self._file = gzip.GzipFile(fileobj=self._disk)
        except OSError as e:
            self.close()
            raise UserError(f"{path} cannot be read ({e.strerror}). Expected a file of rows, plain or .gz.", Exit.NO_INPUT) from e
        except UserError:
            self.close()
            raise

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        """As io.RawIOBase; gives what is there, so that rows of a slow pipe are not held back."""
        try:
            data = self._file.read1(len(buffer))
        except (gzip.BadGzipFile, EOFError, zlib.error) as e:
            raise UserError(
                f"{self._path} is no whole gzip file: {e}, after {self._given:,} bytes of rows. Fetch it again, or leave it out.",
                Exit.DATA,
            ) from e
        except OSError as e:
            raise UserError(
                f"{self._path} cannot be read ({e.strerror}), after {self._given:,} bytes of rows. Look at the disk or the network "
                "that it lies on.",
                Exit.NO_INPUT,
            ) from e
        buffer[: len(data)] = data
        self._given += len(data)
        return len(data)

    @property
    def disk_bytes(self) -> int:
        return self._disk.tell()

    def close(self) -> None:
        for file in (self._file, self._disk):
            if file is not None:
                file.close()
        super().close()
