"""When Python's garbage collector runs, and when free memory goes back to the system. Imports no TensorFlow.

The collector does not run while a run begins, and later never looks at what it began with.

Loading TensorFlow makes half a million objects that stay for good. The collector would look through all of them several times
before the first step, which takes half a second, and now and then while rows are learned from: for 0.2 s each time.

A model that is loaded or written makes a hundred megabytes that live for a second. The C library keeps such memory for later, in
each thread's share of it, and has new large blocks between old small ones: so a process grows for days that publishes every minute.
It grows less where all threads have two shares between them, and not eight a core.
"""

import contextlib
import ctypes
import gc
import os
from collections.abc import Iterator

# glibc's mallopt(3): how many shares of memory ("arenas") there may be. Who has said it in the environment is not overruled.
_M_ARENA_MAX, _ARENAS, _SAID_BY = -8, 2, ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")


def few_shares() -> None:
    """All threads that begin from here on have two shares of memory between them; with another C library nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt and not any(name in os.environ for name in _SAID_BY):
        mallopt(_M_ARENA_MAX, _ARENAS)


@contextlib.contextmanager
def not_at_first() -> Iterator[None]:
    """No collection until `collect_from_now_on`. At the end all is as it was before.

    But where the caller has put objects aside by gc.freeze(), these stay there, and what is put aside here stays with them.
    """
    enabled, aside = gc.isenabled(), gc.get_freeze_count()
    gc.disable()
    try:
        yield
    finally:
        if not aside:
            gc.unfreeze()
        if enabled:
            gc.enable()


def keep() -> None:
    """What is there now stays: no collection looks at it."""
    gc.freeze()


def collect_from_now_on() -> None:
    """Frees what is garbage by now. The rest stays, and collections look at what comes after it."""
    give_back()
    gc.freeze()
    gc.enable()


def give_back() -> None:
    """Frees what is garbage, and gives free memory back to the system; in any thread, after work that took much of it.

    It takes some ten milliseconds. With another C library than glibc, which has no malloc_trim, memory is only freed.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
