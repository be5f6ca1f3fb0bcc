"""Folders beside the published versions, in which a new one is written and old ones are removed: serving does not see them.

    <export_dir>/.<random>.tmp/lock       held by the process that writes there, for as long as it lives
    <export_dir>/.<random>.tmp/version    what is being written

What a process leaves that was killed is known by its free lock. Imports no TensorFlow.
"""

import contextlib
import pathlib
import shutil
import tempfile
from typing import IO

from tfonline.lifecycle import try_lock

_PREFIX, _SUFFIX, _LOCK = ".", ".tmp", "lock"


class Staging:
    """A folder beside the versions, which belongs to this process until it is removed. `make` and `abandoned` give them.

    Attributes:
      path: the folder; what is to be removed may be moved into it.
      version: where a version is written: below `path`, not there yet.
      lock: the open file whose lock says that the folder is not abandoned.
    """

    def __init__(self, path: pathlib.Path, lock: IO[bytes]):
        self.path, self.version, self.lock = path, path / "version", lock

    def remove(self) -> None:
        """Removes all that is left in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.lock.close()


def make(folder: pathlib.Path) -> Staging:
    """A new one in an export folder. Call it with the export folder's lock: without, it looks abandoned until it has its own.

    Raises:
      OSError: it cannot be made.
    """
    path = pathlib.Path(tempfile.mkdtemp(_SUFFIX, _PREFIX, folder))
    made = Staging(path, (path / _LOCK).open("wb"))
    try:
        try_lock(made.lock, path)
    except BaseException:
        made.remove()
        raise
    return made


def abandoned(folder: pathlib.Path) -> list[Staging]:
    """What killed processes have left in an export folder. Call it with the export folder's lock; removing them takes none."""
    found = []
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        try:
            lock = (path / _LOCK).open("wb")
        except (FileNotFoundError, NotADirectoryError, PermissionError):  # removed just now, or none of ours
            continue
        with contextlib.ExitStack() as unless_taken:
            unless_taken.callback(lock.close)
            if try_lock(lock, path):
                unless_taken.pop_all()
                found.append(Staging(path, lock))
    return found
