"""A process of its own that makes JSON lines of what is written to a trainer's standard error stream by no means of Python's.

It reads until all who can write have ended, and so also tells the last words of a trainer that C++ has ended.
"""

import re
import sys

from tfonline.report.console import Console

# As absl's C++ begins its lines: `W0000 00:00:1764455871.123456 ...`, and TensorFlow's own: `2026-01-31 10:00:00.123456: W ...`.
_LEVEL = re.compile(r"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: )?([IWEF])(?:\d{4})? ")
_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "error"}


def main() -> None:
    """Each line of standard input becomes one on the standard error stream; what has no level is a warning."""
    console = Console(form="json")
    for line in sys.stdin.buffer:
        if text := line.decode(errors="backslashreplace").strip():
            known = _LEVEL.match(text)
            console.library(_LEVELS[known[1]] if known else "warning", "stderr", text)


if __name__ == "__main__":
    main()
