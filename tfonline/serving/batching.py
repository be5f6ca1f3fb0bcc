"""Requests to batches: what waits while a batch is scored goes into the next one together."""

import asyncio
import dataclasses
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tfonline.serving.models import Model, Models


class Overloaded(Exception):
    """More rows wait than may."""


class NotServed(Exception):
    """There is no such model or version at the moment."""


@dataclasses.dataclass
class _Request:
    signature: str
    inputs: dict[str, list]
    rows: int
    version: int | None
    answer: asyncio.Future


class Batcher:
    """Scores requests, several in one call. No request waits for others to come: a batch is what came during the one before.

    All but the scoring runs in the event loop.

    Args:
      models: whose current model scores.
      max_batch_rows: requests are joined up to so many rows; a larger one goes alone.
      max_waiting_rows: a request that would have to wait behind more than these is refused.
      threads: batches that are scored at the same time.
      scored: told the rows of each batch.
    """

    def __init__(self, models: Models, max_batch_rows: int, max_waiting_rows: int, threads: int, scored: Callable[[int], None]):
        self._models, self._max_batch_rows, self._max_waiting_rows, self._scored = models, max_batch_rows, max_waiting_rows, scored
        self._threads = ThreadPoolExecutor(threads, "score")
        self._free = threads
        self._waiting: deque[_Request] = deque()
        self.waiting_rows = 0

    async def score(
        self, signature: str, inputs: dict[str, list], rows: int, version: int | None = None
    ) -> tuple[Model, dict[str, np.ndarray]]:
        """Scores `rows` rows, see Model.score; also gives the model that did, one for the whole request.

        Args:
          signature: its name.
          inputs: as in Model.score.
          rows: how many there are.
          version: answer only by this one; None: by what is served.

        Raises:
          Overloaded: too much is waiting.
          NotServed: no version is served, or another one.
        """
        if self.waiting_rows and self.waiting_rows + rows > self._max_waiting_rows:
            raise Overloaded(f"{self.waiting_rows:,} rows are waiting, at most {self._max_waiting_rows:,} may")
        request = _Request(signature, inputs, rows, version, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        self.waiting_rows += rows
        self._begin()
        return await request.answer

    def close(self) -> None:
        """Begins nothing more."""
        self._threads.shutdown(wait=False)

    def _begin(self) -> None:
        """Hands batches to the threads that have nothing to do."""
        while self._free and self._waiting:
            batch = self._next()
            self._free -= 1
            done = asyncio.get_running_loop().run_in_executor(self._threads, self._run, batch)
            done.add_done_callback(lambda done, batch=batch: self._end(batch, done))

    def _next(self) -> list[_Request]:
        """The oldest request, and with it those of its signature that fit; the others keep their order."""
        first = self._waiting.popleft()
        batch, rows, others = [first], first.rows, deque()
        while self._waiting and rows < self._max_batch_rows:
            request = self._waiting.popleft()
            if request.signature == first.signature and rows + request.rows <= self._max_batch_rows:
                batch.append(request)
                rows += request.rows
            else:
                others.append(request)
        self._waiting.extendleft(reversed(others))
        self.waiting_rows -= rows
        return batch

    def _run(self, batch: list[_Request]) -> tuple[Model, dict[str, np.ndarray]]:
        """In a thread: one call."""
        model = self._models.current
        if model is None:
            raise NotServed("no version is there yet")
        inputs = {name: [value for r in batch for value in r.inputs[name]] for name in batch[0].inputs}
        return model, model.score(batch[0].signature, inputs)

    def _end(self, batch: list[_Request], done: asyncio.Future) -> None:
        self._free += 1
        error = done.exception()
        at = 0
        for request in batch:
            part, at = slice(at, at + request.rows), at + request.rows
            if request.answer.done():  # its client has gone
                continue
            if error:
                request.answer.set_exception(error)
                continue
            model, outputs = done.result()
            if request.version not in (None, model.number):
                request.answer.set_exception(NotServed(f"version {request.version} is not served, version {model.number} is"))
            else:
                request.answer.set_result((model, {name: output[part] for name, output in outputs.items()}))
        if not error:
            self._scored(at)
        self._begin()
