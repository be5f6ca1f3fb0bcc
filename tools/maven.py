"""Maven, run for a tool that says on stderr how far it is."""

import re
import subprocess
import sys

# What Maven says of a file that has come, such as a jar of Kafka: the file's name and its size.
_FETCHED = re.compile(r"Downloaded from \S+ \S*/(\S+) \(([^)]*?B)\b")
_FILES_A_LINE = 100


def run(tool: str, *options: str) -> tuple[int, list[str]]:
    """Runs `mvn` and says on stderr what it has fetched; returns its exit status and its lines of errors.

    Args:
      tool: whose lines these are, such as broker.
      *options: Maven's goals and options.
    """
    count, errors = 0, []
    # On a terminal one line that is written over; in a log a line now and then.
    begin, end, every = ("\r\033[K", "", 1) if sys.stderr.isatty() else ("", "\n", _FILES_A_LINE)
    with subprocess.Popen(
        ["mvn", "-B", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as maven:
        for line in maven.stdout:
            if line.startswith("[ERROR]"):
                errors.append(line.rstrip("\n"))
            if found := _FETCHED.search(line):
                count += 1
                if count % every == 0:
                    print(
                        f"{begin}{tool}: {count} files fetched, the last {found[1]} ({found[2]})",
                        end=end,
                        file=sys.stderr,
                        flush=True,
                    )
    if count and not end:
        print(file=sys.stderr)
    return maven.returncode, errors
