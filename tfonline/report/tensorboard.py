"""What TensorBoard shows of a run: scalars in groups, how scores are distributed and how true they are, the run's flags.

TensorBoard draws the curves of one tag into one chart, in a colour a run, and names a run by its folder below --logdir. So each
scope of the metrics is a run of its own: `quality/log_loss` of all rows, of the recent ones, of the last window, of the published
model and of the trivial predictor are one chart.
"""

import os
import socket
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.custom_scalar import metadata as custom_scalars
from tensorboard.plugins.pr_curve import metadata as pr_curves
from tensorboard.plugins.text import metadata as texts

from tfonline.evaluate.progressive import Counts, sigmoid
from tfonline.report.layout import layout
from tfonline.report.reliability import HEIGHT, WIDTH, reliability_png
from tfonline.report.writers import Scalars

_RUN = "train"  # of all that is no metric
_SCOPES = ("running", "window", "total", "weighted", "settled", "served")
_METRICS = ("auc", "log_loss", "trivial_log_loss", "ne", "calibration")
# TensorBoard orders groups by their names: how good the model is comes first.
_GROUPS = {"": "stream/", "export": "serving/export_", "served": "serving/"}
_RGB = 3
_LEAST_ROWS = 1e-7  # as TensorBoard's own pr_curves: a precision of no rows is 0
_PR_ABOUT = "Of recent rows, each scored before it was learned from. Thresholds are probabilities, to 0.0003."


class TensorBoard:
    """Writes events for TensorBoard below `folder`, for `tensorboard --logdir <folder>`.

    Not by tf.summary: each write of a window's scalars keeps some 17 kB of memory for good there.

    Args:
      folder: where the events go.
      tables: shown as text, once, as `run/<name>`: each a name and a value a line.
      step: the run's first one.
      others: of several labels all but the first.
    """

    def __init__(
        self, folder: str, tables: Mapping[str, Mapping[str, Any]] | None = None, step: int = 0, others: Sequence[str] = ()
    ):
        self._folder = folder
        self._files: dict[str, tf.io.TFRecordWriter] = {}
        self._write(_RUN, 0, [_layout_value(others)])
        if tables:
            self._write(_RUN, step, [_text(f"run/{name}", table) for name, table in tables.items()])

    def write(self, step: int, scalars: Scalars) -> None:
        """Each scalar under its run and tag; readable at once."""
        values = defaultdict(list)
        for name, value in scalars.items():
            for run, tag in places(name):
                values[run].append(tf.compat.v1.Summary.Value(tag=tag, simple_value=value))
        for run in values:
            self._write(run, step, values[run])

    def write_scores(self, step: int, counts: Counts, label: str = "") -> None:
        """Histograms of the scores, as logits and as probabilities, the reliability diagram, and the curve of precision and recall;
        nothing of no rows. Of another label than the first, its name stands behind each tag.
        """
        parts = counts.by_score()
        if not parts:
            return
        edges, rows = counts.histogram()
        png, suffix = reliability_png(parts, label), f"_{label}" if label else ""
        image = tf.compat.v1.Summary.Image(height=HEIGHT, width=WIDTH, colorspace=_RGB, encoded_image_string=png)
        histograms = {"probability": _histogram(sigmoid(edges), rows), "logit": _histogram(edges, rows)}
        values = [tf.compat.v1.Summary.Value(tag=f"scores/{name}{suffix}", histo=histo) for name, histo in histograms.items()]
        values.append(tf.compat.v1.Summary.Value(tag=f"scores/reliability{suffix}", image=image))
        values.append(_precision_and_recall(counts, suffix))
        self._write("running", step, values)

    def close(self) -> None:
        """Closes the event files."""
        for file in self._files.values():
            file.close()

    def _write(self, run: str, step: int, values: list[tf.compat.v1.Summary.Value]) -> None:
        if run not in self._files:
            self._files[run] = _event_file(os.path.join(self._folder, run))
        event = tf.compat.v1.Event(wall_time=time.time(), step=step, summary=tf.compat.v1.Summary(value=values))
        self._files[run].write(event.SerializeToString())
        self._files[run].flush()


def places(name: str) -> list[tuple[str, str]]:
    """The runs and tags under which TensorBoard has a scalar of this name."""
    group, _, metric = name.rpartition("/")
    if group in _SCOPES and metric in _METRICS:
        trivial = [("trivial", "quality/log_loss")] if name == "running/trivial_log_loss" else []
        return [(group, f"quality/{metric}"), *trivial]
    if group in _SCOPES and metric == "rows":
        return [(group, "stream/rows")]
    return [(_RUN, f"{_GROUPS.get(group, group + '/')}{metric}")]


def _event_file(folder: str) -> tf.io.TFRecordWriter:
    os.makedirs(folder, exist_ok=True)
    # TensorBoard takes a file for events by its name, and reads the files of a folder in the order of their times.
    name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
    file = tf.io.TFRecordWriter(os.path.join(folder, name))
    file.write(tf.compat.v1.Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
    return file


def _layout_value(others: Sequence[str]) -> tf.compat.v1.Summary.Value:
    about = tf.compat.v1.SummaryMetadata.FromString(custom_scalars.create_summary_metadata().SerializeToString())
    text = tf.make_tensor_proto(layout(others).SerializeToString(), tf.string)
    return tf.compat.v1.Summary.Value(tag=custom_scalars.CONFIG_SUMMARY_TAG, metadata=about, tensor=text)


def _text(tag: str, table: Mapping[str, Any]) -> tf.compat.v1.Summary.Value:
    """A table, as TensorBoard shows text of two dimensions; what it would take for Markdown stands as code."""
    about = tf.compat.v1.SummaryMetadata.FromString(texts.create_summary_metadata(tag, "").SerializeToString())
    cells = [[f"`{name}`", f"`{shown}`" if (shown := _shown(value)) else ""] for name, value in table.items()]
    return tf.compat.v1.Summary.Value(tag=tag, metadata=about, tensor=tf.make_tensor_proto(cells, tf.string))


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _precision_and_recall(counts: Counts, suffix: str) -> tf.compat.v1.Summary.Value:
    """For TensorBoard's plugin `pr_curves`: float32 [6, thresholds], of which four are counts of rows."""
    clicks, others = counts.at_thresholds()
    rows = (clicks, others, others[0] - others, clicks[0] - clicks)  # true and false positives, true and false negatives
    precision, recall = clicks / np.maximum(clicks + others, _LEAST_ROWS), clicks / max(clicks[0], _LEAST_ROWS)
    about = pr_curves.create_summary_metadata("precision and recall", _PR_ABOUT, len(clicks))
    return tf.compat.v1.Summary.Value(
        tag=f"scores/pr_curve{suffix}",
        metadata=tf.compat.v1.SummaryMetadata.FromString(about.SerializeToString()),
        tensor=tf.make_tensor_proto(np.stack([*rows, precision, recall]), tf.float32),
    )


def _histogram(edges: np.ndarray, rows: np.ndarray) -> tf.compat.v1.HistogramProto:
    """Of `rows` [n] between `edges` [n + 1], which rise."""
    middles = (edges[:-1] + edges[1:]) / 2
    return tf.compat.v1.HistogramProto(
        min=edges[0], max=edges[-1], num=rows.sum(), sum=(rows * middles).sum(), sum_squares=(rows * middles**2).sum(),
        bucket_limit=edges[1:].tolist(), bucket=rows.tolist(),
    )  # fmt: skip
