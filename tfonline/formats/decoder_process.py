"""A process of --decoder_processes: decodes messages for a trainer. Imports no TensorFlow.

    python -m tfonline.formats.decoder_process FD     FD: one of two connected sockets; Decoders has the other one

It is asked by two messages, `(about, task, sizes)` and what is to be decoded, and answers `(made, said)`. `about` describes the
format, where that is new, see Format.about; `task` is what Decoders.decode gets.
"""

import functools
import itertools
import os
import pickle
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

from tfonline.companion import ignore_signals, receive, send

if TYPE_CHECKING:
    from tfonline.formats import Format

_COUNT = struct.Struct("<Q")


def parts_of(data: Any) -> list[bytes | memoryview]:
    """Plain data and arrays as the parts of a message; the arrays are not copied for it."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(data, protocol=5, buffer_callback=buffers.append)
    parts = [head, *(buffer.raw() for buffer in buffers)]
    return [_COUNT.pack(len(parts)), *(_COUNT.pack(len(part)) for part in parts), *parts]


def whole(message: memoryview) -> Any:
    """The data of such a message. Its arrays are parts of the message."""
    [count] = _COUNT.unpack_from(message)
    sizes = [size for (size,) in _COUNT.iter_unpack(message[_COUNT.size : _COUNT.size * (count + 1)])]
    stops = list(itertools.accumulate(sizes, initial=_COUNT.size * (count + 1)))
    head, *buffers = [message[start:stop] for start, stop in itertools.pairwise(stops)]
    return pickle.loads(head, buffers=buffers)


def main(fd: int) -> None:
    """Decodes until the trainer has ended, in whatever way: the other end of the connection is closed then."""
    ignore_signals()
    trainer = socket.socket(fileno=fd)
    said: list[str] = []
    form = None
    try:
        while True:
            about, task, sizes = whole(receive(trainer))
            content = bytes(receive(trainer))
            form = _format(pickle.loads(about), said) if about else form
            work, given = _task(task)
            try:
                made = work(form, sizes, content, *given)
            except Exception:  # the trainer does it again, and says what is wrong
                made = None
            send(trainer, parts_of((made, said)))
            said.clear()
    except (EOFError, OSError):
        os._exit(0)


_task = functools.lru_cache(maxsize=8)(pickle.loads)


def _format(about: dict[str, Any], said: list[str]) -> "Format":
    from tfonline import formats
    from tfonline.formats.schemas import Schemas

    if "schemas" in about:
        # A schema that is not known here is for the trainer to ask for: its messages are not refused.
        about = {**about, "schemas": Schemas(about["schemas"], needed=True, say=said.append)}
    return formats.of(about)


if __name__ == "__main__":
    main(int(sys.argv[1]))
