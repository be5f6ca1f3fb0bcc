"""Small versions to serve, and a server's process."""

import contextlib
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time

import tensorflow as tf

from tfonline.publish.versions import Versions

_STRINGS = tf.TensorSpec([None], tf.string, "message")
_NUMBERS, _CATEGORY = [tf.TensorSpec([None], tf.float64, name) for name in ("I1", "I2")], tf.TensorSpec([None], tf.string, "C1")


class Small(tf.Module):
    """Its logit is `factor` times a message's length, or times I1 + I2 + C1's length. Message '' is refused, I1 may be NaN."""

    def __init__(self, factor):
        super().__init__()
        self._factor = tf.Variable(factor)

    @tf.function(input_signature=[_STRINGS])
    def of_messages(self, message):
        return self._answer(tf.cast(tf.strings.length(message), tf.float32), tf.cast(tf.equal(message, ""), tf.int32))

    @tf.function(input_signature=[*_NUMBERS, _CATEGORY])
    def of_columns(self, first, second, category):
        numbers = tf.where(tf.math.is_nan(first), tf.zeros_like(first), first) + second
        length = tf.strings.length(category)
        return self._answer(tf.cast(numbers, tf.float32) + tf.cast(length, tf.float32), tf.zeros_like(length))

    def _answer(self, x, reason):
        logit = tf.where(reason == 0, x * self._factor, float("nan"))
        return {"logit": logit, "probability": tf.sigmoid(logit), "reason": reason}


def publish(folder, factor, **about):
    """Publishes Small(factor); returns the version's number."""
    module = Small(factor)
    signatures = {"serving_default": module.of_messages, "columns": module.of_columns}
    contract = {"columns": ["label", "I1", "I2", "C1"], "kinds": ["label", "integer", "integer", "category"]}
    manifest = {"step": round(1000 * factor), "rows": 5, "label": "label", "contract": contract}
    manifest |= {"metrics": {"rows": 100.0, "auc": 0.75, "log_loss": 0.5, "calibration": None}, "message_format": "tsv", **about}
    return Versions(folder).publish(lambda beside: tf.saved_model.save(module, str(beside), signatures), manifest)


class Server:
    """A process of `python -m tfonline.serve`, already listening; `out()` is what it has said."""

    def __init__(self, folder, log, open_files=None, **flags):
        flags = {"export_dir": folder, "port": 0, "poll_secs": 0.05, **flags}
        command = [sys.executable, "-m", "tfonline.serve", *(f"--{name}={value}" for name, value in flags.items())]
        if open_files:
            command = ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh", *command]
        self._log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        self.port = int(self.wait_for(r"listening at http://127.0.0.1:(\d+)/")[1])

    def out(self):
        return self._log.read_text()

    def wait_for(self, pattern):
        """The first match of a pattern in what it says."""
        deadline = time.monotonic() + 60
        while not (found := re.search(pattern, self.out())):
            assert self.process.poll() is None, self.out()
            assert time.monotonic() < deadline, self.out()
            time.sleep(0.02)
        return found

    def ask(self, method, path, body=None, headers=None):
        """(status, headers, content): the content as JSON, where it is."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body), headers or {})
            response = connection.getresponse()
            content = response.read()
            return response.status, response.headers, json.loads(content) if "json" in response.headers["content-type"] else content

    def predict(self, body, path="/v1/models/tfonline:predict"):
        """(status, content)."""
        status, _, content = self.ask("POST", path, body)
        return status, content

    def metrics(self):
        """Its metrics by name, with labels as in the text."""
        lines = self.ask("GET", "/metrics")[2].decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def wait_until(self, name, value):
        """Until a metric has a value."""
        deadline = time.monotonic() + 60
        while (found := self.metrics()[name]) != value:
            assert time.monotonic() < deadline, (name, found)
            time.sleep(0.02)

    def wait_for_room(self, body):
        """Until a request is taken: the connection of the one before, as of `metrics`, may not be closed at the server yet."""
        deadline = time.monotonic() + 60
        while (answer := self.predict(body))[0] == 503:
            assert time.monotonic() < deadline, answer
            time.sleep(0.02)
        return answer

    def connect(self, text=b""):
        """A connection on which `text` has been sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(text)
        return connection

    def stop(self):
        """Ends it; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def to_the_end(connection):
    """What comes until the server closes the connection."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


@contextlib.contextmanager
def serving(folder, log, **flags):
    """A running server."""
    server = Server(folder, log, **flags)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
