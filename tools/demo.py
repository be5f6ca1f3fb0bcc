"""The whole way once, on this machine: a broker, a topic with rows, dictionaries, a model that learns from the topic.

    python tools/demo.py                     100,000 synthetic rows, whose best possible AUC is known
    python tools/demo.py --rows=train.tsv.gz rows of your own in Criteo's format

The dictionaries are built from the first 5/7 of the rows; the whole stream is trained in order; AUC and log loss are over the last
2/7, each row scored before it was learned from. Everything lies under runs/demo and .kafka; a broker that ran before is used and
left running.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

import broker
import numpy as np
from command_line import Parser, at_least, run
from confluent_kafka.admin import AdminClient

from tfonline.evaluate.progressive import PREDICTION, exact_auc, log_losses
from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.stream.broker import KafkaTopic

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_TOPIC = "tfonline_demo"
_PARTITIONS = 2


def main(argv: list[str]) -> int:
    """Runs the demo; returns the exit code of the first stage that failed, or 0."""
    args = _parse(argv)
    folder = pathlib.Path(args.folder).resolve()
    rows_file = pathlib.Path(args.rows).resolve() if args.rows else folder / "rows.tsv"
    if args.rows and not rows_file.is_file():
        raise UserError(f"--rows={args.rows} is no file. Expected rows in Criteo's format, TSV, plain or .gz.", Exit.NO_INPUT)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        if not args.rows:
            _stage("making synthetic rows")
            _tool("synthetic.py", f"--rows={args.synthetic_rows}", f"--output={rows_file}")
        _stage("starting Apache Kafka")
        ran_before = broker.running()
        bootstrap = broker.start().bootstrap
        try:
            return _stream(rows_file, folder, bootstrap)
        finally:
            if not ran_before:
                print(f"broker: {broker.stop()}", flush=True)
    except subprocess.CalledProcessError as e:
        print(f"demo: {' '.join(map(str, e.cmd[1:3]))} failed with exit code {e.returncode}", file=sys.stderr)
        return e.returncode


def _stream(rows_file: pathlib.Path, folder: pathlib.Path, bootstrap: str) -> int:
    """Dictionaries, topic, training; prints the closing line."""
    server = f"--bootstrap_servers={bootstrap}"
    _stage("producing the rows to a fresh topic")
    if _TOPIC in AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics:
        _tool("topic.py", "delete", server, f"--topic={_TOPIC}")
    _tool("topic.py", "create", server, f"--topic={_TOPIC}", f"--partitions={_PARTITIONS}")
    _tool("produce.py", server, f"--topic={_TOPIC}", rows_file)
    num_rows = sum(KafkaTopic(bootstrap, _TOPIC, "demo", {}, 10.0, Stop(), print).ends())

    _stage("building dictionaries from the first 5/7 of the rows")
    dictionaries = folder / "dictionaries"
    _tool("process_data.py", rows_file, f"--head_rows={num_rows * 5 // 7}", f"--output_dir={dictionaries}")

    _stage("training from the topic")
    model_dir = folder / "model"
    flags = [server, f"--topic={_TOPIC}", f"--dictionary_dir={dictionaries}", f"--model_dir={model_dir}"]
    _run([sys.executable, "-m", "tfonline.train", "--flagfile=configs/demo.flags", *flags])

    summary = json.loads((model_dir / "summary.json").read_text())
    done = summary["rows"] + summary["rejected"]
    if done != num_rows:
        raise UserError(f"{num_rows} rows were produced, but {done} trained or rejected. See {model_dir}.", Exit.BUG)
    scored = np.fromfile(model_dir / "predictions.bin", PREDICTION)
    # Rows were dealt to the partitions in turn, so this is a row's place in the file.
    place = scored["offset"] * _PARTITIONS + scored["partition"]
    last = scored[place >= num_rows * 5 // 7]
    auc, loss = exact_auc(last["logit"], last["label"]), log_losses(last["logit"], last["label"]).mean()
    print(
        f"demo: rows={summary['rows']} rejected={summary['rejected']} auc={auc:.4f} log_loss={loss:.4f} "
        f"rows_per_sec={summary['rows_per_sec']:.0f} checkpoint={os.path.relpath(summary['checkpoint'])}",
        flush=True,
    )
    return Exit.OK


def _stage(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _tool(name: str, *options: object) -> None:
    _run([sys.executable, _ROOT / "tools" / name, *options])


def _run(command: list[object]) -> None:
    subprocess.run([str(c) for c in command], check=True, cwd=_ROOT)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="demo.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="", help="a file of rows, TSV, plain or .gz (default: synthetic rows)")
    parser.add_argument("--synthetic_rows", type=at_least(1000), default=100_000, help="how many synthetic rows (default 100,000)")
    parser.add_argument("--folder", default=str(_ROOT / "runs" / "demo"), help="emptied first (default: runs/demo of the project)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
