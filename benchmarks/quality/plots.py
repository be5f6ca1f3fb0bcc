"""The plots of a quality run, by .venv-peers: python -m benchmarks.quality.plots FOLDER NAME=SCORES.npy ..."""

import pathlib
import sys

import matplotlib
import numpy as np
import tensorflow as tf
from matplotlib import pyplot

from benchmarks.quality.report import HEAD
from tfonline.evaluate.progressive import exact_auc, sigmoid


def main(folder: pathlib.Path, runs: dict[str, np.ndarray]) -> None:
    """Writes `auc.png` (over the stream) and `reliability.png`, and both as images for TensorBoard."""
    labels = np.array([line[:1] == b"1" for line in (folder / "rows.tsv").read_bytes().splitlines()], np.float32)
    width = len(labels) // 14
    figure, axes = pyplot.subplots(figsize=(9, 5))
    for name, scores in runs.items():
        ends = range(2 * width, len(labels) + 1, width // 2)
        axes.plot(list(ends), [exact_auc(scores[e - 2 * width : e], labels[e - 2 * width : e]) for e in ends], label=name)
    axes.set(xlabel="rows", ylabel=f"AUC of the last {2 * width:,} rows")
    axes.legend(fontsize=8)
    figure.savefig(folder / "auc.png", dpi=110)
    figure, axes = pyplot.subplots(figsize=(6, 6))
    head = int(len(labels) * HEAD)
    for name, scores in runs.items():
        order = np.argsort(scores[head:])
        bins = np.array_split(order, 20)
        predicted = [sigmoid(scores[head:])[b].mean() for b in bins]
        axes.plot(predicted, [labels[head:][b].mean() for b in bins], marker=".", label=name)
    axes.plot([0, 1], [0, 1], "k:")
    axes.set(xlabel="predicted", ylabel="clicked", title="Reliability, last 2/7, twentieths of the rows")
    axes.legend(fontsize=8)
    figure.savefig(folder / "reliability.png", dpi=110)
    with tf.summary.create_file_writer(str(folder / "tensorboard")).as_default(0):
        for name in ("auc", "reliability"):
            tf.summary.image(name, tf.io.decode_png((folder / f"{name}.png").read_bytes(), channels=4)[None])


if __name__ == "__main__":
    matplotlib.use("Agg")
    named = (argument.rsplit("=", 1) for argument in sys.argv[2:])
    main(pathlib.Path(sys.argv[1]), {name: np.load(path) for name, path in named})
