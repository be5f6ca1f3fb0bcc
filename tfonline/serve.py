"""Serves what a trainer publishes, over HTTP: `python -m tfonline.serve --export_dir=models`.

One process, one model: the newest whole version of the folder, exchanged for the next while requests go on. It has TensorFlow
Serving's REST forms of predict and status, /healthz, /metrics, and a page at / to try a row on. TensorFlow Serving itself reads the
same folder.
"""

import asyncio
import contextlib
import dataclasses
import gc
import logging
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING

from tfonline import flags
from tfonline.flags import flag
from tfonline.lifecycle import Exit, UserError
from tfonline.report.console import Console
from tfonline.serving.logs import OncePerMinute

if TYPE_CHECKING:
    from tfonline.serving.app import App
    from tfonline.serving.connections import Server

_USAGE = """python -m tfonline.serve --export_dir=models

Serves the newest version that a trainer has published in --export_dir, and each newer one as it comes.
Ends by SIGTERM or Ctrl-C, when what was asked is answered.

    curl -d '{"instances": ["<a row as in the topic>"]}' http://127.0.0.1:8501/v1/models/tfonline:predict"""


@dataclasses.dataclass(frozen=True)
class ServedSettings:
    """Which model."""

    # fmt: off
    export_dir: str = flag("", "The trainer's --export_dir.")
    model_name: str = flag("tfonline", "The model's name in addresses: /v1/models/<name>:predict.")
    delta_dir: str = flag("", "The trainer's --delta_dir. Empty: deltas in --export_dir.")
    poll_secs: float = flag(1.0, "How often to look for a newer version, or a delta.", lower=0.01)
    # fmt: on

    def __post_init__(self) -> None:
        flags.check(self)
        if not self.export_dir:
            raise flags.wrong("--export_dir is empty. Give the folder in which the trainer publishes.")
        if not self.model_name or set(self.model_name) & set("/:?#% "):
            raise flags.wrong(f"--model_name={self.model_name} does not fit an address. Use letters, digits, - and _.")


@dataclasses.dataclass(frozen=True)
class HttpSettings:
    """Where the server listens, and its limits."""

    # fmt: off
    host: str = flag("127.0.0.1", "Address to listen at. There is neither a password nor TLS: to reach it from elsewhere "
                     "(0.0.0.0), put it behind what has them.")
    port: int = flag(8501, "Port to listen at. 0: a free one, which is said.", lower=0)
    max_request_bytes: int = flag(4_000_000, "A larger body is refused (413).", lower=1)
    max_requests: int = flag(512, "A request that finds so many under way is refused (503). Each may hold "
                             "--max_request_bytes.", lower=1)
    max_connections: int = flag(4096, "Above so many open connections, a new one gets 503 and is closed; /healthz and "
                                "/metrics are answered all the same. Lowered to what `ulimit -n` leaves, which is said.", lower=1)
    head_timeout_secs: float = flag(10.0, "For a request's headers to come, or the connection is closed (408).", lower=0.01)
    body_timeout_secs: float = flag(30.0, "For a request's body to come after them; else 408.", lower=0.01)
    # Above what clients and proxies keep a connection: who closes last loses no request.
    idle_timeout_secs: float = flag(75.0, "A connection is closed so long after an answer, when there was no other request "
                                    "or the answer was not read.", lower=0.01)
    lame_duck_secs: float = flag(0.0, "After SIGTERM, go on answering for so long: /healthz is 503, and each answer closes its "
                                 "connection, so that who sends requests turns to other servers and none is lost.", lower=0)
    drain_secs: float = flag(20.0, "How long requests may still take after SIGTERM and --lame_duck_secs.", lower=0)
    # fmt: on

    def __post_init__(self) -> None:
        flags.check(self)
        if not self.host:
            raise flags.wrong("--host is empty. Give an address, such as 127.0.0.1.")


@dataclasses.dataclass(frozen=True)
class BatchingSettings:
    """How requests are scored."""

    # fmt: off
    max_batch_rows: int = flag(1024, "Requests that wait are scored together, up to so many rows.", lower=1)
    max_waiting_rows: int = flag(50_000, "A request that finds more rows waiting is refused (503).", lower=1)
    scoring_threads: int = flag(1, "Batches scored at the same time; each also uses TensorFlow's own threads.", lower=1)
    # fmt: on

    def __post_init__(self) -> None:
        flags.check(self)


@dataclasses.dataclass(frozen=True)
class Config:
    """The flags of the server. Units stand in the names."""

    model: ServedSettings
    http: HttpSettings
    batching: BatchingSettings


def main(argv: list[str]) -> int:
    """Serves until a signal; returns the exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # With it TensorFlow does not load Keras 3, which a server has no use for: half a second, and 20 MB.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    try:
        config = flags.parse(Config, "python -m tfonline.serve", _USAGE, argv)
        if config is not None:
            run(config)
    except UserError as e:
        print(f"tfonline: {e}", file=sys.stderr)
        return e.code
    return Exit.OK


def run(config: Config) -> None:
    """Serves until SIGTERM or SIGINT.

    Raises:
      UserError: the address cannot be listened at, or `ulimit -n` leaves no connections (exit 69).
    """
    console, log = Console(), _log()
    listener = _listen(config.http)
    console.say("loading TensorFlow")
    import tensorflow as tf
    import uvicorn

    from tfonline.publish.versions import Versions
    from tfonline.serving.app import App
    from tfonline.serving.batching import Batcher
    from tfonline.serving.connections import Limits, Server, connections_within
    from tfonline.serving.metrics import Metrics
    from tfonline.serving.models import Models
    from tfonline.serving.workers import Workers

    # What TensorFlow has made stays. Python's collector would go through it all, 0.15 s at a time, in which nobody is answered.
    gc.freeze()
    tf.config.set_visible_devices([], "GPU")  # it may be the trainer's, and would be taken whole
    served, http, batching = config.model, config.http, config.batching
    models = Models(Versions(served.export_dir), console.say, served.delta_dir or None)
    metrics = Metrics(models)
    batcher = Batcher(batching.max_batch_rows, batching.max_waiting_rows, batching.scoring_threads, metrics.batch_rows.observe)
    workers = Workers(batching.scoring_threads)

    def close() -> None:
        models.close()
        batcher.close()
        workers.close()

    app = App(
        served.model_name, models, batcher, metrics, workers,
        http.max_request_bytes, http.max_requests, http.body_timeout_secs, close,
    )  # fmt: skip
    console.say(f"looking for a version in {served.export_dir}: requests get 503 until there is one")
    threading.Thread(target=models.follow, args=(served.poll_secs,), name="versions", daemon=True).start()
    settings = uvicorn.Config(
        app.asgi, interface="asgi3", http="httptools", ws="none", log_level="warning", access_log=False, server_header=False,
        log_config=None, timeout_graceful_shutdown=max(1, round(http.drain_secs)),
    )  # fmt: skip
    connections = connections_within(http.max_connections)
    if connections < http.max_connections:
        console.say(f"--max_connections={http.max_connections} is lowered to {connections}, which is what `ulimit -n` leaves")
    limits = Limits(connections, http.head_timeout_secs, http.body_timeout_secs, http.idle_timeout_secs)
    server = Server(settings, listener, limits, metrics)
    host, port = listener.getsockname()[:2]
    console.say(f"listening at http://{f'[{host}]' if ':' in host else host}:{port}/ for model {served.model_name}")
    asyncio.run(_serve(server, app, http.lame_duck_secs, log, console))
    console.say("closed")


async def _serve(server: "Server", app: "App", lame_duck_secs: float, log: OncePerMinute, console: Console) -> None:
    loop = asyncio.get_running_loop()

    def leave() -> None:
        server.should_exit = True

    def stop(name: str) -> None:
        if server.leaving:
            console.say(f"{name} again: leaving at once")
            os._exit(Exit.OK)
        server.leaving = app.leaving = True
        still = f"not ready, answering for {lame_duck_secs:g} s more, then only" if lame_duck_secs else "answering"
        console.say(f"{name}: {still} what was asked; again to leave at once")
        loop.call_later(lame_duck_secs, leave)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number.name)
    server.capture_signals = contextlib.nullcontext  # its own handlers would end the process by the signal, not with exit code 0
    telling = asyncio.get_running_loop().create_task(_tell(log))
    await server.serve()
    telling.cancel()


async def _tell(log: OncePerMinute) -> None:
    while True:
        await asyncio.sleep(1)
        log.tell()


def _log() -> OncePerMinute:
    """Where the server's and its libraries' messages go from now on: the standard error stream."""
    log = OncePerMinute(lambda text: print(text, file=sys.stderr, flush=True))
    for name in ("tfonline.serve", "uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        logger.addHandler(log)
        logger.propagate = False
    return log


def _listen(http: HttpSettings) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
        listener = socket.create_server((http.host, http.port), family=family, backlog=1024)
        # Its connections inherit it. Without, the second packet of an answer waits 40 ms for a client's delayed acknowledgement:
        # asyncio sees to it only on sockets that were made with the protocol's number.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except (OSError, OverflowError) as e:
        raise UserError(
            f"--host={http.host} --port={http.port} cannot be listened at ({getattr(e, 'strerror', None) or e}). Give others; "
            "--port=0 takes a free one.",
            Exit.UNAVAILABLE,
        ) from e


if __name__ == "__main__":
    sys.exit(main(sys.argv))
