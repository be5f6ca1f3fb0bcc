"""Real clicks and the installs that they led to, as two topics:

    python -m benchmarks.delayed.click_log --file=clicks_100k.csv.gz [--wait_hours=24]

The file is a sample of TalkingData's AdTracking competition (2018): clicks with the time of the install, if there was one. Clicks
are rows without a label, installs are outcomes at their own time, both as JSON objects, joined by a column; their times are the
file's, moved to now. The trainer learns them by each policy. What is held against the file: how many installs were joined.
"""

import argparse
import csv
import datetime
import gzip
import json
import pathlib
import sys
import tempfile
import time

from benchmarks.commands import ROOT, run

sys.path.insert(0, str(ROOT / "tools"))

import broker
import topic as topics
from confluent_kafka import Producer
from kafka_cli import Connection

_COLUMNS = """
name: clicks
format: json_objects
columns:
  - {name: installed, kind: label}
  - {name: click_id, kind: ignore}
  - {name: ip, kind: category}
  - {name: app, kind: category}
  - {name: device, kind: category}
  - {name: os, kind: category}
  - {name: channel, kind: category}
  - {name: click_time, kind: time, unit: ms, as: [hour, weekday]}
"""
_POLICIES = ("wait", "fnw", "es_dfm")
_HOUR_MS = 3_600_000


def main() -> int:
    """Prints a line a policy; 1 where installs were lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", required=True, help="the clicks, CSV with a header, plain or .gz")
    parser.add_argument("--wait_hours", type=float, default=24.0, help="so long an install counts (default 24)")
    args = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="tfonline-clicks-") as scratch:
        folder = pathlib.Path(scratch)
        (folder / "columns.yaml").write_text(_COLUMNS)
        running = broker.start(folder / "kafka")
        try:
            rows, installs = _produced(running.bootstrap, _clicks(args.file))
            in_time = sum(0 <= install - click <= args.wait_hours * _HOUR_MS for click, install in installs)
            print(f"{rows:,} clicks, {len(installs)} installs, {in_time} of them within {args.wait_hours:g} hours", flush=True)
            for policy in _POLICIES:
                summary = _trained(folder, running.bootstrap, policy, args.wait_hours)
                joined = summary["outcomes"]["joined"]
                wrong += abs(joined - in_time) if policy == "wait" else max(0, joined - in_time)
                scores = summary["running"] | {"rows": summary["rows"]}
                told = " ".join(f"{name}={scores[name]:.4f}" for name in ("auc", "log_loss", "calibration"))
                print(f"{policy}: rows={summary['rows']} joined={joined} once_more={summary['late_rows']} {told}", flush=True)
        finally:
            broker.stop(folder / "kafka")
    return 1 if wrong else 0


def _clicks(file: str) -> list[dict[str, str]]:
    """In order of time."""
    with gzip.open(file, "rt") if file.endswith(".gz") else open(file) as lines:
        rows = [{name.strip("."): value for name, value in row.items()} for row in csv.DictReader(lines)]
    return sorted(rows, key=lambda row: row["click_time"])


def _produced(bootstrap: str, clicks: list[dict[str, str]]) -> tuple[int, list[tuple[int, int]]]:
    """Sends both topics; how many clicks there are, and of each install the times of click and install, milliseconds."""
    for name in ("clicks", "installs"):
        topics.create(Connection(bootstrap, {}), name, partitions=2, replication=1)
    moved = int(time.time() * 1000) - max(_ms(row["attributed_time"] or row["click_time"]) for row in clicks) - 48 * _HOUR_MS
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 1_000_000})
    installs = []
    for number, row in enumerate(clicks):
        at = _ms(row["click_time"]) + moved
        of_columns = {name: row[name] for name in ("ip", "app", "device", "os", "channel")}
        value = json.dumps({"click_id": number, **of_columns, "click_time": at})
        producer.produce("clicks", value, partition=number % 2, timestamp=at)
        if row["attributed_time"]:
            installs.append((at, _ms(row["attributed_time"]) + moved, number))
    for click, install, number in sorted(installs, key=lambda times: times[1]):
        value = json.dumps({"click_id": number, "installed": 1, "click_time": install})
        producer.produce("installs", value, partition=click % 2, timestamp=install)
    producer.flush(60)
    return len(clicks), [(click, install) for click, install, _ in installs]


def _ms(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp() * 1000)


def _trained(folder: pathlib.Path, bootstrap: str, policy: str, wait_hours: float) -> dict:
    model = folder / policy
    run([
        sys.executable, "-m", "tfonline.train", f"--flagfile={ROOT}/configs/growing.flags", "--nohistory", "--cross_buckets=0",
        f"--columns={folder}/columns.yaml", f"--bootstrap_servers={bootstrap}", "--topic=clicks", "--label_topic=installs",
        "--label_key=click_id", "--label_time=click_time", f"--label_wait_secs={wait_hours * 3600}", "--label_idle_secs=1e9",
        f"--label_elapsed_secs={wait_hours * 360}", f"--late_labels={policy}", "--window_rows=2000", "--stop_at=latest",
        f"--model_dir={model}",
    ])  # fmt: skip
    return json.loads((model / "summary.json").read_text())


if __name__ == "__main__":
    sys.exit(main())
