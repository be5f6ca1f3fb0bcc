"""How a run ends: exit codes, errors meant for people, and the stop signal. Imports no TensorFlow."""

import contextlib
import dataclasses
import enum
import errno
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, NoReturn, TypeVar

T = TypeVar("T")


class Exit(enum.IntEnum):
    """Exit codes of the trainer and the tools, after BSD sysexits(3)."""

    OK = 0
    BUG = 1
    FLAGS = 64  # a flag is wrong or two contradict each other
    DATA = 65  # too many rows were rejected, or a packed file is not whole
    NO_INPUT = 66  # a file, a topic or a range of rows is missing
    UNAVAILABLE = 69  # the broker cannot be reached
    NOT_FINITE = 70  # the loss or a weight is NaN or infinite
    STEP = 71  # the train step failed: out of memory, XLA
    CANNOT_WRITE = 73  # the model folder cannot be written, or the disk is full
    TRY_AGAIN = 75  # a passing failure: the same command may work
    CREDENTIALS = 77  # log-in or TLS refused; not worth retrying
    CONFIG = 78  # the configuration contradicts the checkpoint


class UserError(Exception):
    """An error that a person can mend: what happened, what was expected, how to fix it. Printed without a traceback."""

    def __init__(self, message: str, code: Exit):
        super().__init__(message)
        self.code = code


@dataclasses.dataclass
class Activity:
    """What the training loop is doing. The loop writes it, and the thread that hears the signals reads it.

    Attributes:
      began: whether the loop has begun; before that there is nothing to finish.
      window_open: whether rows of a window were learned whose end has not come.
      waiting_since: when the loop began to wait for its next rows, time.monotonic; None while it does something else.
    """

    began: bool = False
    window_open: bool = False
    waiting_since: float | None = None


class Stop:
    """Asked to stop, and why. Thread-safe; the first reason wins.

    Attributes:
      saving: held while a checkpoint is written; see after_the_save.
      activity: what is to be finished when a stop is asked for.
      fail: where who ends the process says why.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason = ""
        self.saving = threading.Lock()
        self.activity = Activity()
        self.fail: Callable[[str], None] = lambda text: print(f"tfonline: {text}", file=sys.stderr, flush=True)

    def request(self, reason: str) -> None:
        """Asks for a stop; a later reason is ignored."""
        if not self._event.is_set():
            self.reason = reason
            self._event.set()

    def requested(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def wait(self, secs: float) -> bool:
        """Waits up to `secs` seconds; true as soon as a stop is asked for."""
        return self._event.wait(secs)

    @contextlib.contextmanager
    def after_the_save(self, most_secs: float | None = None) -> Iterator[None]:
        """For who ends the process: entered when no checkpoint is being written, or after `most_secs` (10) all the same.

        A disk that hangs would hold the process for ever. A checkpoint that is cut short is none: the next run removes it.
        """
        most_secs = _SAVE_SECS if most_secs is None else most_secs
        free = self.saving.acquire(timeout=most_secs)
        if not free:
            self.fail(
                f"the checkpoint that is being written did not come to disk within {most_secs:g} s: left unfinished. "
                "The one before it is whole."
            )
        try:
            yield
        finally:
            if free:
                self.saving.release()


_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# So long does a process that is told to end wait for the checkpoint that is being written.
_SAVE_SECS = 10.0
# After a stop was asked for, a read that has no window to finish may end by itself for so long.
_LAST_READ_SECS = 3.0
_WHAT_NEXT = "what was not saved will be read again from the last checkpoint"
# Of --drain_secs, the window's share; the rest is for the save that follows it.
DRAIN_SHARE = 0.8


def block_signals() -> None:
    """Blocks SIGTERM and SIGINT in this thread and all that it starts. Call before TensorFlow is imported.

    While a tf.data iterator waits inside C++, Python's signal handlers never run; a thread in sigwait does.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def stop_on_signals(stop: Stop, drain_secs: float, say: Callable[[str], None]) -> None:
    """Starts the thread that turns SIGTERM and Ctrl-C into a stop.

    The first asks for a stop. The process ends at once where the loop has not begun, at a second signal, and where the run has not
    ended `drain_secs` later: a read can hang inside C++, where nothing reaches it. Where no window is open, such a read gets a few
    seconds to end by itself. Each waits for a checkpoint that is being written, but not without end.
    """
    now = stop.activity

    def leave(why: str, code: int) -> NoReturn:
        with stop.after_the_save():
            say(why)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def listen() -> None:
        name = signal.Signals(signal.sigwait(_SIGNALS)).name
        stop.request(name)
        if not now.began:
            leave(f"{name}: no window has begun yet; leaving at once", Exit.OK)
        doing = "finishing the window" if now.window_open else "no window is open, ending"
        say(f"{name}: {doing}, {drain_secs:g} s at most; again to leave at once")
        began = time.monotonic()
        while (left := began + drain_secs - time.monotonic()) > 0:
            if again := signal.sigtimedwait(_SIGNALS, min(left, 0.5)):
                name = signal.Signals(again.si_signo).name
                leave(f"{name} again: leaving at once; {_WHAT_NEXT}", 128 + again.si_signo)
            since = now.waiting_since
            if since is not None and not now.window_open and time.monotonic() - max(since, began) > _LAST_READ_SECS:
                leave(f"no window is open, and the next rows do not come: leaving; {_WHAT_NEXT}", Exit.OK)
        what = (
            f"the window did not end within --drain_secs={drain_secs:g}: dropped unsaved"
            if now.window_open
            else (f"the run did not end within --drain_secs={drain_secs:g}")
        )
        leave(f"{what}; {_WHAT_NEXT}", Exit.OK)

    threading.Thread(target=listen, name="signals", daemon=True).start()


class Every:
    """A cadence: due after so many steps or so many seconds, whichever comes first.

    Args:
      steps: None or 0: not by steps.
      secs: None or 0: not by time.
      clock: seconds, monotonic.
    """

    def __init__(self, *, steps: int | None = None, secs: float | None = None, clock: Callable[[], float] = time.monotonic):
        self._steps, self._secs, self._clock = steps, secs, clock
        self._last_step, self._last_time = 0, clock()

    def due(self, step: int) -> bool:
        """Whether the cadence is due at `step`."""
        by_steps = bool(self._steps) and step - self._last_step >= self._steps
        return by_steps or self.left <= 0

    @property
    def left(self) -> float:
        """Seconds until it is due by time; infinite where it is not by time."""
        return self._secs - (self._clock() - self._last_time) if self._secs else float("inf")

    def done(self, step: int) -> None:
        """It was done at `step`: the next period begins."""
        self._last_step, self._last_time = step, self._clock()


# What flock fails with where the file system has no locks; another holder is EWOULDBLOCK.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def try_lock(file: IO, folder: str | os.PathLike) -> bool:
    """Takes an open file's lock without waiting. The kernel frees it when the file is closed, or the process ends.

    Args:
      file: the lock's file.
      folder: what the lock is for.

    Returns:
      Whether it was taken; False: another holds it.

    Raises:
      UserError: the file system has no locks (exit 73).
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as e:
        if e.errno not in _NO_LOCKS:
            raise
        raise UserError(
            f"{folder} cannot be locked: its file system has no locks ({e.strerror}), so that two processes would write there "
            "unnoticed. Use a folder on another file system, or mount this one with locks (Lustre: option flock; NFS: with its "
            "lock service).",
            Exit.CANNOT_WRITE,
        ) from e
    return True


class FolderLock:
    """Holds a folder for this process, so that two runs never write one model; the kernel frees it when the process ends.

    Raises:
      UserError: another process holds it (exit 75), or its file system has no locks (73).
    """

    def __init__(self, folder: str):
        self._file = open(os.path.join(folder, ".lock"), "w")  # noqa: SIM115 - held open for as long as the lock is
        try:
            if not try_lock(self._file, f"--model_dir={folder}"):
                raise UserError(f"another run is using --model_dir={folder}. Stop it first, or use another folder.", Exit.TRY_AGAIN)
        except BaseException:
            self._file.close()
            raise

    def release(self) -> None:
        """Frees the folder."""
        self._file.close()


def flush_to_disk(path: str | os.PathLike) -> None:
    """Waits until a file's bytes, or a folder's names, are on disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Liveness:
    """Notices that the next rows do not come: the tensorflow-io reader waits inside C++ for a broker that is away, without a word.

    Args:
      limit_secs: how long the wait for the next element may be; an idle stream gives ticks, so its elements do come.
      stuck: called with the seconds waited, from a thread, once every `limit_secs` of waiting.
      clock: seconds, monotonic.
    """

    def __init__(self, limit_secs: float, stuck: Callable[[float], None], clock: Callable[[], float] = time.monotonic):
        self._limit_secs, self._stuck, self._clock = limit_secs, stuck, clock
        self._since: float | None = None
        self._told = 0
        self._ended = threading.Event()

    def __enter__(self) -> "Liveness":
        self._ended.clear()
        threading.Thread(target=self._look, name="liveness", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """A wait that is watched."""
        self._since, self._told = self._clock(), 0
        try:
            yield
        finally:
            self._since = None

    def watch(self, elements: Iterable[T]) -> Iterator[T]:
        """The same elements, with the waits for them watched."""
        iterator = iter(elements)
        while True:
            with self.waiting():
                element = next(iterator, None)
            if element is None:
                return
            yield element

    @property
    def overdue_secs(self) -> float:
        """How long the wait for the next element has lasted, where that is longer than it may; else 0."""
        since = self._since
        waited = 0.0 if since is None else self._clock() - since
        return waited if waited >= self._limit_secs else 0.0

    def check(self) -> None:
        """Calls `stuck` if it is time; the thread does so every second."""
        since = self._since
        waited = 0.0 if since is None else self._clock() - since
        if waited >= self._limit_secs * (self._told + 1):
            self._told += 1
            self._stuck(waited)

    def _look(self) -> None:
        while not self._ended.wait(min(1.0, self._limit_secs / 4)):
            self.check()
