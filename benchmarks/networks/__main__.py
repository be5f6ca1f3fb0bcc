"""Each network on one stream of rows: make networks ROWS=train.tsv.gz, or

    python -m benchmarks.networks --rows=train.tsv.gz [--only=wide_deep,dcn_v2] [--parts=columns] [--turns=3]

Each network is held to the contract (tests/contracts/networks.py), and learns the rows once, in order, by the trainer's command
line; each row is scored before it is learned from. Dictionaries are from the first 5/7 of the rows, AUC and log loss of the last
2/7. All networks have the flags of configs/criteo.flags, but for the moving average, which the default network alone has; once
without pasts of ids and pairs (part columns), and once with them (part pasts). The speed is the median over the turns, in which the
networks take turns; "of wide_deep" is the median of the turns' ratios to the default network. The tables are written to
<folder>/table.md. Exit code 1 where a network breaks the contract.

Lists and several labels, which such rows have not, are measured on made sessions (sessions.py): how far the log loss is above that
of the true probabilities. They have a table of their own.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

import numpy as np

from benchmarks.commands import ROOT, emptied
from benchmarks.networks import made
from benchmarks.quality import report
from benchmarks.quality.scores import dictionaries_of_head, labels_of, plain_rows, scores

_NETWORKS = {
    "wide_deep": ["--network=wide_deep"],
    "dcn_v2": ["--network=dcn_v2"],
    "dcn_v2, rank 32": ["--network=dcn_v2", "--dcn_rank=32"],
    "deepfm": ["--network=deepfm"],
    "wide_deep, embedding by adagrad": ["--network=wide_deep", "--table_optimizers=embedding:adagrad"],
    "wide_deep, embedding by rowwise_adagrad": ["--network=wide_deep", "--table_optimizers=embedding:rowwise_adagrad"],
}
_OF_LISTS_AND_LABELS = {"din": ["--network=din"], "esmm": ["--network=esmm"]}
_INPUTS = {"columns": ["--nohistory", "--cross_buckets=0"], "pasts": []}
_PARTS = ("contract", *_INPUTS, "sessions")


def main() -> int:
    """Measures, prints the table and the closing line."""
    args = _parse()
    os.umask(0o077)  # the folder holds somebody's rows
    folder = emptied(args.folder)
    rows = plain_rows(args.rows, folder)
    labels = labels_of(rows)
    head = int(len(labels) * report.HEAD)
    dictionaries_of_head(rows, len(labels), folder)
    networks = {name: flags for name, flags in _NETWORKS.items() if not args.only or flags[0].partition("=")[2] in args.only}

    checked = networks | _OF_LISTS_AND_LABELS
    checked = checked if "contract" in args.parts else {}
    contract = {name: _contract(name, flags) for name, flags in checked.items()}
    found: dict[tuple[str, str], dict[str, float]] = {}
    speeds: dict[tuple[str, str], list[float]] = {}
    for turn in range(1, args.turns + 1):
        for inputs, of_inputs in ((part, flags) for part, flags in _INPUTS.items() if part in args.parts):
            for name, flags in networks.items():
                options = ["--flagfile=configs/criteo.flags", "--average_rows=0", *of_inputs, *flags]
                logits, speed = scores(folder, rows, f"{name} {inputs} {turn}", "tfonline", options, seed=1)
                found[inputs, name] = report.metrics(logits[head:], labels[head:])
                speeds.setdefault((inputs, name), []).append(speed)
                print(f"turn {turn}, {inputs}, {name}: auc {found[inputs, name]['auc']:.4f}, {speed:,.0f} rows/s", flush=True)

    lines = _table(found, speeds, contract)
    if "sessions" in args.parts:
        lines += ["", *made.measure(folder, args.made_rows, args.turns, contract)]
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    aucs = " ".join(
        f"{name.replace(' ', '_').replace(',', '')}={of['auc']:.4f}" for (_, name), of in list(found.items())[-len(networks) :]
    )
    broken = list(contract.values()).count("broken")
    print(f"networks: contract_broken={broken} {aucs}")
    return 1 if broken else 0


def _contract(name: str, flags: list[str]) -> str:
    """Whether the network holds the contract: holds or broken. Says what does not hold."""
    began = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.networks.contract", *flags]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    problem = done.stderr.strip().splitlines()[-1] if done.returncode else ""
    print(f"{name}: {problem or 'holds the contract'} ({time.monotonic() - began:.0f} s)", flush=True)
    return "broken" if done.returncode else "holds"


def _table(found: dict, speeds: dict, contract: dict[str, str]) -> list[str]:
    lines = [
        "| inputs | network | contract | AUC | log loss | calibration | rows/s | of wide_deep |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (inputs, name), of in found.items():
        ratio = ""
        if (inputs, "wide_deep") in speeds:  # of the same turn, as the machine is faster and slower
            of_turns = np.array(speeds[inputs, name]) / np.array(speeds[inputs, "wide_deep"])
            ratio = f"{np.median(of_turns):.2f}"
        cells = [inputs, name, contract.get(name, ""), f"{of['auc']:.4f}", f"{of['log_loss']:.4f}"]
        cells += [f"{of['calibration']:.3f}", f"{statistics.median(speeds[inputs, name]):,.0f}", ratio]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", required=True, help="rows in Criteo's format, in time order, TSV, plain or .gz")
    parser.add_argument("--folder", default=str(ROOT / "runs" / "networks"), help="of scores and table (default runs/networks)")
    parser.add_argument("--only", default="", help="networks, comma separated, such as wide_deep,dcn_v2 (default: all)")
    parser.add_argument("--parts", default=",".join(_PARTS), help=f"comma separated (default: {','.join(_PARTS)})")
    parser.add_argument("--made_rows", type=int, default=200_000, help="of made sessions (default 200,000)")
    parser.add_argument("--turns", type=int, default=3, help="in which speed is measured (default 3)")
    args = parser.parse_args()
    args.only, args.parts = args.only.split(",") if args.only else [], args.parts.split(",")
    if unknown := set(args.parts) - set(_PARTS):
        parser.error(f"--parts: no part {', '.join(sorted(unknown))}. There are {', '.join(_PARTS)}")
    names = {flags[0].partition("=")[2] for flags in _NETWORKS.values()}
    if unknown := set(args.only) - names:
        parser.error(f"--only: no network {', '.join(sorted(unknown))}. There are {', '.join(sorted(names))}")
    return args


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
