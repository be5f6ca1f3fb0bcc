"""Rows that are produced and asked for until the answer has learned from them."""

import http.client
import json
import pathlib
import threading
import time
from typing import NamedTuple

import numpy as np
from confluent_kafka import Producer

from tfonline.deltas.file import Header, Unreadable, read_header
from tfonline.deltas.folder import DeltaFolder, Key
from tfonline.lifecycle import UserError
from tfonline.publish.versions import Versions
from tfonline.serving.app import DELTA_HEADER, VERSION_HEADER

_ASK_SECS = 0.02
_PATIENCE_SECS = 60.0


class Served(NamedTuple):
    """A probe whose row has reached the scores.

    Attributes:
      secs: from the row's production to the first answer that has learned from it.
      moved: how much its logit was moved since the row was produced.
    """

    secs: float
    moved: float


class States:
    """Up to which offsets versions and deltas have learned; looks for new ones in a thread, as old ones are removed.

    Args:
      models: the export folder.

    Attributes:
      deltas: the headers, by key.
      sizes: in bytes, likewise.
    """

    def __init__(self, models: pathlib.Path):
        self._versions, self._folder = Versions(models), DeltaFolder(models / "deltas")
        self.deltas: dict[Key, Header] = {}
        self.sizes: dict[Key, int] = {}
        self._of_versions: dict[int, list[int]] = {}
        threading.Thread(target=self._look, name="states", daemon=True).start()

    def next_of(self, version: int, delta: str) -> list[int] | None:
        """The next offsets of what has scored an answer; None where that is not known yet."""
        if delta == "0":
            return self._of_versions.get(version)
        key = Key(*map(int, delta.split(".")))
        return list(self.deltas[key].next) if key in self.deltas else None

    def _look(self) -> None:
        while True:
            for number in set(self._versions.numbers) - self._of_versions.keys():
                try:
                    self._of_versions[number] = self._versions.manifest(number)["next"]
                except UserError:  # removed just now
                    continue
            for key in set(self._folder.keys) - self.deltas.keys():
                try:
                    self.sizes[key] = self._folder.file(key).stat().st_size
                    self.deltas[key] = read_header(self._folder.file(key))[0]
                except (Unreadable, OSError):
                    continue
            time.sleep(0.1)


def probe(bootstrap: str, topic: str, port: int, states: States, row: str, number: int) -> Served | None:
    """Produces a row with ids that no other row has, and asks for it until the answer has learned from it.

    Args:
      bootstrap: of the broker.
      topic: where rows go.
      port: of the server.
      states: of what it serves.
      row: of the topic, with its label.
      number: of the probe, which makes its ids.

    Returns:
      None where that did not come within a minute.
    """
    fields = row.split("\t")
    fields[0], fields[14:20] = "1", [f"probe-{number}-{i}" for i in range(6)]
    row, place = "\t".join(fields), []
    body = json.dumps({"signature_name": "unlabelled", "instances": [row.partition("\t")[2]]}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    before = _ask(connection, body)[2]
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "log_level": 0})
    produced = time.time()
    producer.produce(topic, row.encode(), on_delivery=lambda error, message: place.append((message.partition(), message.offset())))
    producer.flush()
    partition, offset = place[0]
    while time.time() < produced + _PATIENCE_SECS:
        version, delta, logit = _ask(connection, body)
        now = time.time()
        while (reached := states.next_of(version, delta)) is None and time.time() < now + 5:
            time.sleep(0.01)
        if reached and reached[partition] > offset:
            connection.close()
            return Served(now - produced, abs(logit - before))
        time.sleep(_ASK_SECS)
    connection.close()
    return None


def _ask(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, str, float]:
    """The version, the delta and the logit of an answer."""
    connection.request("POST", "/v1/models/tfonline:predict", body)
    response = connection.getresponse()
    content = json.loads(response.read())
    return int(response.headers[VERSION_HEADER]), response.headers[DELTA_HEADER], content["predictions"][0]["logit"]


def logits_of(port: int, rows: list[str], size: int) -> tuple[np.ndarray, set[tuple[int, str]]]:
    """The server's logits of rows without labels, so many a request, and by which versions and deltas they were scored."""
    connection, logits, by = http.client.HTTPConnection("127.0.0.1", port, timeout=60), [], set()
    for i in range(0, len(rows), size):
        body = json.dumps({"signature_name": "unlabelled", "instances": rows[i : i + size]}).encode()
        connection.request("POST", "/v1/models/tfonline:predict", body)
        response = connection.getresponse()
        logits += [p["logit"] for p in json.loads(response.read())["predictions"]]
        by.add((int(response.headers[VERSION_HEADER]), response.headers[DELTA_HEADER]))
    connection.close()
    return np.array(logits, np.float32), by
