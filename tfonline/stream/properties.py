"""Kafka properties: one grammar for the trainer and the tools, from a file and from flags. Imports neither Kafka nor TensorFlow.

A file is UTF-8 text, with or without a byte order mark. A line is `key=value`, split at its first `=`, without the spaces around
both; a line that begins with # is a comment. Secrets belong in the file, for each process of a machine can read the flags of all.
"""

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tfonline.lifecycle import Exit, UserError

# What makes a property a secret, by its name.
_SECRETS = ("password", "passphrase", "secret", ".pem", "oauthbearer.config", "jaas")
# What the trainer sets itself, and by which flag.
_TRAINERS_OWN = {
    "bootstrap.servers": "--bootstrap_servers",
    "group.id": "--group",
    "enable.auto.commit": "tfonline itself",
    "auto.offset.reset": "tfonline itself",
    "isolation.level": "tfonline itself",
    "enable.auto.offset.store": "tfonline itself",
    "enable.partition.eof": "tfonline itself",
}
_HIDDEN = "(hidden)"
_SHORTEST_HIDDEN = 3


class Property(NamedTuple):
    """A property and where it stands, for error messages; `where` never holds the value."""

    key: str
    value: str
    where: str


def read_properties(file: str, options: Sequence[str]) -> list[Property]:
    """The properties of --kafka_properties_file ('' for none), then those of --kafka_property; of one key the last counts.

    Raises:
      UserError: the file cannot be read (exit 66) or is not UTF-8, a line is not key=value, or a flag holds a secret (64).
    """
    return [*read_file(file, "kafka_properties_file"), *(_of_option(option, number) for number, option in enumerate(options, 1))]


def as_dict(properties: Iterable[Property]) -> dict[str, str]:
    """What librdkafka's clients take; the values may be secret."""
    return {p.key: p.value for p in properties}


def refuse_the_trainers_own(properties: Iterable[Property]) -> None:
    """Raises UserError (exit 64) for a property that the trainer sets itself."""
    for key, _, where in properties:
        if key in _TRAINERS_OWN:
            raise UserError(f"{where}: {key} is set by {_TRAINERS_OWN[key]}. Leave it out.", Exit.FLAGS)


def with_equals_sign(properties: Mapping[str, str]) -> list[str]:
    """The keys of values that hold '='."""
    return [key for key, value in properties.items() if "=" in value]


def without_secrets(text: str, properties: Mapping[str, str]) -> str:
    """An error text of a library, with the values of secret properties taken out: some quote what they do not understand."""
    for key, value in properties.items():
        if _is_secret(key) and len(value) >= _SHORTEST_HIDDEN:
            text = text.replace(value, _HIDDEN)
    return text


def read_file(file: str, flag: str) -> list[Property]:
    """The properties of the file ('' for none) that a flag names.

    Raises:
      UserError: it cannot be read (exit 66) or is not UTF-8, or a line is not key=value (64).
    """
    if not file:
        return []
    try:
        text = pathlib.Path(file).read_text(encoding="utf-8-sig")
    except OSError as e:
        raise UserError(f"--{flag}={file} cannot be read ({e.strerror}).", Exit.NO_INPUT) from e
    except UnicodeDecodeError:
        raise UserError(f"--{flag}={file} is not UTF-8 text. Save it as UTF-8.", Exit.FLAGS) from None
    lines = [(line.strip(), f"{file}:{number}") for number, line in enumerate(text.split("\n"), 1)]
    return [_split(line, where) for line, where in lines if line and not line.startswith("#")]


def _of_option(option: str, number: int) -> Property:
    # By its number: what stands there may be a secret without its key.
    found = _split(option, f"--kafka_property number {number}")
    if _is_secret(found.key):
        raise UserError(
            f"--kafka_property={found.key}={_HIDDEN} is a secret, and flags are seen by all. Use --kafka_properties_file.",
            Exit.FLAGS,
        )
    return found._replace(where=f"--kafka_property={found.key}")


def _split(text: str, where: str) -> Property:
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not key:
        raise UserError(f"{where} is not key=value, such as security.protocol=SSL.", Exit.FLAGS)
    return Property(key, value, where)


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in _SECRETS)
