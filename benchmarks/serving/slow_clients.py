"""Does /healthz answer while clients are slow or large?

    python -m benchmarks.serving.slow_clients [--other=FOLDER]

One server, `ulimit -n 1024`, its default flags, a model trained from synthetic rows. First 2,000 clients come within some seconds
and send half a head and no more: /healthz must answer within 100 ms throughout, and all of them must be gone after
--head_timeout_secs. Then four clients post bodies of 4 MB in a loop, two of messages and two of columns: the 99th percentile of
/healthz must stay below 50 ms. It is asked every 20 ms, each second time by a new connection. All on this machine, the clients in
processes of their own.

--other is another checkout of tfonline, which is measured first, by the same clients and the same model.
"""

import argparse
import concurrent.futures
import contextlib
import http.client
import json
import multiprocessing
import os
import pathlib
import re
import resource
import selectors
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.commands import ROOT, run, tool
from tfonline.features.schema import load_schema

_DESCRIPTORS = 1024  # of the server
_SLOW, _OPEN_SECS, _HOLD_SECS = 2000, 1.0, 20.0
_LARGE, _LARGE_SECS, _BODY_BYTES = 4, 20.0, 3_990_000
_PROBE_SECS = 0.02
_LIMIT_SLOW_MS, _LIMIT_LARGE_MS = 100, 50
_PREDICT = "/v1/models/tfonline:predict"


class Probe(NamedTuple):
    """What /healthz answered.

    Attributes:
      ms: how long each answer took.
      statuses: how many answers by HTTP status; by the error's name where there was none.
      late_ms: how much later than asked for a sleep between two questions ended: the machine's share of `ms`, if it is busy.
    """

    ms: np.ndarray
    statuses: Counter
    late_ms: np.ndarray

    def __str__(self) -> str:
        p50, p99, most = (np.percentile(self.ms, q) for q in (50, 99, 100))
        late, latest = (np.percentile(self.late_ms, q) for q in (99, 100))
        return (
            f"/healthz p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {most:.1f} ms, answers {dict(self.statuses)} "
            f"(a sleep ended late by p99 {late:.1f} ms, longest {latest:.1f} ms)"
        )


def main() -> int:
    """Measures; returns 0 if this checkout holds the limits."""
    args = _parse()
    folder = pathlib.Path(args.folder).resolve()
    _prepare(folder, args.rows)
    good = True
    for root in filter(None, (args.other and pathlib.Path(args.other).resolve(), ROOT)):
        with concurrent.futures.ProcessPoolExecutor(_LARGE + 2, multiprocessing.get_context("spawn")) as clients:
            print(f"\n== {root}", flush=True)
            good = _slow(clients, root, folder)
            good = _large(clients, root, folder) and good
    return 0 if good else 1


def _slow(clients: concurrent.futures.Executor, root: pathlib.Path, folder: pathlib.Path) -> bool:
    with _serving(root, folder) as (port, log):
        probing = clients.submit(probe, port, _HOLD_SECS)
        held = clients.submit(hold, port, _SLOW, _HOLD_SECS - 1).result()
        found = probing.result()
        left, gone = held[-1][1], next((f"after {secs:.1f} s" for secs, count in held if not count), "never")
        lines = len(log.read_text().splitlines())
        print(f"{_SLOW:,} half heads: {found}; connections left {left}, all gone {gone}; {lines:,} lines in the log", flush=True)
    return found.ms.max() < _LIMIT_SLOW_MS and set(found.statuses) == {200} and not left


def _large(clients: concurrent.futures.Executor, root: pathlib.Path, folder: pathlib.Path) -> bool:
    bodies = [folder / "messages.json", folder / "columns.json"]
    with _serving(root, folder) as (port, _):
        posting = [clients.submit(post, port, bodies[i % 2], _LARGE_SECS) for i in range(_LARGE)]
        found = clients.submit(probe, port, _LARGE_SECS).result()
        answers = sum((p.result() for p in posting), Counter())
        print(f"{_LARGE} clients of {_BODY_BYTES / 1e6:.0f} MB: {found}; answers to them {dict(answers)}", flush=True)
    return np.percentile(found.ms, 99) < _LIMIT_LARGE_MS and set(found.statuses) == set(answers) == {200}


def probe(port: int, secs: float) -> Probe:
    """Asks /healthz for so long, in turns over a kept and over a new connection."""
    end, ms, statuses, late_ms = time.monotonic() + secs, [], Counter(), []
    kept = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while time.monotonic() < end:
        for connection in (kept, http.client.HTTPConnection("127.0.0.1", port, timeout=30)):
            began = time.monotonic()
            _ask(connection, statuses, "GET", "/healthz")
            ms.append((time.monotonic() - began) * 1000)
            if connection is not kept:
                connection.close()
            began = time.monotonic()
            time.sleep(_PROBE_SECS)
            late_ms.append((time.monotonic() - began - _PROBE_SECS) * 1000)
    return Probe(np.array(ms), statuses, np.array(late_ms))


def hold(port: int, count: int, secs: float) -> list[tuple[float, int]]:
    """Opens connections with half a head; (seconds since the beginning, connections that are left), from time to time."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * count + 100) if hard > 0 else 2 * count + 100, hard))
    began, open_sockets, found = time.monotonic(), selectors.DefaultSelector(), []
    for _ in range(count):
        with contextlib.suppress(OSError):  # an answer of the server's, too
            connection = socket.create_connection(("127.0.0.1", port), timeout=5)
            connection.sendall(b"POST " + _PREDICT.encode() + b" HTTP/1.1\r\nhost: x\r\nx-half: ")
            open_sockets.register(connection, selectors.EVENT_READ)
        time.sleep(_OPEN_SECS / count)
    while (now := time.monotonic() - began) < secs:
        found.append((now, len(open_sockets.get_map())))
        for key, _ in open_sockets.select(0.1):
            with contextlib.suppress(ConnectionError):
                if key.fileobj.recv(4096):
                    continue
            open_sockets.unregister(key.fileobj)
            key.fileobj.close()
        time.sleep(0.05)
    return found


def post(port: int, file: pathlib.Path, secs: float) -> Counter:
    """Posts a body for so long; how many answers by HTTP status."""
    end, body, statuses = time.monotonic() + secs, file.read_bytes(), Counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while time.monotonic() < end:
        _ask(connection, statuses, "POST", _PREDICT, body)
    connection.close()
    return statuses


def _ask(connection: http.client.HTTPConnection, statuses: Counter, method: str, path: str, body: bytes | None = None) -> None:
    """Asks once and reads the answer; counts its status or, where there is none, the error's name."""
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        response.read()
        statuses[response.status] += 1
    except (OSError, http.client.HTTPException) as e:
        statuses[type(e).__name__] += 1
        connection.close()


@contextlib.contextmanager
def _serving(root: pathlib.Path, folder: pathlib.Path) -> Iterator[tuple[int, pathlib.Path]]:
    """A server of a checkout, serving; its port and its log."""
    log = folder / "server.log"
    command = [sys.executable, "-m", "tfonline.serve", f"--export_dir={folder / 'models'}", "--port=0"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))

    with log.open("wb") as out:
        environment = {**os.environ, "PYTHONPATH": str(root)}
        server = subprocess.Popen(command, cwd=root, env=environment, stdout=out, stderr=subprocess.STDOUT, preexec_fn=limit)
    try:
        while not (re.search(r"serving version", text := log.read_text()) and re.search(r"listening at", text)):
            if server.poll() is not None:
                sys.exit(f"the server ended with exit code {server.returncode}\n{text}")
            time.sleep(0.1)
        yield int(re.search(r"listening at http://[^:]+:(\d+)/", text)[1]), log
    finally:
        server.kill()
        server.wait()


def _prepare(folder: pathlib.Path, count: int) -> None:
    """Trains and publishes a model, and writes the bodies, if that has not been done."""
    if not (folder / "columns.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        rows = folder / "rows.tsv"
        tool("synthetic.py", f"--rows={count}", f"--output={rows}")
        tool("process_data.py", rows, f"--output_dir={folder / 'dictionaries'}")
        flags = {
            "flagfile": "configs/criteo.flags", "input_files": rows, "model_dir": folder / "model", "stop_at": "latest",
            "dictionary_dir": folder / "dictionaries", "export_dir": folder / "models", "window_rows": 5000,
            "export_every_windows": 1, "gate_rows": 10_000,
        }  # fmt: skip
        run([sys.executable, "-m", "tfonline.train", *(f"--{name}={value}" for name, value in flags.items())])
        lines = rows.read_text().splitlines()
        _fill(folder / "messages.json", '{"instances": [', lines)
        schema = load_schema(str(ROOT / "configs" / "criteo.yaml"))
        names, integers = schema.names[1:], set(schema.of_kind("integer"))
        columns = (
            {name: (int(v) if v else None) if name in integers else v for name, v in zip(names, line.split("\t")[1:], strict=True)}
            for line in lines
        )
        _fill(folder / "columns.json", '{"signature_name": "columns", "instances": [', columns)


def _fill(file: pathlib.Path, head: str, instances: object) -> None:
    """Writes a body of as many instances as fit."""
    parts, size = [], len(head) + 2
    for instance in instances:
        parts.append(json.dumps(instance))
        size += len(parts[-1]) + 1
        if size > _BODY_BYTES:
            break
    file.write_text(head + ",".join(parts[:-1]) + "]}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", help="another checkout, to be measured first")
    parser.add_argument("--rows", type=int, default=30_000, help="synthetic rows to train (default 30,000)")
    parser.add_argument(
        "--folder", default=str(ROOT / "runs" / "slow_clients"), help="where the model lies; made when it is not there"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
