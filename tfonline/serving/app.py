"""The HTTP server: the REST interface of TensorFlow Serving for one model, health, metrics, and a page to try a row on."""

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
from tfonline.serving.batching import Batcher, NotServed, Overloaded
from tfonline.serving.metrics import Metrics
from tfonline.serving.models import Model, Models
from tfonline.serving.predict import BadRequest, read_request, write_answer

# The answer's header that names the version by which it was scored.
VERSION_HEADER = "tfonline-version"
_JSON = "application/json"
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
                Route("/v1/models/{name}/versions/{version:int}:predict", self._predict, methods=["POST"]),
                Route("/v1/models/{name}", self._status),
                Route("/v1/models/{name}/versions/{version:int}", self._status),
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
        self._check_name(request)
        body = await self._body(request)
        try:
            asked = read_request(body, self._served().inputs)
            version = request.path_params.get("version")
            model, outputs = await self._batcher.score(asked.signature, asked.inputs, asked.rows, version)
        except BadRequest as e:
            raise HTTPException(400, str(e)) from e
        except NotServed as e:
            raise HTTPException(404, str(e)) from e
        except Overloaded as e:
            raise HTTPException(503, str(e), {"retry-after": "1"}) from e
        self._metrics.scored(outputs["reason"].tolist())
        headers = {VERSION_HEADER: str(model.number)}
        return Response(write_answer(outputs, asked.columnar), headers=headers, media_type=_JSON)

    async def _body(self, request: Request) -> bytes:
        limit, chunks, size = self._max_request_bytes, [], 0
        length = request.headers.get("content-length", "")
        too_large = length.isdecimal() and int(length) > limit
        if not too_large:
            async for chunk in request.stream():
                chunks.append(chunk)
                size += len(chunk)
                if too_large := size > limit:
                    break
        if too_large:
            # Closed: what the client goes on sending is not read.
            why = f"the body has more than --max_request_bytes={limit:,}; send fewer rows"
            raise HTTPException(413, why, {"connection": "close"})
        return b"".join(chunks)

    async def _status(self, request: Request) -> Response:
        self._check_name(request)
        model, version = self._served(), request.path_params.get("version")
        if version not in (None, model.number):
            raise HTTPException(404, f"version {version} is not served, version {model.number} is")
        status = {"error_code": "OK", "error_message": ""}
        return _json({"model_version_status": [{"version": str(model.number), "state": "AVAILABLE", "status": status}]})

    async def _versions(self, _: Request) -> Response:
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

    def _check_name(self, request: Request) -> None:
        if request.path_params["name"] != self._name:
            raise HTTPException(404, f"there is no model {request.path_params['name']!r}; this server has {self._name!r}")

    def _served(self) -> Model:
        model = self._models.current
        if model is None:
            raise HTTPException(503, "no version has been published yet", {"retry-after": "1"})
        return model


def _json(content: object, code: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), code, headers, _JSON)
