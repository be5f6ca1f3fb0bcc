"""A Java program that this machine runs for development and tests: found, started, awaited, told from others, stopped. Linux only.

Its data folder holds NAME.log, NAME.json (its process and what it was started with) and lock.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

from tfonline import folders
from tfonline.lifecycle import Exit, UserError

_STOP_SECS = 30.0
_NUM_LOG_LINES_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class JavaProcess:
    """A process that was started, and may have ended since.

    Attributes:
      pid: its process id.
      words: of its command line; no other program has them all.
      log: the file that it logs to.
    """

    pid: int
    words: tuple[str, ...]
    log: pathlib.Path

    def runs(self) -> bool:
        """Whether it runs: its id may by now be another program's. False for a zombie."""
        process = pathlib.Path(f"/proc/{self.pid}")
        try:
            # A process has no command line while it is made, too: posix_spawn returns before the kernel has set it up.
            while not (line := (process / "cmdline").read_bytes()):
                if (process / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                    return False
                time.sleep(0.001)
        except OSError:
            return False
        return {*map(os.fsencode, self.words)} <= {*line.split(b"\0")}

    def wait_until(self, answers: Callable[[], bool], name: str, where: str, timeout_secs: float) -> None:
        """Returns once `answers` is true.

        Args:
          answers: asks the program; false where it does not answer yet.
          name: of the program, with its version.
          where: its address.
          timeout_secs: how long it may take.

        Raises:
          UserError: it ended, or took too long (exit 69). Where it took too long, the caller must kill it.
        """
        deadline = time.monotonic() + timeout_secs
        while self.runs():
            if answers():
                return
            if time.monotonic() > deadline:
                raise UserError(
                    f"{name} does not answer at {where} after {timeout_secs:g} s; killed. {self._end_of_log()}\n"
                    "Give it longer with --timeout_secs.",
                    Exit.UNAVAILABLE,
                )
            time.sleep(0.05)
        raise UserError(
            f"{name} ended while it started. {self._end_of_log()}\nMend what the log says, or choose another --data folder.",
            Exit.UNAVAILABLE,
        )

    def stop(self, what: str) -> str:
        """Stops it (SIGTERM; SIGKILL after 30 s) and returns what was done to `what`, its description."""
        if self._signal(signal.SIGTERM):
            return f"stopped {what}"
        self.kill()
        return f"killed {what}: it did not end within {_STOP_SECS:g} s of SIGTERM"

    def kill(self) -> None:
        """Kills it at once (SIGKILL)."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> bool:
        """Sends a signal and waits for the end of the process; false if it does not end."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        deadline = time.monotonic() + _STOP_SECS
        while self.runs() and time.monotonic() < deadline:
            time.sleep(0.05)
        if self.runs():
            return False
        # Where it is a child of this process, nobody else reaps it.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        return True

    def _end_of_log(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-_NUM_LOG_LINES_SHOWN:]
        return "\n".join([f"The end of {self.log}:", *(f"  {line}" for line in lines)])


def find_java(program: str, needed: int) -> str:
    """The path of a java command that is new enough: of JAVA_HOME, else of the PATH.

    Args:
      program: what it is needed for, with its version.
      needed: the oldest version of Java that will do.

    Raises:
      UserError: there is none, or it is too old (exit 66).
    """
    home = os.environ.get("JAVA_HOME")
    command = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    hint = f"{program} needs Java {needed} or newer: apt-get install openjdk-17-jre-headless, or set JAVA_HOME."
    if not command:
        where = f"JAVA_HOME={home} has no bin/java" if home else "no java on the PATH"
        raise UserError(f"{where}. {hint}", Exit.NO_INPUT)
    told = subprocess.run([command, "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(?:1\.)?(\d+)', told)
    if not match or int(match[1]) < needed:
        raise UserError(f"{command} is Java {match[1] if match else 'of an unknown version'}. {hint}", Exit.NO_INPUT)
    return command


def launch(command: list[str], log: pathlib.Path, state_file: pathlib.Path, state: dict) -> dict:
    """Starts a process in a session of its own, which outlives this one; writes and returns its state, with `pid`.

    Args:
      command: the path of a program, and its arguments.
      log: the file that its output is added to.
      state_file: the file for `read_state`.
      state: what it is started with.
    """
    # Ctrl-C waits until the file says which process there is to kill.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with open(log, "ab") as out, open(os.devnull, "rb") as nothing:
            # Not subprocess.Popen: the program outlives this process, and Popen warns about that.
            pid = os.posix_spawn(
                command[0],
                command,
                os.environ,
                setsid=True,
                setsigmask=before,
                file_actions=[(os.POSIX_SPAWN_DUP2, fd.fileno(), to) for fd, to in ((nothing, 0), (out, 1), (out, 2))],
            )
        state = {"pid": pid, **state}
        state_file.write_text(json.dumps(state))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return state


def read_state(state_file: pathlib.Path) -> dict | None:
    """What `launch` wrote last; None where it never did."""
    try:
        return json.loads(state_file.read_text())
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def locked(data: pathlib.Path) -> Iterator[None]:
    """Lets one process at a time start a program on a data folder, which is made if need be."""
    folders.make(str(data), "--data")
    with open(data / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ports(port: int, last: dict[str, int]) -> dict[str, int]:
    """Chooses a port for each name of `last`: the last one where it is still free, else any free one.

    Args:
      port: the one asked for, for the name "port"; 0: none.
      last: the ports of the last start; 0 at the first one.

    Raises:
      UserError: the port that was asked for is taken (exit 64).
    """
    if port and not _free(port):
        raise UserError(
            f"--port={port} is taken by another program. Stop that one, or leave out --port to get a free one.", Exit.FLAGS
        )
    found = {}
    with contextlib.ExitStack() as opened:  # all at once, so that they differ
        for name, wanted in (last | {"port": port or last["port"]}).items():
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
