"""Every learner on one stream: make quality, or

    python -m benchmarks.quality --rows=train.tsv.gz [--only=tfonline,vw] [--seeds=3]

Each learner sees the rows once, in order, and scores each before it learns from it. tfonline runs by its command line; the peers
run in .venv-peers. Dictionaries are from the first 5/7 of the rows, the metrics of the last 2/7. Scores are kept in --folder and
are not made anew; the table is written to <folder>/table.md, the plots beside it and as images for TensorBoard.

With --order=reversed the stream goes backwards, and with --order=blocks its blocks of 1,000 rows are shuffled: what helps in time
order alone helps by recency. All of it is in <folder>/<order> then.
"""

import argparse
import os
import pathlib

import numpy as np

from benchmarks.commands import PEERS_PYTHON, ROOT, run
from benchmarks.quality import report, shards
from benchmarks.quality.orders import ORDERS
from benchmarks.quality.scores import dictionaries_of_head, labels_of, plain_rows, scores, stem

_BEST = "tfonline, configs/criteo-replay.flags"
_PLAIN = "tfonline, configs/criteo.flags"

# name: (kind, options, whether a seed changes it)
_LEARNERS = {
    _BEST: ("tfonline", ["--flagfile=configs/criteo-replay.flags"], True),
    _PLAIN: ("tfonline", ["--flagfile=configs/criteo.flags"], True),
    "tfonline, configs/criteo.flags, batch 1,000": (
        "tfonline",
        ["--flagfile=configs/criteo.flags", "--batch_size=1000", "--deep_learning_rate=2e-3"],
        True,
    ),
    f"{_PLAIN}, without history": ("without", ["--flagfile=configs/criteo.flags", "--nohistory"], False),
    f"{_PLAIN}, without pairs": ("without", ["--flagfile=configs/criteo.flags", "--cross_buckets=0"], False),
    f"{_PLAIN}, without both": ("without", ["--flagfile=configs/criteo.flags", "--nohistory", "--cross_buckets=0"], False),
    f"{_PLAIN}, without average": ("without", ["--flagfile=configs/criteo.flags", "--average_rows=0"], False),
    "tfonline, configs/mindrec.flags": ("tfonline", ["--flagfile=configs/mindrec.flags"], True),
    "Vowpal Wabbit, all crosses, alpha 0.005": ("vw", ["--ftrl_alpha=0.005", "--crosses"], False),
    "Vowpal Wabbit, all crosses, alpha 0.003": ("vw", ["--ftrl_alpha=0.003", "--crosses"], False),
    "Vowpal Wabbit, all crosses, alpha 0.007": ("vw", ["--ftrl_alpha=0.007", "--crosses"], False),
    "Vowpal Wabbit, alpha 0.05": ("vw", ["--ftrl_alpha=0.05"], False),
    "Vowpal Wabbit, alpha 0.02": ("vw", ["--ftrl_alpha=0.02"], False),
    "River, FTRL, alpha 0.05": ("river", ["--learning_rate=0.05"], False),
    "River, FTRL, alpha 0.02": ("river", ["--learning_rate=0.02"], False),
    "DeepCTR WDL, as published": ("wdl", ["--learning_rate=1e-3"], True),
    "DeepCTR WDL, rate 3e-3": ("wdl", ["--learning_rate=3e-3"], False),
    "DeepCTR WDL, rate 3e-4": ("wdl", ["--learning_rate=3e-4"], False),
    "DeepCTR WDL, batch 1,000": ("wdl", ["--learning_rate=3e-3", "--batch_size=1000"], False),
    "DeepCTR DeepFM, as published": ("deepfm", ["--learning_rate=1e-3"], True),
    "DeepCTR DeepFM, rate 3e-3": ("deepfm", ["--learning_rate=3e-3"], False),
    "DeepCTR DeepFM, rate 3e-4": ("deepfm", ["--learning_rate=3e-4"], False),
    "DeepCTR DeepFM, batch 1,000": ("deepfm", ["--learning_rate=3e-3", "--batch_size=1000"], False),
}


def main() -> None:
    """Runs what has no scores yet, prints the tables and the closing line."""
    args = _parse()
    os.umask(0o077)  # the folder holds somebody's rows
    folder = pathlib.Path(args.folder) / ("" if args.order == "forward" else args.order)
    folder.mkdir(parents=True, exist_ok=True)
    rows = plain_rows(args.rows, folder, args.order)
    labels = labels_of(rows)
    head = int(len(labels) * report.HEAD)
    dictionaries = dictionaries_of_head(rows, len(labels), folder)

    runs: dict[str, list[np.ndarray]] = {}
    speed: dict[str, float] = {}
    for name, (kind, options, seeded) in _LEARNERS.items():
        if kind not in args.only.split(","):
            continue
        for seed in range(1, args.seeds + 1 if seeded else 2):
            logits, speed[name] = scores(folder, rows, name, "tfonline" if kind == "without" else kind, options, seed)
            runs.setdefault(name, []).append(logits)
            print(f"{name}, seed {seed}: auc {report.metrics(logits[head:], labels[head:])['auc']:.4f}", flush=True)
    share = (np.cumsum(labels) - labels + 1) / (np.arange(len(labels)) + 4)  # of clicks so far, from a guess of 1/4
    runs["the share of clicks so far"], speed["the share of clicks so far"] = [np.log(share / (1 - share)).astype(np.float32)], 0.0

    lines = report.table(runs, speed, labels)
    last = {name: report.metrics(of[0][head:], labels[head:]) for name, of in runs.items()}
    best_vw = max((name for name in runs if name.startswith("Vowpal")), key=lambda name: last[name]["auc"])
    margins = report.paired_bootstrap(np.stack(runs[_BEST]), runs[best_vw][0], labels)
    for metric, (margin, low, high) in margins.items():
        lines.append(f"\n{_BEST} against {best_vw}, {metric}: better by {margin:.4f}, 95 % interval [{low:.4f}, {high:.4f}].")
    if args.shards:
        lines += ["", *shards.table(rows, dictionaries, ROOT / "configs" / "criteo-replay.flags")]
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    shown = [name for name in (_BEST, _PLAIN, "tfonline, configs/mindrec.flags", best_vw) if name in runs]
    run([PEERS_PYTHON, "-m", "benchmarks.quality.plots", folder, *(f"{name}={stem(folder, name, 1)}.npy" for name in shown)])

    of_seeds = [report.metrics(logits[head:], labels[head:]) for logits in runs[_BEST]]
    ours, theirs = {name: np.mean([of[name] for of in of_seeds]) for name in of_seeds[0]}, last[best_vw]
    tenths = np.mean([report.worst_tenth(logits[head:], labels[head:]) for logits in runs[_BEST]])
    print(
        f"quality: tfonline_auc={ours['auc']:.4f} tfonline_log_loss={ours['log_loss']:.4f} vw_auc={theirs['auc']:.4f} "
        f"vw_log_loss={theirs['log_loss']:.4f} margin_auc={margins['auc'][0]:.4f} margin_log_loss={margins['log_loss'][0]:.4f} "
        f"calibration={ours['calibration']:.3f} calibration_tenths={tenths:.3f} "
        f"by_chance={report.worst_tenth_by_chance(runs[_BEST][0][head:]):.3f}"
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", required=True, help="rows in Criteo's format, in time order, TSV, plain or .gz")
    parser.add_argument(
        "--folder", default=str(ROOT / "runs" / "quality"), help="of scores, table and plots (default runs/quality)"
    )
    parser.add_argument("--only", default="tfonline,without,vw,river,wdl,deepfm", help="kinds of learners (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="for learners that chance has a part in (default 3)")
    parser.add_argument("--shards", action=argparse.BooleanOptionalAction, default=True, help="the table of published models, too")
    parser.add_argument("--order", choices=ORDERS, default="forward", help="of the rows, see above (default forward: as they are)")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
