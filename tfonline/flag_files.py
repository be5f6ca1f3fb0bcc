"""Where a flag was written: on the command line, or in which line of which flag file. absl, which reads them, does not say."""

import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_INCLUDE = re.compile(r"--?flagfile=(.*)", re.DOTALL)


class Written(NamedTuple):
    """A flag, or what stands where a flag should.

    Attributes:
      text: as it is written, without the spaces around it.
      place: `line 3 of a.flags: `; '' for the command line.
    """

    text: str
    place: str

    @property
    def name(self) -> str:
        """What stands before the "=", without dashes."""
        return self.text.lstrip("-").partition("=")[0]


def written(args: Sequence[str]) -> Iterator[Written]:
    """All that is written, in the order in which absl reads it: a flag file's lines follow the --flagfile that names it.

    Ends at the first flag file that cannot be read, as absl does: the last one is then the flag that names it.
    """
    args = list(args)
    try:
        for i, arg in enumerate(args):
            if arg in ("--flagfile", "-flagfile") and i + 1 < len(args):
                arg = f"{arg}={args[i + 1]}"
            yield Written(arg, "")
            yield from _included(arg, [])
    except (OSError, UnicodeDecodeError):
        return


def place_of_text(args: Sequence[str], text: str) -> str:
    """Where this text was first written."""
    return next((flag.place for flag in written(args) if flag.text == text), "")


def place_of_value(args: Sequence[str], name: str, message: str) -> str:
    """Where the flag `name` got the value that an error message shows as name=value; where it shows none, where it first stands."""
    found = [flag for flag in written(args) if flag.name == name]
    shown = (flag for flag in found if "=" in flag.text and flag.text.lstrip("-") in message)
    return next(shown, found[0]).place if found else ""


def place_of_winner(args: Sequence[str], name: str) -> str:
    """Where the flag `name` was written last, which is the value that counts."""
    return next((flag.place for flag in reversed(list(written(args))) if flag.name == name), "")


def _included(text: str, files: list[str]) -> Iterator[Written]:
    """The lines of the flag file that `text` names, if it names one, but for comments; `files` are those that lead to it."""
    include = _INCLUDE.fullmatch(text)
    file = os.path.expanduser(include[1].strip()) if include else ""
    if not file or file in files:  # absl passes over a file that names itself
        return
    with open(file) as f:
        lines = f.readlines()
    for number, line in enumerate(lines, start=1):
        if not line.isspace() and not line.startswith(("#", "//")):
            flag = Written(line.strip(), f"line {number} of {file}: ")
            yield flag
            yield from _included(flag.text, [*files, file])
