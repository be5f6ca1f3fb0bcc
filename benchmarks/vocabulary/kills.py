"""Kills of the trainer while its vocabulary is full: the chaos (benchmarks/chaos), with a vocabulary that grows."""

import argparse
import pathlib
import re
import subprocess
import sys

from benchmarks.commands import ROOT
from benchmarks.vocabulary.figures import Figures

_ROWS, _KILLS = 512, 10


def measure(args: argparse.Namespace, folder: pathlib.Path, figures: Figures) -> tuple[dict[str, str], list[str]]:
    """Figures of the closing line, and no table. Ends the program where the chaos proves nothing, or finds a difference."""
    command = [sys.executable, "-m", "benchmarks.chaos", f"--kills={_KILLS}", "--broker_faults=0", f"--vocabulary_rows={_ROWS}"]
    said = ""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            said += line
    if process.returncode:
        sys.exit(f"the chaos ended with exit code {process.returncode}; it says above what it found")
    found = closing_of(said)
    figures.note("kills", float(found["kills"]))
    figures.note("rows of the vocabulary in use at the first kill, share", float(found["vocabulary_load"]))
    return {name: found[name] for name in ("kills", "weights_equal")}, []


def closing_of(said: str) -> dict[str, str]:
    """The figures of the chaos' closing line, by name; ValueError where it printed none."""
    lines = re.findall(r"^chaos: (kills=.*)$", said, re.MULTILINE)
    if not lines:
        raise ValueError(f"no closing line of the chaos: {said[-500:]!r}")
    return dict(part.split("=") for part in lines[-1].split())
