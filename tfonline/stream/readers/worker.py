"""A process of --reader_processes: reads ranges that it is asked for by a consumer of its own. Imports no TensorFlow.

    python -m tfonline.stream.readers.worker FD     FD: one of two connected sockets; ProcessReader has the other one

First comes what to read (`Source`), then what is asked for, again and again. Each answer begins with a byte that says what it is.
Secrets come this way alone, and nothing is printed.
"""

import contextlib
import json
import os
import queue
import socket
import struct
import sys
import threading
import traceback
from collections import deque
from typing import Any, NamedTuple

import numpy as np

from tfonline.companion import ignore_signals, receive, send
from tfonline.lifecycle import Stop, UserError
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.properties import without_secrets
from tfonline.stream.readers.consumer import ConsumerReader
from tfonline.stream.readers.packed import PackedRows, pack
from tfonline.stream.records import RowsGone

# What an answer is: rows; an event of librdkafka; a line for the console; an error that ends the reading.
ROWS, EVENT, SAID, ERROR = b"R", b"E", b"S", b"X"
# What an error is.
USER_ERROR, ROWS_GONE, OTHER = "UserError", "RowsGone", ""

# Ranges, `[start, stop)`, by partition; of each partition one at a time.
_Asked = queue.SimpleQueue[dict[int, tuple[int, int]]]
_Answers = queue.SimpleQueue[list[bytes | memoryview]]

# ROWS, the partition, the number of rows, where to go on; so long that the columns behind it are aligned.
_HEAD = struct.Struct("<c3xiqq")
# The first piece of all, by which the size of rows becomes known.
_FIRST_ROWS = 64


class Source(NamedTuple):
    """What to read.

    Attributes:
      servers: as KafkaTopic has it, and so are all up to `timeout_secs`; `properties` may hold secrets.
      num_partitions: that this trainer reads, by all its processes.
      piece_rows: an answer has so many at most.
      piece_bytes: and not many more bytes than these, if its rows are as large as those before.
    """

    servers: str
    topic: str
    group: str
    properties: dict[str, str]
    timeout_secs: float
    num_partitions: int
    piece_rows: int = 0
    piece_bytes: int = 0


def rows_answer(partition: int, rows: PackedRows, go_on: int) -> list[bytes | memoryview]:
    """An answer of rows, in parts. `go_on`: the offset at which what follows begins."""
    columns = (rows.offset.tobytes(), rows.time_ms.tobytes(), rows.size.tobytes())
    return [_HEAD.pack(ROWS, partition, len(rows), go_on), *columns, rows.message]


def rows_of(answer: memoryview) -> tuple[int, PackedRows, int]:
    """The partition, the rows and `go_on` of such an answer, without a copy."""
    _, partition, count, go_on = _HEAD.unpack_from(answer)
    columns, at = [], _HEAD.size
    for dtype in (np.int64, np.int64, np.int32):
        columns.append(np.frombuffer(answer, dtype, count, at))
        at += columns[-1].nbytes
    offset, time_ms, size = columns
    return partition, PackedRows(answer[at:], size, offset, time_ms), go_on


def main(fd: int) -> None:
    """Reads until the trainer has ended, in whatever way: the other end of the connection is closed then."""
    ignore_signals()
    trainer = socket.socket(fileno=fd)
    asked: _Asked = queue.SimpleQueue()
    source = Source(**json.loads(bytes(receive(trainer))))
    listening = threading.Thread(target=_listen, args=(trainer, asked), name="trainer")
    listening.start()
    # The trainer takes an answer when it wants those rows. What it wants next is read meanwhile.
    answers: _Answers = queue.SimpleQueue()
    threading.Thread(target=_answer, args=(trainer, answers), name="answers", daemon=True).start()
    try:
        _read(source, answers, asked)
    except Exception as e:
        answers.put([ERROR, json.dumps(_told(e, source.properties)).encode()])
        listening.join()


def _listen(trainer: socket.socket, asked: _Asked) -> None:
    """Takes what is asked for. Ends the process with the trainer."""
    try:
        while True:
            asked.put({partition: (start, stop) for partition, start, stop in json.loads(bytes(receive(trainer)))})
    except (EOFError, OSError):
        os._exit(0)


def _answer(trainer: socket.socket, answers: _Answers) -> None:
    """Sends what is to be sent, in order: no more than was asked for waits here."""
    with contextlib.suppress(OSError):  # the trainer has ended
        while True:
            send(trainer, answers.get())


def _read(source: Source, answers: _Answers, asked: _Asked) -> None:
    topic = KafkaTopic(
        *(source.servers, source.topic, source.group, source.properties, source.timeout_secs, Stop()),
        say=lambda text: answers.put([SAID, text.encode()]),
        heard=lambda name, text: answers.put([EVENT, json.dumps([name, text]).encode()]),
    )
    reader = ConsumerReader(topic, source.num_partitions)
    waiting: deque[int] = deque()
    most = min(_FIRST_ROWS, source.piece_rows)
    while True:
        while not waiting or not asked.empty():  # all are fetched while the first one is waited for
            ranges = asked.get()
            reader.place(ranges)
            waiting.extend(ranges)
        partition = waiting.popleft()
        rows = pack(reader.take(partition, most))
        answers.put(rows_answer(partition, rows, reader.stands_at(partition)))
        if len(rows):
            most = max(1, min(source.piece_rows, source.piece_bytes * len(rows) // max(1, len(rows.message))))


def _told(error: Exception, properties: dict[str, str]) -> dict[str, Any]:
    if isinstance(error, UserError):
        return {"kind": USER_ERROR, "text": str(error), "code": int(error.code)}
    if isinstance(error, RowsGone):
        return {"kind": ROWS_GONE, "text": str(error)}
    return {"kind": OTHER, "text": without_secrets("".join(traceback.format_exception(error)), properties)}


if __name__ == "__main__":
    main(int(sys.argv[1]))
