"""A local one-node Apache Kafka (KRaft: broker and controller in one process) for development and tests. Linux only.

    python tools/broker.py start      # prints where it listens; the same again when it runs already
    python tools/broker.py status --bootstrap
    python tools/broker.py stop

Needs Java (17 for Kafka 4, 11 for 3.x) and either Maven, which fetches the jars once, or KAFKA_HOME, an unpacked Apache
Kafka. The data folder holds broker.log, broker.json (process, ports, version), log/ (the topics) and the settings. Only this
machine can reach the broker: it listens on localhost, without authentication. With --security it wants TLS, a certificate or a
log-in, and says which file a client needs; see broker_security.py.
"""

import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import uuid
from base64 import urlsafe_b64encode

import broker_security
import broker_settings
import java_process
from broker_security import Secured
from command_line import Parser, at_least, run
from java_process import JavaProcess
from kafka_jars import DEFAULT_VERSION, ROOT, jars
from kafka_jars import java as find_java

from tfonline.lifecycle import Exit, UserError

DEFAULT_DATA = ROOT / ".kafka" / "data"

_OLDEST = (3, 2, 0)


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
    with java_process.locked(data):
        before = running(data)
        if before:
            _check_same(before, version, port, security)
        try:
            broker = before or _launch(data, version, port, security)
            _wait_until_it_answers(broker, data, timeout_secs)
            if secured := _secured(broker, data):
                broker_security.make_users(secured, broker.internal)
        except UserError:
            kill(data)
            raise
        except KeyboardInterrupt:
            if not before:
                kill(data)
            raise
        return broker


def running(data: str | os.PathLike = DEFAULT_DATA) -> Broker | None:
    """The broker whose process runs on a data folder, or None. It may not answer yet."""
    data = pathlib.Path(data).resolve()
    state = java_process.read_state(data / "broker.json")
    if not state or not _process(state["pid"], data).runs():
        return None
    return _broker(data, state)


def stop(data: str | os.PathLike = DEFAULT_DATA) -> str:
    """Stops the broker of a data folder (SIGTERM; SIGKILL after 30 s) and returns what it did. None running is fine."""
    data = pathlib.Path(data).resolve()
    broker = running(data)
    if not broker:
        return f"no broker runs on {data}"
    return _process(broker.pid, data).stop(f"Apache Kafka {broker.version} at {broker.bootstrap} (pid {broker.pid})")


def kill(data: str | os.PathLike = DEFAULT_DATA) -> None:
    """Kills the broker of a data folder at once (SIGKILL), as a power cut would. None running is fine."""
    data = pathlib.Path(data).resolve()
    broker = running(data)
    if broker:
        _process(broker.pid, data).kill()


def _launch(data: pathlib.Path, version: str | None, port: int, security: str | None) -> Broker:
    """Writes the settings, formats the storage if it is new, and starts the process in a session of its own."""
    version, libs = jars(version)
    java = find_java(version)
    state = {"port": 0, "controller_port": 0, "internal_port": 0, "version": version, "security": "none"} | (
        java_process.read_state(data / "broker.json") or {}
    )
    # An older Kafka may start on what a newer one wrote, and misread it: Kafka has no way back.
    if _numbers(version) < _numbers(state["version"]):
        raise UserError(
            f"Apache Kafka {state['version']} wrote {data}, which the older {version} cannot be trusted to read. Choose "
            f"another --data folder, or --version={state['version']}.",
            Exit.FLAGS,
        )
    mode = security or state["security"]
    ports = java_process.ports(port, {name: state[name] for name in ("port", "controller_port", "internal_port")})
    secured = None if mode == "none" else broker_security.prepare(data, mode, _numbers(version))
    # Kafka makes its files readable for all, and rows are in them: only their owner gets into the folder.
    (data / "log").mkdir(exist_ok=True)
    (data / "log").chmod(0o700)
    properties = broker_settings.write(data, ports, secured)
    log_flags = [f"-Dlog4j2.configurationFile={data}/log4j2.properties", f"-Dlog4j.configuration=file:{data}/log4j.properties"]
    command = [java, "-Xms256m", "-Xmx512m", "-XX:+ExitOnOutOfMemoryError", *log_flags, "-cp", f"{libs}/*"]
    if not (data / "log" / "meta.properties").exists():
        _format(command, properties)
    state = {"version": version, "security": mode, **ports}
    state = java_process.launch([*command, "kafka.Kafka", str(properties)], data / "broker.log", data / "broker.json", state)
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

    def answers() -> bool:
        try:
            return bool(admin.describe_cluster(request_timeout=1.0).result().nodes)
        except KafkaException:
            return False

    name = f"Apache Kafka {broker.version}"
    _process(broker.pid, data).wait_until(answers, name, broker.bootstrap, timeout_secs)


def _process(pid: int, data: pathlib.Path) -> JavaProcess:
    """A Kafka on this data folder."""
    return JavaProcess(pid, ("kafka.Kafka", str(data / "server.properties")), data / "broker.log")


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
