"""When Python's garbage collector runs: not while a run begins, and later never over what it began with. Imports no TensorFlow.

Loading TensorFlow makes half a million objects that stay for good. The collector would look through all of them several times
before the first step, which takes half a second, and now and then while rows are learned from: for 0.2 s each time.
"""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def not_at_first() -> Iterator[None]:
    """No collection until `collect_from_now_on`. At the end all is as it was before."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()


def keep() -> None:
    """What is there now stays: no collection looks at it."""
    gc.freeze()


def collect_from_now_on() -> None:
    """Frees what is garbage by now. The rest stays, and collections look at what comes after it."""
    gc.collect()
    gc.freeze()
    gc.enable()
