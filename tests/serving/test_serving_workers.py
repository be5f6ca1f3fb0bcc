"""Work in other processes: what they return and raise, and what becomes of them; large requests are theirs."""

import asyncio
import math
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving_helpers import publish, serving

from tfonline.serving.workers import Workers

LARGE = {"instances": ["abc"] * 40_000}  # 280 kB


@pytest.fixture
def workers():
    workers = Workers(1)
    yield workers
    workers.close()


def call(workers, *call):
    return asyncio.run(workers.call(*call))


def processes_of(parent):
    """Ids of the processes that a process has started."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if f"\nPPid:\t{parent}\n" in (folder / "status").read_text():
                found.append(int(folder.name))
        except OSError:  # it has just ended
            continue
    return found


def test_it_returns_and_raises_what_the_function_does(workers):
    assert call(workers, math.factorial, 5) == 120
    with pytest.raises(ValueError, match="factorial"):
        call(workers, math.factorial, -1)
    assert call(workers, os.getpid) != os.getpid()


def test_a_process_that_is_killed_fails_its_call_and_the_next_gets_a_new_one(workers):
    with pytest.raises(RuntimeError, match="the process that ran _exit ended with exit code 3"):
        call(workers, os._exit, 3)
    assert call(workers, math.factorial, 5) == 120


def test_signals_to_all_processes_leave_it_to_the_server_when_it_ends(workers):
    number = call(workers, os.getpid)
    for told in (signal.SIGTERM, signal.SIGINT):
        os.kill(number, told)
    assert call(workers, os.getpid) == number


def test_it_ends_with_the_process_that_started_it_however_that_ended():
    command = [sys.executable, "-m", "tfonline.serving.workers"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        pickle.dump((print, ("no answer",)), process.stdin)  # what is printed does not get between the answers
        process.stdin.flush()
        assert pickle.load(process.stdout) == (None, None)
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.fixture
def server(tmp_path):
    publish(tmp_path / "models", 1.0)
    with serving(tmp_path / "models", tmp_path / "log") as server:
        server.wait_for("serving version 1")
        yield server


def test_others_are_answered_while_a_large_body_is_read(server):
    [worker] = processes_of(server.process.pid)
    os.kill(worker, signal.SIGSTOP)
    with ThreadPoolExecutor() as threads:
        large = threads.submit(server.predict, LARGE)
        server.wait_until("tfonline_requests_under_way", 1)
        for _ in range(20):
            assert server.ask("GET", "/healthz")[0] == 200
            assert server.predict({"instances": ["ab"]})[1]["predictions"][0]["logit"] == 2
        assert not large.done()
        os.kill(worker, signal.SIGCONT)
        status, content = large.result()
    assert status == 200
    assert [answer["logit"] for answer in content["predictions"]] == [3] * 40_000


def test_a_large_body_is_read_as_a_small_one_is(server):
    missing = {"I1": None, "I2": 1, "C1": "\u00e9" * 200}
    for instances in ([missing] * 3, [missing] * 2000):
        status, content = server.predict({"signature_name": "columns", "instances": instances})
        assert (status, [answer["logit"] for answer in content["predictions"]]) == (200, [401] * len(instances))
    status, content = server.predict({"instances": [*LARGE["instances"], 5]})
    assert (status, content["error"]) == (400, 'message of row 40000 is 5; expected a string, null or {"b64": ...}')


def test_a_killed_process_fails_its_request_and_no_other(server):
    [worker] = processes_of(server.process.pid)
    os.kill(worker, signal.SIGKILL)
    assert server.predict(LARGE) == (500, {"error": "internal error, see the server's log"})
    server.wait_for("RuntimeError: the process that ran read_serialised ended with exit code -9")
    assert server.predict(LARGE)[0] == 200


def test_the_process_ends_with_a_server_that_is_killed(server):
    [worker] = processes_of(server.process.pid)
    server.process.kill()
    deadline = time.monotonic() + 30
    while pathlib.Path(f"/proc/{worker}/status").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
