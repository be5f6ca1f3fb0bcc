"""Shows what a checkpoint of the trainer holds: where in the stream it is, how well it predicts, what it was made for.

python tools/inspect_checkpoint.py runs/clicks                                    the newest checkpoint of a model folder
python tools/inspect_checkpoint.py runs/clicks/ckpt-57                            this one
python tools/inspect_checkpoint.py runs/clicks --bootstrap_servers=host:9092      with its lag behind the topic
python tools/inspect_checkpoint.py runs/clicks --json                             as JSON
python tools/inspect_checkpoint.py runs/clicks --id C3=05db9164                   whether a value has a row (--vocabulary_rows)
python tools/inspect_checkpoint.py runs/clicks --diff runs/replayed               what differs between two; exit 1 if anything does
"""

import argparse
import json
import os
import pathlib
import zlib
from typing import Any

from command_line import Parser, run
from inspect_id import describe_id, in_words
from kafka_cli import add_connection_options, connection

from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.stream.offsets_in_words import short

# What says how the checkpoint came about, not what is in it.
_HOW = ("stop", "stop_at", "files", "files_read")
_SHOWN = 12


def main(argv: list[str]) -> int:
    """Prints one checkpoint, or what differs between two; returns the exit code."""
    args = _parse(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    path, position, metrics, tensors = _read(args.checkpoint)
    if args.diff:
        return _diff((path, position, metrics, tensors), _read(args.diff))
    if args.id:
        return _show_id(args, pathlib.Path(path).parent, position["contract"], tensors)
    about: dict[str, Any] = {"checkpoint": path, **position, "metrics": metrics}
    if args.bootstrap_servers or args.kafka_properties_file:
        about["lag"] = _lag(args, position)
    if args.json:
        print(json.dumps(about, indent=2, allow_nan=False))
        return Exit.OK
    print(path)
    contract = position["contract"]
    for name, value in {
        "step": f"{position['step']:,}",
        "window": f"{position['window']:,}",
        "topic": f"{contract['topic']} (id {contract['topic_id'] or 'unknown'})",
        "next": short(position["next"]),
        **({"files": _files(position)} if position.get("files_read") else {}),
        **({"lag": f"{sum(about['lag']):,} rows {short(about['lag'])}"} if "lag" in about else {}),
        "rows": f"{position['rows']:,} since offsets {short(position['start'])}",
        "rejected": position["rejected"] or 0,
        "unread": position["skipped"] or 0,
        "fingerprint": f"{position['fingerprint']:016x} (of the rows trained)",
        "dictionaries": f"{contract['dictionaries']}, {contract['vocab_size']:,} ids, numeric {contract['numeric']}",
        **({"vocabulary": _vocabulary(contract, tensors)} if contract.get("vocabulary_rows") else {}),
        "layers": f"embedding {contract['embedding_dim']}, {contract['deep_layers']}",
    }.items():
        print(f"  {name:<14}{value}")
    print(f"\n  {'metrics':<20}{'all rows':>12}{'recent':>12}")
    for total in (scope for scope in metrics if scope.startswith("total")):
        label = total.removeprefix("total")  # of several labels, all but the first stand behind it under their names
        print(f"  {label[1:]}\n" if label else "", end="")
        for name in metrics[total]:
            print(f"  {name:<20}" + "".join(f"{_number(metrics[scope][name]):>12}" for scope in (total, f"running{label}")))
    print("\nvariables")
    for name in sorted(tensors):
        print(f"  {name.removesuffix('/.ATTRIBUTES/VARIABLE_VALUE'):<60}{list(tensors[name].shape)}")
    return Exit.OK


def _show_id(args: argparse.Namespace, folder: pathlib.Path, contract: dict[str, Any], tensors: dict[str, Any]) -> int:
    settings = folder / "config.json"
    about = describe_id(args.id, contract, json.loads(settings.read_text()) if settings.exists() else {}, tensors)
    print(json.dumps(about, indent=2) if args.json else in_words(args.id, about))
    return Exit.OK


def _read(name: str) -> tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The path, position, metrics and variables of a checkpoint.

    Raises:
      UserError: there is none (exit 66), or it is damaged or not the trainer's (65).
    """
    import tensorflow as tf

    from tfonline.evaluate.progressive import ProgressiveMetrics, without_nan
    from tfonline.keep import checkpoint_files, packed_counts
    from tfonline.keep.checkpoints import read_contents
    from tfonline.keep.contract import labels_of
    from tfonline.keep.plain_path import plain_path

    path = name
    if pathlib.Path(name).is_dir():
        path = str(next(iter(checkpoint_files.paths(pathlib.Path(name))), ""))
    if not path or not pathlib.Path(f"{path}.index").exists():
        raise UserError(
            f"{name} is no checkpoint and no folder with one. Expected a --model_dir of the trainer, or <model_dir>/ckpt-<n>.",
            Exit.NO_INPUT,
        )
    try:
        with plain_path(path) as plain:
            reader = tf.train.load_checkpoint(plain)
            held = read_contents(pathlib.Path(path))
            others = labels_of(held.contract)[1:]
            counted = ProgressiveMetrics(1, others=others)
            held.give(counted)
            parts = {name: state for name, (_, state) in held.parts.items()}
            position = {"contract": held.contract, **parts["position"], **parts["learner"], "files": parts["files"]}
            variables = (n for n in reader.get_variable_to_shape_map() if n.endswith("/.ATTRIBUTES/VARIABLE_VALUE"))
            tensors = {n: reader.get_tensor(n) for n in variables if "save_counter" not in n}
            tensors |= {f"{n}/.ATTRIBUTES/VARIABLE_VALUE": counts for n, counts in packed_counts.unpacked(reader).items()}
    except (tf.errors.OpError, ValueError, IndexError, KeyError, zlib.error) as e:
        raise UserError(f"{path} is damaged, or was not written by the trainer: {str(e).splitlines()[0]}", Exit.DATA) from e
    scopes = [f"{scope}{suffix}" for suffix in ("", *(f"_{label}" for label in others)) for scope in ("total", "running")]
    metrics = {scope: without_nan(counted.report(scope)) for scope in scopes}
    return path, position, metrics, tensors


def _files(position: dict[str, Any]) -> str:
    """Each file of --input_files with the next row to be read of it, counted from 0."""
    return ", ".join(f"{file['name']} {n}" for file, n in zip(position["files_read"], position["next"], strict=False))


def _lag(args: argparse.Namespace, position: dict[str, Any]) -> list[int]:
    """Rows of each partition that are not trained yet."""
    from tfonline.stream.broker import KafkaTopic

    link = connection(args)
    topic = KafkaTopic(link.bootstrap, position["contract"]["topic"], "inspect", link.properties, 5.0, Stop(), lambda _: None)
    ends = topic.ends()
    return [end - n for end, n in zip(ends, position["next"] + [0] * (len(ends) - len(position["next"])), strict=True)]


def _diff(one: tuple, other: tuple) -> int:
    """Prints what differs; exit code 1 if anything does that is part of the model."""
    import numpy as np

    (path, position, metrics, tensors), (other_path, other_position, other_metrics, other_tensors) = one, other
    print(f"- {path}\n+ {other_path}")
    fields = [n for n in sorted({*position, *other_position} - {*_HOW}) if position.get(n) != other_position.get(n)]
    for name in fields:
        print(f"  {name}\n  - {position.get(name)}\n  + {other_position.get(name)}")
    if metrics != other_metrics:
        print(f"  metrics\n  - {metrics}\n  + {other_metrics}")
    names = sorted({*tensors, *other_tensors})
    different = [
        n for n in names if n not in tensors or n not in other_tensors or tensors[n].tobytes() != other_tensors[n].tobytes()
    ]
    for name in different[:_SHOWN]:
        a, b = tensors.get(name), other_tensors.get(name)
        if a is None or b is None or a.shape != b.shape:
            how = f"{'none' if a is None else list(a.shape)} against {'none' if b is None else list(b.shape)}"
        else:
            how = f"largest difference {np.max(np.abs(a - b)):.3g}, in {np.mean(a != b):.2%} of the numbers"
        print(f"  {name.removesuffix('/.ATTRIBUTES/VARIABLE_VALUE')}: {how}")
    if len(different) > _SHOWN:
        print(f"  ... and {len(different) - _SHOWN} more variables")
    print(
        f"{len(names) - len(different)} of {len(names)} variables are equal to the bit; {len(fields)} fields of the position differ"
    )
    return int(bool(fields or different or metrics != other_metrics))


def _vocabulary(contract: dict[str, Any], tensors: dict[str, Any]) -> str:
    in_use, admitted, reused, _ = tensors["learner/admission/tally/.ATTRIBUTES/VARIABLE_VALUE"]
    rows = contract["vocabulary_rows"]
    return f"{in_use:,} of {rows:,} rows in use ({in_use / rows:.1%}), {admitted:,} admitted, {reused:,} to another's row"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4f}" if value < 100 else f"{value:,.0f}"


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="inspect_checkpoint.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a model folder, or <model_dir>/ckpt-<n>")
    parser.add_argument("--json", action="store_true", help="print position, metrics and lag as JSON")
    parser.add_argument("--id", metavar="COLUMN=VALUE", help="whether the value has a row, since when, how often it was seen")
    parser.add_argument("--diff", metavar="OTHER", help="another checkpoint or model folder to compare with")
    add_connection_options(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
