"""What --keep_negatives gives and costs on a stream with few clicks:

    python -m benchmarks.negatives [--rows=1500000] [--keep=0.1] [--turns=3]

Synthetic rows with the planted signal of tools/synthetic.py, at three clicks in a hundred. The trainer learns them from all rows
and from a share of the negatives, in turns. Of the last --judge rows, those that both have scored before they learned from them are
held against the true probabilities, which nobody's luck changes; a negative counts for those that it stands for. The last line has
the ratio of the speeds (medians), the difference of the log losses, mean prediction over mean truth, and the same of the tenths by
score, the lowest and the highest one.
"""

import argparse
import json
import os
import pathlib
import sys

import numpy as np

from benchmarks.commands import ROOT, emptied, run

sys.path.insert(0, str(ROOT / "tools"))

import synthetic

from tfonline.evaluate.progressive import PREDICTION

_SHIFT = -2.75  # of the planted logits: 26 clicks in a hundred become 3


def main() -> int:
    """Trains in turns and prints the closing line; 1 where the model is not as good."""
    args = _parse()
    folder = emptied(args.folder)
    truth = _write(folder, args.rows)
    print(f"{args.rows:,} rows, {truth.mean():.2%} clicks; log loss of the truth {_log_loss(truth, truth):.5f}", flush=True)
    shares, speeds, found = (1.0, args.keep), {1.0: [], args.keep: []}, {}
    for turn in range(args.turns):
        for share in shares if turn % 2 == 0 else shares[::-1]:
            summary = _train(folder, share, args.flags)
            speeds[share].append(summary["rows_per_sec"])
            print(f"turn {turn + 1} --keep_negatives={share:g}: {summary['rows_per_sec']:,.0f} rows/s", flush=True)
    seen = {share: np.fromfile(folder / f"model-{share:g}" / "predictions.bin", PREDICTION) for share in shares}
    both = np.intersect1d(*(of["offset"][of["offset"] >= args.rows - args.judge] for of in seen.values()))
    for share, of in seen.items():
        found[share] = _judged(of[np.isin(of["offset"], both)], args.keep, truth)
    for share, (loss, calibration, tenths) in found.items():
        print(f"--keep_negatives={share:g}: log loss {loss:.5f}, calibration {calibration:.3f}, tenths {_words(tenths)}")
    all_loss, (loss, calibration, tenths) = found[1.0][0], found[args.keep]
    speed = float(np.median(speeds[args.keep]) / np.median(speeds[1.0]))
    print(
        f"negatives: keep={args.keep:g} speed={speed:.2f} log_loss={loss - all_loss:+.5f} calibration={calibration:.3f} "
        f"tenths={min(tenths):.3f}..{max(tenths):.3f}"
    )
    return 0 if loss - all_loss <= 0.001 and 0.99 <= calibration <= 1.01 else 1


def _write(folder: pathlib.Path, rows: int) -> np.ndarray:
    """Writes rows.tsv; gives the true probabilities."""
    truth, random = [], np.random.default_rng(7)
    with (folder / "rows.tsv").open("wb") as file:
        for block in synthetic.rows(rows, 1):
            logit = np.log(block.probability) - np.log1p(-block.probability) + _SHIFT
            p = 1 / (1 + np.exp(-logit))
            clicks = random.random(len(p)) < p
            file.writelines(b"%d%b\n" % (click, line[1:]) for line, click in zip(block.lines, clicks, strict=True))
            truth.append(p)
    return np.concatenate(truth)


def _train(folder: pathlib.Path, share: float, more: str) -> dict:
    model = emptied(str(folder / f"model-{share:g}"))
    flags = ["--numeric=bucket", "--vocabulary_rows=262144", "--oov_buckets=50000", "--batch_size=200", "--steps_per_call=5"]
    flags += [f"--input_files={folder}/rows.tsv", f"--model_dir={model}", f"--keep_negatives={share}", "--average_rows=50000"]
    flags += ["--window_rows=50000", "--checkpoint_secs=1000000", "--stop_at=latest", "--save_predictions"]
    run([sys.executable, "-m", "tfonline.train", *flags, *more.split()])
    return json.loads((model / "summary.json").read_text())


def _judged(seen: np.ndarray, share: float, truth: np.ndarray) -> tuple[float, float, list[float]]:
    """Log loss, calibration, and that of each tenth by score, of rows that were scored, of whose negatives a share was kept."""
    p, t = 1 / (1 + np.exp(-seen["logit"].astype(float))), truth[seen["offset"]]
    weight = np.where(seen["label"] == 1, 1, 1 / share)
    order = np.argsort(p)
    ends = np.searchsorted(np.cumsum(weight[order]), np.arange(1, 10) / 10 * weight.sum())
    tenths = [float(weight[part] @ p[part] / (weight[part] @ t[part])) for part in np.split(order, ends)]
    return _log_loss(p, t, weight), float(weight @ p / (weight @ t)), tenths


def _log_loss(p: np.ndarray, truth: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Of scores, nats a row, as it is to be expected of the true probabilities."""
    return float(np.average(-truth * np.log(p) - (1 - truth) * np.log1p(-p), weights=weight))


def _words(tenths: list[float]) -> str:
    return " ".join(f"{x:.3f}" for x in tenths)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_500_000, help="(default 1,500,000)")
    parser.add_argument("--judge", type=int, default=500_000, help="to judge by, the last ones (default 500,000)")
    parser.add_argument("--keep", type=float, default=0.1, help="the share (default 0.1)")
    parser.add_argument("--turns", type=int, default=3, help="(default 3)")
    parser.add_argument("--flags", default="", help="further flags of the trainer")
    parser.add_argument("--folder", default=str(ROOT / "runs" / "negatives"), help="emptied first (default runs/negatives)")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
