"""Second names of files: nothing is copied where the file system can give a file another name. Imports no TensorFlow."""

import errno
import os
import pathlib
import shutil

from tfonline.lifecycle import flush_to_disk

# The file system has no hard links, the names lie on two file systems, or the file has as many names as it can have.
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK}


def link_or_copy(source: str | os.PathLike, target: str | os.PathLike) -> OSError | None:
    """Gives a file a second name, or makes a copy that is on disk where that cannot be.

    Args:
      source: a file that nobody changes in place: a second name would see the change.
      target: the new name, not there yet.

    Returns:
      Why it was copied; None where it was not.

    Raises:
      OSError: neither could be done.
    """
    try:
        os.link(source, target)
    except OSError as e:
        if e.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)
        flush_to_disk(target)
        return e
    return None


def link_tree(source: pathlib.Path, target: pathlib.Path, without: str) -> None:
    """Gives all files below a folder second names below another one, not there yet, or copies them (`link_or_copy`).

    Args:
      source: the folder.
      target: the other one.
      without: the name of a file of `source` that is left out.

    Raises:
      OSError: it could not be done.
    """
    target.mkdir()
    for path in sorted(source.rglob("*")):
        to = target / path.relative_to(source)
        if path.is_dir():
            to.mkdir()
        elif path != source / without:
            link_or_copy(path, to)
