"""A trainer's process: started with flags, watched through its status file, killed in a phase of one's choice."""

import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parents[2]
_POLL_SECS = 0.1
PHASES = ("starting", "reading", "training", "saving", "committing")


class Failed(Exception):
    """The trainer did what it must not do."""


class HarnessFailed(Exception):
    """The feeder or the broker failed: nothing is known of the trainer."""


class Trainer:
    """One process of the trainer.

    Args:
      command: what starts it, without flags.
      flags: name to value.
      log: gets all that it prints.
    """

    def __init__(self, command: list[str], flags: dict[str, object], log: pathlib.Path):
        self._status, self._log = pathlib.Path(str(flags["model_dir"])) / "status", log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [*command, *(f"--{k}={v}" for k, v in flags.items())], cwd=ROOT, stdout=out, stderr=subprocess.STDOUT
            )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def state(self) -> tuple[str, int, int]:
        """(phase, window, step) as the status file says; while a checkpoint is being written, `saving` stands for what goes on."""
        try:
            _, _, pid, phase, _, window, _, step, *writing = self._status.read_text().split()
        except (OSError, ValueError):  # none yet
            return "starting", 0, 0
        phase = "saving" if writing and phase in ("reading", "training") else phase
        return (phase, int(window), int(step)) if int(pid) == self.pid else ("starting", 0, 0)

    def wait_until(
        self, done: Callable[[str, int, int], bool], secs: float, what: str, check: Callable[[], None] = lambda: None
    ) -> None:
        """Returns once `done(phase, window, step)`; meanwhile calls `check`, which may raise.

        Raises:
          Failed: the process ended, or the time is up.
        """
        deadline = time.monotonic() + secs
        while not done(*self.state()):
            check()
            if self._process.poll() is not None:
                raise Failed(f"the trainer ended with exit code {self._process.returncode} while {what}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise Failed(f"{secs:g} s have passed while {what}; the trainer is at {self.state()}\n{self.tail()}")
            time.sleep(0.0002)

    def kill(self) -> str:
        """SIGKILL; returns the phase that it was in."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        return self.state()[0]

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def wait_for_exit(self, code: int, secs: float, what: str, check: Callable[[], None] = lambda: None) -> None:
        """Waits for the end; meanwhile calls `check` ten times a second, which may raise.

        Raises:
          Failed: it does not come in time, or with another exit code.
        """
        deadline = time.monotonic() + secs
        while (found := self.exit_code(_POLL_SECS)) is None:
            if time.monotonic() > deadline:
                self.kill()
                raise Failed(f"the trainer did not end within {secs:g} s after {what}\n{self.tail()}")
            check()
        if found != code:
            raise Failed(f"exit code {found} instead of {code} after {what}\n{self.tail()}")

    def exit_code(self, secs: float) -> int | None:
        """Waits for the end; None where it does not come in time."""
        try:
            return self._process.wait(secs)
        except subprocess.TimeoutExpired:
            return None

    def tail(self) -> str:
        """The end of what was printed."""
        return "\n".join(f"  | {line}" for line in self._log.read_text(errors="replace").splitlines()[-15:])


def command_of(script: str) -> list[str]:
    """The command that starts the trainer, or a script in its place."""
    return [sys.executable, script] if script else [sys.executable, "-m", "tfonline.train"]
