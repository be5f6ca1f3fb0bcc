"""Processes for work that holds Python's lock (the GIL) for long.

orjson reads a body of 4 MB in 10 to 300 ms and holds the lock meanwhile: in a thread, too, it would keep the event loop waiting.
"""

import asyncio
import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, TypeVar

T = TypeVar("T")


class Workers:
    """Calls functions in processes of their own, which end when this one does, however that happens.

    Args:
      count: calls at the same time; others wait.
    """

    def __init__(self, count: int):
        self._threads = ThreadPoolExecutor(count, "worker")  # each waits for a process
        self._idle: queue.SimpleQueue[subprocess.Popen | None] = queue.SimpleQueue()  # None: one that has ended
        self._all = {_start() for _ in range(count)}
        for process in self._all:
            self._idle.put(process)

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """What a function of a module, which needs no TensorFlow, returns or raises.

        Raises:
          RuntimeError: the process ended meanwhile. The next call gets a new one.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._call, function, args)

    def close(self) -> None:
        """Ends the processes; a call under way fails."""
        for process in list(self._all):
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in list(self._all):
            self._end(process)

    def _call(self, function: Callable[..., T], args: tuple) -> T:
        process = self._idle.get()
        try:
            if process is None:
                process = _start()
                self._all.add(process)
            try:
                pickle.dump((function, args), process.stdin, pickle.HIGHEST_PROTOCOL)
                process.stdin.flush()
                result, error = pickle.load(process.stdout)
            except (OSError, EOFError, pickle.UnpicklingError) as e:
                code = self._end(process)
                process = None
                raise RuntimeError(f"the process that ran {function.__name__} ended with exit code {code}") from e
        finally:
            self._idle.put(process)
        if error is not None:
            raise error
        return result

    def _end(self, process: subprocess.Popen) -> int:
        process.kill()
        with contextlib.suppress(OSError):  # what was not sent
            process.stdin.close()
        process.stdout.close()
        self._all.discard(process)
        return process.wait()


def _start() -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "tfonline.serving.workers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _work(calls: BinaryIO, answers: BinaryIO) -> None:
    """In the process: calls until there are no more."""
    while True:
        try:
            function, args = pickle.load(calls)
        except EOFError:
            return
        try:
            answer = function(*args), None
        except Exception as e:  # whatever it is, it is the caller's
            answer = None, e
        pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


if __name__ == "__main__":
    # Ctrl-C and systemd tell all processes. This one ends after the server, which has requests to answer.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what something prints is no answer
    with contextlib.suppress(BrokenPipeError):
        _work(sys.stdin.buffer, out)
