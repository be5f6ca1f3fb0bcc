"""What all tools share: options, their errors and exit codes."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from tfonline.lifecycle import Exit, UserError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are UserErrors with exit 64, and which takes no shortened option names."""

    def __init__(self, **kwargs: Any):
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raises UserError instead of exiting with 2."""
        raise UserError(f"{message}. `python tools/{self.prog} --help` lists the options.", Exit.FLAGS)


def at_least(least: int) -> Callable[[str], int]:
    """An option type: a whole number that is not below `least`."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"{text!r} given, a whole number of at least {least} expected")
        return number

    return parse


def run(main: Callable[[list[str]], int]) -> NoReturn:
    """Runs a tool's `main` on the command line and exits with its status; a UserError is printed without a traceback."""
    try:
        code = main(sys.argv[1:])
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        code = e.code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # The reader, such as head, has had enough. What Python would still flush has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.OK
    sys.exit(code)
