"""Flags as the fields of a frozen dataclass: each stands once, with its default, its help and its section. No TensorFlow."""

import dataclasses
import re
import textwrap
from typing import Any, TypeVar

from absl import flags

from tfonline.flag_files import place_of_text, place_of_value, place_of_winner, written
from tfonline.lifecycle import Exit, UserError

Settings = TypeVar("Settings")

_DEFINE = {str: flags.DEFINE_string, int: flags.DEFINE_integer, float: flags.DEFINE_float, bool: flags.DEFINE_bool}
_FLAG = re.compile(r"(?<!\w)--?(\w+)")
_HELP = ("--help", "-help", "-h", "--helpfull", "-?")


def flag(default: Any, section: str, text: str, *, lower: float | None = None, choices: tuple[str, ...] = ()) -> Any:
    """A field that is a flag. The default's type is the flag's; a tuple is a flag that may be repeated."""
    metadata = {"section": section, "help": text, "lower": lower, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def check(settings: Any) -> None:
    """Holds each flag against its own limits.

    Raises:
      UserError: one is too small or none of its choices (exit 64).
    """
    for field in dataclasses.fields(settings):
        value, lower, choices = getattr(settings, field.name), field.metadata["lower"], field.metadata["choices"]
        if lower is not None and not value >= lower:
            raise wrong(f"--{field.name}={value} is too small. Expected at least {lower:g}.")
        if choices and value not in choices:
            raise wrong(f"--{field.name}={value} is none of {', '.join(choices)}.")


def parse(kind: type[Settings], program: str, usage: str, argv: list[str]) -> Settings | None:
    """Reads the flags, `--flagfile` included. None when help was asked for and has been printed.

    Args:
      kind: the dataclass of the flags.
      program: the command, as in `python -m tfonline.train`.
      usage: what the help says before the flags.
      argv: the command line, the program's name first.

    Raises:
      UserError: a flag is unknown or wrong (64), or a flag file is missing (66).
    """
    values = flags.FlagValues()
    for field in dataclasses.fields(kind):
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
        named = _FLAG.search(str(e))
        raise wrong(f"{place_of_value(args, named[1], str(e)) if named else ''}{e} ({program} --help lists the flags)") from e
    if extra:
        # What follows was not looked at. A line that lost its dashes may hold a secret, so its value is not shown.
        name, equals, _ = extra[0].partition("=")
        raise wrong(f"{place_of_text(args, extra[0])}not understood: {name}{equals and '=...'}. Flags are written --name=value.")
    settings = {f.name: getattr(values, f.name) for f in dataclasses.fields(kind)}
    try:
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()})
    except UserError as e:
        named = _FLAG.match(str(e))
        raise UserError(f"{place_of_winner(args, named[1]) if named else ''}{e}", e.code) from e


def wrong(message: str) -> UserError:
    """The error of a flag."""
    return UserError(message, Exit.FLAGS)


def _help(kind: type) -> list[str]:
    """The flags by section, with their defaults."""
    lines, section = [], None
    for field in dataclasses.fields(kind):
        if field.metadata["section"] != section:
            section = field.metadata["section"]
            lines += ["", f"{section}:"]
        choices = f" One of {', '.join(field.metadata['choices'])}." if field.metadata["choices"] else ""
        default = "none" if field.default in ("", ()) else field.default
        text = f"{field.metadata['help']}{choices} (default: {default})"
        lines += [f"  --{field.name}", *textwrap.wrap(text, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)]
    return lines
