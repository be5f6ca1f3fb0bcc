"""Looks after published models, beside the trainer that publishes them or without one.

python tools/models.py list models                     versions, oldest first: age, step, metrics, state
python tools/models.py verify models [VERSION]         digests of all its files; loads it and scores a row
python tools/models.py rollback models [VERSION]       publishes an older version again as a new one, marks those since as bad, and
                                                       pauses publishing
python tools/models.py resume models                   lets the trainer publish again
python tools/models.py score models FILE [--version=N] a probability a row, AUC and log loss; --labels=no: rows without the label's
                                                       field, probabilities only. Of Avro and Protobuf, whose messages are no
                                                       lines, rows in their TSV form
python tools/models.py deltas list models              deltas between versions: age, windows, bytes
python tools/models.py deltas verify models            leads the newest version (--version=N) on by them, and adds up all weights
python tools/models.py deltas apply models OUT         the version that they lead to (--to=EPOCH.NUMBER), as a folder of its own
"""

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import model_deltas
from command_line import Parser, at_least, run

from tfonline import formats
from tfonline.keep.contract import schema_of
from tfonline.lifecycle import Exit, UserError
from tfonline.publish.versions import Versions
from tfonline.stream.row_files import open_rows

if TYPE_CHECKING:
    from tfonline.features.schema import Schema

_BATCH_ROWS = 1000


def main(argv: list[str]) -> int:
    """Runs a command; returns the exit code."""
    args = _parse(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not os.path.isdir(args.folder):
        raise UserError(f"{args.folder} is no folder. Give the trainer's --export_dir.", Exit.NO_INPUT)
    commands = {"list": _list, "verify": _verify, "rollback": _roll_back, "resume": _resume, "score": _score, "deltas": _deltas}
    return commands[args.command](Versions(args.folder, keep=sys.maxsize), args)


def _list(versions: Versions, _: argparse.Namespace) -> int:
    numbers, bad, newest = versions.numbers, versions.bad, max(versions.numbers, default=0)
    print(f"{'version':>8}{'age':>10}{'step':>12}{'rows':>14}{'auc':>9}{'log loss':>10}{'calibration':>13}  state")
    for number in numbers:
        m = versions.manifest(number)
        metrics = "".join(
            f"{_number(m['metrics'][k]):>{width}}" for k, width in (("auc", 9), ("log_loss", 10), ("calibration", 13))
        )
        state = "served" if number == newest else f"bad: {bad[number]}" if number in bad else ""
        state += f" (again {m['rolled_back_to']})" if "rolled_back_to" in m else ""
        print(f"{number:>8}{_age(time.time() - m['published']):>10}{m['step']:>12,}{m['rows']:>14,}{metrics}  {state}".rstrip())
    if versions.paused:
        print(f"publishing is paused: {versions.paused}; `python tools/models.py resume {versions.folder}` lets it go on")
    print(f"models: versions={len(numbers)} served={newest or 'none'} paused={'yes' if versions.paused else 'no'}")
    return Exit.OK


def _verify(versions: Versions, args: argparse.Namespace) -> int:
    number = _which(versions, args.version)
    problems = versions.problems(number)
    if not problems:
        # A row of nothing but missing values: the shape of a row is known from the signature `columns`.
        import tensorflow as tf

        signature = _signatures(versions, number)["columns"]
        missing = {tf.float64: tf.constant([float("nan")], tf.float64), tf.string: tf.constant([""])}
        found = signature(**{name: missing[spec.dtype] for name, spec in signature.structured_input_signature[1].items()})
        if not 0 < float(found["probability"][0]) < 1:
            problems = [f"a row without values has probability {float(found['probability'][0])}"]
    for problem in problems:
        print(f"  {problem}")
    print(f"models: version={number} whole={'no' if problems else 'yes'} problems={len(problems)}")
    return Exit.DATA if problems else Exit.OK


def _roll_back(versions: Versions, args: argparse.Namespace) -> int:
    number = versions.roll_back(args.version, args.why)
    print(f"models: version={number} again={versions.manifest(number)['rolled_back_to']} paused=yes")
    return Exit.OK


def _resume(versions: Versions, _: argparse.Namespace) -> int:
    versions.resume()
    print("models: paused=no")
    return Exit.OK


def _score(versions: Versions, args: argparse.Namespace) -> int:
    import numpy as np
    import tensorflow as tf

    from tfonline.evaluate.progressive import exact_auc, log_losses

    number, labelled = _which(versions, args.version), args.labels == "yes"
    manifest, signatures = versions.manifest(number), _signatures(versions, number)
    name = "serving_default" if labelled else "unlabelled"
    if name not in signatures:
        raise UserError(
            f"version {number} has no signature for rows without the label's field: an older tfonline has published it. Score rows "
            "as in the topic, or another version.",
            Exit.DATA,
        )
    schema = schema_of(manifest["contract"], manifest["label"])
    columns = schema.columns if labelled else schema.unlabelled
    form = formats.of_manifest(manifest)
    if not form.lines:
        form = formats.served(form)
    logits, labels, bad = [], [], 0
    for rows in _rows(args.file):
        outputs = signatures[name](message=tf.constant(formats.canonical(form, rows, columns)))
        found = {name: value.numpy() for name, value in outputs.items()}
        good = found["reason"] == 0
        bad += int((~good).sum())
        print("\n".join(f"{p:.6g}" for p in found["probability"]))
        logits.append(found["logit"][good])
        if labelled:
            labels += itertools.compress(_labels(rows, schema, form), good)
    logits, num_good = np.concatenate([*logits, np.zeros(0, np.float32)]), sum(map(len, logits))
    metrics = ""
    if labels:
        clicks = np.array(labels, np.float32)
        metrics = f" auc={exact_auc(logits, clicks):.4f} log_loss={log_losses(logits, clicks).mean():.4f}"
    print(f"models: rows={num_good + bad} bad={bad} labelled={len(labels)}{metrics}", file=sys.stderr)
    if bad:
        field = "with" if labelled else "without"
        print(
            f"models: {bad} rows have no score: their numbers are nan. Expected rows {field} the label's field (--labels).",
            file=sys.stderr,
        )
    return Exit.OK


def _deltas(versions: Versions, args: argparse.Namespace) -> int:
    folder = model_deltas.folder_of(args)
    if args.what == "list":
        return model_deltas.list_deltas(versions, folder)
    number = _which(versions, args.version)
    if args.what == "verify":
        return model_deltas.verify(versions, folder, number)
    return model_deltas.apply(versions, folder, number, args.output, args.to)


def _signatures(versions: Versions, number: int) -> Mapping[str, Callable[..., dict[str, Any]]]:
    """What a version can be asked, by name."""
    import tensorflow as tf

    from tfonline.keep.plain_path import plain_path

    with plain_path(versions.path(number)) as plain:
        return tf.saved_model.load(plain).signatures


def _which(versions: Versions, number: int | None) -> int:
    if number is None and not versions.numbers:
        raise UserError(f"{versions.folder} holds no version yet.", Exit.NO_INPUT)
    number = number or versions.numbers[-1]
    versions.manifest(number)
    return number


def _rows(path: str) -> Iterator[list[bytes]]:
    """Raises UserError where the file cannot be read (exit 66), or is no whole gzip file (65)."""
    with open_rows(path) as file:
        while some := [line.rstrip(b"\n") for line in itertools.islice(file, _BATCH_ROWS)]:
            yield some


def _labels(rows: list[bytes], schema: "Schema", form: formats.Format) -> list[bool]:
    """Whether each row is a click; only meaningful of rows that the model has taken."""
    import tensorflow as tf

    from tfonline.features.parse import Parse

    return (Parse(schema, form)(tf.constant(rows)).values["label"][:, 0] == 1).numpy().tolist()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _age(secs: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if secs >= 2 * length:
            return f"{secs / length:.0f} {unit}"
    return f"{secs:.0f} s"


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="models.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in ("list", "verify", "rollback", "resume", "score"):
        command = commands.add_parser(name)
        command.add_argument("folder", help="the trainer's --export_dir")
        if name in ("verify", "rollback"):
            command.add_argument(
                "version", nargs="?", type=at_least(1), help="its number (default: the newest; rollback: the one before)"
            )
        if name == "rollback":
            command.add_argument("--why", default="rolled back", help="kept beside the bad versions")
        if name == "score":
            command.add_argument("file", help="rows as in the topic, or as TSV, one a line, plain or .gz")
            command.add_argument(
                "--labels", choices=("yes", "no"), default="yes", help="whether the rows have the label's field (default: yes)"
            )
            command.add_argument("--version", type=at_least(1), help="its number (default: the newest)")
    of_deltas = commands.add_parser("deltas").add_subparsers(dest="what", required=True, metavar="list|verify|apply")
    for name in ("list", "verify", "apply"):
        command = of_deltas.add_parser(name)
        command.add_argument("folder", help="the trainer's --export_dir")
        if name == "apply":
            command.add_argument("output", help="the folder to write, not there yet")
            command.add_argument("--to", help="the last delta, such as 1.42 (default: all)")
        command.add_argument("--delta_dir", default="", help="the trainer's (default: deltas in the folder)")
        if name != "list":
            command.add_argument("--version", type=at_least(1), help="from which on (default: the newest)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
