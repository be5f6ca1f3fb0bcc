"""Shows what a checkpoint of the trainer holds: where in the stream it is, what it was made for, its variables.

python tools/inspect_checkpoint.py runs/clicks            the newest checkpoint of a model folder
python tools/inspect_checkpoint.py runs/clicks/ckpt-57    this one
python tools/inspect_checkpoint.py runs/clicks --json     the position alone, as JSON
"""

import argparse
import json
import os
import pathlib

from command_line import Parser, run

from tfonline.lifecycle import Exit, UserError


def main(argv: list[str]) -> int:
    """Prints one checkpoint; returns the exit code."""
    args = _parse(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    path = tf.train.latest_checkpoint(args.checkpoint) if pathlib.Path(args.checkpoint).is_dir() else args.checkpoint
    if not path or not pathlib.Path(f"{path}.index").exists():
        raise UserError(
            f"{args.checkpoint} is no checkpoint and no folder with one. Expected a --model_dir of the trainer, or "
            "<model_dir>/ckpt-<n>.",
            Exit.NO_INPUT,
        )
    reader = tf.train.load_checkpoint(path)
    try:
        position = json.loads(reader.get_tensor("position/.ATTRIBUTES/py_state"))
    except (tf.errors.OpError, ValueError) as e:
        raise UserError(f"{path} was not written by the trainer: it holds no position.", Exit.DATA) from e
    if args.json:
        print(json.dumps(position, indent=2))
        return Exit.OK
    print(path)
    for name, value in position.items():
        print(f"  {name:<12}{f'{value:016x}' if name == 'fingerprint' else value}")
    shapes = reader.get_variable_to_shape_map()
    print("\nvariables")
    for name in sorted(n for n in shapes if n.endswith("/.ATTRIBUTES/VARIABLE_VALUE")):
        print(f"  {name.removesuffix('/.ATTRIBUTES/VARIABLE_VALUE'):<60}{shapes[name]}")
    return Exit.OK


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="inspect_checkpoint.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a model folder, or <model_dir>/ckpt-<n>")
    parser.add_argument("--json", action="store_true", help="print the position alone, as JSON")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
