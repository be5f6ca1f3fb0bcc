"""Deltas by hand, for small models."""

import dataclasses

import numpy as np

from tfonline.deltas.checksum import moved, row_hashes, total
from tfonline.deltas.file import Change, Header, write
from tfonline.deltas.folder import DeltaFolder, Key

HEADER = Header(
    epoch=1, number=1, from_window=5, to_window=7, step=70, rows=700, next=(300, 400), root_version=3, root_checksum="0" * 16,
    checksum="1" * 16, previous="", newest_row_time=1234.5, made=1240.25,
)  # fmt: skip


def checksum_of(variables):
    """Of variables by name."""
    return sum(total(row_hashes(name, np.asarray(values))) for name, values in variables.items()) % 2**64


class Chain:
    """Deltas of a model of few variables, one after the other from a version on.

    Args:
      folder: where to.
      variables: by name; changed with each delta.
      version: that holds them.
      epoch: of the deltas.
    """

    def __init__(self, folder, variables, version, epoch=1):
        self.folder, self.epoch, self.number, self.digest = DeltaFolder(folder), epoch, 0, ""
        self.variables, self.version, self.window = {n: np.array(v) for n, v in variables.items()}, version, 10
        self.root = self.checksum = checksum_of(self.variables)

    def make(self, changed, key=None, **header):
        """The next delta: `changed` has by name a new value, or (rows, values)."""
        changes, before, after = {}, 0, 0
        for name, new in changed.items():
            rows, values = new if isinstance(new, tuple) else (None, new)
            rows, values = rows if rows is None else np.array(rows), np.asarray(values, self.variables[name].dtype)
            at = ... if rows is None else rows
            changes[name] = Change(values, rows, self.variables[name].shape)
            before += total(row_hashes(name, self.variables[name][at], rows))
            self.variables[name][at] = values
            after += total(row_hashes(name, values, rows))
        self.checksum, self.number = moved(self.checksum, before, after), self.number + 1
        header = dataclasses.replace(
            HEADER,
            **{
                "epoch": self.epoch,
                "number": self.number,
                "from_window": self.window,
                "to_window": self.window + 1,
                "root_version": self.version,
                "root_checksum": f"{self.root:016x}",
                "checksum": f"{self.checksum:016x}",
                "previous": self.digest,
                **header,
            },
        )
        self.window += 1
        self.folder.path.mkdir(exist_ok=True)
        key = key or Key(self.epoch, self.number)
        self.digest, _ = write(self.folder.file(key), header, changes)
        return self.folder.file(key)

    @property
    def state(self):
        """As a manifest has it."""
        return {"checksum": f"{self.checksum:016x}", "epoch": self.epoch if self.number else 0, "number": self.number}
