"""A schema registry by Confluent's API: what the trainer and the tools ask of it. Imports no TensorFlow.

By the standard library: it is one request a schema, and confluent-kafka's client of a registry needs five packages more.
"""

import base64
import http.client
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from tfonline.formats.schemas import Written
from tfonline.lifecycle import Exit, UserError

# What --registry_properties_file may hold, as confluent-kafka's client has them.
PROPERTIES = (
    "basic.auth.user.info", "bearer.auth.token", "ssl.ca.location", "ssl.certificate.location", "ssl.key.location",
    "ssl.key.password",
)  # fmt: skip
_ASK_SECS = 5.0  # for one answer
_FIRST_WAIT_SECS = 0.5
_PASSING = {408, 429, 500, 502, 503, 504}
_REFUSED = {401, 403}
_DEEPEST = 20


class NotThere(Exception):
    """The registry has no such thing."""


class Registry:
    """Asks a registry, without a proxy.

    Args:
      url: http(s)://host:port/path, without a password.
      properties: see PROPERTIES; their values may be secret.
      patience_secs: so long a registry that does not answer is asked again.
      say: told of each try that failed.
      wait: waits so many seconds; true: the run is to end, and no more tries are made.

    Raises:
      UserError: a certificate cannot be read (exit 66).
    """

    def __init__(
        self,
        url: str,
        properties: Mapping[str, str],
        patience_secs: float,
        say: Callable[[str], None],
        wait: Callable[[float], bool] = lambda secs: bool(time.sleep(secs)),
    ):
        self._url, self._patience_secs, self._say, self._wait = url.rstrip("/"), patience_secs, say, wait
        self._headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        if user := properties.get("basic.auth.user.info"):
            self._headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
        elif token := properties.get("bearer.auth.token"):
            self._headers["Authorization"] = f"Bearer {token}"
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self._url.startswith("https:"):
            handlers.append(urllib.request.HTTPSHandler(context=_context(properties)))
        self._open = urllib.request.build_opener(*handlers).open

    def schema(self, number: int) -> Written:
        """The schema of an id, with those that it refers to.

        Raises:
          UserError: the registry does not know it or does not answer (exit 75), or refuses to (77).
        """
        try:
            found = self._ask(f"schemas/ids/{number}")
            references: dict[str, str] = {}
            self._follow(found.get("references") or [], references, 0)
        except NotThere as e:
            raise UserError(
                f"messages were written by the schema with id {number}, which the registry {self._url} does not know ({e}). None "
                "of them is refused, and what was learned since the last checkpoint is dropped. See whether --registry_url is the "
                "producer's registry, or register the schema again; then start again.",
                Exit.TRY_AGAIN,
            ) from e
        return Written(found.get("schemaType") or "AVRO", found["schema"], references)

    def register(self, subject: str, kind: str, schema: str) -> int:
        """The id of a schema under a subject, where it is registered if need be.

        Raises:
          UserError: the registry does not take it (exit 65) or does not answer (75), or refuses to (77).
        """
        try:
            body = {"schema": schema, "schemaType": kind}
            return self._ask(f"subjects/{urllib.parse.quote(subject, safe='')}/versions", body)["id"]
        except NotThere as e:
            raise UserError(f"the registry {self._url} does not take the schema of {subject!r}: {e}", Exit.DATA) from e

    def _follow(self, references: list[dict[str, Any]], found: dict[str, str], depth: int) -> None:
        if depth > _DEEPEST:
            raise NotThere("its references have no end")
        for each in references:
            if each["name"] not in found:
                of = self._ask(f"subjects/{urllib.parse.quote(each['subject'], safe='')}/versions/{each['version']}")
                self._follow(of.get("references") or [], found, depth + 1)
                found[each["name"]] = of["schema"]

    def _ask(self, what: str, body: dict[str, Any] | None = None) -> Any:
        """The answer, from JSON; asks again where the registry is away for a moment."""
        began, wait_secs = time.monotonic(), _FIRST_WAIT_SECS
        while True:
            try:
                return self._ask_once(what, body)
            except _Away as e:
                left = self._patience_secs - (time.monotonic() - began)
                if left <= 0:
                    raise UserError(
                        f"the schema registry {self._url} does not answer: {e}. Without its schemas messages cannot be read: none "
                        "is refused, and what was learned since the last checkpoint is dropped. When the registry is back, start "
                        "again.",
                        Exit.TRY_AGAIN,
                    ) from e
                wait_secs = min(wait_secs, left)
                self._say(f"warning: the schema registry {self._url} does not answer ({e}); again in {wait_secs:.1f} s")
                if self._wait(wait_secs):
                    raise UserError("the run was asked to stop while the schema registry did not answer.", Exit.TRY_AGAIN) from e
                wait_secs *= 2

    def _ask_once(self, what: str, body: dict[str, Any] | None) -> Any:
        headers, data = dict(self._headers), None
        if body is not None:
            headers["Content-Type"], data = "application/vnd.schemaregistry.v1+json", json.dumps(body).encode()
        try:
            with self._open(urllib.request.Request(f"{self._url}/{what}", data, headers), timeout=_ASK_SECS) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as e:
            with e:
                text = e.read(300).decode(errors="replace")
            if e.code in _REFUSED:
                raise UserError(
                    f"the schema registry {self._url} refuses the log-in (HTTP {e.code}). Correct --registry_properties_file.",
                    Exit.CREDENTIALS,
                ) from e
            raise (_Away if e.code in _PASSING else NotThere)(f"HTTP {e.code}: {text}") from e
        except ssl.SSLCertVerificationError as e:
            raise self._untrusted(e) from e
        except urllib.error.URLError as e:
            if isinstance(e.reason, ssl.SSLCertVerificationError):
                raise self._untrusted(e.reason) from e
            raise _Away(str(e.reason)) from e
        except (OSError, http.client.HTTPException, ValueError) as e:  # ValueError: no JSON
            raise _Away(str(e) or type(e).__name__) from e

    def _untrusted(self, error: ssl.SSLCertVerificationError) -> UserError:
        return UserError(
            f"the certificate of the schema registry {self._url} is not trusted ({error.verify_message}). Name the authority's "
            "certificate as ssl.ca.location in --registry_properties_file.",
            Exit.CREDENTIALS,
        )


class _Away(Exception):
    """The registry does not answer, or says that it cannot at the moment."""


def _context(properties: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=properties.get("ssl.ca.location"))
        if certificate := properties.get("ssl.certificate.location"):
            context.load_cert_chain(certificate, properties.get("ssl.key.location"), properties.get("ssl.key.password", ""))
    except (OSError, ssl.SSLError) as e:
        raise UserError(
            f"a certificate or key of --registry_properties_file cannot be read ({e.strerror or e}).", Exit.NO_INPUT
        ) from e
    return context
