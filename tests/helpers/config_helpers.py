"""Ways to read flags in tests."""

import pathlib
import types

import pytest

from tfonline import flags
from tfonline.config import Config, parse
from tfonline.lifecycle import Exit, UserError

SECRET = "hunter2"
FLAG_NAMES = list(flags.named(Config))


def read(*argv: str) -> Config:
    config = parse(["train", *argv])
    assert config is not None
    return config


def flags_of(*argv: str) -> types.SimpleNamespace:
    """The flags as they were read, whatever room they belong to."""
    return types.SimpleNamespace(**read(*argv).resolved(), layers=read(*argv).model.layers)


def refusal(*argv: str) -> tuple[str, Exit]:
    """The message and the exit code with which the flags are refused."""
    with pytest.raises(UserError) as e:
        parse(["train", *argv])
    return str(e.value), e.value.code


def written(folder: pathlib.Path, text: str | bytes, name: str = "kafka.properties") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)
