"""A path that TensorFlow does not take for a pattern."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def plain_path(path: str | os.PathLike) -> Iterator[str]:
    """Another path of the same file, without [ ] * ? and backslashes, for as long as the context lasts.

    Args:
      path: of a checkpoint or a folder. Its own name must be plain; the names of the folders above it need not be.
    """
    folder, name = os.path.split(path)
    descriptor = os.open(folder or ".", os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)
