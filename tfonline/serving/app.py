"""The HTTP server: the REST interface of TensorFlow Serving for one model, health, metrics, and a page to try a row on."""

import asyncio
import contextlib
import importlib.resources
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import numpy as np
import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tfonline.formats.reasons import REASONS
from tfonline.serving.batching import Batcher, Closed, Overloaded
from tfonline.serving.connections import RETRY, SPARE
from tfonline.serving.metrics import Metrics
from tfonline.serving.models import Model, Models
from tfonline.serving.predict import BadRequest, read_request, read_serialised, write_answer
from tfonline.serving.workers import Workers

T = TypeVar("T")

# The answer's headers that name the version, and the delta after it, by which it was scored.
VERSION_HEADER, DELTA_HEADER = "tfonline-version", "tfonline-delta"
_JSON = "application/json"
# Above, a body is read and an answer written by another process: either would hold the event loop for some milliseconds.
_LARGE_BYTES, _MANY_ROWS = 100_000, 1000
# Answered whatever else is refused: who asks must know how it stands.
_ALWAYS = ("/healthz", "/metrics")
_READ_TO = 16  # times the limit, to answer a body that is above it
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

_log = logging.getLogger("tfonline.serve")


class App:
    """The routes; `asgi` is the application.

    Args:
      name: the model's, in the addresses.
      models: what is served.
      batcher: scores the requests.
      metrics: counts them.
      workers: read large bodies and write long answers.
      max_request_bytes: a larger body is refused (413).
      max_requests: a request that finds so many under way is refused (503).
      body_secs: for a body to come; a later one is refused (408).
      on_close: called when the server ends.

    Attributes:
      leaving: the server will end soon: /healthz says so, and all is answered.
    """

    def __init__(
        self,
        name: str,
        models: Models,
        batcher: Batcher,
        metrics: Metrics,
        workers: Workers,
        max_request_bytes: int,
        max_requests: int,
        body_secs: float,
        on_close: Callable[[], None] = lambda: None,
    ):
        self._name, self._models, self._batcher, self._metrics = name, models, batcher, metrics
        self._workers, self._max_request_bytes, self._body_secs = workers, max_request_bytes, body_secs
        self._max_requests, self._under_way, self.leaving = max_requests, 0, False
        self._page = (importlib.resources.files("tfonline.serving") / "page.html").read_bytes()

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            yield
            on_close()

        self._routes = Starlette(
            routes=[
                Route("/", self._index),
                Route("/healthz", self._health),
                Route("/metrics", self._metrics_text),
                Route("/versions", self._versions),
                Route("/v1/models/{name}:predict", self._predict, methods=["POST"]),
                Route("/v1/models/{name}/versions/{version}:predict", self._predict, methods=["POST"]),
                Route("/v1/models/{name}", self._status),
                Route("/v1/models/{name}/versions/{version}", self._status),
            ],
            exception_handlers={HTTPException: self._failed, Exception: self._failed},
            lifespan=lifespan,
        )

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application."""
        if scope["type"] != "http" or scope["path"] in _ALWAYS:
            await self._routes(scope, receive, send)
        elif scope["state"].get(SPARE):
            await self._refuse(scope, receive, send, "connections", "all connections are taken")
        elif self._under_way >= self._max_requests:
            _log.warning("--max_requests=%d requests are under way: others get 503", self._max_requests)
            await self._refuse(scope, receive, send, "requests", f"{self._max_requests:,} requests are under way")
        else:
            self._under_way += 1
            self._metrics.under_way.set(self._under_way)
            try:
                await self._routes(scope, receive, send)
            finally:
                self._under_way -= 1
                self._metrics.under_way.set(self._under_way)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, reason: str, why: str) -> None:
        """503, and the connection is closed; when the body has come, as nothing else may be lost with it (see _read)."""
        request, began = Request(scope, receive), time.perf_counter()
        try:
            await self._in_time(self._drop(request))
            self._metrics.refused(reason)
            response = _json({"error": why}, 503, {**RETRY, "connection": "close"})
        except HTTPException as e:
            response = await self._failed(request, e)
        except ClientDisconnect:
            return
        if scope["path"].endswith(":predict"):
            self._metrics.answered(response.status_code, time.perf_counter() - began)
        await response(scope, receive, send)

    async def _predict(self, request: Request) -> Response:
        began = time.perf_counter()
        code = 500
        try:
            response = await self._score(request)
            code = response.status_code
        except HTTPException as e:
            code = e.status_code
            raise
        except ClientDisconnect:
            code = 499  # as nginx counts it: nobody is there to read an answer
            return Response(status_code=code)
        finally:
            self._metrics.answered(code, time.perf_counter() - began)
        return response

    async def _score(self, request: Request) -> Response:
        model = self._asked_for(request)
        body = await self._in_time(self._read(request))
        try:
            if len(body) > _LARGE_BYTES:
                asked = await self._workers.call(read_serialised, body, model.inputs, model.decoding)
            else:
                asked = read_request(body, model.inputs, model.decoding)
            scored = await self._batcher.score(model, asked.signature, asked.inputs, asked.rows)
        except BadRequest as e:
            raise HTTPException(400, str(e)) from e
        except (Overloaded, Closed) as e:
            if isinstance(e, Overloaded):
                self._metrics.refused("rows")
            raise HTTPException(503, str(e), RETRY) from e
        outputs, at = scored.outputs, scored.at
        if asked.reasons:
            outputs["reason"] = np.where(asked.reasons, np.array(asked.reasons, np.int32), outputs["reason"])
        self._metrics.scored(outputs["reason"])
        whys = model.whys(asked, outputs["reason"])
        if asked.rows > _MANY_ROWS:
            answer = await self._workers.call(write_answer, outputs, asked.columnar, whys)
        else:
            answer = write_answer(outputs, asked.columnar, whys)
        return Response(answer, headers={VERSION_HEADER: str(at.version), DELTA_HEADER: at.delta}, media_type=_JSON)

    async def _in_time(self, reading: Coroutine[Any, Any, T]) -> T:
        try:
            async with asyncio.timeout(self._body_secs):
                return await reading
        except TimeoutError as e:
            self._metrics.timed_out("body")
            why = f"the body did not come within --body_timeout_secs={self._body_secs:g}"
            raise HTTPException(408, why, {"connection": "close"}) from e

    async def _drop(self, request: Request) -> None:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > _READ_TO * self._max_request_bytes:
                return

    async def _read(self, request: Request) -> bytes:
        limit, chunks, size = self._max_request_bytes, [], 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > _READ_TO * limit:
                break
            if size <= limit:
                chunks.append(chunk)
        if size > limit:
            # More than the limit was read, and left: closed with unread bytes, a connection is reset, and the answer lost.
            self._metrics.refused("body")
            why = f"the body has more than --max_request_bytes={limit:,}; send fewer rows"
            raise HTTPException(413, why, {"connection": "close"})
        return b"".join(chunks)

    async def _status(self, request: Request) -> Response:
        model = self._asked_for(request)
        status = {"error_code": "OK", "error_message": ""}
        return _json({"model_version_status": [{"version": str(model.number), "state": "AVAILABLE", "status": status}]})

    def _versions(self, _: Request) -> Response:  # in a thread: it reads files
        model, deltas = self._models.current, self._models.deltas
        served = {"version": model.number, "manifest": model.manifest, "example": model.example} if model else None
        if model:
            at, found = model.weights.at, {"problems": deltas.problems, "why": deltas.why}
            served["delta"] = {"at": at.delta, "newest_row_time": at.newest_row_time, **found}
        about = {"name": self._name, "served": served, "versions": self._models.listing(), "reasons": REASONS}
        return _json({**about, "so_far": self._metrics.so_far()})

    async def _health(self, _: Request) -> Response:
        model = self._models.current
        status = "leaving" if self.leaving else "ok" if model else "no version yet"
        return _json({"status": status, "version": model and model.number}, 200 if status == "ok" else 503)

    async def _metrics_text(self, _: Request) -> Response:
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4")

    async def _index(self, _: Request) -> Response:
        return Response(self._page, media_type="text/html", headers=_PAGE_HEADERS)

    async def _failed(self, _: Request, error: Exception) -> Response:
        """As TensorFlow Serving says it; what is not expected is logged by the server with its traceback."""
        if isinstance(error, HTTPException):
            return _json({"error": error.detail}, error.status_code, error.headers)
        return _json({"error": "internal error, see the server's log"}, 500)

    def _asked_for(self, request: Request) -> Model:
        """The model that is served now, if it is the one in the address."""
        name, version = request.path_params["name"], request.path_params.get("version")
        if name != self._name:
            raise HTTPException(404, f"there is no model {name[:40]!r}; this server has {self._name!r}")
        model = self._models.current
        if model is None:
            raise HTTPException(503, "no version has been published yet", RETRY)
        if version not in (None, str(model.number)):
            raise HTTPException(404, f"version {version[:40]} is not served, version {model.number} is")
        return model


def _json(content: object, code: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), code, headers, _JSON)
