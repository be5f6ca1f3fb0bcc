"""Why a Kafka broker is not reached: what librdkafka's clients report beside their answers, told apart, each with what to do.

A request that fails says no more than that the transport failed. Why is told to the error callback: a log-in that was refused, a
certificate that is not trusted, a name without an address. Where a connection is only closed, the listener itself is asked.
"""

import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tfonline.lifecycle import Exit, UserError
from tfonline.stream import listener
from tfonline.stream.properties import without_secrets

_KEPT = 50
# So many log-ins are refused before the broker is not asked again: a broker that starts may not know its users yet.
_ENOUGH = 3
_FILE = "--kafka_properties_file"


class Cause(NamedTuple):
    """Why the broker is not reached.

    Attributes:
      code: Exit.CREDENTIALS where trying again does not help, else Exit.UNAVAILABLE.
      what: what happened, with the broker's address.
      remedy: what to do, in whole sentences; '' where there is nothing better than to look whether the broker runs.
      certain: whether there is no doubt that trying again does not help.
    """

    code: Exit
    what: str
    remedy: str
    certain: bool


class ClientEvents:
    """The last events of a librdkafka client, or of several of one broker.

    Args:
      servers: `host:port[,host:port]`.
      properties: the user's librdkafka properties; may hold secrets, which are in no text from here.
      heard: told each event that `note` keeps: its name and its text.
    """

    def __init__(self, servers: str, properties: Mapping[str, str], heard: Callable[[str, str], None] | None = None):
        self._servers, self._properties, self._heard = servers, properties, heard
        self._events: deque[tuple[str, str]] = deque(maxlen=_KEPT)

    def note(self, error: Any) -> None:
        """Keeps an event: librdkafka's error_cb, which a client's `poll` calls. "1/1 brokers are down" follows from another one."""
        if error.name() == "_ALL_BROKERS_DOWN":
            return
        event = error.name(), without_secrets(error.str(), self._properties)
        self.add(*event)
        if self._heard:
            self._heard(*event)

    def add(self, name: str, text: str) -> None:
        """Keeps an event that another process has noted."""
        self._events.append((name, text))

    def clear(self) -> None:
        """The broker has answered: what was before is of no interest."""
        self._events.clear()

    @property
    def last(self) -> str:
        """The text of the newest event; '' where there is none."""
        return self._events[-1][1] if self._events else ""

    def cause(self) -> Cause | None:
        """Why the broker is not reached; None where it is not known. May ask the listener, for some seconds."""
        events = list(self._events)
        for name, text in reversed(events):
            if cause := self._of_log_in(name, text, sum(n == name for n, _ in events)):
                return cause
        return self._of_the_listener(events) or next((_of_transport(*event) for event in reversed(events)), None)

    def refusal(self) -> Cause | None:
        """The cause, if trying again does not help: the log-in or TLS is refused, and not by a broker that only starts."""
        cause = self.cause()
        return cause if cause and cause.certain else None

    def _of_log_in(self, name: str, text: str, times: int) -> Cause | None:
        """What the broker, or TLS, has refused in so many words."""
        place, detail = _split(text)
        if name == "_AUTHENTICATION" and "OAUTHBEARER token" not in text:  # that is another server, which may come back
            if "Request not valid in current SASL state" in text:
                return Cause(
                    Exit.CREDENTIALS,
                    f"the Kafka broker at {place} takes no log-in at this port, and security.protocol={self._protocol} gives one",
                    f"Use the port of its listener with a log-in (SASL), or set security.protocol={self._protocol[5:]} in {_FILE}.",
                    True,
                )
            return Cause(
                Exit.CREDENTIALS,
                f"the Kafka broker at {place} refuses the log-in: {detail}",
                f"Correct sasl.mechanism, sasl.username and sasl.password in {_FILE}.",
                times >= _ENOUGH,
            )
        if name == "_SSL" and "certificate verify failed" in text:
            return Cause(
                Exit.CREDENTIALS,
                f"the certificate of the Kafka broker at {place} is not trusted (certificate verify failed)",
                f"Set ssl.ca.location in {_FILE} to a file with the certificate of who issued it, and use a name of the broker in "
                "--bootstrap_servers that stands in the certificate.",
                times >= _ENOUGH,
            )
        if name in ("_SSL", "_TRANSPORT") and "alert" in text:  # the broker's; by TLS 1.3 it comes once data are sent
            return Cause(
                Exit.CREDENTIALS,
                f"the Kafka broker at {place} refuses this side of TLS: {detail}",
                f"Where it wants a client's certificate, set ssl.certificate.location and ssl.key.location in {_FILE}.",
                times >= _ENOUGH,
            )
        return None

    def _of_the_listener(self, events: list[tuple[str, str]]) -> Cause | None:
        """What a listener is spoken to in the wrong way says itself; a closed connection alone may be a broker that restarts."""
        tls, log_in = self._protocol.endswith("SSL"), self._protocol.startswith("SASL_")
        if any(name == "_RESOLVE" or "onnection refused" in text for name, text in events[-1:]):
            return None  # nothing listens there
        for host, port in listener.addresses(self._servers):
            place = f"{host}:{port}"
            if tls and listener.oldest_fetch(host, port) is not None:
                return Cause(
                    Exit.CREDENTIALS,
                    f"the Kafka broker at {place} listens without TLS at this port, and security.protocol={self._protocol} uses it",
                    f"Use the port of its listener with TLS, or set security.protocol={'SASL_' * log_in}PLAINTEXT in {_FILE}.",
                    True,
                )
            if not tls and listener.speaks_tls(host, port):
                return Cause(
                    Exit.CREDENTIALS,
                    f"{place} listens with TLS at this port, and security.protocol={self._protocol} has none",
                    f"Set security.protocol={'SASL_' * log_in}SSL and ssl.ca.location in {_FILE}, or use the port of its listener "
                    "without TLS.",
                    True,
                )
            if not log_in and listener.wants_log_in(host, port, tls):
                return Cause(
                    Exit.CREDENTIALS,
                    f"the Kafka broker at {place} wants a log-in at this port, and security.protocol={self._protocol} has none",
                    f"Set security.protocol=SASL_{self._protocol} with sasl.mechanism, sasl.username and sasl.password in {_FILE}.",
                    True,
                )
        return None

    @property
    def _protocol(self) -> str:
        return self._properties.get("security.protocol", "PLAINTEXT").upper()


def described(cause: Cause | None, head: str, otherwise: str, remedy: str) -> UserError:
    """The error for a broker that was not reached.

    Args:
      cause: why, where that is known.
      head: what was tried, such as `the broker at … did not answer for 5 s`; left out where the cause says it all.
      otherwise: the reason to give where the cause is not known.
      remedy: what to do, where the cause has nothing better.
    """
    if cause is None:
        return UserError(f"{head} ({otherwise}). {remedy}", Exit.UNAVAILABLE)
    if cause.code == Exit.CREDENTIALS:
        return UserError(f"{cause.what}. {cause.remedy}", cause.code)
    return UserError(f"{head}: {cause.what}. {cause.remedy or remedy}", cause.code)


def _of_transport(name: str, text: str) -> Cause:
    place, detail = _split(text)
    if name == "_RESOLVE":
        return Cause(
            Exit.UNAVAILABLE,
            f"no address is known for {place} ({detail.rpartition(': ')[2]})",
            "Correct --bootstrap_servers. A name that does not stand there comes from the broker itself (advertised.listeners): "
            "let this machine know it.",
            False,
        )
    if "onnection refused" in text:
        return Cause(Exit.UNAVAILABLE, f"nothing listens at {place} (Connection refused)", "", False)
    return Cause(Exit.UNAVAILABLE, f"{place}: {detail}" if place else detail, "", False)


def _split(text: str) -> tuple[str, str]:
    """An event's text, such as `ssl://host:9092/bootstrap: Disconnected (after 4ms in state UP)`: (host:9092, Disconnected)."""
    parts = re.fullmatch(r"(?:(?:\w+://)?([^/\s]+)/(?:bootstrap|\d+): )?(.*?)(?: \(after \d+ms in state .*)?", text, re.DOTALL)
    return parts[1] or "", parts[2]
