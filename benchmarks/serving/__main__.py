"""Models are published while they learn from a topic, and served while clients ask without a pause: make serve-demo, or

    python -m benchmarks.serving [--rows=100000] [--clients=8]

A real broker, the trainer, the server and its clients, all on this machine. At the end each version's answers, and 10,000 rows by
its SavedModel, are held against the trainer's own scores at that checkpoint, and the server's speed against calling the SavedModel.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import time

import numpy as np

from benchmarks.commands import ROOT, emptied, tool
from benchmarks.serving.clients import Answer, Clients
from benchmarks.serving.parity import Trainer, probability, saved_logits

sys.path.insert(0, str(ROOT / "tools"))

import broker

from tfonline.publish.versions import Versions

_TOPIC = "tfonline_serving"
_ASKED_ROWS, _ROWS_A_REQUEST, _BATCH = 10_000, 20, 250
_AROUND_SECS = 1.0  # an exchange of versions
_SPEED_SECS = 6.0


def main() -> int:
    """Runs it all; returns 0 if every request was answered and every score was the trainer's."""
    args = _parse()
    folder = emptied(args.folder)
    server = None
    try:
        _say("Apache Kafka, a topic with synthetic rows, dictionaries")
        bootstrap = broker.start(folder / "kafka").bootstrap
        rows = _prepare(folder, bootstrap, args.rows)
        _say("the server, before there is a version")
        server, port = _start_server(folder)
        clients = Clients(port, rows, _ROWS_A_REQUEST, args.clients, signature="unlabelled")
        _say(f"training; {args.clients} clients ask without a pause from the first version on")
        _train(folder, bootstrap, port, clients)
        shares = _speed(folder, port, rows, args.clients)
    finally:
        if server:
            server.terminate()
            code = server.wait(60)
            print(f"server: ended by SIGTERM with exit code {code}")
        broker.stop(folder / "kafka")
    _say("each version's scores against the trainer's")
    furthest = _parity(folder, rows, clients.answers)
    versions = Versions(folder / "models").numbers
    secs = np.array([a.secs for a in clients.answers])
    for failure in clients.failures[:10]:
        print(f"failed: {failure}")
    print(
        f"serve: versions={len(versions)} requests={len(secs) + len(clients.failures)} failed={len(clients.failures)} "
        f"p50_ms={np.percentile(secs, 50) * 1000:.1f} p99_ms={np.percentile(secs, 99) * 1000:.1f} parity_max_diff={furthest:.1e} "
        f"swap_gap_ms={_longest_gap(clients.answers) * 1000:.0f} {shares}"
    )
    return 0 if len(versions) >= 3 and not clients.failures and furthest < 1e-6 else 1


def _prepare(folder: pathlib.Path, bootstrap: str, count: int) -> list[str]:
    """Fills the topic; returns the rows that clients ask for, without their labels: nobody knows them yet."""
    server = f"--bootstrap_servers={bootstrap}"
    tool("synthetic.py", f"--rows={count}", f"--output={folder / 'rows.tsv'}")
    tool("topic.py", "create", server, f"--topic={_TOPIC}", "--partitions=2")
    tool("produce.py", server, f"--topic={_TOPIC}", folder / "rows.tsv")
    tool("process_data.py", folder / "rows.tsv", f"--output_dir={folder / 'dictionaries'}")
    with (folder / "rows.tsv").open() as file:
        return [line.rstrip("\n").partition("\t")[2] for line, _ in zip(file, range(_ASKED_ROWS), strict=False)]


def _start_server(folder: pathlib.Path) -> tuple[subprocess.Popen, int]:
    log = folder / "server.log"
    command = [sys.executable, "-m", "tfonline.serve", f"--export_dir={folder / 'models'}", "--port=0", "--poll_secs=0.2"]
    with log.open("wb") as out:
        server = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    while not (found := re.search(r"listening at http://[^:]+:(\d+)/", log.read_text())):
        if server.poll() is not None:
            sys.exit(f"the server ended with exit code {server.returncode}\n{log.read_text()}")
        time.sleep(0.1)
    return server, int(found[1])


def _train(folder: pathlib.Path, bootstrap: str, port: int, clients: Clients) -> None:
    """Trains the topic to its end; clients ask from the first version until the last one is served."""
    flags = {
        "flagfile": "configs/demo.flags", "bootstrap_servers": bootstrap, "topic": _TOPIC, "model_dir": folder / "model",
        "dictionary_dir": folder / "dictionaries", "export_dir": folder / "models", "window_rows": 5000, "checkpoint_secs": 2,
        "export_every_secs": 5, "keep_exports": 1000, "gate_rows": 10_000, "gate_max_regression": 0.01, "gate_calibration": 0.2,
    }  # fmt: skip
    command = [sys.executable, "-m", "tfonline.train", *(f"--{name}={value}" for name, value in flags.items())]
    trainer, asking = subprocess.Popen(command, cwd=ROOT), False
    try:
        while trainer.poll() is None:
            if not asking and _served(port):
                asking = True
                clients.start()
            time.sleep(0.1)
        if trainer.returncode or not asking:
            sys.exit(f"the trainer ended with exit code {trainer.returncode}, {'' if asking else 'no '}version was published")
        newest = Versions(folder / "models").numbers[-1]
        while _served(port) != newest:
            time.sleep(0.1)
        time.sleep(_AROUND_SECS)
    finally:
        trainer.kill()
        if asking:
            clients.stop()


def _served(port: int) -> int | None:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as response:
            return json.load(response)["version"]
    except urllib.error.HTTPError:  # 503: none yet
        return None


def _speed(folder: pathlib.Path, port: int, rows: list[str], threads: int) -> str:
    """Rows/s of the server, asked by several clients, as shares of those of the SavedModel that is called in a loop."""
    import tensorflow as tf

    _say("speed of the server against calling the SavedModel")
    newest = Versions(folder / "models").numbers[-1]
    signature = tf.saved_model.load(str(folder / "models" / str(newest))).signatures["unlabelled"]
    shares = []
    for size in (1, 256):
        batches = [rows[i : i + size] for i in range(0, len(rows) - size + 1, size)]
        scored, end = 0, time.monotonic() + _SPEED_SECS
        while time.monotonic() < end:
            {name: output.numpy() for name, output in signature(message=tf.constant(batches[scored % len(batches)])).items()}
            scored += 1
        direct = scored * size / _SPEED_SECS
        alone, together = (Clients(port, rows, size, n, signature="unlabelled").run(_SPEED_SECS) for n in (1, threads))
        server = f"the server {alone:,.0f} to one client, {together:,.0f} to {threads}"
        print(f"batch {size}: the SavedModel {direct:,.0f} rows/s, {server}")
        shares.append(f"share_b{size}={together / direct:.2f}")
    return " ".join(shares)


def _parity(folder: pathlib.Path, rows: list[str], answers: list[Answer]) -> float:
    """The greatest difference of a probability."""
    trainer, versions, furthest = Trainer(folder / "model"), Versions(folder / "models"), 0.0
    before = None
    for number in versions.numbers:
        logits = trainer.logits(versions.manifest(number)["checkpoint"], ["0\t" + row for row in rows], _BATCH)
        saved = saved_logits(versions.path(number), rows, _BATCH)
        expected = probability(logits)
        difference, answered = 0.0, np.zeros(len(rows), bool)
        for a in answers:
            if a.version == number:
                place = slice(a.first, a.first + len(a.logits))
                difference = max(difference, np.abs(probability(a.logits) - expected[place]).max())
                answered[place] = True
        moved = "" if before is None else f", scores moved by {np.abs(expected - before).mean():.4f} on average"
        equal = "equal" if np.array_equal(saved, logits) else "NOT EQUAL"
        print(
            f"version {number}: {len(rows):,} rows by the SavedModel, {equal} to the bit; {answered.sum():,} of them over HTTP, "
            f"furthest {difference:.1e}{moved}"
        )
        furthest = max(furthest, difference, np.abs(probability(saved) - expected).max())
        before = expected
    return float(furthest)


def _longest_gap(answers: list[Answer]) -> float:
    """Seconds: the longest time without any answer around a version's first one."""
    times = np.sort([a.at for a in answers])
    firsts = sorted(min(a.at for a in answers if a.version == number) for number in {a.version for a in answers})
    gaps = []
    for first in firsts[1:]:
        near = times[np.abs(times - first) < _AROUND_SECS]
        gaps.append(np.diff(near).max())
    return max(gaps, default=0.0)


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="synthetic rows to train (default 100,000)")
    parser.add_argument("--clients", type=int, default=8, help="threads that ask (default 8)")
    parser.add_argument("--folder", default=str(ROOT / "runs" / "serving"), help="emptied first (default runs/serving)")
    return parser.parse_args()


if __name__ == "__main__":
    import os

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
