"""Clients of the server: threads that ask, and do not mind what they are told."""

import contextlib
import http.client
import json
import threading

import synthetic

_PATH = "/v1/models/tfonline:predict"


class Asking:
    """Asks until it is closed.

    Args:
      port: of the server, at 127.0.0.1.
      threads: that ask.
      pause_secs: of each, between an answer and its next request.
      rows_a_request: of a request.
    """

    def __init__(self, port: int, threads: int = 1, pause_secs: float = 0.05, rows_a_request: int = 5):
        (block,) = synthetic.rows(rows_a_request, seed=2)
        rows = [line.partition(b"\t")[2].decode() for line in block.lines]
        self._body = json.dumps({"signature_name": "unlabelled", "instances": rows}).encode()
        self._port, self._pause_secs, self._ended = port, pause_secs, threading.Event()
        self._threads = [threading.Thread(target=self._ask, name="client", daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ends them all."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._ended.wait(self._pause_secs):
            try:
                connection.request("POST", _PATH, self._body)
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):  # it may be gone: faults do that
                with contextlib.suppress(OSError):
                    connection.close()
                self._ended.wait(0.2)
        connection.close()
