"""The HTTP server: the REST interface of TensorFlow Serving for one model, health, metrics, and a page to try a row on."""

import asyncio
import contextlib
import importlib.resources
import time
from collections.abc import AsyncIterator, Callable

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tfonline.features.parse import REASONS
from tfonline.serving.batching import Batcher, Closed, Overloaded
from tfonline.serving.metrics import Metrics
from tfonline.serving.models import Model, Models
from tfonline.serving.predict import BadRequest, read_request, write_answer

# The answer's header that names the version by which it was scored.
VERSION_HEADER = "tfonline-version"
_JSON = "application/json"
_MANY_ROWS = 2000
_READ_TO = 16  # times the limit, to answer a body that is above it
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class App:
    """The routes; `asgi` is the application.

    Args:
      name: the model's, in the addresses.
      models: what is served.
      batcher: scores the requests.
      metrics: counts them.
      max_request_bytes: a larger body is refused (413).
      on_close: called when the server ends.
    """

    def __init__(
        self,
        name: str,
        models: Models,
        batcher: Batcher,
        metrics: Metrics,
        max_request_bytes: int,
        on_close: Callable[[], None] = lambda: None,
    ):
        self._name, self._models, self._batcher, self._metrics = name, models, batcher, metrics
        self._max_request_bytes = max_request_bytes
        self._page = (importlib.resources.files("tfonline.serving") / "page.html").read_bytes()

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            yield
            on_close()

        self.asgi = Starlette(
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
        body = await self._body(request)
        try:
            asked = read_request(body, model.inputs)
            outputs = await self._batcher.score(model, asked.signature, asked.inputs, asked.rows)
        except BadRequest as e:
            raise HTTPException(400, str(e)) from e
        except (Overloaded, Closed) as e:
            raise HTTPException(503, str(e), {"retry-after": "1"}) from e
        self._metrics.scored(outputs["reason"].tolist())
        # Many rows are written in a thread: others are answered meanwhile.
        many = asked.rows > _MANY_ROWS
        answer = await asyncio.to_thread(write_answer, outputs, asked.columnar) if many else write_answer(outputs, asked.columnar)
        return Response(answer, headers={VERSION_HEADER: str(model.number)}, media_type=_JSON)

    async def _body(self, request: Request) -> bytes:
        limit, chunks, size = self._max_request_bytes, [], 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > _READ_TO * limit:
                break
            if size <= limit:
                chunks.append(chunk)
        if size > limit:
            # More than the limit was read, and left: closed with unread bytes, a connection is reset, and the answer lost.
            why = f"the body has more than --max_request_bytes={limit:,}; send fewer rows"
            raise HTTPException(413, why, {"connection": "close"})
        return b"".join(chunks)

    async def _status(self, request: Request) -> Response:
        model = self._asked_for(request)
        status = {"error_code": "OK", "error_message": ""}
        return _json({"model_version_status": [{"version": str(model.number), "state": "AVAILABLE", "status": status}]})

    def _versions(self, _: Request) -> Response:  # in a thread: it reads files
        model = self._models.current
        served = {"version": model.number, "manifest": model.manifest} if model else None
        return _json({"name": self._name, "served": served, "versions": self._models.listing(), "reasons": REASONS})

    async def _health(self, _: Request) -> Response:
        model = self._models.current
        return _json({"status": "ok" if model else "no version yet", "version": model and model.number}, 200 if model else 503)

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
            raise HTTPException(503, "no version has been published yet", {"retry-after": "1"})
        if version not in (None, str(model.number)):
            raise HTTPException(404, f"version {version[:40]} is not served, version {model.number} is")
        return model


def _json(content: object, code: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), code, headers, _JSON)
