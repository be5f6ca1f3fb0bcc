"""The whole way once, on this machine: a broker, a topic with rows, dictionaries, a model that learns from the topic.

    python tools/demo.py                     100,000 synthetic rows, whose best possible AUC is known
    python tools/demo.py --rows=train.tsv.gz rows of your own in Criteo's format
    python tools/demo.py --data=avazu        synthetic rows of mobile advertising as JSON objects, without dictionaries
    python tools/demo.py --data=feed         synthetic events of a shop as Avro with a schema registry: nested, with a list

Where there are dictionaries, they are built from the first 5/7 of the rows; the whole stream is trained in order; AUC and log loss
are over the last 2/7, each row scored before it was learned from. Models are published on the way. Everything lies under runs/demo
and .kafka. A broker that ran before is used and left running; one that the demo started is left running with --keep.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import broker
import numpy as np
import registry
import synthetic
from command_line import Parser, at_least, run
from confluent_kafka.admin import AdminClient
from synthetic_streams import STREAMS

from tfonline.evaluate.progressive import PREDICTION, exact_auc, log_losses
from tfonline.features.schema import load_schema
from tfonline.formats import find
from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.publish.versions import Versions
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.row_files import open_rows

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_TOPIC = "tfonline_demo"
_PARTITIONS = 2


class Data(NamedTuple):
    """What --data names.

    Attributes:
      flags: the trainer's, a file.
      columns: their YAML.
      message_format: of the topic.
      dictionaries: whether the trainer needs them.
      registry: whether the messages' schemas are in one.
    """

    flags: str
    columns: str
    message_format: str
    dictionaries: bool = False
    registry: bool = False


_DATA = {
    "criteo": Data("configs/demo.flags", "configs/criteo.yaml", "tsv", dictionaries=True),
    "avazu": Data("configs/demo_avazu.flags", "configs/avazu.yaml", "json_objects"),
    "feed": Data("configs/demo_feed.flags", "configs/feed.yaml", "avro", registry=True),
}
_GATE_ROWS = 20_000  # as configs/demo.flags has it


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
            _tool("synthetic.py", f"--data={args.data}", f"--rows={args.synthetic_rows}", f"--output={rows_file}")
        _stage("starting Apache Kafka")
        stays = args.keep or broker.running() is not None
        bootstrap = broker.start().bootstrap
        with _registry(args.data, args.keep) as registry_url:
            try:
                line = _stream(rows_file, folder, bootstrap, args.data, registry_url, made=not args.rows)
            finally:
                if not stays:
                    print(f"broker: {broker.stop()}", flush=True)
        _stage("what next")
        print(next_steps(folder, rows_file, bootstrap if stays else "", args.data, registry_url if args.keep else ""))
        print(line, flush=True)
        return Exit.OK
    except subprocess.CalledProcessError as e:
        print(f"demo: {' '.join(map(str, e.cmd[1:3]))} failed with exit code {e.returncode}", file=sys.stderr)
        return e.returncode


@contextlib.contextmanager
def _registry(data: str, keep: bool) -> Iterator[str]:
    """The URL of a schema registry; '' where the messages need none. One that ran before, or is to be kept, goes on running."""
    if not _DATA[data].registry:
        yield ""
        return
    _stage("starting a schema registry")
    stays = keep or registry.running() is not None
    try:
        yield registry.start().url
    finally:
        if not stays:
            print(f"registry: {registry.stop()}", flush=True)


def _stream(rows_file: pathlib.Path, folder: pathlib.Path, bootstrap: str, data: str, registry_url: str, made: bool) -> str:
    """Topic, dictionaries if any, training; returns the closing line. `made`: the rows are synthetic ones."""
    server = f"--bootstrap_servers={bootstrap}"
    _stage("producing the rows to a fresh topic")
    if _TOPIC in AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics:
        _tool("topic.py", "delete", server, f"--topic={_TOPIC}")
    _tool("topic.py", "create", server, f"--topic={_TOPIC}", f"--partitions={_PARTITIONS}")
    about = _DATA[data]
    of_registry = [f"--registry_url={registry_url}"] if registry_url else []
    form = [f"--format={about.message_format}", f"--columns={about.columns}", *of_registry]
    _tool("produce.py", server, f"--topic={_TOPIC}", *form, rows_file)
    num_rows = sum(KafkaTopic(bootstrap, _TOPIC, "demo", {}, 10.0, Stop(), print).ends())

    model_dir, dictionaries = folder / "model", folder / "dictionaries"
    flags = [server, f"--topic={_TOPIC}", f"--model_dir={model_dir}", *of_registry]
    if about.dictionaries:
        _stage("building dictionaries from the first 5/7 of the rows")
        _tool("process_data.py", rows_file, f"--head_rows={num_rows * 5 // 7}", f"--output_dir={dictionaries}")
        flags.append(f"--dictionary_dir={dictionaries}")

    _stage("training from the topic")
    flags += [f"--export_dir={folder / 'models'}", f"--gate_rows={min(_GATE_ROWS, max(num_rows * 2 // 7, 1))}"]
    _run([sys.executable, "-m", "tfonline.train", f"--flagfile={about.flags}", *flags])

    summary = json.loads((model_dir / "summary.json").read_text())
    done = summary["rows"] + summary["rejected"]
    if done != num_rows:
        raise UserError(f"{num_rows} rows were produced, but {done} trained or rejected. See {model_dir}.", Exit.BUG)
    scored = np.fromfile(model_dir / "predictions.bin", PREDICTION)
    # Rows were dealt to the partitions in turn, so this is a row's place in the file.
    place = scored["offset"] * _PARTITIONS + scored["partition"]
    last = scored[place >= num_rows * 5 // 7]
    auc, loss = exact_auc(last["logit"], last["label"]), log_losses(last["logit"], last["label"]).mean()
    return (
        f"demo: rows={summary['rows']} rejected={summary['rejected']} auc={auc:.4f} log_loss={loss:.4f} "
        f"rows_per_sec={summary['rows_per_sec']:.0f} checkpoint={os.path.relpath(summary['checkpoint'])}"
        + (f" best_auc={best_auc(num_rows, data):.4f}" if made else "")
    )


def best_auc(num_rows: int, data: str = "criteo") -> float:
    """The AUC of a model that knows the true probabilities, on the last 2/7 of so many synthetic rows."""
    first, rows = num_rows * 5 // 7, STREAMS[data].rows if data in STREAMS else synthetic.rows
    return synthetic.bayes_auc(np.concatenate([block.probability for block in rows(num_rows - first, 1, first)]))


def next_steps(folder: pathlib.Path, rows_file: pathlib.Path, bootstrap: str, data: str = "criteo", registry_url: str = "") -> str:
    """What to do with what the demo made: commands that work as they stand.

    Args:
      folder: the demo's.
      rows_file: the rows that were trained.
      bootstrap: where the broker goes on running; '' where it does not.
      data: whose columns the rows have.
      registry_url: where the schema registry goes on running; '' where there is none.
    """
    here, venv = os.path.relpath(folder), os.path.relpath(sys.prefix)
    steps = f"""\
Its curves, and a page of the run that can be kept or sent:
    {venv}/bin/tensorboard --logdir {here}/model/tensorboard
    {venv}/bin/python tools/report.py {here}/model --export_dir={here}/models --out={here}/report.html
The columns of rows of your own (these stand for them), as the trainer takes them:
    {venv}/bin/python tools/schema.py infer --input={os.path.relpath(rows_file)} --output={here}/columns.yaml
"""
    if Versions(folder / "models").numbers:
        with open_rows(str(rows_file)) as file:
            row = file.readline().rstrip(b"\r\n").decode(errors="replace")
        (folder / "request.json").write_text(json.dumps({"instances": [_as_in_the_topic(row, data)]}) + "\n")
        steps += f"""\
A score by the model that it published; the second command in another terminal:
    {venv}/bin/python -m tfonline.serve --export_dir={here}/models
    curl -d @{here}/request.json http://127.0.0.1:8501/v1/models/tfonline:predict
"""
    else:
        steps += f"It published no model: none passed the gate ({here}/models/refused.jsonl says why). Give it more rows.\n"
    if bootstrap:
        about = _DATA[data]
        known = f"--dictionary_dir={here}/dictionaries " if about.dictionaries else ""
        form = "" if data == "criteo" else f" --data={data} --columns={about.columns} --format={about.message_format}"
        of_registry = f" --registry_url={registry_url}" if registry_url else ""
        steps += f"""\
A trainer that stays, and rows for it in another terminal:
    {venv}/bin/python -m tfonline.train --flagfile={about.flags} --bootstrap_servers={bootstrap} --stop_at=never \\
        {known}--model_dir={here}/model --export_dir={here}/models{of_registry}
    {venv}/bin/python tools/produce.py --topic={_TOPIC} --synthetic=1000000 --seed=2 --rows_per_sec=500{form}{of_registry}
The broker goes on running. It is ended by:
    {venv}/bin/python tools/broker.py stop
"""
        steps += f"And the registry:\n    {venv}/bin/python tools/registry.py stop\n" if registry_url else ""
    else:
        steps += "For a trainer that stays: make demo KEEP=1 leaves the broker running, and says the command.\n"
    return steps


def _as_in_the_topic(row: str, data: str) -> object:
    """What a client sends for a row of the file: the row, or an object where messages name their values."""
    about = _DATA[data]
    if not find(about.message_format).named:
        return row
    return json.loads(find("json_objects").encode(row.split("\t"), load_schema(str(_ROOT / about.columns)).columns))


def _stage(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _tool(name: str, *options: object) -> None:
    _run([sys.executable, _ROOT / "tools" / name, *options])


def _run(command: list[object]) -> None:
    subprocess.run([str(c) for c in command], check=True, cwd=_ROOT)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="demo.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="", help="a file of rows, TSV, plain or .gz (default: synthetic rows)")
    parser.add_argument(
        "--data", choices=tuple(_DATA), default="criteo", help="whose columns the synthetic rows have (default criteo)"
    )
    parser.add_argument("--synthetic_rows", type=at_least(1000), default=100_000, help="how many synthetic rows (default 100,000)")
    parser.add_argument("--folder", default=str(_ROOT / "runs" / "demo"), help="emptied first (default: runs/demo of the project)")
    parser.add_argument("--keep", action="store_true", help="leave the broker running, with the topic, for a trainer that stays")
    args = parser.parse_args(argv)
    if args.rows and args.data != "criteo":
        parser.error("--rows are Criteo's; --data is for synthetic rows")
    return args


if __name__ == "__main__":
    run(main)
