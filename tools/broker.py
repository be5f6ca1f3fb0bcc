"""A local one-node Apache Kafka (KRaft: broker and controller in one process) for development and tests. Linux only.

    python tools/broker.py start      # prints where it listens; the same again when it runs already
    python tools/broker.py status --bootstrap
    python tools/broker.py stop

Needs Java (17 for Kafka 4, 11 for 3.x) and either Maven, which fetches the jars once, or KAFKA_HOME, an unpacked Apache
Kafka. The data folder holds broker.log, broker.json (process, ports, version), log/ (the topics) and the settings. Only this
machine can reach the broker: it listens on localhost, without authentication. With --security it wants TLS, a certificate or a
log-in, and says which file a client needs; see broker_security.py.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator

import broker_security
import broker_settings
from broker_security import Secured
from command_line import Parser, at_least, run
from kafka_jars import DEFAULT_VERSION, ROOT, jars
from kafka_jars import java as find_java

from tfonline import folders
from tfonline.lifecycle import Exit, UserError

DEFAULT_DATA = ROOT / ".kafka" / "data"

_OLDEST = (3, 2, 0)
_STOP_SECS = 30.0
_NUM_LOG_LINES_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class Broker:
    """A broker's process.

    Attributes:
      bootstrap: host:port for clients.
      pid: its process id.
      log: the file that it logs to.
      version: of Apache Kafka, such as 4.3.0.
      security: one of broker_security.MODES.
      internal: host:port for the administrator, without TLS or log-in; `bootstrap` where clients have none either.
    """

    bootstrap: str
    pid: int
    log: pathlib.Path
    version: str
    security: str
    internal: str


def start(
    data: str | os.PathLike = DEFAULT_DATA,
    version: str | None = None,
    port: int = 0,
    timeout_secs: float = 60.0,
    security: str | None = None,
) -> Broker:
    """Starts a broker on a data folder, or finds the one that runs on it, and returns once it answers.

    Args:
      data: the data folder; made and formatted if need be.
      version: of Apache Kafka; None: the version of KAFKA_HOME, else 4.3.0.
      port: where clients connect; 0: the port of the last start on this folder if it is free, else any free one.
      timeout_secs: how long it may take to answer.
      security: one of broker_security.MODES; None: that of the last start on this folder, at first `none`.

    Raises:
      UserError: Java, Maven or the jars are missing (exit 66), an argument contradicts the running broker or the port
        is taken (exit 64), or the broker does not come up (exit 69).
    """
    data = pathlib.Path(data).resolve()
    with _locked(data):
        broker = running(data)
        if broker:
            _check_same(broker, version, port, security)
        else:
            broker = _launch(data, version, port, security)
        try:
            _wait_until_it_answers(broker, data, timeout_secs)
            if secured := _secured(broker, data):
                broker_security.make_users(secured, broker.internal)
        except UserError:
            kill(data)
            raise
        return broker


def running(data: str | os.PathLike = DEFAULT_DATA) -> Broker | None:
    """The broker whose process runs on a data folder, or None. It may not answer yet."""
    data = pathlib.Path(data).resolve()
    state = _read_state(data)
    if not state or not _is_broker(state["pid"], data):
        return None
    return _broker(data, state)


def stop(data: str | os.PathLike = DEFAULT_DATA) -> str:
    """Stops the broker of a data folder (SIGTERM; SIGKILL after 30 s) and returns what it did. None running is fine."""
    data = pathlib.Path(data).resolve()
    broker = running(data)
    if not broker:
        return f"no broker runs on {data}"
    what = f"Apache Kafka {broker.version} at {broker.bootstrap} (pid {broker.pid})"
    if _signal(broker.pid, data, signal.SIGTERM):
        return f"stopped {what}"
    kill(data)
    return f"killed {what}: it did not end within {_STOP_SECS:g} s of SIGTERM"


def kill(data: str | os.PathLike = DEFAULT_DATA) -> None:
    """Kills the broker of a data folder at once (SIGKILL), as a power cut would. None running is fine."""
    data = pathlib.Path(data).resolve()
    broker = running(data)
    if broker:
        _signal(broker.pid, data, signal.SIGKILL)


def _launch(data: pathlib.Path, version: str | None, port: int, security: str | None) -> Broker:
    """Writes the settings, formats the storage if it is new, and starts the process in a session of its own."""
    version, libs = jars(version)
    java = find_java(version)
    state = {"port": 0, "controller_port": 0, "internal_port": 0, "version": version, "security": "none"} | (
        _read_state(data) or {}
    )
    # An older Kafka may start on what a newer one wrote, and misread it: Kafka has no way back.
    if _numbers(version) < _numbers(state["version"]):
        raise UserError(
            f"Apache Kafka {state['version']} wrote {data}, which the older {version} cannot be trusted to read. Choose "
            f"another --data folder, or --version={state['version']}.",
            Exit.FLAGS,
        )
    mode, ports = security or state["security"], _ports(port, state)
    secured = None if mode == "none" else broker_security.prepare(data, mode, _numbers(version))
    log = data / "broker.log"
    # Kafka makes its files readable for all, and rows are in them: only their owner gets into the folder.
    (data / "log").mkdir(exist_ok=True)
    (data / "log").chmod(0o700)
    properties = broker_settings.write(data, ports, secured)
    log_flags = [f"-Dlog4j2.configurationFile={data}/log4j2.properties", f"-Dlog4j.configuration=file:{data}/log4j.properties"]
    command = [java, "-Xms256m", "-Xmx512m", "-XX:+ExitOnOutOfMemoryError", *log_flags, "-cp", f"{libs}/*"]
    if not (data / "log" / "meta.properties").exists():
        _format(command, properties)
    with open(log, "ab") as out, open(os.devnull, "rb") as nothing:
        # Not subprocess.Popen: the broker outlives this process, and Popen warns about that.
        pid = os.posix_spawn(
            java,
            [*command, "kafka.Kafka", str(properties)],
            os.environ,
            setsid=True,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd.fileno(), to) for fd, to in ((nothing, 0), (out, 1), (out, 2))],
        )
    state = {"pid": pid, "version": version, "security": mode, **ports}
    (data / "broker.json").write_text(json.dumps(state))
    return _broker(data, state)


def _broker(data: pathlib.Path, state: dict) -> Broker:
    """What broker.json says; one that is older than --security has none."""
    mode = state.get("security", "none")
    internal = state["port"] if mode == "none" else state["internal_port"]
    return Broker(f"localhost:{state['port']}", state["pid"], data / "broker.log", state["version"], mode, f"localhost:{internal}")


def _secured(broker: Broker, data: pathlib.Path) -> Secured | None:
    return None if broker.security == "none" else broker_security.prepare(data, broker.security, _numbers(broker.version))


def _format(command: list[str], properties: pathlib.Path) -> None:
    cluster_id = "-"
    while cluster_id.startswith("-"):  # the tool would take it for a flag
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", cluster_id, "-c", str(properties)]
    done = subprocess.run(command + tool, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("\t")]
        raise UserError(
            f"Apache Kafka could not format {properties.parent} (status {done.returncode}): "
            f"{' '.join(said[-2:])} Choose another --data folder, or delete this one.",
            Exit.UNAVAILABLE,
        )


def _ports(port: int, last: dict) -> dict[str, int]:
    """The ports for clients, for the controller and for the administrator: the last ones where they are still free."""
    if port and not _free(port):
        raise UserError(
            f"--port={port} is taken by another program. Stop that one, or leave out --port to get a free one.", Exit.FLAGS
        )
    found = {}
    with contextlib.ExitStack() as opened:  # all at once, so that they differ
        for name, wanted in (("port", port or last["port"]), *((n, last[n]) for n in ("controller_port", "internal_port"))):
            probe = opened.enter_context(socket.socket())
            probe.bind(("localhost", 0))
            found[name] = wanted if _free(wanted) else probe.getsockname()[1]
    return found


def _free(port: int) -> bool:
    with socket.socket() as probe:
        # As Java does: a port whose last connections linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("localhost", port))
        except OSError:
            return False
        return port > 0


def _check_same(broker: Broker, version: str | None, port: int, security: str | None) -> None:
    """Raises UserError if the running broker is not the one asked for."""
    wanted = [f"--version={version}"] if version and version != broker.version else []
    wanted += [f"--port={port}"] if port and broker.bootstrap != f"localhost:{port}" else []
    wanted += [f"--security={security}"] if security and broker.security != security else []
    if wanted:
        has = "" if broker.security == "none" else f" with --security={broker.security}"
        raise UserError(
            f"{' '.join(wanted)} asked for, but Apache Kafka {broker.version} runs on this data folder at {broker.bootstrap} "
            f"(pid {broker.pid}){has}. Stop it first (python tools/broker.py stop), or choose another --data folder.",
            Exit.FLAGS,
        )


def _wait_until_it_answers(broker: Broker, data: pathlib.Path, timeout_secs: float) -> None:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": broker.internal, "log_level": 0, "reconnect.backoff.max.ms": 200})
    deadline = time.monotonic() + timeout_secs
    while _is_broker(broker.pid, data):
        with contextlib.suppress(KafkaException):
            if admin.describe_cluster(request_timeout=1.0).result().nodes:
                return
        if time.monotonic() > deadline:
            raise UserError(
                f"Apache Kafka {broker.version} does not answer at {broker.bootstrap} after {timeout_secs:g} s; killed. "
                f"{_tail(broker.log)}\nGive it longer with --timeout_secs.",
                Exit.UNAVAILABLE,
            )
    raise UserError(
        f"Apache Kafka {broker.version} ended while it started. {_tail(broker.log)}\nMend what the log says, or choose "
        "another --data folder.",
        Exit.UNAVAILABLE,
    )


def _tail(log: pathlib.Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-_NUM_LOG_LINES_SHOWN:]
    return "\n".join([f"The end of {log}:", *(f"  {line}" for line in lines)])


def _is_broker(pid: int, data: pathlib.Path) -> bool:
    """Whether the process is a Kafka on this data folder: its id may by now be another program's. False for a zombie."""
    process = pathlib.Path(f"/proc/{pid}")
    try:
        # A process has no command line while it is made, too: posix_spawn returns before the kernel has set it up.
        while not (line := (process / "cmdline").read_bytes()):
            if (process / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return False
            time.sleep(0.001)
    except OSError:
        return False
    words = line.split(b"\0")
    return b"kafka.Kafka" in words and os.fsencode(data / "server.properties") in words


def _signal(pid: int, data: pathlib.Path, number: signal.Signals) -> bool:
    """Sends a signal and waits for the end of the process; false if it does not end."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    deadline = time.monotonic() + _STOP_SECS
    while _is_broker(pid, data) and time.monotonic() < deadline:
        time.sleep(0.05)
    if _is_broker(pid, data):
        return False
    # Where it is a child of this process, nobody else reaps it.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    return True


def _read_state(data: pathlib.Path) -> dict | None:
    try:
        return json.loads((data / "broker.json").read_text())
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def _locked(data: pathlib.Path) -> Iterator[None]:
    """Lets one process at a time start a broker on a data folder."""
    folders.make(str(data), "--data")
    with open(data / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _version(text: str) -> str:
    if not re.fullmatch(r"\d+\.\d+\.\d+", text) or _numbers(text) < _OLDEST:
        raise UserError(f"--version={text} given; expected Apache Kafka 3.2.0 or newer, such as {DEFAULT_VERSION}.", Exit.FLAGS)
    return text


def main(argv: list[str]) -> int:
    """Runs one command; returns the exit status."""
    parser = Parser(prog="broker.py", description="A local one-node Apache Kafka.")
    commands = parser.add_subparsers(dest="command", required=True, prog="broker.py")
    for name, what in (
        ("start", "start the broker and wait until it answers; nothing to do when it runs"),
        ("stop", "stop it; nothing to do when it does not run"),
        ("status", "say whether it runs: exit 0 or 1"),
        ("jars", "only fetch the jars"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        if name != "jars":
            command.add_argument("--data", default=DEFAULT_DATA, help="the data folder (default: .kafka/data of the project)")
        if name in ("start", "jars"):
            command.add_argument("--version", type=_version, help=f"of Apache Kafka (default {DEFAULT_VERSION})")
        if name == "start":
            command.add_argument("--port", type=at_least(0), default=0, help="0: the last one if free, else any free one")
            command.add_argument(
                "--security",
                choices=broker_security.MODES,
                help="what clients need to get in (default: as before)",
            )
            command.add_argument("--timeout_secs", type=at_least(1), default=60, help="how long it may take to answer")
        if name == "status":
            command.add_argument("--bootstrap", action="store_true", help="print host:port and nothing else")
    args = parser.parse_args(argv)

    if args.command == "jars":
        version, libs = jars(args.version)
        print(f"broker: the jars of Apache Kafka {version} are in {libs}")
        return Exit.OK
    if args.command == "stop":
        print(f"broker: {stop(args.data)}")
        return Exit.OK
    broker = running(args.data)
    if args.command == "start":
        before, broker = broker, start(args.data, args.version, args.port, args.timeout_secs, args.security)
        print(f"broker: {_line(broker)}{' already running' if before == broker else ''}")
        if secured := _secured(broker, pathlib.Path(args.data).resolve()):
            for file in secured.clients:
                print(f"broker: clients get in by --kafka_properties_file={file}")
            print(f"broker: the administrator gets in at {broker.internal} without any")
        return Exit.OK
    if broker:
        print(broker.bootstrap if args.bootstrap else f"broker: {_line(broker)}")
        return Exit.OK
    log = pathlib.Path(args.data).resolve() / "broker.log"
    last = f"its last log is {log}" if log.exists() else "it has never run there"
    print(f"broker: none runs on {log.parent}; {last}", file=sys.stderr if args.bootstrap else sys.stdout)
    return 1


def _line(broker: Broker) -> str:
    return f"Apache Kafka {broker.version} at {broker.bootstrap} (pid {broker.pid}, log {broker.log})"


if __name__ == "__main__":
    run(main)
