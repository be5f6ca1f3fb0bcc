"""From a row to the served score: how long does it take, and is what is served right? make freshness, or

    python -m benchmarks.freshness [--secs=1200] [--rows_per_sec=1000] [--clients=8] [--kills=10] [--server_kills=5]

A real broker, a producer, the trainer with deltas, a server that clients ask without a pause, and a second server that is killed:
all on this machine. Rows with new ids are produced, and the same rows asked for until the answer has learned from them. Trainer and
second server are killed (SIGKILL) and started again. At the end a version is published, which the first server takes over without
loading it: its scores of 10,000 rows, and those of the second one, must be those of the version's files, to the bit. Then each kind
of bad delta is put into a copy of the folder. The last line has what was found; exit code 1 where something is not as it should be.
"""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time
import urllib.request

import numpy as np

from benchmarks.commands import ROOT, emptied, free_port, tool
from benchmarks.freshness import bad_deltas
from benchmarks.freshness.probes import Served, States, logits_of, probe
from benchmarks.serving.clients import Clients

sys.path.insert(0, str(ROOT / "tools"))

import broker

from tfonline.deltas.file import read, write
from tfonline.deltas.folder import DeltaFolder
from tfonline.publish.versions import Versions

_TOPIC = "tfonline_freshness"
_ASKED_ROWS, _BATCH, _ROWS_A_REQUEST = 10_000, 250, 5
_FRESH_SECS = 2.0
_PAIRS = "model/cross_history/counts"


class _Process:
    """A command of Python that may be killed and started again.

    Attributes:
      log: what it said in all its lives.
    """

    def __init__(self, log: pathlib.Path, *command: object):
        self.log, self._command = log, [sys.executable, *map(str, command)]
        self.start()

    def start(self) -> None:
        self._before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(self._command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)

    def said(self) -> str:
        """In this life."""
        return self.log.read_bytes()[self._before :].decode()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """By SIGTERM."""
        self.process.terminate()
        if self.process.wait(120):
            sys.exit(f"{self.log.name}: ended with exit code {self.process.returncode}\n{self.log.read_text()[-2000:]}")

    def wait_for(self, pattern: str) -> re.Match:
        """The first match of a pattern in what this life of it has said."""
        while not (found := re.search(pattern, self.said())):
            if self.process.poll() is not None:
                sys.exit(f"{self.log.name}: ended with exit code {self.process.returncode}\n{self.log.read_text()[-2000:]}")
            time.sleep(0.1)
        return found


def main() -> int:
    """Runs it all; returns 0 if all is as it should be."""
    args = _parse()
    args.monitor_port = free_port()
    folder, running = emptied(args.folder), []
    models = folder / "models"
    try:
        _say("Apache Kafka, dictionaries, a producer")
        bootstrap = broker.start(folder / "kafka").bootstrap
        rows = _prepare(folder, bootstrap)
        rate = f"--rows_per_sec={args.rows_per_sec}"
        producer = _Process(
            folder / "producer.log", "tools/produce.py", f"--bootstrap_servers={bootstrap}", f"--topic={_TOPIC}", rate, "--loop",
            folder / "rows.tsv",
        )  # fmt: skip
        running.append(producer)
        _say("the trainer, and two servers once there is a version")
        trainer = _Process(folder / "trainer.log", "-m", "tfonline.train", *_flags(folder, bootstrap, args))
        running.append(trainer)
        states = States(models)
        trainer.wait_for(r"published version 1 ")
        serve = ("-m", "tfonline.serve", f"--export_dir={models}", "--port=0", "--poll_secs=0.1")
        asked, killed = (_Process(folder / f"{name}.log", *serve) for name in ("server", "killed_server"))
        running += [asked, killed]
        port = int(asked.wait_for(r"listening at http://127.0.0.1:(\d+)/")[1])
        asked.wait_for(r"serving version \d+")
        clients = Clients(port, [row.partition("\t")[2] for row in rows], _ROWS_A_REQUEST, args.clients, signature="unlabelled")
        clients.start()
        time.sleep(3)
        one_version = _memory(asked.process.pid, "VmRSS")
        _say(f"{args.secs} s: probes; {args.kills} kills of the trainer and {args.server_kills} of the second server")
        probes, stall = _story(args, bootstrap, port, states, rows, trainer, killed)
        _say("the last version")
        producer.stop()
        trainer.stop()
        last = _Process(
            folder / "trainer.log", "-m", "tfonline.train", *_flags(folder, bootstrap, args), "--stop_at=latest",
            "--export_every_windows=1", "--checkpoint_secs=3600", "--gate_rows=1000", "--gate_max_regression=1",
        )  # fmt: skip
        running.append(last)
        _last_rows(folder, bootstrap)
        if last.process.wait(300):
            sys.exit((folder / "trainer.log").read_text()[-2000:])
        newest = Versions(models).numbers[-1]
        if f"published version {newest} " not in last.said():
            sys.exit(f"the last version was not published\n{last.log.read_text()[-2000:]}")
        for server in (asked, killed):
            server.wait_for(rf"serving version {newest} ")
        clients.stop()
        memory = _memory(asked.process.pid, "VmHWM") / one_version
        time.sleep(2)
        other_port = int(killed.wait_for(r"listening at http://127.0.0.1:(\d+)/")[1])
        equal = _equal(models, newest, rows, (port, other_port))
        loads = _metrics(port)["tfonline_version_loads"]
    finally:
        for each in running:
            if each.process.poll() is None:
                each.process.kill()
        broker.stop(folder / "kafka")
    _say("each kind of bad delta")
    gaps = _gaps(models, folder / "copies")
    shares = _shares(models, states)
    for failure in clients.failures[:10]:
        print(f"failed: {failure}")
    secs = [p.secs for p in probes if p]
    print(
        f"probes={len(probes)} unanswered={probes.count(None)} still={sum(not p.moved for p in probes if p)} "
        f"requests={len(clients.answers)} version_loads={loads:.0f} server_memory={memory:.2f} {stall} {shares[1]}"
    )
    print(
        f"freshness: served_p50_secs={statistics.median(secs):.2f} served_p95_secs={np.percentile(secs, 95):.2f} {shares[0]} "
        f"deltas={len(states.deltas)} failed={len(clients.failures)} equal={'yes' if equal else 'no'} "
        f"kills={args.kills}+{args.server_kills} gaps_found={len(gaps)}"
    )
    right = equal and not clients.failures and None not in probes and len(gaps) == len(bad_deltas.KINDS)
    return 0 if right else 1


def _prepare(folder: pathlib.Path, bootstrap: str) -> list[str]:
    """Makes rows, dictionaries and the topic; returns rows to be asked for."""
    tool("synthetic.py", "--rows=200000", f"--output={folder / 'rows.tsv'}")
    tool("process_data.py", folder / "rows.tsv", f"--output_dir={folder / 'dictionaries'}")
    tool("topic.py", "create", f"--bootstrap_servers={bootstrap}", f"--topic={_TOPIC}", "--partitions=2")
    with (folder / "rows.tsv").open() as file:
        return [line.rstrip("\n") for line, _ in zip(file, range(_ASKED_ROWS), strict=False)]


def _flags(folder: pathlib.Path, bootstrap: str, args: argparse.Namespace) -> list[str]:
    flags = {
        "flagfile": "configs/criteo.flags", "bootstrap_servers": bootstrap, "topic": _TOPIC, "model_dir": folder / "model",
        "dictionary_dir": folder / "dictionaries", "export_dir": folder / "models", "window_rows": 1000,
        "window_secs": args.window_secs, "checkpoint_secs": 10, "export_every_secs": args.export_every_secs,
        "keep_exports": 3, "gate_rows": 10_000, "gate_max_regression": 0.01, "gate_calibration": 0.3, "gate_min_auc": 0.5,
        "delta_every_secs": args.delta_every_secs, "monitor_port": args.monitor_port, "cross_buckets": args.cross_buckets,
        "batch_size": 250,
    }  # fmt: skip
    return [f"--{name}={value}" for name, value in flags.items()]


def _story(
    args: argparse.Namespace, bootstrap: str, port: int, states: States, rows: list[str], trainer: _Process, killed: _Process
) -> tuple[list[Served | None], str]:
    """Probes until the time is over, with the kills evenly in between; and what deltas took of the trainer's last life."""
    end, probes = time.monotonic() + args.secs, []
    times = lambda n: [end - args.secs * (i + 0.5) / n for i in range(n)]  # noqa: E731
    due = {trainer: times(args.kills), killed: times(args.server_kills)}
    while time.monotonic() < end:
        for process, when in due.items():
            if when and time.monotonic() > when[-1]:
                when.pop()
                epoch = max(states.deltas, default=(0, 0))[0]
                process.kill()
                process.start()
                # A probe tells how fresh a trainer is that runs; how soon it runs again is the matter of another benchmark.
                process.wait_for(r"serving version \d+" if process is killed else r"resumed from")
                if process is trainer:
                    _wait_until_it_goes_on(states, epoch)
        probes.append(probe(bootstrap, _TOPIC, port, states, rows[len(probes) % len(rows)], len(probes)))
        print(f"{len(probes)} probes, the last in {probes[-1].secs:.2f} s" if probes[-1] else "a probe was not served", flush=True)
        time.sleep(args.probe_every_secs)
    return probes, _stall(args)


def _wait_until_it_goes_on(states: States, before: int) -> None:
    """Until the trainer has worked off what came while it was away: a delta of a new epoch has new rows; or a minute is over."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.1)
        last = max(states.deltas, default=None)
        if last and last.epoch > before and time.time() - (states.deltas[last].newest_row_time or 0) < _FRESH_SECS:
            return


def _stall(args: argparse.Namespace) -> str:
    """What deltas took of the trainer's time in its last life: the training thread's, and their thread's."""
    metrics = _metrics(args.monitor_port)
    lived = time.time() - metrics["process_start_time_seconds"]
    stall, secs = (metrics[f"tfonline_trainer_delta_{name}_total"] / lived for name in ("stall_seconds", "seconds"))
    return f"stall_share={stall:.4f} thread_share={secs:.4f}"


def _metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as response:
        lines = response.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def _last_rows(folder: pathlib.Path, bootstrap: str) -> None:
    with (folder / "rows.tsv").open("rb") as file:
        (folder / "last.tsv").write_bytes(b"".join(line for line, _ in zip(file, range(5000), strict=False)))
    tool("produce.py", f"--bootstrap_servers={bootstrap}", f"--topic={_TOPIC}", folder / "last.tsv")


def _equal(models: pathlib.Path, version: int, rows: list[str], ports: tuple[int, ...]) -> bool:
    """Whether the servers give what the version's files do, at the same batch size."""
    import tensorflow as tf

    rows = [row.partition("\t")[2] for row in rows]
    signature = tf.saved_model.load(str(models / str(version))).signatures["unlabelled"]
    expected = [signature(message=tf.constant(rows[i : i + _BATCH]))["logit"].numpy() for i in range(0, len(rows), _BATCH)]
    equal = []
    for port in ports:
        logits, by = logits_of(port, rows, _BATCH)
        equal.append(np.array_equal(logits, np.concatenate(expected)) and {v for v, _ in by} == {version})
        print(f"{len(rows):,} rows over HTTP, by {by}: {'equal' if equal[-1] else 'NOT EQUAL'} to version {version}, to the bit")
    return all(equal)


def _gaps(models: pathlib.Path, copies: pathlib.Path) -> list[str]:
    versions = Versions(models)
    for number in reversed(versions.numbers[:-1]):
        try:
            found = bad_deltas.found(models, number, copies)
        except (StopIteration, KeyError):  # too few deltas after it, or it says nothing of deltas
            continue
        print(f"found: {', '.join(found)}")
        return found
    return []


def _shares(models: pathlib.Path, states: States) -> tuple[str, str]:
    """The bytes of a delta as a share of a version's, without the pairs' counts and with them: medians of those that are left."""
    folder, number = DeltaFolder(models / "deltas"), Versions(models).numbers[-1]
    version = sum(path.stat().st_size for path in (models / str(number)).rglob("*") if path.is_file())
    without, whole = [], []
    for key in [key for key in folder.keys if key.number > 1][-20:]:
        delta, beside = read(folder.file(key)), folder.path / "without"
        changes = {name: change for name, change in delta.changes.items() if name != _PAIRS}
        without.append(write(beside, delta.header, changes)[1] / version)
        whole.append(states.sizes[key] / version)
        beside.unlink()
    if not whole:
        return "delta_bytes_share=nan", ""
    more = f"with_pairs_share={statistics.median(whole):.4f} version_bytes={version}"
    return f"delta_bytes_share={statistics.median(without):.4f}", more


def _memory(pid: int, what: str) -> int:
    """Of a process, in kB: VmRSS now, VmHWM at most so far."""
    return int(re.search(rf"{what}:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--secs", type=int, default=1200, help="of probes and kills (default 1200)")
    parser.add_argument("--rows_per_sec", type=int, default=1000, help="that are produced (default 1000)")
    parser.add_argument("--clients", type=int, default=8, help="threads that ask (default 8)")
    parser.add_argument("--kills", type=int, default=10, help="of the trainer (default 10)")
    parser.add_argument("--server_kills", type=int, default=5, help="of the second server (default 5)")
    parser.add_argument("--probe_every_secs", type=float, default=3.0, help="a pause between two probes (default 3)")
    parser.add_argument("--delta_every_secs", type=float, default=1.0, help="the trainer's (default 1)")
    parser.add_argument("--window_secs", type=float, default=0.5, help="the trainer's (default 0.5)")
    parser.add_argument("--export_every_secs", type=float, default=60.0, help="the trainer's (default 60)")
    parser.add_argument("--cross_buckets", type=int, default=1 << 24, help="the trainer's (default 16,777,216)")
    parser.add_argument("--folder", default=str(ROOT / "runs" / "freshness"), help="emptied first (default runs/freshness)")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
