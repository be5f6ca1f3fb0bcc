"""What --keep_negatives gives and costs on a stream with few clicks:

    python -m benchmarks.negatives [--rows=600000] [--keep=0.1] [--turns=3]

Synthetic rows with the planted signal of tools/synthetic.py, at three clicks in a hundred. The trainer learns them from all rows
and from a share of the negatives, in turns. Both models then score --judge rows behind them, through what they have published, and
are held against the true probabilities, which nobody's luck changes. The last line has the ratio of the speeds (medians), the
difference of the log losses, mean prediction over mean truth, and the same of the tenths by score, the lowest and the highest one.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

import numpy as np

from benchmarks.commands import ROOT, emptied, run

sys.path.insert(0, str(ROOT / "tools"))

import synthetic

_SHIFT = -2.75  # of the planted logits: 26 clicks in a hundred become 3


def main() -> int:
    """Trains in turns and prints the closing line; 1 where the model is not as good."""
    args = _parse()
    folder = emptied(args.folder)
    truth = _write(folder, args.rows, args.judge)
    print(f"{args.rows:,} rows, {truth.mean():.2%} clicks; log loss of the truth {_log_loss(truth, truth):.5f}", flush=True)
    shares, speeds, found = (1.0, args.keep), {1.0: [], args.keep: []}, {}
    for turn in range(args.turns):
        for share in shares if turn % 2 == 0 else shares[::-1]:
            summary = _train(folder, share, args.flags)
            speeds[share].append(summary["rows_per_sec"])
            print(f"turn {turn + 1} --keep_negatives={share:g}: {summary['rows_per_sec']:,.0f} rows/s", flush=True)
    for share in shares:
        p = _scores(folder, share)
        tenths = [part.mean() / truth[which].mean() for part, which in _tenths(p, truth)]
        found[share] = _log_loss(p, truth), p.mean() / truth.mean(), tenths
        print(f"--keep_negatives={share:g}: log loss {found[share][0]:.5f}, tenths {' '.join(f'{x:.3f}' for x in tenths)}")
    all_loss, (loss, calibration, tenths) = found[1.0][0], found[args.keep]
    speed = float(np.median(speeds[args.keep]) / np.median(speeds[1.0]))
    print(
        f"negatives: keep={args.keep:g} speed={speed:.2f} log_loss={loss - all_loss:+.5f} calibration={calibration:.3f} "
        f"tenths={min(tenths):.3f}..{max(tenths):.3f}"
    )
    return 0 if loss - all_loss <= 0.001 and 0.99 <= calibration <= 1.01 else 1


def _write(folder: pathlib.Path, rows: int, judge: int) -> np.ndarray:
    """Writes rows.tsv and judge.tsv; gives the true probabilities of the latter."""
    truth, first, random = [], 0, np.random.default_rng(7)
    with (folder / "rows.tsv").open("wb") as train, (folder / "judge.tsv").open("wb") as test:
        for block in synthetic.rows(rows + judge, 1):
            logit = np.log(block.probability) - np.log1p(-block.probability) + _SHIFT
            p = 1 / (1 + np.exp(-logit))
            clicks = random.random(len(p)) < p
            for line, click in zip(block.lines, clicks, strict=True):
                (train if first < rows else test).write(b"%d%b\n" % (click, line[1:]))
                first += 1
            truth.append(p)
    return np.concatenate(truth)[rows:]


def _train(folder: pathlib.Path, share: float, more: str) -> dict:
    model, models = folder / f"model-{share:g}", folder / f"models-{share:g}"
    for each in (model, models):
        emptied(str(each))
    flags = ["--numeric=bucket", "--vocabulary_rows=262144", "--oov_buckets=50000", "--batch_size=1000", "--stop_at=latest"]
    flags += [f"--input_files={folder}/rows.tsv", f"--model_dir={model}", f"--export_dir={models}", f"--keep_negatives={share}"]
    flags += ["--window_rows=50000", "--gate_rows=1000", "--gate_min_auc=0", "--gate_calibration=0", "--gate_max_regression=10"]
    flags += ["--export_every_windows=1", "--export_every_secs=0", "--checkpoint_secs=1000000", "--deep_learning_rate=0.001"]
    run([sys.executable, "-m", "tfonline.train", *flags, *more.split()])
    return json.loads((model / "summary.json").read_text())


def _scores(folder: pathlib.Path, share: float) -> np.ndarray:
    """The probabilities that the newest version gives for judge.tsv."""
    command = [sys.executable, ROOT / "tools" / "models.py", "score", folder / f"models-{share:g}", folder / "judge.tsv"]
    said = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return np.array(said.stdout.split(), float)


def _tenths(p: np.ndarray, truth: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each tenth by score: the scores, and which rows it is."""
    order = np.argsort(p)
    return [(p[which], which) for which in np.array_split(order, 10)]


def _log_loss(p: np.ndarray, truth: np.ndarray) -> float:
    """Of scores, nats a row, as it is to be expected of the true probabilities."""
    return float(-np.mean(truth * np.log(p) + (1 - truth) * np.log1p(-p)))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=600_000, help="to learn from (default 600,000)")
    parser.add_argument("--judge", type=int, default=100_000, help="to judge by (default 100,000)")
    parser.add_argument("--keep", type=float, default=0.1, help="the share (default 0.1)")
    parser.add_argument("--turns", type=int, default=3, help="(default 3)")
    parser.add_argument("--flags", default="", help="further flags of the trainer")
    parser.add_argument("--folder", default=str(ROOT / "runs" / "negatives"), help="emptied first (default runs/negatives)")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
