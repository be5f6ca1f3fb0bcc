"""Requests to batches: what waits while a batch is scored goes into the next one together."""

import asyncio
import dataclasses
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tfonline.serving.models import Model, Scored


class Overloaded(Exception):
    """More rows wait than may."""


class Closed(Exception):
    """The server is ending."""


@dataclasses.dataclass
class _Request:
    model: Model
    signature: str
    inputs: dict[str, list | bytes]
    rows: int
    answer: asyncio.Future


class Batcher:
    """Scores requests, several in one call. No request waits for others to come: a batch is what came during the one before.

    All but the scoring runs in the event loop.

    Args:
      max_batch_rows: requests are joined up to so many rows; a larger one goes alone.
      max_waiting_rows: a request that would have to wait behind more than these is refused.
      threads: batches that are scored at the same time.
      scored: told the rows of each batch.
    """

    def __init__(self, max_batch_rows: int, max_waiting_rows: int, threads: int, scored: Callable[[int], None]):
        self._max_batch_rows, self._max_waiting_rows, self._scored = max_batch_rows, max_waiting_rows, scored
        self._threads = ThreadPoolExecutor(threads, "score")
        self._free = threads
        self._waiting: deque[_Request] = deque()
        self.waiting_rows = 0

    async def score(self, model: Model, signature: str, inputs: dict[str, list | bytes], rows: int) -> Scored:
        """Scores `rows` rows, see Model.score.

        Args:
          model: by which; whatever becomes of it meanwhile.
          signature: its name.
          inputs: as in Model.score. Serialised ones are scored alone.
          rows: how many there are.

        Raises:
          Overloaded: too much is waiting, or would be with this request alone.
          Closed: the server is ending.
        """
        if self.waiting_rows + rows > self._max_waiting_rows:
            raise Overloaded(f"{self.waiting_rows:,} rows are waiting; {rows:,} more are above {self._max_waiting_rows:,}")
        request = _Request(model, signature, inputs, rows, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        self.waiting_rows += rows
        self._begin()
        return await request.answer

    def close(self) -> None:
        """Begins nothing more; what waits is told."""
        waiting, self._waiting = self._waiting, deque()
        for request in waiting:
            if not request.answer.done():
                request.answer.set_exception(Closed("the server is ending"))
        self._threads.shutdown(wait=False)

    def _begin(self) -> None:
        """Hands batches to the threads that have nothing to do."""
        while self._free and self._waiting:
            batch = self._next()
            self._free -= 1
            done = asyncio.get_running_loop().run_in_executor(self._threads, self._run, batch)
            done.add_done_callback(lambda done, batch=batch: self._end(batch, done))

    def _next(self) -> list[_Request]:
        """The oldest request, and with it those of its model and signature that fit; the others keep their order."""
        first = self._waiting.popleft()
        batch, rows, others = [first], first.rows, deque()
        while self._waiting and rows < self._max_batch_rows and not _serialised(first):
            request = self._waiting.popleft()
            alike = request.model is first.model and request.signature == first.signature and not _serialised(request)
            if alike and rows + request.rows <= self._max_batch_rows:
                batch.append(request)
                rows += request.rows
            else:
                others.append(request)
        self._waiting.extendleft(reversed(others))
        self.waiting_rows -= rows
        return batch

    def _run(self, batch: list[_Request]) -> Scored:
        """In a thread: one call."""
        inputs = batch[0].inputs
        if len(batch) > 1:
            inputs = {name: [value for r in batch for value in r.inputs[name]] for name in inputs}
        return batch[0].model.score(batch[0].signature, inputs)

    def _end(self, batch: list[_Request], done: asyncio.Future) -> None:
        self._free += 1
        error, at = done.exception(), 0
        for request in batch:
            part, at = slice(at, at + request.rows), at + request.rows
            if request.answer.done():  # its client has gone
                continue
            if error:
                request.answer.set_exception(error)
            else:
                scored = done.result()
                request.answer.set_result(Scored({name: output[part] for name, output in scored.outputs.items()}, scored.at))
        if not error:
            self._scored(at)
        self._begin()


def _serialised(request: _Request) -> bool:
    return any(isinstance(values, bytes) for values in request.inputs.values())
