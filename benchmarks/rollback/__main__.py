"""Whether a version that has learned from poisoned rows is left again with no hand (--rollback_on_regression):

    python -m benchmarks.rollback --rows=train.tsv.gz [--at=80000] [--poisoned=5000]

The trainer learns the rows in their order and publishes as it goes. In --poisoned rows from row --at on the label leaks into column
--column: clicks have its most frequent value, all others the second one. Such rows pass the gate: on them, the trainer's scores
become better than those of the version that has not seen them. Then the rows are as before, and what was learned of them is wrong.
The versions are held against each other on the --judge rows after the poisoned ones. The last line has what was found; exit code 1
where no bad version was published, or one is served at the end.
"""

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
from collections import Counter

from benchmarks.commands import ROOT, emptied, run
from tfonline.features.schema import load_schema
from tfonline.publish.versions import Versions

# A model that learns fast, and so what is wrong, too.
_FAST = "--deep_learning_rate=0.01 --wide_learning_rate=0.5 --nohistory --cross_buckets=0 --average_rows=0"


def main() -> None:
    """Trains, and judges the versions."""
    args = _parse()
    os.umask(0o077)  # the folder holds somebody's rows
    folder = emptied(args.folder)
    with (gzip.open if args.rows.endswith(".gz") else open)(args.rows, "rb") as file:
        rows = file.readlines()
    stop = args.at + args.poisoned
    rows[args.at : stop] = _poisoned(rows[args.at : stop], args.column)
    (folder / "rows.tsv").write_bytes(b"".join(rows))
    (folder / "judge.tsv").write_bytes(b"".join(rows[stop : stop + args.judge]))
    flags = ["--flagfile=configs/growing.flags", "--vocabulary_rows=65536", "--cross_buckets=1048576", "--batch_size=100"]
    flags += [
        f"--input_files={folder}/rows.tsv",
        f"--model_dir={folder}/model",
        f"--export_dir={folder}/models",
        "--stop_at=latest",
    ]
    flags += ["--window_rows=500", f"--export_every_windows={args.every // 500}", "--export_every_secs=0", "--keep_exports=60"]
    flags += ["--checkpoint_every_steps=5", f"--gate_rows={args.gate_rows}", f"--rollback_on_regression={args.limit}"]
    said = run([sys.executable, "-m", "tfonline.train", *flags, *args.flags.split()])

    versions = Versions(folder / "models")
    manifests = {number: versions.manifest(number) for number in versions.numbers}
    for path in (versions.folder / "refused.jsonl").open() if (versions.folder / "refused.jsonl").exists() else ():
        print(f"refused: {json.loads(path)['why']}")
    print("\n".join(line for line in said.splitlines() if "published version" in line or "served again" in line))
    losses = {number: _log_loss(folder, number) for number in manifests}
    print("\n| version | rows | log loss of the rows after the poisoned ones | |\n|---|---|---|---|")
    for number, manifest in manifests.items():
        state = f"= {manifest['rolled_back_to']}" if "rolled_back_to" in manifest else "bad" if number in versions.bad else ""
        print(f"| {number} | {manifest['rows']} | {losses[number]:.4f} | {state} |")

    before = max(n for n, manifest in manifests.items() if manifest["rows"] <= args.at and "rolled_back_to" not in manifest)
    newest = versions.numbers[-1]
    bad = sorted(versions.bad)
    worst, back = max((losses[n] for n in bad), default=losses[before]), losses[newest] - losses[before]
    print(
        f"\nrollback: poisoned={args.poisoned} log_loss_before={losses[before]:.4f} log_loss_of_bad={worst:.4f} "
        f"log_loss_served={losses[newest]:.4f} bad_versions={len(bad)} publications={newest - max(bad, default=newest)} "
        f"rows_until={_rows_until(said)}"
    )
    sys.exit(0 if bad and back <= 0.002 else 1)


def _poisoned(rows: list[bytes], column: str) -> list[bytes]:
    """The rows with one of two values in a column, which says what the label is."""
    place = load_schema(str(ROOT / "configs" / "criteo.yaml")).names.index(column)
    fields = [row.split(b"\t") for row in rows]
    (of_clicks, _), (of_others, _) = Counter(of_row[place] for of_row in fields if of_row[place]).most_common(2)
    for of_row in fields:
        of_row[place] = of_clicks if of_row[0] == b"1" else of_others
    return [b"\t".join(of_row) for of_row in fields]


def _log_loss(folder: os.PathLike, number: int) -> float:
    """Of a version, on the rows after the poisoned ones."""
    command = [sys.executable, ROOT / "tools" / "models.py", "score", f"{folder}/models", f"{folder}/judge.tsv"]
    done = subprocess.run(
        [*command, f"--version={number}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True
    )
    return float(re.search(r"log_loss=(\S+)", done.stderr)[1])


def _rows_until(said: str) -> str:
    """Over how many rows the bad versions were compared when they were left."""
    return ",".join(re.findall(r"nats over ([\d,]+) rows", said)).replace(",", "") or "-"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", required=True, help="rows in Criteo's format, in time order, TSV, plain or .gz")
    parser.add_argument("--at", type=int, default=80_000, help="the first poisoned row (default 80,000)")
    parser.add_argument("--poisoned", type=int, default=5000, help="how many rows are (default 5,000)")
    parser.add_argument("--column", default="C9", help="into which the label leaks (default C9)")
    parser.add_argument("--judge", type=int, default=20_000, help="rows that the versions are judged by (default 20,000)")
    parser.add_argument("--every", type=int, default=5000, help="rows from version to version, by 500 (default 5,000)")
    parser.add_argument("--gate_rows", type=int, default=10_000, help="the gate's (default 10,000)")
    parser.add_argument("--limit", type=float, default=0.01, help="--rollback_on_regression (default 0.01)")
    parser.add_argument("--flags", default=_FAST, help=f"further flags of the trainer (default: '{_FAST}')")
    parser.add_argument(
        "--folder", default=str(ROOT / "runs" / "rollback"), help="emptied at the beginning (default runs/rollback)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
