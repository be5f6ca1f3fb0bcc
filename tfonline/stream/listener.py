"""What listens at an address: asked by plain sockets, where librdkafka only says that a connection was closed.

A broker that restarts, or a proxy before one that is away, closes connections just as a listener does that is spoken to in the
wrong way. So an error that ends a run for good wants an answer that only the wrong kind of listener gives.
"""

import contextlib
import re
import socket
import ssl
import struct
from collections.abc import Iterator

_TIMEOUT_SECS = 2.0
_DEFAULT_PORT = 9092
_API_VERSIONS, _METADATA, _FETCH = 18, 3, 1
# Kafka 4 dropped the oldest requests: its oldest Fetch is version 4, that of Kafka 3 is 0.
_OLDEST_FETCH_OF_KAFKA_4 = 4
_MOST_BYTES = 10_000_000


def addresses(servers: str) -> list[tuple[str, int]]:
    """(host, port) of each of `host:port[,host:port]`; without those that cannot be one."""
    found = []
    for server in servers.split(","):
        parts = re.fullmatch(r"(?:\w+://)?(\[[^\]]+\]|[^:\s]+)(?::(\d{1,5}))?", server.strip())
        if parts:
            found.append((parts[1].strip("[]"), int(parts[2] or _DEFAULT_PORT)))
    return found


def speaks_tls(host: str, port: int) -> bool:
    """Whether a server there answers TLS' first message as TLS wants; its certificate does not matter."""
    try:
        with _connected(host, port, tls=True):
            return True
    except ssl.SSLError as e:
        return "ALERT" in (e.reason or "")  # it refuses by TLS' own means: it wants a client's certificate, or another version
    except OSError:
        return False


def oldest_fetch(host: str, port: int, tls: bool = False) -> int | None:
    """The oldest version of Kafka's Fetch request that a broker there takes; None where no Kafka broker answers.

    A broker says that before any log-in.
    """
    try:
        with _connected(host, port, tls) as connection:
            answer = _ask(connection, _API_VERSIONS, b"")
    except OSError:
        return None
    (num,) = struct.unpack_from(">i", answer, 2) if len(answer) >= 6 else (0,)
    if not 0 < num <= (len(answer) - 6) // 6:
        return None
    versions = {key: oldest for key, oldest, _ in (struct.unpack_from(">hhh", answer, 6 + 6 * i) for i in range(num))}
    return versions.get(_FETCH)


def is_kafka_4(host: str, port: int, tls: bool) -> bool:
    """Whether a broker of Kafka 4 or newer answers there."""
    oldest = oldest_fetch(host, port, tls)
    return oldest is not None and oldest >= _OLDEST_FETCH_OF_KAFKA_4


def wants_log_in(host: str, port: int, tls: bool) -> bool:
    """Whether a Kafka broker answers there, but only after a log-in (SASL)."""
    if oldest_fetch(host, port, tls) is None:
        return False
    try:
        with _connected(host, port, tls) as connection:
            _ask(connection, _METADATA, struct.pack(">i", 0))
            return False
    except ConnectionError:
        return True
    except OSError:
        return False


@contextlib.contextmanager
def _connected(host: str, port: int, tls: bool) -> Iterator[socket.socket]:
    with socket.create_connection((host, port), timeout=_TIMEOUT_SECS) as plain:
        if not tls:
            yield plain
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is told to it, and nothing of it believed
        with context.wrap_socket(plain, server_hostname=host) as wrapped:
            yield wrapped


def _ask(connection: socket.socket, api: int, body: bytes) -> bytes:
    """The answer to a request, behind its head.

    Raises:
      OSError: no answer, or none of Kafka's; ConnectionError where the connection was closed instead.
    """
    name = b"tfonline"
    head = struct.pack(">hhih", api, 0 if api == _API_VERSIONS else 1, 1, len(name)) + name
    connection.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
    size, correlation = struct.unpack(">ii", _receive(connection, 8))
    if correlation != 1 or not 4 <= size <= _MOST_BYTES:
        raise OSError("not Kafka's answer")
    return _receive(connection, size - 4)


def _receive(connection: socket.socket, num_bytes: int) -> bytes:
    data = b""
    while len(data) < num_bytes:
        more = connection.recv(num_bytes - len(data))
        if not more:
            raise ConnectionResetError("closed")
        data += more
    return data
