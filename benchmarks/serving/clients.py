"""Threads that ask a server for scores without a pause, and remember each answer. No TensorFlow."""

import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tfonline.serving.app import VERSION_HEADER


class Answer(NamedTuple):
    """One answered request.

    Attributes:
      version: that scored it.
      first: index of its first row.
      logits: float32 [n], of the rows from there on.
      secs: how long it took.
      at: when it came, time.monotonic.
    """

    version: int
    first: int
    logits: np.ndarray
    secs: float
    at: float


class Clients:
    """Clients in threads, each with a connection of its own, which go over the rows together, again and again.

    Nothing is asked twice: a request that gets no answer has failed.

    Args:
      port: of the server on this machine; a function is asked for each new connection.
      rows: text, as the signature takes them.
      rows_a_request: of a request.
      threads: how many.
      path: what is posted to.
      signature: by which rows are scored.

    Attributes:
      answers: in no order.
      failures: what went wrong, a text a request.
    """

    def __init__(
        self,
        port: int | Callable[[], int],
        rows: list[str],
        rows_a_request: int,
        threads: int,
        path: str = "/v1/models/tfonline:predict",
        signature: str = "serving_default",
    ):
        firsts = range(0, len(rows) - rows_a_request + 1, rows_a_request)
        bodies = ({"signature_name": signature, "instances": rows[i : i + rows_a_request]} for i in firsts)
        self._bodies = [(i, json.dumps(body).encode()) for i, body in zip(firsts, bodies, strict=True)]
        self._port, self._path = port if callable(port) else lambda: port, path
        self._turn, self._end = itertools.count(), threading.Event()
        self.answers: list[Answer] = []
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask, name=f"client-{i}") for i in range(threads)]

    def start(self) -> None:
        """Begins."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends, when what was asked is answered."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def run(self, secs: float) -> float:
        """Asks for so long; returns rows/s."""
        began = time.monotonic()
        self.start()
        time.sleep(secs)
        self.stop()
        return sum(len(a.logits) for a in self.answers) / (time.monotonic() - began)

    def _ask(self) -> None:
        connection = self._connection()
        while not self._end.is_set():
            if connection.sock is None:  # the server has closed it with its answer
                connection = self._connection()
            first, body = self._bodies[next(self._turn) % len(self._bodies)]
            began = time.monotonic()
            try:
                connection.request("POST", self._path, body)
                response = connection.getresponse()
                content = response.read()
                if response.status != 200:
                    raise ValueError(f"{response.status} {content[:200]!r}")
                logits = np.array([p["logit"] for p in json.loads(content)["predictions"]], np.float32)
                version = int(response.headers[VERSION_HEADER])
            except Exception as e:  # whatever it is: a client that ends unseen would fail no request
                self.failures.append(f"{type(e).__name__}: {e}")
                connection.close()
                continue
            now = time.monotonic()
            self.answers.append(Answer(version, first, logits, now - began, now))
        connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port(), timeout=60)
