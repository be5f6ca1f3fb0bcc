"""Messages between two processes over a pair of connected sockets: a message's length, and then its bytes.

`multiprocessing.connection` takes seventeen times as long for a message of a megabyte, most of it with Python's lock.
"""

import socket
import struct
from collections.abc import Sequence

import numpy as np

_LENGTH = struct.Struct("<Q")


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
