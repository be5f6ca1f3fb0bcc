"""Whether drift is found where it was put into real rows, and nowhere else:

    python -m benchmarks.drift --rows=train.tsv.gz [--at=80000] [--only=nothing,flip_C9_1]

The trainer learns the rows in their order, once as they are and once for each fault, which begins at row --at. What it tells goes
to <folder>/results.jsonl as it comes, and a table to the standard output. Exit code 1 where something is told of the rows as they
are, or before the fault, or where nothing is told within --within rows after it.
"""

import argparse
import gzip
import json
import os
import pathlib
import sys
from collections import Counter
from collections.abc import Callable

import numpy as np

from benchmarks.commands import ROOT, emptied, run
from tfonline.features.schema import load_schema

_SCHEMA = load_schema(str(ROOT / "configs" / "criteo.yaml"))
_LABEL, *_COLUMNS = range(len(_SCHEMA.columns))
Fault = Callable[[np.ndarray, int, np.random.Generator], None]


def _flip(column: str, rank: int) -> Fault:
    """The label of rows with the column's value of this rank is inverted."""

    def fault(rows: np.ndarray, at: int, _: np.random.Generator) -> None:
        place = _SCHEMA.names.index(column)
        value, _ = Counter(v for v in rows[:, place] if v).most_common(rank)[-1]
        which = at + np.flatnonzero(rows[at:, place] == value)
        rows[which, _LABEL] = np.where(rows[which, _LABEL] == "1", "0", "1")

    return fault


def _change(column: str, change: Callable[[str, float], str]) -> Fault:
    """Each value of a column becomes what `change` makes of it and of a random number from 0 to 1."""

    def fault(rows: np.ndarray, at: int, rng: np.random.Generator) -> None:
        place = _SCHEMA.names.index(column)
        rows[at:, place] = [change(text, x) for text, x in zip(rows[at:, place], rng.random(len(rows) - at), strict=True)]

    return fault


def _permute(*places: int) -> Fault:
    """The values of these columns are dealt out anew over the rows, each column's apart: what a column holds stays as it was."""

    def fault(rows: np.ndarray, at: int, rng: np.random.Generator) -> None:
        for place in places:
            rows[at:, place] = rng.permutation(rows[at:, place])

    return fault


def _swap(one: str, other: str) -> Fault:
    """Two columns change places."""

    def fault(rows: np.ndarray, at: int, _: np.random.Generator) -> None:
        places = _SCHEMA.index(one, other)
        rows[at:, places] = rows[at:, places[::-1]]

    return fault


# By name: the fault, and of what drift has to be told: a column's or the model's; '' where nothing is.
_FAULTS: dict[str, tuple[Fault, str]] = {
    "nothing": (lambda rows, at, rng: None, ""),
    "flip_C9_1": (_flip("C9", 1), "model"),
    "flip_C9_2": (_flip("C9", 2), "model"),
    "flip_C6_2": (_flip("C6", 2), "model"),
    "flip_C6_5": (_flip("C6", 5), "model"),
    "missing_C9": (_change("C9", lambda text, x: "" if x < 0.45 else text), "C9"),
    "renamed_C14": (_change("C14", lambda text, x: text and f"v2-{text}"), "C14"),
    "scaled_I5": (_change("I5", lambda text, x: text and str(int(text) * 10)), "I5"),
    "swapped_C5_C8": (_swap("C5", "C8"), "C5"),
    "permuted_C14": (_permute(_SCHEMA.names.index("C14")), ""),  # too little for the scores of all rows
    "permuted_all": (_permute(*_COLUMNS), "model"),
}


def main() -> None:
    """Trains once for each fault, and prints the table."""
    args = _parse()
    os.umask(0o077)  # the folder holds somebody's rows
    folder = emptied(args.folder)
    with (gzip.open if args.rows.endswith(".gz") else open)(args.rows, "rt") as file:
        rows = np.array([line.rstrip("\n").split("\t") for line in file], object)
    print(f"{len(rows):,} rows, faults from row {args.at:,} on\n")
    print("| fault | told first | rows after it | also told |\n|---|---|---|---|")
    failed = []
    for name in args.only:
        fault, about = _FAULTS[name]
        told = _told(rows, name, fault, args, folder)
        of_it = [line for line in told if line["about"] == about and line["rows"] >= args.at]
        others = [line["about"] for line in told if line["about"] != about]
        after = of_it[0]["rows"] - args.at if of_it else None
        print(f"| {name} | {of_it[0]['text'] if of_it else '-'} | {after} | {', '.join(others) or '-'} |", flush=True)
        early = [line for line in told if line["rows"] < args.at]
        if early or (told and not about) or (about and (after is None or after > args.within)):
            failed.append(name)
    print(f"\nfailed: {', '.join(failed) or 'none'}")
    sys.exit(1 if failed else 0)


def _told(rows: np.ndarray, name: str, fault: Fault, args: argparse.Namespace, folder: pathlib.Path) -> list[dict]:
    """The beginnings of episodes, as drift.jsonl has them."""
    planted = rows.copy()
    fault(planted, args.at, np.random.default_rng(1))
    file, model_dir = folder / "rows.tsv", folder / name
    with open(file, "w") as lines:
        lines.writelines("\t".join(row) + "\n" for row in planted)
    flags = ["--flagfile=configs/growing.flags", "--vocabulary_rows=65536", "--cross_buckets=1048576", "--batch_size=1000"]
    where = [f"--input_files={file}", f"--model_dir={model_dir}", "--stop_at=latest"]
    run([sys.executable, "-m", "tfonline.train", *flags, *where, *args.flags.split()])
    found = [json.loads(line) for line in (model_dir / "drift.jsonl").read_text().splitlines()]
    summary = json.loads((model_dir / "summary.json").read_text())
    with open(folder / "results.jsonl", "a") as results:
        results.write(json.dumps({"fault": name, "told": found, "psi": summary["drift"]["psi"]}) + "\n")
    return [line for line in found if line["begins"]]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", required=True, help="rows in Criteo's format, in time order, TSV, plain or .gz")
    parser.add_argument("--at", type=int, default=80_000, help="the first row with the fault (default 80,000)")
    parser.add_argument("--within", type=int, default=20_000, help="rows after it in which it has to be found (default 20,000)")
    parser.add_argument("--only", default=",".join(_FAULTS), help=f"comma separated (default: {','.join(_FAULTS)})")
    parser.add_argument("--flags", default="", help="further flags of the trainer")
    parser.add_argument("--folder", default=str(ROOT / "runs" / "drift"), help="emptied at the beginning (default runs/drift)")
    args = parser.parse_args()
    args.only = args.only.split(",")
    if unknown := set(args.only) - set(_FAULTS):
        parser.error(f"--only: no fault {', '.join(sorted(unknown))}. There are {', '.join(_FAULTS)}")
    return args


if __name__ == "__main__":
    main()
