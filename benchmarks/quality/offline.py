"""What a batch-trained ensemble gets that sees all rows before: gradient boosting, retrained each so many rows from the start.

    .venv-peers/bin/python -m benchmarks.quality.offline --rows=train.tsv.gz [--of=last] [--retrain_rows=9796] [--threads=1]

Its features are the online model's inputs as they were when each row came: lifts of ids, of all pairs of the ring, numbers, and the
rest of what trials counts. Beside it stands its mean with the online model, and a model that has the online score as a feature. The
trial `base` must be there: benchmarks/quality/trials.py makes it. Scores are kept in <folder>/trials, and not made anew.
"""

import argparse
import pathlib

import lightgbm
import numpy as np

from benchmarks.quality.report import HEAD, metrics
from benchmarks.quality.trial_inputs import Inputs, Stream, read
from benchmarks.quality.trial_model import Variant, run

_FEATURES = ("history", "pairs", "numeric", "each_pair", "seen", "age", "tide", "triples:20", "decayed:20000")
_FEW = ("history", "pairs", "numeric")
_SETTINGS = {
    "objective": "binary", "learning_rate": 0.03, "num_leaves": 31, "min_data_in_leaf": 200, "feature_fraction": 0.3,
    "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l2": 10.0, "max_bin": 63, "verbose": -1,
}  # fmt: skip
_ROUNDS = 350


def main() -> None:
    """Prints a table."""
    args = _parse()
    folder = pathlib.Path(args.folder) / "trials"
    where = folder / args.of
    where.mkdir(parents=True, exist_ok=True)
    stream = read(args.rows, folder / "stream.npz")
    n = int(len(stream.labels) * HEAD) if args.of == "choose" else len(stream.labels)
    inputs = Inputs(Stream(*(part[:n] for part in stream)), where)
    online = _kept(where / "offline-online.npy", lambda: _online(inputs))
    found = {"online": online}
    for name, features in (("the online model's inputs", _FEW), ("all that is counted", _FEATURES)):
        x = np.concatenate([inputs.get(feature) for feature in features], axis=1)
        for with_online in (False, True):
            label = f"boosted, {name}{', and its score' if with_online else ''}"
            these = np.concatenate([x, online[:, None]], axis=1) if with_online else x
            path = where / f"offline-{len(features)}{'-online' if with_online else ''}.npy"
            found[label] = _kept(path, lambda these=these: _boosted(these, inputs.labels, args))
            found[f"mean of online and {label}"] = (online + found[label]) / 2
            head = int(n * HEAD)
            print(f"{label}: {metrics(found[label][head:], inputs.labels[head:])}", flush=True)
    print("| model | AUC | log loss | calibration |\n|---|---|---|---|")
    for name, logits in found.items():
        of = metrics(logits[head:], inputs.labels[head:])
        print(f"| {name} | {of['auc']:.4f} | {of['log_loss']:.4f} | {of['calibration']:.3f} |")


def _boosted(x: np.ndarray, labels: np.ndarray, args: argparse.Namespace) -> np.ndarray:
    """Logits of the last 2/7, retrained each so many rows on all rows before; before them 0."""
    n, logits = len(labels), np.zeros(len(labels), np.float32)
    for first in range(int(n * HEAD), n, args.retrain_rows):
        # The first rows' counts say little; a model of rows to come need not know them.
        data = lightgbm.Dataset(x[args.skip_rows : first], labels[args.skip_rows : first])
        model = lightgbm.train(_SETTINGS | {"num_threads": args.threads, "seed": 1}, data, args.rounds)
        rows = slice(first, min(first + args.retrain_rows, n))
        logits[rows] = model.predict(x[rows], raw_score=True)
        print(f"rows {rows.start} to {rows.stop}", flush=True)
    return logits


def _online(inputs: Inputs) -> np.ndarray:
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    return run(Variant(), inputs, 1)


def _kept(path: pathlib.Path, make) -> np.ndarray:
    if not path.exists():
        np.save(path, make())
    return np.load(path)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", required=True, help="rows in Criteo's format, in time order, TSV, plain or .gz")
    parser.add_argument("--folder", default="runs/quality", help="results are in its folder `trials` (default runs/quality)")
    parser.add_argument("--of", choices=("choose", "last"), default="choose", help="as of trials")
    parser.add_argument("--retrain_rows", type=int, default=9796, help="default 9796, of 137,139 rows half a day")
    parser.add_argument("--skip_rows", type=int, default=10_000, help="the first ones, which are not learned from (default 10000)")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
