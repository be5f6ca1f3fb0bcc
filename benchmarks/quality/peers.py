"""The peers. Runs in .venv-peers, one learner a process:

    .venv-peers/bin/python benchmarks/quality/peers.py vw rows.tsv scores.npy --ftrl_alpha=0.005 --crosses

Writes float32 logits, one a row, each given before the row was learned from. What a peer may know beforehand is what tfonline's
dictionaries hold: the values of the first 5/7 of the rows, never their labels.
"""

import argparse
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

INTEGERS, CATEGORIES = 13, 26
HEAD = 5 / 7  # of the rows


def main() -> None:
    """Scores the rows with one learner and prints rows per second."""
    parser = argparse.ArgumentParser()
    parser.add_argument("learner", choices=("vw", "river", "wdl", "deepfm"))
    parser.add_argument("rows")
    parser.add_argument("scores")
    parser.add_argument("--ftrl_alpha", type=float, default=0.005)
    parser.add_argument("--crosses", action="store_true")
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--batch_size", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    labels, integers, categories = read(args.rows)
    began = time.monotonic()
    learn = {"vw": vowpal_wabbit, "river": river, "wdl": deepctr, "deepfm": deepctr}[args.learner]
    scores = learn(args, labels, integers, categories)
    np.save(args.scores, scores.astype(np.float32))
    print(len(labels) / (time.monotonic() - began))


def read(path: str) -> tuple[np.ndarray, list[list[int | None]], list[list[str]]]:
    """Labels, integers (None where missing) and categories ('' where missing) of a TSV file."""
    labels, integers, categories = [], [], []
    for line in pathlib.Path(path).read_text().splitlines():
        fields = line.split("\t")
        labels.append(int(fields[0]))
        integers.append([int(f) if f else None for f in fields[1 : 1 + INTEGERS]])
        categories.append(fields[1 + INTEGERS :])
    return np.array(labels, np.float32), integers, categories


def bucket(value: int | None) -> str:
    """As tfonline's: missing, then up to 2 the number, from 3 on the whole part of ln(v)^2."""
    if value is None:
        return "none"
    return str(max(value, -1)) if value <= 2 else f"l{math.floor(math.log(value) ** 2)}"


def vowpal_wabbit(args, labels, integers, categories) -> np.ndarray:
    """FTRL logistic regression; with --crosses all quadratic features of buckets and categories."""
    with tempfile.TemporaryDirectory() as folder:
        data, predictions = os.path.join(folder, "rows.vw"), os.path.join(folder, "predictions")
        with open(data, "w") as f:
            for y, numbers, values in zip(labels, integers, categories, strict=True):
                b = " ".join(f"{j}_{bucket(v)}" for j, v in enumerate(numbers))
                c = " ".join(f"{j}_{v}" for j, v in enumerate(values))
                i = " ".join(f"{j}:{math.copysign(math.log1p(abs(v)), v):.4f}" for j, v in enumerate(numbers) if v)
                f.write(f"{'1' if y else '-1'} |b {b} |c {c} |i {i}\n")
        flags = f"--loss_function logistic --ftrl --ftrl_alpha {args.ftrl_alpha} --ftrl_beta 1 -b 26 --quiet"
        crosses = "-q bb -q bc -q cc" if args.crosses else ""
        command = f"{sys.executable} -m vowpalwabbit -d {data} -p {predictions} {flags} {crosses}"
        subprocess.run(command.split(), check=True)
        return np.loadtxt(predictions)


def river(args, labels, integers, categories) -> np.ndarray:
    """River's logistic regression by its FTRL optimizer, over the same one-hot features."""
    from river import linear_model, optim

    class LogisticRegression(linear_model.LogisticRegression):
        """River's own, but for its product of weights and row, which goes through all weights at every row."""

        def _raw_dot_one(self, x):
            return sum(self._weights.get(name, 0.0) * value for name, value in x.items()) + self.intercept

    model = LogisticRegression(optim.FTRLProximal(alpha=args.learning_rate, beta=1, l1=0, l2=0), intercept_lr=0.01)
    scores = []
    for y, numbers, values in zip(labels, integers, categories, strict=True):
        x = {f"b{j}_{bucket(v)}": 1.0 for j, v in enumerate(numbers)} | {f"c{j}_{v}": 1.0 for j, v in enumerate(values)}
        p = min(max(model.predict_proba_one(x)[True], 1e-7), 1 - 1e-7)
        scores.append(math.log(p / (1 - p)))
        model.learn_one(x, bool(y))
    return np.array(scores)


def deepctr(args, labels, integers, categories) -> np.ndarray:
    """DeepCTR's WDL or DeepFM: its own sizes (embedding 4, layers 256-128), its features as its examples prepare them."""
    os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    import tensorflow as tf
    import tf_keras
    from deepctr.feature_column import DenseFeat, SparseFeat
    from deepctr.models import WDL, DeepFM

    tf.random.set_seed(args.seed)
    head = int(len(labels) * HEAD)
    numbers = np.array([[0.0 if v is None else math.copysign(math.log1p(abs(v)), v) for v in row] for row in integers], np.float32)
    low, high = numbers[:head].min(axis=0), numbers[:head].max(axis=0)
    inputs = {f"I{j}": np.clip((numbers[:, j] - low[j]) / (high[j] - low[j]), 0, 1) for j in range(INTEGERS)}
    columns = [DenseFeat(f"I{j}", 1) for j in range(INTEGERS)]
    for j in range(CATEGORIES):
        known = {v: i + 1 for i, v in enumerate(sorted({row[j] for row in categories[:head]}))}
        inputs[f"C{j}"] = np.array([known.get(row[j], 0) for row in categories], np.int32)
        columns.append(SparseFeat(f"C{j}", len(known) + 1, embedding_dim=4))
    make = WDL if args.learner == "wdl" else DeepFM
    model = make(columns, columns, task="binary", seed=args.seed)
    optimizer = tf_keras.optimizers.legacy.Adam(args.learning_rate)

    @tf.function(reduce_retracing=True)
    def step(batch, y):
        with tf.GradientTape() as tape:
            p = model(batch, training=True)[:, 0]
            loss = tf.reduce_mean(tf_keras.losses.binary_crossentropy(y[:, None], p[:, None])) + tf.add_n(model.losses)
        optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True))
        return p

    scores = []
    for first in range(0, len(labels), args.batch_size):
        part = slice(first, first + args.batch_size)
        batch = {name: tf.constant(values[part]) for name, values in inputs.items()}
        p = np.clip(step(batch, tf.constant(labels[part])).numpy().astype(np.float64), 1e-7, 1 - 1e-7)
        scores.append(np.log(p / (1 - p)))
    return np.concatenate(scores)


if __name__ == "__main__":
    main()
