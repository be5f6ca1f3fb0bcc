"""Processes that end by themselves, after their parent."""

import pathlib
import time


def gone(pid: int) -> bool:
    """Whether a process has ended, though nobody may have asked how."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(done, secs: float = 120.0) -> None:
    """Returns once `done()` is true."""
    deadline = time.monotonic() + secs
    while not done():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)
