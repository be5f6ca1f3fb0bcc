"""Flags as the fields of frozen dataclasses: each stands once, with its default and its help. Imports no TensorFlow.

A program's settings are a dataclass of rooms: a field a room, whose name is the heading of its flags in --help, and whose type is
the dataclass that has the flags as fields.
"""

import dataclasses
import re
import textwrap
from collections.abc import Mapping
from typing import Any, TypeVar

from absl import flags

from tfonline.flag_files import place_of_text, place_of_value, place_of_winner, written
from tfonline.lifecycle import Exit, UserError

Settings = TypeVar("Settings")

_DEFINE = {str: flags.DEFINE_string, int: flags.DEFINE_integer, float: flags.DEFINE_float, bool: flags.DEFINE_bool}
_FLAG = re.compile(r"(?<!\w)--?(\w+)")
_HELP = ("--help", "-help", "-h", "--helpfull", "-?")


def flag(default: Any, text: str, *, lower: float | None = None, choices: tuple[str, ...] = ()) -> Any:
    """A field that is a flag. The default's type is the flag's; a tuple is a flag that may be repeated.

    Args:
      default: its value where it is not given.
      text: its help.
      lower: its least value.
      choices: its only values.
    """
    metadata = {"help": text, "lower": lower, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def named(kind: type) -> dict[str, dataclasses.Field]:
    """The flags of a program's settings, by name, in order."""
    return {flag.name: flag for room in dataclasses.fields(kind) for flag in dataclasses.fields(room.type)}


def build(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """A program's settings, of some flags by name; of all others the defaults.

    Raises:
      UserError: a value is wrong (exit 64, if the settings do not say otherwise).
      TypeError: there is no such flag.
    """
    if unknown := set(values) - set(named(kind)):
        raise TypeError(f"there are no flags {', '.join(sorted(unknown))}")
    rooms = {}
    for room in dataclasses.fields(kind):
        own = {flag.name for flag in dataclasses.fields(room.type)}
        rooms[room.name] = room.type(**{name: value for name, value in values.items() if name in own})
    return kind(**rooms)


def check(settings: Any) -> None:
    """Holds each flag of a room against its own limits.

    Raises:
      UserError: one is too small or none of its choices (exit 64).
    """
    for field in dataclasses.fields(settings):
        value, lower, choices = getattr(settings, field.name), field.metadata["lower"], field.metadata["choices"]
        if lower is not None and not value >= lower:
            raise wrong(f"--{field.name}={value} is too small. Expected at least {lower:g}.")
        if choices and value not in choices:
            raise wrong(f"--{field.name}={value} is none of {', '.join(filter(None, choices))}.")


def parse(kind: type[Settings], program: str, usage: str, argv: list[str]) -> Settings | None:
    """Reads the flags, `--flagfile` included. None when help was asked for and has been printed.

    Args:
      kind: the dataclass of the settings.
      program: the command, as in `python -m tfonline.train`.
      usage: what the help says before the flags.
      argv: the command line, the program's name first.

    Raises:
      UserError: a flag is unknown or wrong (64), or a flag file is missing (66).
    """
    values = flags.FlagValues()
    for field in named(kind).values():
        if field.type == tuple[str, ...]:
            flags.DEFINE_multi_string(field.name, list(field.default), field.metadata["help"], flag_values=values)
        else:
            _DEFINE[field.type](field.name, field.default, field.metadata["help"], flag_values=values)
    if any(a in _HELP for a in argv[1:]):
        print("\n".join([usage, *_help(kind)]))
        return None
    args = argv[1:]
    try:
        extra = values(argv)[1:]
    except (flags.CantOpenFlagFileError, UnicodeDecodeError) as e:
        *_, include = written(args)
        file = f"{include.place}the flag file {include.text.partition('=')[2]}"
        if isinstance(e, UnicodeDecodeError):
            raise wrong(f"{file} is not UTF-8 text ({e}). Save it as UTF-8.") from e
        raise UserError(f"{file} cannot be read ({e.__context__}). Correct the name after --flagfile=.", Exit.NO_INPUT) from e
    except flags.UnrecognizedFlagError as e:
        raise wrong(f"{place_of_text(args, e.flagvalue)}{e} ({program} --help lists the flags)") from e
    except (flags.Error, ValueError) as e:  # ValueError: --no<flag>=<value>
        about = _FLAG.search(str(e))
        raise wrong(f"{place_of_value(args, about[1], str(e)) if about else ''}{e} ({program} --help lists the flags)") from e
    if extra:
        # What follows was not looked at. A line that lost its dashes may hold a secret, so its value is not shown.
        name, equals, _ = extra[0].partition("=")
        raise wrong(f"{place_of_text(args, extra[0])}not understood: {name}{equals and '=...'}. Flags are written --name=value.")
    found = {name: getattr(values, name) for name in named(kind)}
    try:
        return build(kind, {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()})
    except UserError as e:
        about = _FLAG.match(str(e))
        raise UserError(f"{place_of_winner(args, about[1]) if about else ''}{e}", e.code) from e


def wrong(message: str) -> UserError:
    """The error of a flag."""
    return UserError(message, Exit.FLAGS)


def _help(kind: type) -> list[str]:
    """The flags by room, with their defaults."""
    lines = []
    for room in dataclasses.fields(kind):
        lines += ["", f"{room.name.capitalize()}:"]
        for field in dataclasses.fields(room.type):
            choices = f" One of {', '.join(filter(None, field.metadata['choices']))}." if field.metadata["choices"] else ""
            default = "none" if field.default in ("", ()) else field.default
            text = f"{field.metadata['help']}{choices} (default: {default})"
            lines += [f"  --{field.name}", *textwrap.wrap(text, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)]
    return lines
