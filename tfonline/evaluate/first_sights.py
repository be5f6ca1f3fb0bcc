"""The scores of first sight, until the labels of their rows are settled. Imports no TensorFlow."""

import pathlib
from collections.abc import Iterator

import numpy as np

_SIGHT = np.dtype([("logit", "<f4"), ("label", "i1")])
_NOTHING, _NEGATIVE, _POSITIVE = 0, 1, 2
_ROWS_OF_A_FILE = 1_000_000


class FirstSights:
    """A row's logit, as the model gave it when it first saw the row, and what is known of its label since: by partition and offset.

    They lie in files of a million offsets each, 5 bytes an offset. A run that is resumed writes the same again over what the run
    before it has written behind the checkpoint, and takes again what that one has taken: files stay until they are forgotten.

    Args:
      folder: for the files.
      rows_of_a_file: offsets of each.
    """

    def __init__(self, folder: str | pathlib.Path, rows_of_a_file: int = _ROWS_OF_A_FILE):
        self._folder, self._rows = pathlib.Path(folder), rows_of_a_file
        self._files: dict[tuple[int, int], np.memmap] = {}
        self._taken: list[pathlib.Path] = []
        self._taken_at_flush: list[pathlib.Path] = []

    def add(self, partition: np.ndarray, offset: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> None:
        """Rows at their first sight, [n] each: labels are 0 or 1, as known then."""
        for file, of, places in self._by_file(partition, offset):
            file["logit"][places], file["label"][places] = logits[of], np.where(labels[of] == 1, _POSITIVE, _NEGATIVE)

    def mark(self, partition: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Rows whose outcome has come since: they are positive. Their logits of first sight, float32 [n], NaN where unknown."""
        logits = np.full(len(offset), np.nan, np.float32)
        for file, of, places in self._by_file(partition, offset):
            known = file["label"][places] != _NOTHING
            logits[of] = np.where(known, file["logit"][places], np.nan)
            file["label"][places[known]] = _POSITIVE
        return logits

    def take(self, partition: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Logits and labels, float32 [n] each, of the rows of `[start, stop)` that there were, in order. They are settled now."""
        parts = []
        for number in range(start // self._rows, -(-stop // self._rows)):
            path, first = self._path(partition, number), number * self._rows
            if path.exists():
                found = self._file(partition, number)[max(0, start - first) : stop - first]
                parts.append(np.array(found[found["label"] != _NOTHING]))
            if stop >= first + self._rows:
                self._files.pop((partition, number), None)
                self._taken.append(path)
        rows = np.concatenate(parts) if parts else np.zeros(0, _SIGHT)
        return rows["logit"].astype(np.float32), (rows["label"] == _POSITIVE).astype(np.float32)

    def flush(self) -> None:
        """Has all on disk, before a checkpoint."""
        for file in self._files.values():
            file.flush()
        self._taken_at_flush += self._taken
        self._taken = []

    def forget(self) -> None:
        """Removes the files of which all was taken before the last `flush`: there is a checkpoint that knows it."""
        for path in self._taken_at_flush:
            path.unlink(missing_ok=True)
        self._taken_at_flush = []

    def _by_file(self, partition: np.ndarray, offset: np.ndarray) -> Iterator[tuple[np.memmap, np.ndarray, np.ndarray]]:
        """The file, which of the rows are in it, and their places there."""
        number = offset // self._rows
        for p, n in {*zip(partition.tolist(), number.tolist(), strict=True)}:
            of = np.flatnonzero((partition == p) & (number == n))
            yield self._file(p, n), of, offset[of] - n * self._rows

    def _path(self, partition: int, number: int) -> pathlib.Path:
        return self._folder / f"{partition}-{number}.bin"

    def _file(self, partition: int, number: int) -> np.memmap:
        if (partition, number) not in self._files:
            path = self._path(partition, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            mode = "r+" if path.exists() and path.stat().st_size == self._rows * _SIGHT.itemsize else "w+"
            self._files[partition, number] = np.memmap(path, _SIGHT, mode, shape=(self._rows,))
        return self._files[partition, number]
