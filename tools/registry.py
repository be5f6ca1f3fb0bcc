"""A local schema registry (Apicurio Registry, by Confluent's API) for development and tests. Linux only.

    python tools/registry.py start      # prints where it answers; the same again when it runs already
    python tools/registry.py status --url
    python tools/registry.py stop

Needs Java 17, and Maven, which fetches the jars once. It keeps its schemas in memory: when it ends they are gone. The data
folder holds registry.log, registry.json (process, port) and what Java unpacks while it runs. Only this machine can reach it:
it listens on 127.0.0.1, without authentication.
"""

import dataclasses
import http.client
import os
import pathlib
import sys
import urllib.request

import java_process
import registry_jars
from command_line import Parser, at_least, run
from java_process import JavaProcess

from tfonline.lifecycle import Exit, UserError

DEFAULT_DATA = registry_jars.ROOT / ".kafka" / "registry"

_NAME = f"Apicurio Registry {registry_jars.VERSION}"
_ASK_SECS = 5.0
# No proxy of the environment stands between this machine and itself.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclasses.dataclass(frozen=True)
class Registry:
    """A registry's process.

    Attributes:
      url: of Confluent's API, for clients (`schema.registry.url`).
      pid: its process id.
      log: the file that it logs to.
    """

    url: str
    pid: int
    log: pathlib.Path


def start(data: str | os.PathLike = DEFAULT_DATA, port: int = 0, timeout_secs: float = 60.0) -> Registry:
    """Starts a registry on a data folder, or finds the one that runs on it, and returns once it answers.

    Args:
      data: the data folder; made if need be. A registry that starts has no schemas.
      port: where clients connect; 0: the port of the last start on this folder if it is free, else any free one.
      timeout_secs: how long it may take to answer.

    Raises:
      UserError: Java, Maven or the jars are missing (exit 66), the port contradicts the running registry or is taken
        (exit 64), or the registry does not come up (exit 69).
    """
    data = pathlib.Path(data).resolve()
    with java_process.locked(data):
        before = running(data)
        if before:
            _check_same(before, port)
        try:
            registry = before or _launch(data, port)
            _process(registry.pid, data).wait_until(lambda: _answers(registry.url), _NAME, registry.url, timeout_secs)
        except UserError:
            kill(data)
            raise
        except KeyboardInterrupt:
            if not before:
                kill(data)
            raise
        return registry


def running(data: str | os.PathLike = DEFAULT_DATA) -> Registry | None:
    """The registry whose process runs on a data folder, or None. It may not answer yet."""
    data = pathlib.Path(data).resolve()
    state = java_process.read_state(data / "registry.json")
    if not state or not _process(state["pid"], data).runs():
        return None
    return _registry(data, state)


def stop(data: str | os.PathLike = DEFAULT_DATA) -> str:
    """Stops the registry of a data folder (SIGTERM; SIGKILL after 30 s) and returns what it did. None running is fine."""
    data = pathlib.Path(data).resolve()
    registry = running(data)
    if not registry:
        return f"no registry runs on {data}"
    return _process(registry.pid, data).stop(f"{_NAME} at {registry.url} (pid {registry.pid})")


def kill(data: str | os.PathLike = DEFAULT_DATA) -> None:
    """Kills the registry of a data folder at once (SIGKILL). None running is fine."""
    data = pathlib.Path(data).resolve()
    registry = running(data)
    if registry:
        _process(registry.pid, data).kill()


def _launch(data: pathlib.Path, port: int) -> Registry:
    jar = registry_jars.jar()
    java = java_process.find_java(_NAME, 17)
    last = java_process.read_state(data / "registry.json") or {"port": 0}
    state = java_process.ports(port, {"port": last["port"]})
    settings = ["-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={state['port']}", _temporary(data)]
    command = [java, "-Xmx384m", "-XX:+ExitOnOutOfMemoryError", *settings, "-jar", str(jar)]
    return _registry(data, java_process.launch(command, data / "registry.log", data / "registry.json", state))


def _temporary(data: pathlib.Path) -> str:
    """The option that keeps Java's temporary files in the data folder. It also tells this registry from those of other folders."""
    return f"-Djava.io.tmpdir={data}"


def _process(pid: int, data: pathlib.Path) -> JavaProcess:
    """A registry on this data folder."""
    return JavaProcess(pid, ("-Dquarkus.http.host=127.0.0.1", _temporary(data)), data / "registry.log")


def _registry(data: pathlib.Path, state: dict) -> Registry:
    return Registry(f"http://127.0.0.1:{state['port']}/apis/ccompat/v7", state["pid"], data / "registry.log")


def _check_same(registry: Registry, port: int) -> None:
    """Raises UserError if the running registry is not the one asked for."""
    if port and not registry.url.startswith(f"http://127.0.0.1:{port}/"):
        raise UserError(
            f"--port={port} asked for, but {_NAME} runs on this data folder at {registry.url} (pid {registry.pid}). Stop it "
            "first (python tools/registry.py stop), or choose another --data folder.",
            Exit.FLAGS,
        )


def _answers(url: str) -> bool:
    try:
        with _direct.open(f"{url}/subjects", timeout=_ASK_SECS) as answer:
            return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False


def main(argv: list[str]) -> int:
    """Runs one command; returns the exit status."""
    parser = Parser(prog="registry.py", description="A local schema registry, which keeps its schemas in memory.")
    commands = parser.add_subparsers(dest="command", required=True, prog="registry.py")
    for name, what in (
        ("start", "start the registry and wait until it answers; nothing to do when it runs"),
        ("stop", "stop it, and with it end its schemas; nothing to do when it does not run"),
        ("status", "say whether it runs: exit 0 or 1"),
        ("jars", "only fetch the jars"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        if name != "jars":
            command.add_argument("--data", default=DEFAULT_DATA, help="the data folder (default: .kafka/registry of the project)")
        if name == "start":
            command.add_argument("--port", type=at_least(0), default=0, help="0: the last one if free, else any free one")
            command.add_argument("--timeout_secs", type=at_least(1), default=60, help="how long it may take to answer")
        if name == "status":
            command.add_argument("--url", action="store_true", help="print the API's URL and nothing else")
    args = parser.parse_args(argv)

    if args.command == "jars":
        print(f"registry: the jars of {_NAME} are in {registry_jars.jar().parent}")
        return Exit.OK
    if args.command == "stop":
        print(f"registry: {stop(args.data)}")
        return Exit.OK
    registry = running(args.data)
    if args.command == "start":
        before, registry = registry, start(args.data, args.port, args.timeout_secs)
        print(f"registry: {_line(registry)}{' already running' if before == registry else ''}")
        return Exit.OK
    if registry:
        print(registry.url if args.url else f"registry: {_line(registry)}")
        return Exit.OK
    log = pathlib.Path(args.data).resolve() / "registry.log"
    last = f"its last log is {log}" if log.exists() else "it has never run there"
    print(f"registry: none runs on {log.parent}; {last}", file=sys.stderr if args.url else sys.stdout)
    return 1


def _line(registry: Registry) -> str:
    return f"{_NAME} at {registry.url} (pid {registry.pid}, log {registry.log})"


if __name__ == "__main__":
    run(main)
