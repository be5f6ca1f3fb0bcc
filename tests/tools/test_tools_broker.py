"""tools/broker.py against a real Apache Kafka."""

import functools
import json
import os
import re
import signal
import socket
import subprocess
import sys

import broker as broker_tool
import kafka_jars
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource
from kafka_helpers import ROOT, make_topic, read_all, run_tool
from process_helpers import gone, wait_until

from tfonline.lifecycle import UserError


@pytest.fixture
def kafka_home(tmp_path):
    """An unpacked Kafka, as far as the tool looks at it: a folder with the jars in libs/."""
    _, libs = kafka_jars.jars()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "libs").symlink_to(libs)
    return str(tmp_path / "home")


@pytest.fixture
def data(tmp_path):
    """A data folder; whatever runs on it at the end is killed."""
    yield tmp_path / "data"
    broker_tool.kill(tmp_path / "data")


def fake_java(folder, version_line):
    folder.mkdir()
    java = folder / "java"
    java.write_text(f"#!/bin/sh\necho '{version_line}' >&2\n")
    java.chmod(0o755)
    return str(folder)


def test_a_life(kafka_home, data):
    """One broker from start to stop, from the jars of KAFKA_HOME."""
    env = {**os.environ, "KAFKA_HOME": kafka_home}
    at = f"--data={data}"
    code, out, _ = run_tool("broker", "start", at, **env)
    assert code == 0
    line = re.fullmatch(r"broker: Apache Kafka 4\.3\.0 at localhost:(\d+) \(pid (\d+), log (.+)\)\n", out)
    bootstrap, pid = f"localhost:{line[1]}", int(line[2])
    assert "INFO" in (data / "broker.log").read_text()
    assert oct((data / "log").stat().st_mode & 0o777) == "0o700"  # rows are in there

    assert run_tool("broker", "start", at, **env)[:2] == (0, out.strip() + " already running\n")
    assert run_tool("broker", "status", at)[:2] == (0, out)
    assert run_tool("broker", "status", "--bootstrap", at)[:2] == (0, bootstrap + "\n")
    code, _, err = run_tool("broker", "start", at, "--port=1", **env)
    assert code == 64
    assert f"--port=1 asked for, but Apache Kafka 4.3.0 runs on this data folder at {bootstrap} (pid {pid})" in err

    name = make_topic(bootstrap, [[b"a"], [b"b", b"c"]])
    broker_tool.kill(data)
    assert run_tool("broker", "status", at)[0] == 1
    again = broker_tool.start(data)
    assert again.bootstrap == bootstrap  # clients find it again
    assert again.pid != pid
    assert read_all(bootstrap, name) == {0: [b"a"], 1: [b"b", b"c"]}  # what it had acknowledged is there

    code, out, _ = run_tool("broker", "stop", at)
    assert (code, out) == (0, f"broker: stopped Apache Kafka 4.3.0 at {bootstrap} (pid {again.pid})\n")
    assert run_tool("broker", "stop", at)[:2] == (0, f"broker: no broker runs on {data}\n")
    code, out, _ = run_tool("broker", "status", at)
    assert (code, out) == (1, f"broker: none runs on {data}; its last log is {data}/broker.log\n")


def test_rows_of_long_ago_stay(broker, topic):
    """Kafka reckons a row's age from its own timestamp."""
    asked = ConfigResource(ConfigResource.Type.TOPIC, topic([[b"a"]]))
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    told = admin.describe_configs([asked])[asked].result(10)
    assert told["retention.ms"].value == "-1"


def test_a_broker_that_dies_shows_the_end_of_its_log(data):
    (data / "log").mkdir(parents=True)
    (data / "log" / "meta.properties").write_text("version=1\ncluster.id=other\nnode.id=77\n")
    code, out, err = run_tool("broker", "start", f"--data={data}")
    assert (code, out) == (69, "")
    assert "Apache Kafka 4.3.0 ended while it started. The end of" in err
    assert "77" in err  # Kafka's own reason
    assert "Traceback" not in err


def test_a_start_that_is_interrupted_leaves_no_process(data):
    command = [sys.executable, str(ROOT / "tools" / "broker.py"), "start", f"--data={data}"]
    # What a shell starts in the background, these tests perhaps, ignores Ctrl-C, and hands that down.
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed) as starting:
        wait_until(lambda: broker_tool.running(data))
        pid = broker_tool.running(data).pid
        starting.send_signal(signal.SIGINT)
        out, err = starting.communicate(timeout=60)
    assert (starting.returncode, out, err) == (130, b"", b"")
    assert gone(pid)


def test_a_stranger_with_the_pid_of_a_broker_is_left_alone(data):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        data.mkdir()
        state = {"pid": stranger.pid, "version": "4.3.0", "port": 9, "controller_port": 10}
        (data / "broker.json").write_text(json.dumps(state))
        assert broker_tool.running(data) is None
        assert run_tool("broker", "stop", f"--data={data}")[:2] == (0, f"broker: no broker runs on {data}\n")
        assert stranger.poll() is None
        stranger.stdin.close()


def test_an_older_kafka_is_kept_from_newer_data(data):
    data.mkdir()
    (data / "broker.json").write_text(json.dumps({"pid": 0, "version": "4.10.0", "port": 0, "controller_port": 0}))
    code, _, err = run_tool("broker", "start", f"--data={data}")
    assert code == 64
    assert f"Apache Kafka 4.10.0 wrote {data}, which the older 4.3.0 cannot be trusted to read" in err


def test_a_taken_port(data):
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = run_tool("broker", "start", f"--data={data}", f"--port={port}")
    assert code == 64
    assert f"--port={port} is taken by another program" in err


def test_no_java(data, kafka_home, tmp_path):
    code, _, err = run_tool("broker", "start", f"--data={data}", PATH=str(tmp_path), KAFKA_HOME=kafka_home)
    assert code == 66
    assert "no java on the PATH. Apache Kafka 4.3.0 needs Java 17 or newer: apt-get install openjdk-17-jre-headless" in err


@pytest.mark.parametrize(
    ("said", "kafka", "enough"),
    [
        ('openjdk version "11.0.22" 2024-01-16', "4.0.0", False),
        ('openjdk version "11.0.22" 2024-01-16', "3.9.1", True),
        ('java version "1.8.0_402"', "3.2.0", False),
        ('openjdk version "17.0.15" 2025-04-15', "4.3.0", True),
        ("nonsense", "3.2.0", False),
    ],
)
def test_how_old_java_may_be(said, kafka, enough, tmp_path, monkeypatch):
    folder = fake_java(tmp_path / "bin", said)
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    if enough:
        assert kafka_jars.java(kafka) == f"{folder}/java"
    else:
        with pytest.raises(UserError, match=f"Apache Kafka {kafka} needs Java") as error:
            kafka_jars.java(kafka)
        assert error.value.code == 66


def test_no_maven_and_no_jars(tmp_path):
    code, _, err = run_tool("broker", "jars", "--version=3.2.99", PATH=str(tmp_path))
    assert code == 66
    assert "no jars of Apache Kafka 3.2.99 here and no Maven (mvn) to fetch them" in err
    assert "KAFKA_HOME" in err


def test_a_failed_download_leaves_nothing_behind(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    maven = tmp_path / "bin" / "mvn"
    maven.write_text("#!/bin/sh\necho '[ERROR] no such artifact'\nexit 1\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin:/usr/bin")
    monkeypatch.delenv("KAFKA_HOME", raising=False)
    monkeypatch.setattr(kafka_jars, "ROOT", tmp_path)
    with pytest.raises(UserError, match=r"could not fetch Apache Kafka 9.9.9 \(status 1\): \[ERROR\] no such artifact"):
        kafka_jars.jars("9.9.9")
    assert list((tmp_path / ".kafka").iterdir()) == []


def test_a_download_says_that_it_goes_on(tmp_path, monkeypatch, capfd):
    (tmp_path / "bin").mkdir()
    maven = tmp_path / "bin" / "mvn"
    line = "[INFO] Downloaded from central: https://example.org/maven2/org/$i/a-$i.jar (9.1 MB at 3.2 MB/s)"
    # Its last option names the folder.
    maven.write_text(
        f'#!/bin/sh\nfor i in $(seq 250); do echo "{line}"; done\nfor folder; do :; done\n'
        "mkdir ${folder#*=} && touch ${folder#*=}/kafka_2.13-9.9.9.jar\n"
    )
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin:/usr/bin")
    monkeypatch.delenv("KAFKA_HOME", raising=False)
    monkeypatch.setattr(kafka_jars, "ROOT", tmp_path)
    assert kafka_jars.jars("9.9.9") == ("9.9.9", tmp_path / ".kafka" / "libs-9.9.9")
    assert capfd.readouterr().err.splitlines()[1:] == [
        "broker: 100 files fetched, the last a-100.jar (9.1 MB)",
        "broker: 200 files fetched, the last a-200.jar (9.1 MB)",
    ]


def test_kafka_home_without_kafka_or_with_another_version(kafka_home, tmp_path):
    code, _, err = run_tool("broker", "jars", KAFKA_HOME=str(tmp_path))
    assert code == 66
    assert f"{tmp_path}/libs holds no kafka_2.13-VERSION.jar" in err
    code, _, err = run_tool("broker", "jars", "--version=3.9.1", KAFKA_HOME=kafka_home)
    assert code == 64
    assert "--version=3.9.1 but KAFKA_HOME holds Apache Kafka 4.3.0" in err


@pytest.mark.parametrize("wrong", ["--port=http", "--version=3.1.0", "--version=four", "--stray", "--por=1"])
def test_wrong_options(wrong):
    code, out, err = run_tool("broker", "start", wrong)
    assert (code, out) == (64, "")
    assert wrong.split("=")[-1] in err
    assert "Traceback" not in err


@pytest.mark.parametrize("mode", ["mtls", "sasl_ssl"])
def test_a_secured_broker_lets_in_whom_it_gave_a_file(data, mode):
    at = f"--data={data}"
    code, out, err = run_tool("broker", "start", at, f"--security={mode}")
    assert code == 0, err
    files = re.findall(r"clients get in by --kafka_properties_file=(\S+)", out)
    assert len(files) == (3 if mode == "sasl_ssl" else 1)
    bootstrap = re.search(r"at (localhost:\d+) ", out)[1]
    for number, file in enumerate(files):
        assert oct(os.stat(file).st_mode & 0o777) == "0o600"
        created = run_tool(
            "topic", "create", f"--topic=t{number}", f"--bootstrap_servers={bootstrap}", f"--kafka_properties_file={file}"
        )
        assert created[0] == 0, created
    assert run_tool("topic", "describe", "--topic=t0", f"--bootstrap_servers={bootstrap}")[0] == 77
    password = (data / "security" / "password").read_text()
    assert password not in out + err + (data / "broker.log").read_text()

    internal = re.search(r"the administrator gets in at (\S+) without any", out)[1]
    assert run_tool("topic", "describe", "--topic=t0", f"--bootstrap_servers={internal}")[0] == 0
    code, _, err = run_tool("broker", "start", at, "--security=none")
    assert code == 64
    assert f"with --security={mode}. Stop it first" in err
    broker_tool.stop(data)
    again = broker_tool.start(data)  # as it was
    assert (again.security, again.bootstrap, (data / "security" / "password").read_text()) == (mode, bootstrap, password)
