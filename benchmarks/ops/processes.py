"""A process that somebody keeps alive, and that can be killed, slowed down and started with other flags."""

import contextlib
import pathlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

from benchmarks.commands import ROOT

_BEFORE_NEXT_SECS = 1.0
_STOP_SECS = 40.0


class Supervised:
    """A process of a module, which is started again a second after it has ended, whatever its exit code.

    It is no part of this process' group: Ctrl-C is for the one that ends them all.

    Args:
      module: such as tfonline.train.
      log: gets all that it prints.

    Attributes:
      flags: of the next start.
      codes: exit codes, in order.
    """

    def __init__(self, module: str, flags: dict[str, object], log: pathlib.Path):
        self._module, self._log = module, log
        self.flags, self.codes = flags, []
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._process: subprocess.Popen | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to keep it alive."""
        self._ended.clear()
        self._thread = threading.Thread(target=self._keep, name=self._module, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """SIGTERM, SIGKILL where that does not help; it is not started again."""
        with self._lock:
            self._ended.set()
            self._signal(signal.SIGTERM)
        if self._thread:
            self._thread.join(_STOP_SECS)
            self._signal(signal.SIGKILL)
            self._thread.join()

    def restart(self, **flags: object) -> None:
        """Once more, with these flags instead of those that it had."""
        self.stop()
        self.flags = self.flags | flags
        self.start()

    def kill(self) -> None:
        """SIGKILL; it is started again."""
        self._signal(signal.SIGKILL)

    @contextlib.contextmanager
    def slowed(self, stopped_secs: float, running_secs: float) -> Iterator[None]:
        """Meanwhile it is stopped for so long and goes on for so long, in turns."""
        over = threading.Event()

        def take_turns() -> None:
            while not over.is_set():
                self._signal(signal.SIGSTOP)
                over.wait(stopped_secs)
                self._signal(signal.SIGCONT)
                over.wait(running_secs)

        turns = threading.Thread(target=take_turns, daemon=True)
        turns.start()
        try:
            yield
        finally:
            over.set()
            turns.join()
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)

    def _keep(self) -> None:
        while True:
            with self._lock:
                if self._ended.is_set():
                    return
                command = [sys.executable, "-m", self._module, *(f"--{k}={v}" for k, v in self.flags.items())]
                with self._log.open("ab") as out:
                    self._process = subprocess.Popen(
                        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
                    )
            self.codes.append(self._process.wait())
            self._ended.wait(_BEFORE_NEXT_SECS)
