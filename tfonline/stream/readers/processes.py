"""Rows of a Kafka topic, read by several processes for one trainer: Python's lock lets one read some 0.3 million rows a second.

Each process (worker.py) has a consumer of its own for a group of the partitions. The order of rows is made in the trainer, as ever.
What a process sends is received by a thread of its own here: the system copies it without Python's lock.
"""

import json
import queue
import socket
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping

from tfonline.companion import Companion, end_all, receive, send
from tfonline.lifecycle import Exit, UserError
from tfonline.stream.broker_errors import ClientEvents
from tfonline.stream.readers import worker
from tfonline.stream.readers.packed import PackedRows, join
from tfonline.stream.records import RowsGone

# Rows and bytes that are asked for at once: of each partition one such piece may be here while the next one is made. Fewer where
# there are many partitions.
_PIECE_ROWS, _LEAST_PIECE_ROWS, _PIECES_ROWS = 4096, 512, 262_144
_PIECE_BYTES, _LEAST_PIECE_BYTES, _PIECES_BYTES = 1 << 21, 1 << 18, 1 << 27


class ProcessReader:
    """A RowReader of a topic. A process is started when a partition of its own is first read.

    Args:
      source: what to read; its `piece_rows` and `piece_bytes` are made here.
      num_processes: at most so many are started.
      num_workers: of the cluster, which share the partitions by number.
      events: of the topic: those of the processes' consumers are added.
      say: told what the processes say.

    Attributes:
      error: what failed under a read, if anything did.
    """

    most_partitions = 0  # any number

    def __init__(
        self,
        source: worker.Source,
        num_processes: int,
        num_workers: int,
        events: ClientEvents,
        say: Callable[[str], None],
    ):
        self.error: Exception | None = None
        many = max(1, source.num_partitions)
        piece_rows = max(_LEAST_PIECE_ROWS, min(_PIECE_ROWS, _PIECES_ROWS // many))
        piece_bytes = max(_LEAST_PIECE_BYTES, min(_PIECE_BYTES, _PIECES_BYTES // many))
        self._source = source._replace(piece_rows=piece_rows, piece_bytes=piece_bytes)
        self._num_processes, self._num_workers = num_processes, num_workers
        self._events, self._say = events, say
        self._processes: dict[int, Companion] = {}
        self._answers: dict[int, queue.SimpleQueue[memoryview | None]] = {}  # of each process; None: there are no more
        self._ranges: dict[int, _Range] = {}
        self._closed, self._starting = False, threading.Lock()
        weakref.finalize(self, end_all, self._processes.values())

    def place(self, ranges: Mapping[int, tuple[int, int]]) -> None:
        """See RowReader. The first rows of all ranges are asked for at once."""
        for partition, before in self._ranges.items():
            while before.asked:  # by somebody who did not take all
                self._receive(self._number(partition))
        self._ranges = {p: _Range(start, stop) for p, (start, stop) in ranges.items()}
        self._ask([p for p, r in self._ranges.items() if r.next < r.stop])

    def take(self, partition: int, most: int) -> PackedRows:
        """See RowReader.

        Raises:
          RowsGone: retention has removed the next row.
          UserError: the topic is gone, or the account may not read it; or a process was ended (exit 75).
          InterruptedError: the reader was closed.
        """
        at, taken, left = self._ranges[partition], [], most
        while left and (at.held or at.asked):
            if not at.held:
                self._receive(self._number(partition))
                continue
            rows = at.held.popleft()
            taken.append(rows.part(0, left))
            if len(rows) > left:
                at.held.appendleft(rows.part(left, len(rows)))
            left -= len(taken[-1])
            if at.next < at.stop and not at.asked and len(at.held) <= 1:
                self._ask([partition])
        return join(taken)

    def close(self) -> None:
        """Ends a wait for rows, in whatever thread it is, and the processes: they hold nothing that counts."""
        with self._starting:
            self._closed = True
            end_all(self._processes.values())

    def _ask(self, partitions: list[int]) -> None:
        asked: dict[int, list[tuple[int, int, int]]] = {}
        for partition in partitions:
            at = self._ranges[partition]
            at.asked = True
            asked.setdefault(self._number(partition), []).append((partition, at.next, at.stop))
        for number, ranges in asked.items():
            process = self._started(number)
            try:
                send(process.connection, [json.dumps(ranges).encode()])
            except OSError:
                raise self._ended(process) from None

    def _number(self, partition: int) -> int:
        # A worker of a cluster has the partitions of its number modulo their number: dealt out by that, they would share processes.
        return partition // self._num_workers % self._num_processes

    def _started(self, number: int) -> Companion:
        with self._starting:
            if self._closed:
                raise InterruptedError("the reader was closed")
            if number not in self._processes:
                self._processes[number] = process = Companion(worker.__name__, f"--reader_processes={self._num_processes}")
                self._answers[number] = queue.SimpleQueue()
                send(process.connection, [json.dumps(self._source._asdict()).encode()])
                receiving = (process.connection, self._answers[number])
                threading.Thread(target=_receive_all, args=receiving, name=f"reader {number}", daemon=True).start()
            return self._processes[number]

    def _receive(self, number: int) -> None:
        """Takes one answer of a process; waits for it."""
        answer = self._answers[number].get()
        if answer is None:
            self._answers[number].put(None)  # for whoever asks once more
            raise self._ended(self._processes[number])
        kind = bytes(answer[:1])
        if kind == worker.ROWS:
            partition, rows, go_on = worker.rows_of(answer)
            self._ranges[partition].add(rows, go_on)
        elif kind == worker.EVENT:
            self._events.add(*json.loads(bytes(answer[1:])))
        elif kind == worker.SAID:
            self._say(bytes(answer[1:]).decode())
        else:
            raise _error(**json.loads(bytes(answer[1:])))

    def _ended(self, process: Companion) -> Exception:
        return InterruptedError("the reader was closed") if self._closed else process.ended()


class _Range:
    """What is read of a partition: where the next piece begins, whether it was asked for, and the rows that nobody has taken."""

    __slots__ = ("asked", "held", "next", "stop")

    def __init__(self, start: int, stop: int):
        self.next, self.stop, self.asked = start, stop, False
        self.held: deque[PackedRows] = deque()

    def add(self, rows: PackedRows, go_on: int) -> None:
        """A piece has come; the next one begins at offset `go_on`."""
        self.asked, self.next = False, go_on
        if len(rows):
            self.held.append(rows)


def _receive_all(connection: socket.socket, answers: "queue.SimpleQueue[memoryview | None]") -> None:
    """Receives what a process answers, until it ends; no more than was asked for waits here."""
    try:
        while True:
            answers.put(receive(connection))
    except (EOFError, OSError):
        answers.put(None)


def _error(kind: str, text: str, code: int = 0) -> Exception:
    if kind == worker.USER_ERROR:
        return UserError(text, Exit(code))
    return RowsGone(text) if kind == worker.ROWS_GONE else RuntimeError(f"a process of --reader_processes failed: {text}")
