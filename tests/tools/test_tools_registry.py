"""tools/registry.py against a real Apicurio Registry, by Confluent's API."""

import functools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
import registry as registry_tool
import registry_jars
from kafka_helpers import ROOT, run_tool
from process_helpers import gone, wait_until

from tfonline.lifecycle import UserError

FIELDS = [{"name": "click", "type": "boolean"}, {"name": "site", "type": "string", "default": ""}]


@pytest.fixture
def data(tmp_path):
    """A data folder; whatever runs on it at the end is killed."""
    yield tmp_path / "data"
    registry_tool.kill(tmp_path / "data")


def ask(url, schema=None):
    """Gets, or posts an Avro schema to, an address of the API; returns what it answered."""
    body = None if schema is None else json.dumps({"schema": json.dumps(schema)}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/vnd.schemaregistry.v1+json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return json.load(answer)


def avro(num_fields):
    return {"type": "record", "name": "Row", "fields": FIELDS[:num_fields]}


def test_a_life(data):
    at = f"--data={data}"
    code, out, err = run_tool("registry", "start", at)
    assert code == 0, err
    line = re.fullmatch(
        r"registry: Apicurio Registry 2\.6\.13\.Final at (http://127\.0\.0\.1:\d+/apis/ccompat/v7) \(pid (\d+), log (.+)\)\n", out
    )
    url, pid, log = line[1], int(line[2]), line[3]
    assert log == f"{data}/registry.log"

    first = ask(f"{url}/subjects/rows-value/versions", avro(1))["id"]
    second = ask(f"{url}/subjects/rows-value/versions", avro(2))["id"]
    assert first != second
    assert ask(f"{url}/subjects/rows-value/versions", avro(1))["id"] == first  # the same schema again
    assert ask(f"{url}/subjects") == ["rows-value"]
    assert ask(f"{url}/subjects/rows-value/versions") == [1, 2]
    assert json.loads(ask(f"{url}/schemas/ids/{first}")["schema"]) == avro(1)
    assert json.loads(ask(f"{url}/schemas/ids/{second}")["schema"]) == avro(2)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        ask(f"{url}/schemas/ids/{first + second + 1}")

    assert run_tool("registry", "start", at)[:2] == (0, out.strip() + " already running\n")
    assert run_tool("registry", "status", at)[:2] == (0, out)
    assert run_tool("registry", "status", "--url", at)[:2] == (0, url + "\n")
    code, _, err = run_tool("registry", "start", at, "--port=1")
    assert code == 64
    assert f"--port=1 asked for, but Apicurio Registry 2.6.13.Final runs on this data folder at {url} (pid {pid})" in err

    registry_tool.kill(data)
    assert run_tool("registry", "status", at)[0] == 1
    again = registry_tool.start(data)
    assert again.url == url  # clients find it again
    assert again.pid != pid
    assert ask(f"{url}/subjects") == []  # it has what it knows in memory

    code, out, _ = run_tool("registry", "stop", at)
    assert (code, out) == (0, f"registry: stopped Apicurio Registry 2.6.13.Final at {url} (pid {again.pid})\n")
    assert run_tool("registry", "stop", at)[:2] == (0, f"registry: no registry runs on {data}\n")
    code, out, _ = run_tool("registry", "status", at)
    assert (code, out) == (1, f"registry: none runs on {data}; its last log is {data}/registry.log\n")


def test_a_start_that_is_interrupted_leaves_no_process(data):
    command = [sys.executable, str(ROOT / "tools" / "registry.py"), "start", f"--data={data}"]
    # What a shell starts in the background, these tests perhaps, ignores Ctrl-C, and hands that down.
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed) as starting:
        wait_until(lambda: registry_tool.running(data))
        pid = registry_tool.running(data).pid
        starting.send_signal(signal.SIGINT)
        out, err = starting.communicate(timeout=60)
    assert (starting.returncode, out, err) == (130, b"", b"")
    assert gone(pid)


def test_a_registry_that_dies_shows_the_end_of_its_log(data):
    code, out, err = run_tool("registry", "start", f"--data={data}", **os.environ, REGISTRY_DATASOURCE_URL="jdbc:none:")
    assert (code, out) == (69, "")
    assert "Apicurio Registry 2.6.13.Final ended while it started. The end of" in err
    assert "Driver does not support the provided URL: jdbc:none:" in err  # its own reason
    assert "Traceback" not in err


def test_a_registry_that_takes_too_long_is_killed(data, monkeypatch):
    monkeypatch.setattr(registry_tool, "_answers", lambda url: False)
    with pytest.raises(
        UserError, match=r"does not answer at http://127\.0\.0\.1:\d+/apis/ccompat/v7 after 0\.1 s; killed"
    ) as error:
        registry_tool.start(data, timeout_secs=0.1)
    assert error.value.code == 69
    assert gone(json.loads((data / "registry.json").read_text())["pid"])


def test_a_stranger_with_the_pid_of_a_registry_is_left_alone(data):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        data.mkdir()
        (data / "registry.json").write_text(json.dumps({"pid": stranger.pid, "port": 9}))
        assert registry_tool.running(data) is None
        assert run_tool("registry", "stop", f"--data={data}")[:2] == (0, f"registry: no registry runs on {data}\n")
        assert stranger.poll() is None
        stranger.stdin.close()


def test_a_taken_port(data):
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = run_tool("registry", "start", f"--data={data}", f"--port={port}")
    assert code == 64
    assert f"--port={port} is taken by another program" in err


def test_no_java(data, tmp_path):
    registry_jars.jar()
    code, _, err = run_tool("registry", "start", f"--data={data}", PATH=str(tmp_path))
    assert code == 66
    assert (
        "no java on the PATH. Apicurio Registry 2.6.13.Final needs Java 17 or newer: apt-get install openjdk-17-jre-headless" in err
    )


def fake_maven(folder, script, monkeypatch):
    """Another project root without jars, and a Maven of these lines of shell."""
    (folder / "bin").mkdir()
    (folder / "bin" / "mvn").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin" / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin:/bin:/usr/bin")
    monkeypatch.setattr(registry_jars, "ROOT", folder)


def test_no_maven_and_no_jars(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(registry_jars, "ROOT", tmp_path)
    with pytest.raises(UserError, match=r"no jars of Apicurio Registry 2\.6\.13\.Final here and no Maven \(mvn\)") as error:
        registry_jars.jar()
    assert error.value.code == 66


def test_a_failed_download_leaves_nothing_behind(tmp_path, monkeypatch):
    fake_maven(tmp_path, "echo '[ERROR] no such artifact'\nexit 1", monkeypatch)
    with pytest.raises(UserError, match=r"could not fetch Apicurio Registry .* \(status 1\): \[ERROR\] no such artifact"):
        registry_jars.jar()
    assert list((tmp_path / ".kafka").iterdir()) == []


def test_another_file_than_the_expected_one_is_not_unpacked(tmp_path, monkeypatch):
    # Its last option names the folder.
    script = "for folder; do :; done\nmkdir ${folder#*=}\necho other > ${folder#*=}/apicurio-registry-app-2.6.13.Final-all.tar.gz"
    fake_maven(tmp_path, script, monkeypatch)
    other = "7e4fa2eb8c7ac089739d5defc4489fad68a100d92082ca35c6b40a4524821f87"  # echo other | sha256sum
    with pytest.raises(UserError, match=f"its SHA-256 is {other}, not 3cda1b34") as error:
        registry_jars.jar()
    assert error.value.code == 66
    assert list((tmp_path / ".kafka").iterdir()) == []


@pytest.mark.parametrize("wrong", ["--port=http", "--timeout_secs=0", "--stray", "--por=1"])
def test_wrong_options(wrong):
    code, out, err = run_tool("registry", "start", wrong)
    assert (code, out) == (64, "")
    assert wrong.split("=")[-1] in err
    assert "Traceback" not in err
