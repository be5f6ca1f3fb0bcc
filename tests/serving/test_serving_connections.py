"""Connections: how many, and how long a client may take."""

import asyncio
import contextlib
import json
import logging
import os
import re
import resource
import select
import socket

import pytest
import uvicorn
from serving_helpers import publish, serving, to_the_end

from tfonline.lifecycle import Exit, UserError
from tfonline.serving.connections import Limits, Server, connections_within
from tfonline.serving.metrics import Metrics
from tfonline.serving.models import Models

PREDICT = b"POST /v1/models/tfonline:predict HTTP/1.1\r\nhost: x\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
BODY = b'{"instances": ["ab"]}'


def head(size):
    return PREDICT + b"content-length: %d\r\n\r\n" % size


def error(response):
    return json.loads(response.partition(b"\r\n\r\n")[2])["error"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("connections") / "models"
    publish(folder, 1.0)
    return folder


@pytest.fixture(scope="module")
def hasty(models, tmp_path_factory):
    """A server that waits for nobody."""
    log = tmp_path_factory.mktemp("hasty") / "log"
    with serving(models, log, head_timeout_secs=0.25, body_timeout_secs=0.25, idle_timeout_secs=0.25) as server:
        server.wait_for("serving version 1")
        yield server


@pytest.fixture
def few(models, tmp_path):
    """A server with three connections and one request at a time."""
    with serving(models, tmp_path / "log", max_connections=3, max_requests=1) as server:
        server.wait_for("serving version 1")
        yield server


@pytest.fixture
def taken(few):
    """The three connections of `few`, each known to be counted by the answer that it has got."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(few.connect(HEALTH)) for _ in range(3)]
        assert all(connection.recv(1000).startswith(b"HTTP/1.1 200") for connection in connections)
        yield connections


def timeouts(server):
    phases = ("head", "body", "idle", "answer")
    values = server.metrics()
    return [values[f'tfonline_timeouts_total{{phase="{phase}"}}'] for phase in phases]


def readable(connection: socket.socket, secs: float) -> bool:
    """Whether something comes within so long. select() knows no descriptor above 1,023, and one process runs many tests."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(1000 * secs))


def test_half_a_head_is_answered_408_and_closed(hasty):
    before = timeouts(hasty)
    response = to_the_end(hasty.connect(PREDICT + b"x-half: "))
    assert response.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"\r\nconnection: close\r\n" in response
    assert error(response) == "the headers did not come within --head_timeout_secs=0.25"
    assert timeouts(hasty) == [before[0] + 1, *before[1:]]


def test_each_byte_does_not_begin_the_time_anew(hasty):
    connection = hasty.connect(PREDICT + b"x-half: ")
    with contextlib.suppress(ConnectionError):  # a byte that came after the answer
        while not readable(connection, 0.02):
            connection.sendall(b"x")
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")
    connection.close()


def test_who_says_nothing_is_closed_without_an_answer(hasty):
    assert to_the_end(hasty.connect()) == b""
    assert to_the_end(hasty.connect(b"\r\n")) == b""


def test_a_slow_body_is_answered_408_and_closed(hasty):
    before, counted = timeouts(hasty), hasty.metrics().get('tfonline_requests_total{code="408"}', 0)
    response = to_the_end(hasty.connect(head(len(BODY)) + BODY[:5]))
    assert response.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"\r\nconnection: close\r\n" in response
    assert error(response) == "the body did not come within --body_timeout_secs=0.25"
    assert timeouts(hasty) == [before[0], before[1] + 1, *before[2:]]
    assert hasty.metrics()['tfonline_requests_total{code="408"}'] == counted + 1


def test_a_body_that_nobody_reads_is_not_waited_for(hasty):
    before = timeouts(hasty)
    response = to_the_end(hasty.connect(b"POST /nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n1234"))
    assert response.startswith(b"HTTP/1.1 404")
    assert timeouts(hasty) == [before[0], before[1] + 1, *before[2:]]


def test_an_idle_connection_is_closed(hasty):
    before = timeouts(hasty)
    response = to_the_end(hasty.connect(head(len(BODY)) + BODY))
    assert response.startswith(b"HTTP/1.1 200")
    assert b"connection: close" not in response
    assert timeouts(hasty) == [*before[:2], before[2] + 1, before[3]]


def test_half_a_second_head_is_not_an_idle_connection(hasty):
    response = to_the_end(hasty.connect(HEALTH + PREDICT))
    assert response.startswith(b"HTTP/1.1 200")
    assert response.count(b"HTTP/1.1 408 Request Timeout\r\n") == 1


def test_an_answer_that_is_not_read_is_dropped(hasty):
    """Three of 3 MB are more than the two sockets hold."""
    hasty.wait_until("tfonline_requests_under_way", 0)
    before = timeouts(hasty)
    body = json.dumps({"instances": ["a"] * 50_000}).encode()
    with hasty.connect((head(len(body)) + body) * 3):
        hasty.wait_until('tfonline_timeouts_total{phase="answer"}', before[3] + 1)
        hasty.wait_until("tfonline_requests_under_way", 0)


def test_headers_without_an_end_are_refused(hasty):
    with hasty.connect(PREDICT) as connection, contextlib.suppress(ConnectionError):
        while not readable(connection, 0):
            connection.sendall(b"x: " + b"y" * 10_000 + b"\r\n")
        response = connection.recv(1000)
        assert response.startswith(b"HTTP/1.1 431")
    assert hasty.metrics()['tfonline_refused_total{reason="head"}'] == 1


def test_above_the_limit_of_connections_requests_get_503_and_are_closed(few, taken):
    for size in (len(BODY), 3_000_000):  # a large one is read all the same: or its client would be reset, and see no answer
        response = to_the_end(few.connect(head(size) + BODY.ljust(size)))
        assert response.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"\r\nretry-after: 1\r\n" in response
        assert b"\r\nconnection: close\r\n" in response
        assert error(response) == "all connections are taken"
    assert to_the_end(few.connect(PREDICT)).startswith(b"HTTP/1.1 503 ")  # half a head
    assert to_the_end(few.connect()).startswith(b"HTTP/1.1 503 ")  # none
    assert few.metrics()['tfonline_refused_total{reason="connections"}'] == 4
    assert few.metrics()["tfonline_connections"] == 4
    assert few.out().count("all --max_connections=3 connections are taken: others get 503") == 1
    taken.pop().close()
    few.wait_until("tfonline_connections", 3)
    assert few.wait_for_room({"instances": ["ab"]})[0] == 200


def test_above_the_limit_of_connections_health_and_metrics_are_answered(few, taken):
    with contextlib.ExitStack() as stack:
        for _ in range(50):  # more than are taken above the limit
            stack.enter_context(few.connect())
        response = to_the_end(few.connect(HEALTH))
        assert response.startswith(b"HTTP/1.1 200")
        assert b"\r\nconnection: close\r\n" in response
        assert few.metrics()["tfonline_connections"] <= 3 + 32 + 8


def test_above_the_limit_of_requests_others_get_503(few):
    with few.connect(head(len(BODY)) + BODY[:5]) as first:
        few.wait_until("tfonline_requests_under_way", 1)
        response = to_the_end(few.connect(head(len(BODY)) + BODY))
        assert response.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"\r\nretry-after: 1\r\n" in response
        assert b"\r\nconnection: close\r\n" in response
        assert error(response) == "1 requests are under way"
        assert few.ask("GET", "/healthz")[0] == 200
        assert few.metrics()['tfonline_refused_total{reason="requests"}'] == 1
        first.sendall(BODY[5:])
        assert first.recv(1000).startswith(b"HTTP/1.1 200")
    assert few.predict({"instances": ["ab"]})[0] == 200


def test_one_line_a_kind_of_error_and_minute(few):
    for _ in range(50):
        assert to_the_end(few.connect(b"no HTTP\r\n\r\n")).startswith(b"HTTP/1.1 400")
    assert few.metrics()['tfonline_refused_total{reason="invalid"}'] == 50
    assert few.out().count("Invalid HTTP request received") == 1
    few.stop()
    assert "49 more within a minute were left out: WARNING: Invalid HTTP request received." in few.out()


def test_the_limit_of_connections_keeps_below_that_of_open_files(models, tmp_path):
    with serving(models, tmp_path / "log", open_files=300) as server, contextlib.ExitStack() as stack:
        server.wait_for("serving version 1")
        limit = int(server.wait_for(r"--max_connections=4096 is lowered to (\d+), which is what `ulimit -n` leaves")[1])
        for _ in range(400):
            stack.enter_context(server.connect(PREDICT))
        assert server.ask("GET", "/healthz")[0] == 200
        assert limit <= server.metrics()["tfonline_connections"] <= limit + 32 + 8
        assert server.metrics()['tfonline_refused_total{reason="descriptors"}'] == 0
        assert len(re.findall(r"^\d{4}-\d\d-\d\d ", server.out(), re.MULTILINE)) < 10  # its own, not TensorFlow's


@pytest.fixture
def open_files():
    """Sets this process's limit of open files, for a while."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda count: resource.setrlimit(resource.RLIMIT_NOFILE, (count, before[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_what_the_limit_of_open_files_leaves(open_files):
    used = len(os.listdir("/proc/self/fd"))
    assert connections_within(5) == 5
    open_files(used + 32 + 96 + 10)
    assert connections_within(5) == 5
    assert connections_within(4096) == 10
    open_files(used + 32 + 96)
    with pytest.raises(UserError, match=r"`ulimit -n` is \d+, and the server needs \d+ files besides its connections") as e:
        connections_within(5)
    assert e.value.code == Exit.UNAVAILABLE


def test_without_a_descriptor_it_waits_says_so_once_and_goes_on(open_files, caplog):
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body"})

    async def story():
        settings = uvicorn.Config(application, http="httptools", ws="none", lifespan="off", log_config=None)
        listener, metrics = socket.create_server(("127.0.0.1", 0)), Metrics(Models(None, print))
        server = Server(settings, listener, Limits(10, 30, 30, 30), metrics)
        running = asyncio.ensure_future(server.serve())
        while not server.started:
            await asyncio.sleep(0)
        client = socket.socket()
        free = os.dup(0)
        os.close(free)
        open_files(free)
        client.connect(listener.getsockname())
        client.sendall(HEALTH)
        while b'tfonline_refused_total{reason="descriptors"} 3.0' not in metrics.text():
            assert not running.done()
            await asyncio.sleep(0.01)
        open_files(free + 100)
        response = await asyncio.to_thread(to_the_end, client)
        server.should_exit = True
        await running
        return response

    with caplog.at_level(logging.WARNING, "tfonline.serve"):
        assert asyncio.run(story()).startswith(b"HTTP/1.1 204")
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["no connection can be accepted"] * 3
