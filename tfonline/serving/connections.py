"""Connections: how many there may be, and how long a client may take. uvicorn, which speaks HTTP on them, has a limit for neither.

    head    from the connection's or the request's first byte until its headers are whole
    body    from then until the body is whole: App sees to it while it reads; here, to what is left when the answer has been given
    idle    between two requests
    answer  how long a client may leave an answer unread

A few connections above the limit are taken all the same, for a second: what they ask for is answered, by 503 (App does it) but for
/healthz and /metrics. So a probe that connects anew gets its answer while slow clients hold all other connections.
"""

import asyncio
import contextlib
import errno
import json
import logging
import os
import resource
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import NamedTuple

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tfonline.lifecycle import Exit, UserError
from tfonline.serving.metrics import Metrics

# In a request's scope["state"]: whether its connection is above the limit.
SPARE = "spare"
RETRY = {"retry-after": "1"}
_SPARE_CONNECTIONS, _SPARE_SECS = 32, 1.0
# Accepted in one turn of the event loop. More would keep those who are connected waiting.
_ACCEPTS = 8
# Descriptors that are no connections, beside those that are open already: files of versions, and connections that are being closed.
_OTHER_DESCRIPTORS = 96
_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_SCARCE_SECS = 0.1
_MAX_HEAD_BYTES = 65_536

_log = logging.getLogger("tfonline.serve")


def _response(status: HTTPStatus, why: str, headers: dict[str, str] | None = None) -> bytes:
    content = json.dumps({"error": why})
    fields = {"content-type": "application/json", "content-length": len(content), "connection": "close", **(headers or {})}
    head = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*head, "", content]).encode()


_ALL_TAKEN = _response(HTTPStatus.SERVICE_UNAVAILABLE, "all connections are taken", RETRY)


class Limits(NamedTuple):
    """How many connections, and the seconds that a client may take; see this module's text.

    Attributes:
      connections: open at the same time.
      head_secs: for a request's headers.
      body_secs: for its body.
      idle_secs: for the next request, and to take an answer.
    """

    connections: int
    head_secs: float
    body_secs: float
    idle_secs: float


def connections_within(wanted: int) -> int:
    """`wanted`, or what this process's limit of open files leaves for connections, where that is less.

    Raises:
      UserError: it leaves nothing (exit 69).
    """
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed == resource.RLIM_INFINITY:
        return wanted
    kept = len(os.listdir("/proc/self/fd")) + _SPARE_CONNECTIONS + _OTHER_DESCRIPTORS
    if allowed <= kept:
        text = (
            f"`ulimit -n` is {allowed}, and the server needs {kept} files besides its connections. Raise it, to 1024 for instance."
        )
        raise UserError(text, Exit.UNAVAILABLE)
    return min(wanted, allowed - kept)


class Server(uvicorn.Server):
    """uvicorn, which takes its connections from here.

    asyncio would accept up to 2,048 connections in one turn, before the first of them is counted. Where the process has no
    descriptor left, it would try as often, and log each time, before it waits.

    Args:
      config: uvicorn's.
      listener: a listening socket; closed at the end.
      limits: of the connections.
      metrics: counts them.

    Attributes:
      leaving: each connection is closed with its next answer.
    """

    def __init__(self, config: uvicorn.Config, listener: socket.socket, limits: Limits, metrics: Metrics):
        super().__init__(config)
        self.leaving = False
        self._listener, self._limits, self._metrics = listener, limits, metrics
        self._open: set[Connection] = set()
        self._spare: dict[Connection, None] = {}  # the oldest first
        self._joining: set[asyncio.Task] = set()
        self._full = False
        metrics.connections.set_function(lambda: len(self._open))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to accept."""
        await super().startup(sockets=[])
        self._listener.setblocking(False)
        self._resume()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts no more; what was asked is answered."""
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        await super().shutdown(sockets=[])

    def _resume(self) -> None:
        if self._listener.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS):
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as e:
                if e.errno not in _SCARCE:  # this client has gone
                    continue
                # The listener stays readable: without a pause, the loop would do nothing else.
                _log.warning("no connection can be accepted: %s. Raise `ulimit -n`, or lower --max_connections.", e.strerror)
                self._metrics.refused("descriptors")
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._listener)
                loop.call_later(_SCARCE_SECS, self._resume)
                return
            self._take(accepted)

    def _take(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        spare = len(self._open) - len(self._spare) >= self._limits.connections
        if spare and not self._full:
            _log.warning("all --max_connections=%d connections are taken: others get 503", self._limits.connections)
        self._full = spare
        if spare:
            if _has_half_a_head(accepted):
                self._metrics.refused("connections")
                with contextlib.suppress(OSError):  # it has gone
                    accepted.send(_ALL_TAKEN)
                accepted.close()
                return
            if len(self._spare) >= _SPARE_CONNECTIONS:
                oldest = next(iter(self._spare))
                del self._spare[oldest]
                oldest.refuse()
        connection = Connection(self, self._limits, self._metrics, spare, self._lost)
        self._open.add(connection)
        if spare:
            self._spare[connection] = None
        task = asyncio.get_running_loop().create_task(self._join(connection, accepted))
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)

    async def _join(self, connection: "Connection", accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, accepted)
        except OSError:  # it has gone
            accepted.close()
            self._lost(connection)

    def _lost(self, connection: "Connection") -> None:
        self._open.discard(connection)
        self._spare.pop(connection, None)


def _has_half_a_head(accepted: socket.socket) -> bool:
    """Whether the beginning of a request has come, but no end of its headers.

    Half a head is read: a connection that is closed with unread bytes is reset, and its answer lost.
    """
    try:
        begun = accepted.recv(_MAX_HEAD_BYTES, socket.MSG_PEEK)
        return bool(begun) and b"\r\n\r\n" not in begun and bool(accepted.recv(len(begun)))
    except OSError:  # nothing has come, or it has gone
        return False


class Connection(HttpToolsProtocol):
    """One connection: uvicorn's, with times.

    A timer runs while the client is to do something, and none while the server is, but for an answer that is not read.

    Args:
      server: whose it is.
      limits: its times.
      metrics: counts what was too late or refused.
      spare: whether it is above the limit.
      lost: called when it has ended.
    """

    def __init__(self, server: Server, limits: Limits, metrics: Metrics, spare: bool, lost: Callable[["Connection"], None]):
        state = {**server.lifespan.state, SPARE: spare}
        super().__init__(server.config, server.server_state, state, asyncio.get_running_loop())
        self._secs = {"head": limits.head_secs, "body": limits.body_secs, "idle": limits.idle_secs}
        self._server, self._metrics, self._is_spare, self._when_lost = server, metrics, spare, lost
        self._awaited = ""
        self._timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._in_head = self._in_body = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """From asyncio."""
        super().connection_made(transport)
        if self._is_spare:
            self._timer = self.loop.call_later(_SPARE_SECS, self.refuse)
        else:
            self._wait_for("head")

    def connection_lost(self, exc: Exception | None) -> None:
        """From asyncio."""
        self._stop_timer()
        self._stop_unread_timer()
        super().connection_lost(exc)
        self._when_lost(self)

    def data_received(self, data: bytes) -> None:
        """From asyncio."""
        if self._awaited == "idle":
            self._wait_for("head")
        super().data_received(data)
        self._head_bytes = self._head_bytes + len(data) if self._in_head else 0
        if self._head_bytes > _MAX_HEAD_BYTES and not self.transport.is_closing():
            self._metrics.refused("head")
            self._answer(_response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the headers exceed {_MAX_HEAD_BYTES:,} bytes"))

    def pause_writing(self) -> None:
        """From asyncio: much of an answer is unread."""
        super().pause_writing()
        self._unread_timer = self.loop.call_later(self._secs["idle"], self._unread)

    def resume_writing(self) -> None:
        """From asyncio: it has been read."""
        self._stop_unread_timer()
        super().resume_writing()

    def on_message_begin(self) -> None:
        """From the parser."""
        super().on_message_begin()
        self._in_head = True
        if self._awaited == "idle":
            self._wait_for("head")

    def on_headers_complete(self) -> None:
        """From the parser; the application is called, or will be after the request before."""
        super().on_headers_complete()
        self._in_head, self._in_body = False, True
        if self._is_spare or self._server.leaving:
            self.cycle.keep_alive = False
        if not self._is_spare:
            self._wait_for("")

    def on_message_complete(self) -> None:
        """From the parser."""
        super().on_message_complete()
        self._in_body = False
        if self._awaited == "body":
            self._wait_for("idle")

    def on_response_complete(self) -> None:
        """From uvicorn."""
        super().on_response_complete()
        self._unset_keepalive_if_required()  # its timer begins anew with each byte
        if self.cycle.response_complete and not self._is_spare:  # and no other is under way
            self._wait_for("body" if self._in_body else "head" if self._in_head else "idle")

    def send_400_response(self, msg: str) -> None:
        """From uvicorn: what came is no HTTP."""
        self._metrics.refused("invalid")
        super().send_400_response(msg)

    def refuse(self) -> None:
        """Ends a spare connection."""
        if self.transport.is_closing() or (self.cycle and self.cycle.response_started):
            self.transport.abort()
        else:
            self._metrics.refused("connections")
            self._answer(_ALL_TAKEN)

    def _wait_for(self, awaited: str) -> None:
        self._stop_timer()
        self._awaited = awaited
        if awaited:
            self._timer = self.loop.call_later(self._secs[awaited], self._late)

    def _late(self) -> None:
        if self.transport.get_write_buffer_size():
            self._unread()
            return
        self._metrics.timed_out(self._awaited)
        if self._in_head:
            why = f"the headers did not come within --head_timeout_secs={self._secs['head']:g}"
            self._answer(_response(HTTPStatus.REQUEST_TIMEOUT, why))
        else:
            self.transport.close()

    def _unread(self) -> None:
        """A connection that is closed waits for its answer to be read; one that is aborted does not."""
        self._metrics.timed_out("answer")
        self.transport.abort()

    def _answer(self, response: bytes) -> None:
        """Answers what never reached the application, and closes."""
        self.transport.write(response)
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _stop_unread_timer(self) -> None:
        if self._unread_timer:
            self._unread_timer.cancel()
            self._unread_timer = None
