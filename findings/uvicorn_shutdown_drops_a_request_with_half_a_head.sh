#!/usr/bin/env bash
# uvicorn: after SIGTERM, a request whose headers have not all come is dropped, however long the graceful shutdown may take.
#
# Expected: uvicorn shuts down gracefully: it accepts no more, answers what has been asked, and ends. A request that has begun to come on a
#   connection that stays open between requests is answered, too, or refused with a status.
# What happens: at the signal uvicorn closes at once every connection on which no request is being handled. One counts as handled from the end
#   of its headers on. A request of which the first bytes are there, or that is on its way, gets no answer: the connection ends or is
#   reset. With all headers and half a body it is answered.
# Seen: uvicorn 0.54.0 with httptools 0.9.0, Python 3.11, timeout_graceful_shutdown 20 s: half a head: no byte of an answer; half a body: 200.
# Whom it hurts: who restarts servers of models one by one behind a balancer that keeps its connections, as most do. A POST is not sent
#   again by itself, so each restart fails some requests, the more the busier the connections are.
# What to do: before the shutdown begins, go on answering for a while with `Connection: close` in each answer and a readiness probe that fails,
#   so that clients leave their connections by themselves.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
"${PYTHON:-python3}" -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check uvicorn==0.54.0 httptools==0.9.0
cat > "$here/app.py" <<'PY'
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
PY
cat > "$here/try.py" <<'PY'
import signal
import socket
import subprocess
import sys
import time

import uvicorn

WHOLE = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nabcd"


def answer_to_the_rest_after_sigterm(sent_before: int) -> bytes:
    """What comes for a request of which so many bytes are sent before SIGTERM, on a connection that has had an answer."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "app:app", f"--port={port}", "--http=httptools", "--timeout-graceful-shutdown=20"]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=10)
            break
        except OSError:
            time.sleep(0.05)
    connection.sendall(WHOLE)
    assert b" 200 " in connection.recv(1000)
    connection.sendall(WHOLE[:sent_before])
    time.sleep(0.5)
    server.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    try:
        connection.sendall(WHOLE[sent_before:])
        found = connection.recv(1000)
    except OSError:
        found = b""
    connection.close()
    server.wait(30)
    return found.partition(b"\r\n")[0]


half_a_head, half_a_body = answer_to_the_rest_after_sigterm(20), answer_to_the_rest_after_sigterm(len(WHOLE) - 2)
print(f"uvicorn {uvicorn.__version__}: half a head: {half_a_head!r}, half a body: {half_a_body!r}")
assert half_a_body == b"HTTP/1.1 200 OK", "a request with half a body is not answered any more"
assert half_a_head == b"", "a request with half a head is answered now"
PY
cd "$here" && "$here/venv/bin/python" try.py
