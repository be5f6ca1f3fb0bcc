"""Folders that flags name: made, or found out beforehand to be such as can be made and written. Imports no TensorFlow."""

import contextlib
import os
import pathlib
import tempfile

from tfonline.lifecycle import Exit, UserError


def make(path: str, flag: str) -> None:
    """Makes a folder, and those above it, where it is not there.

    Args:
      path: of the folder.
      flag: that names it, for the error.

    Raises:
      UserError: it cannot be made (exit 73).
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as e:
        raise _refused(path, flag, e) from e


def check(path: str, flag: str) -> None:
    """Finds out by trying whether a folder can be made and written, and leaves everything as it was.

    What rights and file systems say beforehand is not enough: root may write into /proc, and yet nothing can be made there.

    Args:
      path: of the folder.
      flag: that names it, for the error.

    Raises:
      UserError: it cannot be made or written (exit 73).
    """
    folder = pathlib.Path(path)
    missing = [f for f in (folder, *folder.parents) if not os.path.exists(f)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as e:
        raise _refused(path, flag, e) from e
    finally:
        for made in missing:  # the deepest first
            with contextlib.suppress(OSError):  # never made, or somebody has put something there meanwhile
                made.rmdir()


def _refused(path: str, flag: str, error: OSError) -> UserError:
    return UserError(f"{flag}={path} cannot be made or written ({error.strerror}). Give a folder that can be.", Exit.CANNOT_WRITE)
