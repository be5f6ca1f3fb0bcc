"""How a run ends: exit codes, errors meant for people, and the stop signal. Imports no TensorFlow."""

import contextlib
import enum
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

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
    CANNOT_WRITE = 73  # the model folder cannot be written, or the disk is full
    TRY_AGAIN = 75  # a passing failure: the same command may work
    CREDENTIALS = 77  # log-in or TLS refused; not worth retrying
    CONFIG = 78  # the configuration contradicts the checkpoint


class UserError(Exception):
    """An error that a person can mend: what happened, what was expected, how to fix it. Printed without a traceback."""

    def __init__(self, message: str, code: Exit):
        super().__init__(message)
        self.code = code


class Stop:
    """Asked to stop, and why. Thread-safe; the first reason wins.

    Attributes:
      saving: held while a checkpoint is written, so that a forced exit never tears one.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self.reason = ""
        self.saving = threading.Lock()

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


_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Of --drain_secs, the window's share; the rest is for the save that follows it.
DRAIN_SHARE = 0.8


def block_signals() -> None:
    """Blocks SIGTERM and SIGINT in this thread and all that it starts. Call before TensorFlow is imported.

    While a tf.data iterator waits inside C++, Python's signal handlers never run; a thread in sigwait does.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def stop_on_signals(stop: Stop, drain_secs: float, say: Callable[[str], None]) -> None:
    """Starts the thread that turns SIGTERM and Ctrl-C into a stop.

    The first asks for a stop. The second ends the process at once, as does a run that has not ended `drain_secs` later (a
    read can hang inside C++, where nothing reaches it). Neither cuts a checkpoint short.
    """

    def listen() -> None:
        name = signal.Signals(signal.sigwait(_SIGNALS)).name
        stop.request(name)
        say(f"{name}: finishing the window, {drain_secs:g} s at most; again to leave at once")
        again = signal.sigtimedwait(_SIGNALS, drain_secs)
        with stop.saving:
            if again is None:
                say(
                    f"the window did not end within --drain_secs={drain_secs:g}: dropped unsaved; "
                    "it will be read again from the last checkpoint"
                )
            else:
                say(
                    f"{signal.Signals(again.si_signo).name} again: leaving at once; the window will be read again from "
                    "the last checkpoint"
                )
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(Exit.OK if again is None else 128 + again.si_signo)

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
        return by_steps or (bool(self._secs) and self._clock() - self._last_time >= self._secs)

    def done(self, step: int) -> None:
        """It was done at `step`: the next period begins."""
        self._last_step, self._last_time = step, self._clock()


class FolderLock:
    """Holds a folder for this process, so that two runs never write one model; the kernel frees it when the process ends.

    Raises:
      UserError: another process holds it (exit 75).
    """

    def __init__(self, folder: str):
        self._file = open(os.path.join(folder, ".lock"), "w")  # noqa: SIM115 - held open for as long as the lock is
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            self._file.close()
            raise UserError(
                f"another run is using --model_dir={folder}. Stop it first, or use another folder.", Exit.TRY_AGAIN
            ) from e

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
        threading.Thread(target=self._watch, name="liveness", daemon=True).start()
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

    def follow(self, elements: Iterable[T]) -> Iterator[T]:
        """The same elements, with the waits for them watched."""
        iterator = iter(elements)
        while True:
            with self.waiting():
                element = next(iterator, None)
            if element is None:
                return
            yield element

    def check(self) -> None:
        """Calls `stuck` if it is time; the thread does so every second."""
        since = self._since
        waited = 0.0 if since is None else self._clock() - since
        if waited >= self._limit_secs * (self._told + 1):
            self._told += 1
            self._stuck(waited)

    def _watch(self) -> None:
        while not self._ended.wait(min(1.0, self._limit_secs / 4)):
            self.check()
