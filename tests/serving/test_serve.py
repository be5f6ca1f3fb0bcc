"""The server as a process: answers, exchanges, refusals, its end."""

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import threading
import time

import pytest
from serving_helpers import publish, serving

from benchmarks.serving.clients import Clients
from tfonline import flags
from tfonline.lifecycle import Exit
from tfonline.publish.versions import Versions
from tfonline.serve import Config


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server with versions 1 and 2, which holds requests to small limits."""
    folder = tmp_path_factory.mktemp("serve")
    publish(folder / "models", 1.0)
    publish(folder / "models", 2.0, newest_row_time=time.time() - 1000)
    with serving(folder / "models", folder / "log", max_request_bytes=2000, max_waiting_rows=50) as server:
        server.wait_for("serving version 2")
        yield server


def test_rows_and_columns_are_scored(served):
    assert served.predict({"instances": ["ab", ""]}) == (
        200,
        {
            "predictions": [
                {"logit": 4, "probability": pytest.approx(0.98201376), "reason": 0},
                {"logit": None, "probability": None, "reason": 1, "why": "no byte at all"},
            ]
        },
    )
    status, answer = served.predict({"signature_name": "columns", "inputs": {"I1": [None, 1], "I2": [1, 2], "C1": ["xyz", None]}})
    assert (status, answer["outputs"]["logit"]) == (200, [8, 6])


def test_the_answer_names_the_version(served):
    _, headers, _ = served.ask("POST", "/v1/models/tfonline:predict", {"instances": ["a"]})
    assert headers["tfonline-version"] == "2"
    assert served.predict({"instances": ["a"]}, "/v1/models/tfonline/versions/2:predict")[0] == 200
    assert served.predict({"instances": ["a"]}, "/v1/models/tfonline/versions/1:predict") == (
        404,
        {"error": "version 1 is not served, version 2 is"},
    )


def test_status_as_tensorflow_serving_gives_it(served):
    expected = {
        "model_version_status": [{"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]
    }
    for path in ("/v1/models/tfonline", "/v1/models/tfonline/versions/2"):
        status, _, content = served.ask("GET", path)
        assert (status, content) == (200, expected)
    assert served.ask("GET", "/v1/models/tfonline/versions/1")[0] == 404
    assert served.ask("GET", "/healthz")[2] == {"status": "ok", "version": 2}
    assert [v["state"] for v in served.ask("GET", "/versions")[2]["versions"]] == ["served", ""]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("POST", "/v1/models/other:predict", {"instances": ["a"]}, 404, "there is no model 'other'; this server has 'tfonline'"),
        ("GET", "/v1/models/other", None, 404, "there is no model"),
        ("GET", "/nothing", None, 404, "Not Found"),
        ("POST", "/v1/models/tfonline", {}, 405, "Method Not Allowed"),
        ("POST", "/v1/models/tfonline:predict", {"instances": []}, 400, "at least one row"),
        ("POST", "/v1/models/tfonline:predict", b"\x00", 400, "no JSON"),
        ("POST", "/v1/models/tfonline:predict", b"x" * 2001, 413, "more than --max_request_bytes=2,000"),
        ("POST", "/v1/models/tfonline:predict", b"x" * 30_000, 413, "more than --max_request_bytes=2,000"),
        ("POST", "/v1/models/tfonline:predict", {"instances": ["a"] * 51}, 503, "51 more are above 50"),
        ("GET", f"/v1/models/tfonline/versions/{'9' * 5000}", None, 404, "is not served"),
    ],
)
def test_what_is_refused_and_how(served, method, path, body, status, says):
    found, _, content = served.ask(method, path, body)
    assert found == status
    assert says in content["error"]


def test_a_body_without_a_length_is_held_to_the_limit_too(served):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)) as connection:
        connection.request("POST", "/v1/models/tfonline:predict", (b"x" * 500 for _ in range(10)), encode_chunked=True)
        assert connection.getresponse().status == 413
    assert served.predict({"instances": ["a"]})[0] == 200


def test_metrics_for_prometheus(served):
    served.predict({"instances": ["a", ""]})
    text = served.ask("GET", "/metrics")[2].decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("tfonline"))
    assert float(values["tfonline_version"]) == 2
    assert float(values['tfonline_requests_total{code="200"}']) >= 1
    assert float(values['tfonline_rows_total{reason="ok"}']) >= 1
    assert float(values['tfonline_rows_total{reason="empty"}']) >= 1
    assert float(values["tfonline_request_seconds_count"]) >= 1
    assert 0 < float(values["tfonline_version_age_seconds"]) < 3600
    assert 1000 < float(values["tfonline_version_newest_row_age_seconds"]) < 4600
    assert "process_resident_memory_bytes" in text


def test_before_the_first_version_and_from_then_on(tmp_path):
    with serving(tmp_path / "models", tmp_path / "log") as server:
        assert server.ask("GET", "/healthz")[::2] == (503, {"status": "no version yet", "version": None})
        assert server.predict({"instances": ["a"]}) == (503, {"error": "no version has been published yet"})
        assert "requests get 503 until there is one" in server.out()
        publish(tmp_path / "models", 1.0)
        server.wait_for("serving version 1")
        assert server.predict({"instances": ["a"]})[0] == 200
        assert b"\ntfonline_version_newest_row_age_seconds NaN\n" in server.ask("GET", "/metrics")[2]  # its rows had no time


def test_no_request_fails_while_versions_are_exchanged_rolled_back_and_damaged(tmp_path):
    models = tmp_path / "models"
    publish(models, 1.0)
    with serving(models, tmp_path / "log") as server:
        server.wait_for("serving version 1")
        rows = ["x" * n for n in range(1, 40)]
        clients = Clients(server.port, rows, 3, 8)
        clients.start()
        try:
            for factor in (2.0, 3.0):
                server.wait_for(f"serving version {publish(models, factor)} ")
            number = Versions(models).publish(lambda beside: (beside.mkdir(), (beside / "x").write_text("")), {"contract": {}})
            server.wait_for(f"version {number} cannot be served")
            server.wait_for(f"serving version {Versions(models).roll_back(2)} ")
            time.sleep(0.2)
        finally:
            clients.stop()
        assert not clients.failures
        factors = {1: 1.0, 2: 2.0, 3: 3.0, 5: 2.0}
        assert {a.version for a in clients.answers} == set(factors)
        for a in clients.answers:
            assert a.logits.tolist() == [len(row) * factors[a.version] for row in rows[a.first : a.first + 3]]
        assert server.stop() == Exit.OK


def test_sigterm_answers_what_was_asked_and_then_ends(tmp_path):
    publish(tmp_path / "models", 1.0)
    with serving(tmp_path / "models", tmp_path / "log") as server:
        server.wait_for("serving version 1")
        body = json.dumps({"instances": ["a"]}).encode()
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            head = f"POST /v1/models/tfonline:predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body[:5])  # half a request
            time.sleep(0.3)
            ended = []
            ending = threading.Thread(target=lambda: ended.append(server.stop()))
            ending.start()
            server.wait_for("SIGTERM: answering what was asked")
            connection.sendall(body[5:])
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
            ending.join()
        assert ended == [Exit.OK]
        assert server.out().rstrip().endswith("closed")


def test_a_lame_duck_answers_all_and_has_each_connection_closed_with_its_answer(tmp_path):
    publish(tmp_path / "models", 1.0)
    with serving(tmp_path / "models", tmp_path / "log", lame_duck_secs=3) as server:
        server.wait_for("serving version 1")
        ask = ("POST", "/v1/models/tfonline:predict", json.dumps({"instances": ["a"]}))
        kept = http.client.HTTPConnection("127.0.0.1", server.port)
        kept.request(*ask)
        answer = kept.getresponse()
        assert (answer.status, answer.getheader("connection"), answer.read()[:15]) == (200, None, b'{"predictions":')
        ended = []
        ending = threading.Thread(target=lambda: ended.append(server.stop()))
        ending.start()
        server.wait_for("SIGTERM: not ready, answering for 3 s more, then only what was asked")
        code, _, body = server.ask("GET", "/healthz")
        assert (code, body["status"]) == (503, "leaving")
        for connection in (kept, http.client.HTTPConnection("127.0.0.1", server.port)):
            connection.request(*ask)
            answer = connection.getresponse()
            assert (answer.status, answer.getheader("connection")) == (200, "close")
        ending.join()
        assert ended == [Exit.OK]


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        ([], Exit.FLAGS, "--export_dir is empty"),
        (["--export_dir=x", "--prot=3"], Exit.FLAGS, "Unknown command line flag 'prot'"),
        (["--export_dir=x", "--host="], Exit.FLAGS, "--host is empty"),
        (["--export_dir=x", "--max_batch_rows=0"], Exit.FLAGS, "--max_batch_rows=0 is too small"),
        (["--export_dir=x", "--head_timeout_secs=0"], Exit.FLAGS, "--head_timeout_secs=0.0 is too small"),
        (["--export_dir=x", "--max_connections=0"], Exit.FLAGS, "--max_connections=0 is too small"),
        (["--export_dir=x", "--model_name=a/b"], Exit.FLAGS, "--model_name=a/b does not fit an address"),
        (["--export_dir=x", "--port=70000"], Exit.UNAVAILABLE, "--port=70000 cannot be listened at"),
        (["--export_dir=x", "--host=203.0.113.1"], Exit.UNAVAILABLE, "cannot be listened at"),
    ],
)
def test_a_wrong_flag_is_told_at_once(flags, code, says):
    done = subprocess.run([sys.executable, "-m", "tfonline.serve", *flags], capture_output=True, text=True, timeout=30)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken(served):
    command = [sys.executable, "-m", "tfonline.serve", "--export_dir=x", f"--port={served.port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, "Address already in use" in done.stderr) == (Exit.UNAVAILABLE, True)


def test_help_names_every_flag():
    done = subprocess.run([sys.executable, "-m", "tfonline.serve", "--help"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    for name in flags.named(Config):
        assert f"--{name}\n" in done.stdout
