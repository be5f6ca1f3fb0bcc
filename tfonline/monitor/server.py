"""The HTTP side of --monitor_port."""

import http.server
import socket
import socketserver
import sys
import threading
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST

from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.monitor.health import Health
from tfonline.monitor.metrics import Metrics
from tfonline.report.status import Status

# A connection that says nothing for so long is closed; beside so many, another one is.
_TIMEOUT_SECS = 10.0
_MOST_CONNECTIONS = 16
# So often it looks whether it is to be closed.
_POLL_SECS = 0.1
_TEXT = "text/plain; charset=utf-8"


class Monitor:
    """Listens and answers, in threads of its own, until it is closed.

    Args:
      host: the address to listen at.
      port: likewise.
      status: what the trainer does.
      stop: ends the run.

    Attributes:
      health: to be told what watches the run.
      metrics: to be told where the run's numbers are.
      address: `http://host:port`.

    Raises:
      UserError: the address cannot be listened at (exit 69).
    """

    def __init__(self, host: str, port: int, status: Status, stop: Stop):
        self.health = Health(status, stop)
        self.metrics = Metrics(status, health=self.health)
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        answers = {
            "/metrics": lambda: (200, CONTENT_TYPE_LATEST, self.metrics.text()),
            "/healthz": lambda: _verdict(self.health.hangs()),
            "/readyz": lambda: _verdict(self.health.not_ready()),
        }
        try:
            self._server = _Server((host, port), answers)
        except OSError as e:
            raise UserError(
                f"--monitor_host={host} --monitor_port={port} cannot be listened at ({e.strerror or e}). Give another port, or "
                "--monitor_port=0 for none.",
                Exit.UNAVAILABLE,
            ) from e
        threading.Thread(target=self._server.serve_forever, args=[_POLL_SECS], name="monitor", daemon=True).start()

    def close(self) -> None:
        """Listens no more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    """A thread a connection, up to a limit: who reads slowly keeps nobody but himself waiting."""

    allow_reuse_address = True  # of connections that a run before has closed
    daemon_threads = True
    block_on_close = False
    request_queue_size = 2 * _MOST_CONNECTIONS

    def __init__(self, address: tuple[str, int], answers: dict[str, Callable[[], tuple[int, str, bytes]]]):
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.answers = answers
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        super().__init__(address, _Handler)

    def process_request(self, request: socket.socket, client_address: tuple) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: socket.socket, client_address: tuple) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: socket.socket, client_address: tuple) -> None:
        if not isinstance(sys.exception(), OSError):  # the client has gone, or was too slow
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers one request."""

    timeout = _TIMEOUT_SECS
    server: _Server

    def do_GET(self) -> None:
        answer = self.server.answers.get(self.path.partition("?")[0])
        code, kind, body = answer() if answer else (404, _TEXT, b"there are /metrics, /healthz and /readyz\n")
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody is told of a request."""


def _verdict(problem: str) -> tuple[int, str, bytes]:
    return (503, _TEXT, f"{problem}\n".encode()) if problem else (200, _TEXT, b"ok\n")
