"""A process that works for this one, and what passes between them. Imports no TensorFlow.

They talk over a pair of connected sockets: of each message its length comes first, and then its bytes. `multiprocessing.connection`
takes seventeen times as long for a message of a megabyte, most of it with Python's lock.
"""

import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Sequence

import numpy as np

from tfonline.lifecycle import Exit, UserError

_LENGTH = struct.Struct("<Q")
# A process whose connection has ended has ended itself, or does so now.
_END_SECS = 5.0


def send(to: socket.socket, parts: Sequence[bytes | memoryview]) -> None:
    """Sends the parts as one message.

    Raises:
      OSError: the other side has ended.
    """
    to.sendall(_LENGTH.pack(sum(map(len, parts))))
    to.sendall(b"".join(parts))


def receive(source: socket.socket) -> memoryview:
    """The next message; waits for it.

    Raises:
      EOFError, OSError: the other side has ended.
    """
    [length] = _LENGTH.unpack(_exactly(source, _LENGTH.size))
    return _exactly(source, length)


def _exactly(source: socket.socket, length: int) -> memoryview:
    content = memoryview(np.empty(length, np.uint8))  # bytearray would write zeros first
    at = 0
    while at < length:
        # One call of the kernel's for all of it, and meanwhile without Python's lock.
        count = source.recv_into(content[at:], length - at, socket.MSG_WAITALL)
        if not count:
            raise EOFError
        at += count
    return content


class Companion:
    """A process that runs a module of this package, and this end of the connection with it. It ends with this process.

    Args:
      module: its name; it gets the number of the open file that is its end, as its argument. It calls `ignore_signals` first.
      flag: which asked for it, with its value, for the words of an error.
    """

    def __init__(self, module: str, flag: str):
        self._flag = flag
        self.connection, other = socket.socketpair()
        # Not through multiprocessing: it would run the trainer's main module there once more, and wait for the process at the end.
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(other.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[other.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        other.close()  # so that this end is told when the process ends

    def ended(self) -> UserError:
        """The error where its connection has ended, and nobody here has ended it."""
        code = self.process.wait(_END_SECS)
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return UserError(
            f"a process of {self._flag} was {how} (process {self.process.pid}). What was not saved will be read again: start "
            "again. Where memory ran out (SIGKILL), use fewer processes.",
            Exit.TRY_AGAIN,
        )

    def end(self) -> None:
        """Ends it: it holds nothing that counts. Whoever waits for it here is told that its connection has ended."""
        self.process.kill()
        self.process.wait()
        self.connection.close()


def end_all(processes: Iterable[Companion]) -> None:
    """Ends each of them."""
    for process in processes:
        process.end()


def ignore_signals() -> None:
    """In such a process: the trainer is told to stop, and goes on to need it until it ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
