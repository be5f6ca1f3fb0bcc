"""What formats of messages cost, and that none changes a row: make formats, or

    python -m benchmarks.formats [--only=rates,parity,bad_rows,schema_change] [--rows=10000]

rates: messages to ids, rows/s on one core, as shares of TSV's; three turns, medians; Arrow has 1,000 rows a message. parity: the
same rows through a real broker in each format: what is scored while it is learned, and by the published model, to the bit.
bad_rows: one bad message in a hundred: exactly those are refused. schema_change: Avro of a registry whose writer changes its
schema while the trainer runs: no row lost.
The closing line holds what was measured. Exit code 1 where anything differs.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

import numpy as np

from benchmarks.commands import ROOT, emptied, run, tool
from benchmarks.formats.bad import corpus

sys.path.insert(0, str(ROOT / "tools"))

import broker
import registry

from tfonline.evaluate.progressive import PREDICTION, PREDICTION_IN_MESSAGE
from tfonline.features.schema import load_schema
from tfonline.formats import FORMATS
from tfonline.formats.make import format_of
from tfonline.publish.versions import Versions
from tfonline.settings.stream import StreamSettings

_PARTS = ("rates", "parity", "bad_rows", "schema_change")
_TURNS = 3
_COLUMNS = "configs/criteo.yaml"
_FLAGS = [
    "--flagfile=configs/growing.flags", f"--columns={_COLUMNS}", "--window_rows=2000", "--stop_at=latest", "--save_predictions",
    "--max_rejected_ratio=1", "--admit_counters=65536", "--vocabulary_rows=16384",
]  # fmt: skip
_PUBLISH = ["--export_every_windows=1", "--gate_rows=1000", "--gate_min_auc=0", "--gate_calibration=0", "--gate_max_regression=9"]
_WITHIN_SECS = 180.0


def main() -> int:
    """Measures part by part; prints the closing line."""
    args = _parse()
    folder = emptied(args.folder)
    tool("synthetic.py", f"--rows={max(args.rows, 20_000)}", f"--output={folder / 'all.tsv'}")
    lines = (folder / "all.tsv").read_text().splitlines()[: args.rows]
    (folder / "rows.tsv").write_text("\n".join(lines) + "\n")
    found: dict[str, str] = {}
    if "rates" in args.only:
        found |= rates(folder / "all.tsv")
    if {"parity", "bad_rows", "schema_change"} & {*args.only}:
        bootstrap = broker.start(folder / "kafka").bootstrap
        try:
            for part in (parity, bad_rows, schema_change):
                if part.__name__ in args.only:
                    found |= part(folder, bootstrap, lines)
        finally:
            broker.stop(folder / "kafka")
    print(f"formats: {' '.join(f'{name}={value}' for name, value in found.items())}", flush=True)
    right = {"parity": "yes", "bad_rows_alone": "yes", "schema_change_lost": "0"}
    return int(any(found.get(name, value) != value for name, value in right.items()))


def rates(rows: pathlib.Path) -> dict[str, str]:
    """Rows/s of each format over TSV's, medians of turns."""
    measured: dict[str, list[float]] = {name: [] for name in FORMATS}
    for _ in range(_TURNS):
        for name, of_format in measured.items():
            of_format.append(float(run([sys.executable, "-m", "benchmarks.formats.features", name, rows, _COLUMNS])))
    medians = {name: statistics.median(of_format) for name, of_format in measured.items()}
    for name, median in medians.items():
        print(f"rates: {name:<14}{median:>10,.0f} rows/s{median / medians['tsv']:>8.2f} of TSV", flush=True)
    return {name: f"{median / medians['tsv']:.2f}" for name, median in medians.items() if name != "tsv"}


def parity(folder: pathlib.Path, bootstrap: str, lines: list[str]) -> dict[str, str]:
    """Whether the same rows in each format are scored alike, while they are learned and by the published model."""
    server, scored, served = f"--bootstrap_servers={bootstrap}", {}, {}
    for name in FORMATS:
        topic, model_dir, models = f"parity_{name}", folder / f"parity_{name}", folder / f"models_{name}"
        tool("topic.py", "create", server, f"--topic={topic}", "--partitions=2")
        # A row a message in every format: then the windows have the same rows.
        send = [server, f"--topic={topic}", f"--format={name}", f"--columns={_COLUMNS}", "--rows_a_message=1"]
        tool("produce.py", *send, folder / "rows.tsv")
        about = [server, f"--topic={topic}", f"--message_format={name}", f"--model_dir={model_dir}", f"--export_dir={models}"]
        run([sys.executable, "-m", "tfonline.train", *_FLAGS, *_PUBLISH, *about])
        dtype = PREDICTION_IN_MESSAGE if FORMATS[name].many else PREDICTION
        scored[name] = np.fromfile(model_dir / "predictions.bin", dtype)[list(PREDICTION.names)].astype(PREDICTION).tobytes()
        version = Versions(models).numbers[-1]
        served[name] = _scores(models / str(version), lines, name)
        print(f"parity: {name}: {len(lines):,} rows", flush=True)
    alike = [name for name in FORMATS if scored[name] == scored["tsv"] and np.array_equal(served[name], served["tsv"])]
    if other := sorted({*FORMATS} - {*alike}):
        print(f"parity: other scores than TSV's: {', '.join(other)}")
    return {"parity": "no" if other else "yes"}


def _scores(version: pathlib.Path, lines: list[str], name: str) -> np.ndarray:
    """The logits of a published model for messages of a format, as its server decodes them."""
    import tensorflow as tf

    from tfonline.formats import canonical

    schema = load_schema(_COLUMNS)
    form = format_of(StreamSettings(message_format=name), schema, _COLUMNS)
    messages = canonical(form, [form.encode(line.split("\t"), schema.columns) for line in lines], schema.columns)
    answer = tf.saved_model.load(str(version)).signatures["serving_default"](message=tf.constant(messages))
    return answer["logit"].numpy()


def bad_rows(folder: pathlib.Path, bootstrap: str, lines: list[str]) -> dict[str, str]:
    """Whether of messages of which one in a hundred is bad exactly those are refused, in each format."""
    from confluent_kafka import Producer

    schema, server, alone = load_schema(_COLUMNS), f"--bootstrap_servers={bootstrap}", True
    for name in FORMATS:
        form = format_of(StreamSettings(message_format=name), schema, _COLUMNS)
        bad, topic = corpus(form, lines[0].split("\t"), schema.columns), f"bad_{name}"
        tool("topic.py", "create", server, f"--topic={topic}", "--partitions=1")
        producer, places = Producer({"bootstrap.servers": bootstrap}), []
        for i, line in enumerate(lines):
            is_bad = i % 100 == 50
            places += [i] * is_bad
            producer.produce(
                topic, bad[i // 100 % len(bad)] if is_bad else form.encode(line.split("\t"), schema.columns), partition=0
            )
            producer.poll(0)
        producer.flush()
        model_dir = folder / topic
        about = [server, f"--topic={topic}", f"--message_format={name}", f"--model_dir={model_dir}"]
        run([sys.executable, "-m", "tfonline.train", *_FLAGS, *about])
        refused = [json.loads(line)["offset"] for line in (model_dir / "rejected.jsonl").read_text().splitlines()]
        exactly = sorted(refused) == places
        print(f"bad_rows: {name}: {len(bad)} kinds of bad messages, {len(places)} sent, {len(refused)} refused", flush=True)
        if not exactly:
            print(f"bad_rows: {name}: other offsets than those sent: {sorted({*refused} ^ {*places})[:10]}")
        alone &= exactly
    return {"bad_rows_alone": "yes" if alone else "no"}


def schema_change(folder: pathlib.Path, bootstrap: str, lines: list[str]) -> dict[str, str]:
    """How many rows are lost where a writer's schema changes while the trainer runs."""
    server, topic, half = f"--bootstrap_servers={bootstrap}", "schema_change", len(lines) // 2
    columns, after = folder / "columns.yaml", folder / "after.yaml"
    plain = (ROOT / _COLUMNS).read_text()
    columns.write_text(f"format: avro\nframing: confluent\n{plain}")
    # The second writer has no I13, and has a field that nobody asked for.
    after.write_text(
        columns.read_text().replace("I1..I13, kind: integer}", "I1..I12, kind: integer}\n  - {name: fresh, kind: category}")
    )
    with_fresh = ["\t".join([*fields[:13], "new", *fields[14:]]) for fields in (line.split("\t") for line in lines[half:])]
    (folder / "before.tsv").write_text("\n".join(lines[:half]) + "\n")
    (folder / "after.tsv").write_text("\n".join(with_fresh) + "\n")
    url = registry.start(folder / "registry", timeout_secs=_WITHIN_SECS).url
    try:
        tool("topic.py", "create", server, f"--topic={topic}", "--partitions=2")
        send = ["produce.py", server, f"--topic={topic}", f"--registry_url={url}"]
        tool(*send, f"--columns={columns}", folder / "before.tsv")
        model_dir = folder / "change"
        flags = [f for f in _FLAGS if not f.startswith(("--columns", "--stop_at"))]
        about = [server, f"--topic={topic}", f"--columns={columns}", f"--model_dir={model_dir}", f"--registry_url={url}"]
        about += ["--stop_at=never", "--window_secs=1", "--report_secs=1", "--checkpoint_secs=2"]
        command = [sys.executable, "-m", "tfonline.train", *flags, *about]
        with (folder / "change.log").open("wb") as log, subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as trainer:
            try:
                _wait_for(trainer, model_dir, half)
                tool(*send, f"--columns={after}", folder / "after.tsv")
                _wait_for(trainer, model_dir, len(lines))
            finally:
                trainer.send_signal(signal.SIGTERM)
                trainer.wait(_WITHIN_SECS)
    finally:
        registry.stop(folder / "registry")
    summary = json.loads((model_dir / "summary.json").read_text())
    ids = sorted(path.name for path in (model_dir / "schemas").iterdir())
    print(f"schema_change: {summary['rows']:,} rows trained, {summary['rejected']} refused, schemas {', '.join(ids)}", flush=True)
    if len(ids) < 2:
        sys.exit("schema_change: the writers had one schema, so that none has changed")
    return {"schema_change_lost": str(len(lines) - summary["rows"])}


def _wait_for(trainer: subprocess.Popen, model_dir: pathlib.Path, rows: int) -> None:
    """Waits until so many rows were trained or refused, by the journal of windows; not for ever."""
    deadline = time.monotonic() + _WITHIN_SECS
    while time.monotonic() < deadline and trainer.poll() is None:
        if (model_dir / "predictions.bin").exists() and (model_dir / "predictions.bin").stat().st_size >= rows * 20:
            return
        time.sleep(0.2)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(_PARTS), help="parts, comma separated")
    parser.add_argument("--rows", type=int, default=10_000, help="of parity, bad_rows and schema_change (default 10,000)")
    parser.add_argument("--folder", default=str(ROOT / "runs" / "formats"), help="emptied first (default runs/formats)")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
