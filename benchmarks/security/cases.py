"""The ways into a secured broker that are tried, right ones and wrong ones."""

import pathlib
import sys
from typing import NamedTuple

from benchmarks.commands import ROOT

sys.path.insert(0, str(ROOT / "tools"))

import broker_security
from broker_security import Secured

from tfonline.lifecycle import Exit

WRONG_PASSWORD = "wrong-48-password"
TOPIC = "tfonline-security"
# A topic and a group that belong to another account.
OTHERS = "of-another-account"


class Case(NamedTuple):
    """One way in.

    Attributes:
      name: what is tried.
      properties: a client's, by key; the values may be secret.
      address: `bootstrap`, `internal` (a listener without TLS or log-in) or `other_name` (the bootstrap address by another name).
      exit_code: with which the trainer is to end.
      says: what it is to say.
      flags: of the trainer, beside the topic's.
    """

    name: str
    properties: dict[str, str]
    address: str = "bootstrap"
    exit_code: int = Exit.OK
    says: str = "rows"
    flags: tuple[str, ...] = ()


def cases(secured: Secured, stranger: pathlib.Path) -> list[Case]:
    """All ways into a broker; `stranger` is a certificate that it does not have, PEM."""
    ways = [_read(file) for file in secured.clients]
    names = secured.mechanisms or (secured.mode,)
    right = [Case(name, way) for name, way in zip(names, ways, strict=True)]
    way, protocol = ways[0], broker_security.protocol(secured.mode)
    wrong = [
        Case("unknown authority", {**way, "ssl.ca.location": str(stranger)}, "bootstrap", Exit.CREDENTIALS, "is not trusted"),
        Case("other host name", way, "other_name", Exit.CREDENTIALS, "is not trusted"),
        Case("no TLS where it is", _without_tls(way), "bootstrap", Exit.CREDENTIALS, "listens with TLS at this port"),
        Case("TLS where none is", way, "internal", Exit.CREDENTIALS, f"without TLS at this port, and security.protocol={protocol}"),
    ]
    if secured.mode == "mtls":
        without = {key: value for key, value in way.items() if key not in ("ssl.certificate.location", "ssl.key.location")}
        wrong.append(Case("no client's certificate", without, "bootstrap", Exit.CREDENTIALS, "ssl.certificate.location"))
    for name, its in zip(secured.mechanisms, ways, strict=False):
        refused = {**its, "sasl.password": WRONG_PASSWORD}
        wrong.append(Case(f"{name}, wrong password", refused, "bootstrap", Exit.CREDENTIALS, "refuses the log-in"))
    if secured.mode != "ssl":  # where clients have names
        for flags in ((f"--topic={OTHERS}",), (f"--start=committed:{OTHERS}",)):
            name = f"no right to {flags[0].partition('=')[0]}"
            wrong.append(Case(name, way, "bootstrap", Exit.CREDENTIALS, "does not let this account", flags))
    return right + wrong


def _read(file: pathlib.Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


def _without_tls(way: dict[str, str]) -> dict[str, str]:
    without = {key: value for key, value in way.items() if not key.startswith("ssl.")}
    return {**without, "security.protocol": way["security.protocol"].replace("SSL", "PLAINTEXT")}
