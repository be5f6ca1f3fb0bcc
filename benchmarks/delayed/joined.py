"""The join of rows and outcomes by the real trainer, on a broker of its own:

    python -m benchmarks.delayed.joined --rows=train.tsv.gz [--kills=20] [--turns=3]

Real rows without their labels are one topic, their outcomes, with planted delays, another one. The trainer is killed (SIGKILL) at
random moments, half of the times where rows wait for their labels and half where late positives are learned from once more. Then
the labels that it has learned from are held against a join of the two topics by DuckDB, and the journal is replayed by a run that
nobody kills: the same rows, late rows, outcomes, steps and metrics. And the speed: joined rows against rows that have their labels,
in turns. The last line has what was lost or doubled, and the ratio of the speeds (medians).
"""

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks.commands import ROOT, run
from benchmarks.delayed.planted import DAY, WINDOW, delays
from benchmarks.delayed.planted import ROWS as ROWS_A_WINDOW

sys.path.insert(0, str(ROOT / "tools"))

import broker
import topic as topics
from confluent_kafka import Producer
from kafka_cli import Connection

from tfonline.evaluate.progressive import PREDICTION
from tfonline.stream.journal import read_journal

_WAIT_DAYS = 14.0
_ELAPSED_DAYS = 3.0
_PARTITIONS, _LABEL_PARTITIONS = 4, 3
_FLAGS = [
    f"--flagfile={ROOT}/configs/growing.flags", "--nohistory", "--cross_buckets=0", "--window_rows=2000", "--window_secs=1",
    "--stop_at=latest", "--reader=consumer", "--label_idle_secs=1e9", f"--label_wait_secs={_WAIT_DAYS * DAY}",
    f"--label_elapsed_secs={_ELAPSED_DAYS * DAY}", "--drift_rows=0", "--report_secs=60",
]  # fmt: skip
_POLICIES = ("wait", "es_dfm")
_SAME = ("rows", "late_rows", "outcomes", "steps", "fingerprint", "total")


class Topics:
    """What is in the three topics.

    Attributes:
      rows: partition, offset, key and time_ms of each row, in order.
      outcomes: likewise of each outcome.
    """

    def __init__(self, bootstrap: str, lines: list[bytes], seed: int):
        self.bootstrap, self.topic, self.labels, self.inline = bootstrap, "rows", "outcomes", "inline"
        link = Connection(bootstrap, {})
        for name, partitions in ((self.topic, _PARTITIONS), (self.labels, _LABEL_PARTITIONS), (self.inline, _PARTITIONS)):
            topics.create(link, name, partitions=partitions, replication=1)
        secs = delays(lines, 0, seed)
        random_ = np.random.default_rng(seed)
        begin = time.time() - (len(lines) / ROWS_A_WINDOW * WINDOW + 40 * DAY)
        at = (begin + np.arange(len(lines)) / ROWS_A_WINDOW * WINDOW) * 1000
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 1_000_000})
        keys = [b"%016x" % n for n in random_.integers(0, 2**62, len(lines))]
        self.rows = self._produce(self.topic, [(k, int(t), line[2:], i % _PARTITIONS)
                                               for i, (k, t, line) in enumerate(zip(keys, at, lines, strict=True))])  # fmt: skip
        self._produce(self.inline, [(k, int(t), line, i % _PARTITIONS)
                                    for i, (k, t, line) in enumerate(zip(keys, at, lines, strict=True))])  # fmt: skip
        outcomes = [(key, int(t + 1000 * s)) for key, t, s, line in zip(keys, at, secs, lines, strict=True) if line[:1] == b"1"]
        outcomes += [(b"nobody", int(t)) for t in at[:: len(at) // 50]]
        outcomes += [outcomes[i] for i in random_.integers(0, len(outcomes), len(outcomes) // 50)]  # twice
        outcomes.sort(key=lambda outcome: outcome[1])
        self.outcomes = self._produce(self.labels, [(k, t, b"1", i % _LABEL_PARTITIONS) for i, (k, t) in enumerate(outcomes)])

    def _produce(self, topic: str, messages: list[tuple[bytes, int, bytes, int]]) -> pa.Table:
        offsets, placed = [0] * _PARTITIONS, []
        for key, ms, value, partition in messages:
            self._producer.produce(topic, value, key, partition=partition, timestamp=ms)
            self._producer.poll(0)
            placed.append((partition, offsets[partition], key, ms))
            offsets[partition] += 1
        if self._producer.flush(120):
            sys.exit(f"the broker at {self.bootstrap} did not take all messages")
        columns = [pa.array(column) for column in zip(*placed, strict=True)]
        return pa.table(columns, names=["partition", "offset", "key", "time_ms"])

    def flags(self, folder: pathlib.Path, policy: str, *more: str) -> list[str]:
        """Those of a run on rows and outcomes."""
        return [
            *_FLAGS, f"--bootstrap_servers={self.bootstrap}", f"--topic={self.topic}", f"--label_topic={self.labels}",
            f"--late_labels={policy}", f"--model_dir={folder}", *more,
        ]  # fmt: skip


def main() -> int:
    """Measures, prints the closing line; 1 where a label is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", required=True, help="rows in Criteo's format, in time order, TSV, plain or .gz")
    parser.add_argument("--kills", type=int, default=20, help="of the trainer, over all policies (default 20)")
    parser.add_argument("--turns", type=int, default=3, help="of each kind of run whose speed is compared; 0: none (default 3)")
    parser.add_argument("--seed", type=int, default=1, help="of delays and kills (default 1)")
    args = parser.parse_args()
    found = measured(args.rows, args.kills, args.turns, args.seed)
    print("joined: " + " ".join(f"{name}={value}" for name, value in found.items()))
    return 1 if found["join_lost"] or found["join_doubled"] else 0


def measured(rows: str, kills: int, turns: int, seed: int) -> dict[str, int | str]:
    """What was lost and doubled under kills, and the ratio of the speeds."""
    from benchmarks.quality.scores import plain_rows

    with tempfile.TemporaryDirectory(prefix="tfonline-joined-") as scratch:  # of this user alone: it holds somebody's rows
        folder = pathlib.Path(scratch)
        lines = plain_rows(rows, folder).read_bytes().splitlines()
        running = broker.start(folder / "kafka")
        try:
            there = Topics(running.bootstrap, lines, seed)
            print(f"{len(lines):,} rows, {there.outcomes.num_rows:,} outcomes", flush=True)
            random.seed(seed)
            lost = doubled = killed = 0
            for i, policy in enumerate(_POLICIES):
                model = folder / policy
                killed += _killed(there, model, policy, kills * (i + 1) // len(_POLICIES) - kills * i // len(_POLICIES))
                of_policy = _compared(there, model, policy)
                lost, doubled = lost + of_policy[0], doubled + of_policy[1]
                _replayed(there, folder, model, policy)
            found: dict[str, int | str] = {"join_lost": lost, "join_doubled": doubled, "kills": killed}
            return found | ({"join_speed": f"{_speed(there, folder, turns):.2f}"} if turns else {})
        finally:
            broker.stop(folder / "kafka")


def _killed(there: Topics, model: pathlib.Path, policy: str, kills: int) -> int:
    """Trains all rows, killed so many times at random moments of the learning; how often it was."""
    command = [sys.executable, "-m", "tfonline.train", *there.flags(model, policy), "--save_predictions", "--checkpoint_secs=0.2"]
    windows = there.rows.num_rows // 2000
    for kill in range(kills):
        before = _saved_window(model)
        with (model.parent / f"{policy}.log").open("ab") as log:
            trainer = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        goal = min(windows - 2, max(before + 1, windows * (kill + 1) // (kills + 1)))
        while trainer.poll() is None and _saved_window(model) < goal:
            time.sleep(0.02)
        time.sleep(random.random() * 0.2)
        if trainer.poll() is not None:
            sys.exit(f"the trainer ended by itself, with exit code {trainer.returncode}: {model.parent / policy}.log")
        trainer.send_signal(signal.SIGKILL)
        trainer.wait()
        print(f"{policy}: kill {kill + 1} behind window {_saved_window(model)} of {windows}", flush=True)
    run(command)
    return kills


def _saved_window(model: pathlib.Path) -> int:
    """The window of the newest checkpoint, by its number; -1 where there is none."""
    return max((int(path.stem.partition("-")[2]) for path in model.glob("ckpt-*.index")), default=-1)


def _compared(there: Topics, model: pathlib.Path, policy: str) -> tuple[int, int]:
    """How many rows and labels are missing or wrong, and how many are there too often, by an independent join."""
    scored = np.fromfile(model / "predictions.bin", PREDICTION)
    learned = pa.table({name: np.ascontiguousarray(scored[name]) for name in ("partition", "offset", "label")})
    at_first = (_WAIT_DAYS if policy == "wait" else _ELAPSED_DAYS) * DAY * 1000
    summary = json.loads((model / "summary.json").read_text())
    stop = read_journal(model / "windows.jsonl")[-1].labels.stop
    rows, outcomes, reached = there.rows, there.outcomes, pa.table({"partition": range(len(stop)), "stop": list(stop)})
    database = duckdb.connect()
    for name, table in (("rows", rows), ("outcomes", outcomes), ("learned", learned), ("reached", reached)):
        database.register(name, table)
    database.execute(f"""
        create table wanted as select r.partition, r.offset, min(o.time_ms - r.time_ms) as age,
        min(case when o.offset < reached.stop then o.time_ms - r.time_ms end) as age_read
        from rows r left join outcomes o on o.key = r.key and o.time_ms between r.time_ms and r.time_ms + {_WAIT_DAYS * DAY * 1000}
        left join reached on reached.partition = o.partition group by r.partition, r.offset""")
    missing, twice, wrong = database.execute(f"""
        select count(*) filter (l.copies is null), coalesce(sum(l.copies - 1), 0),
        count(*) filter (l.label != (case when w.age <= {at_first} then 1 else 0 end))
        from wanted w left join (select partition, "offset", count(*) as copies, max(label) as label from learned group by all) l
        using (partition, "offset")""").fetchone()
    late = 0
    if policy != "wait":
        (late,) = database.execute(f"select count(*) from wanted where age_read > {at_first}").fetchone()
    print(
        f"{policy}: {len(scored):,} rows, {missing} missing, {twice} twice, {wrong} labels wrong; learned from once more "
        f"{summary['late_rows']:,}, wanted {late:,}; outcomes {summary['outcomes']}",
        flush=True,
    )
    return missing + wrong + max(0, late - summary["late_rows"]), int(twice) + max(0, summary["late_rows"] - late)


def _replayed(there: Topics, folder: pathlib.Path, model: pathlib.Path, policy: str) -> None:
    """Trains the journal in one go; ends the program where anything is different."""
    again = folder / f"{policy}-again"
    run([sys.executable, "-m", "tfonline.train", *there.flags(again, policy), f"--replay_journal={model / 'windows.jsonl'}"])
    killed, whole = (json.loads((of / "summary.json").read_text()) for of in (model, again))
    if different := [name for name in _SAME if killed[name] != whole[name]]:
        sys.exit(f"{policy}: a run that nobody killed differs in " + ", ".join(f"{n}: {killed[n]} {whole[n]}" for n in different))
    print(f"{policy}: a run of the journal that nobody killed is the same in {', '.join(_SAME)}", flush=True)


def _speed(there: Topics, folder: pathlib.Path, turns: int) -> float:
    """Rows/s of joined rows over those of rows that have their labels."""
    found: dict[str, list[float]] = {"joined": [], "inline": []}
    for turn in range(turns):
        for kind in ("joined", "inline") if turn % 2 == 0 else ("inline", "joined"):
            model = folder / f"{kind}-{turn}"
            flags = there.flags(model, "wait")
            if kind == "inline":
                flags = [*(f for f in flags if not f.startswith(("--label_", "--topic="))), f"--topic={there.inline}"]
            run([sys.executable, "-m", "tfonline.train", *flags])
            found[kind].append(json.loads((model / "summary.json").read_text())["rows_per_sec"])
            print(f"turn {turn + 1}, {kind}: {found[kind][-1]:,.0f} rows/s", flush=True)
    return float(np.median(found["joined"]) / np.median(found["inline"]))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
