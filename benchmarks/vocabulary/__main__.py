"""What ids that come with the stream give and cost, beside dictionaries: make vocabulary ROWS=train.tsv.gz, or

    python -m benchmarks.vocabulary --rows=train.tsv.gz [--only=real,speed,drift,kills] [--seeds=3] [--drift_rows=10000000]

real: AUC and log loss of the given rows, of the last 2/7 of them. speed: rows/s end to end and of the features, as a share of those
with dictionaries. drift: synthetic rows whose ids are renewed, half of them by the end. kills: the trainer is killed while its
vocabulary is full. Figures go to <folder>/results.jsonl as they come, tables to <folder>/table.md, a picture to <folder>/drift.svg.
The closing line holds what was measured. The scores of `real` are kept in the folder and are not made anew. Exit code 1 where a
part fails or, under the kills, anything differs.
"""

import argparse
import importlib
import os
import pathlib
import time

import tfonline  # noqa: F401 - says how TensorFlow multiplies; the parts inherit it
from benchmarks.commands import ROOT
from benchmarks.vocabulary.figures import Figures, closing_line

_PARTS = ("real", "speed", "drift", "kills")
_LEAST_DRIFT_ROWS = 10_000  # of fewer, a hundredth may hold no click


def main() -> None:
    """Measures part by part; prints the tables and the closing line."""
    args = _parse()
    os.umask(0o077)  # the folder holds somebody's rows
    folder = pathlib.Path(args.folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    figures, closing, tables = Figures(folder / "results.jsonl"), {}, []
    try:
        for figures.part in (part for part in _PARTS if part in args.only):
            began = time.monotonic()
            # Imported here: not every machine has what each part needs.
            found, table = importlib.import_module(f"benchmarks.vocabulary.{figures.part}").measure(args, folder, figures)
            closing |= found
            tables += [*table, ""] if table else []
            print(f"({figures.part}: {time.monotonic() - began:.0f} s)", flush=True)
    finally:
        if closing:  # where a part fails, those before it are told
            (folder / "table.md").write_text("\n".join([*tables, *figures.table(), "", f"    {closing_line(closing)}"]) + "\n")
            print("\n".join([*tables, closing_line(closing)]), flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="", help="rows in Criteo's format, in time order, TSV, plain or .gz; real needs them")
    parser.add_argument("--only", default=",".join(_PARTS), help=f"parts, comma separated (default: {','.join(_PARTS)})")
    parser.add_argument("--folder", default=str(ROOT / "runs" / "vocabulary"), help="(default runs/vocabulary)")
    parser.add_argument("--seeds", type=int, default=3, help="of real (default 3)")
    parser.add_argument("--drift_rows", type=int, default=10_000_000, help="of drift (default 10,000,000: a file of 3 GB)")
    parser.add_argument("--drift_batch", type=int, default=1000, help="rows a batch of drift (default 1,000)")
    parser.add_argument("--drift_vocabulary_rows", type=int, default=0, help="of drift (default: those of configs/growing.flags)")
    parser.add_argument(
        "--drift_flags", default="", help='further flags of both trainers of drift, such as "--jit_compile --steps_per_call=16"'
    )
    args = parser.parse_args()
    args.only = args.only.split(",")
    if unknown := set(args.only) - set(_PARTS):
        parser.error(f"--only: no part {', '.join(sorted(unknown))}. There are {', '.join(_PARTS)}")
    if "real" in args.only and not args.rows:
        parser.error("the part real needs --rows=<a file of rows in time order>; --only=speed,drift,kills does without")
    if args.drift_rows < _LEAST_DRIFT_ROWS:
        parser.error(f"--drift_rows={args.drift_rows}: at least {_LEAST_DRIFT_ROWS:,} are needed for an AUC of each hundredth")
    return args


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
