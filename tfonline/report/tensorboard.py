"""What TensorBoard shows of a run: scalars in groups, the distribution of the scores, and how true they are.

TensorBoard draws the curves of one tag into one chart, in a colour a run, and names a run by its folder below --logdir. So each
scope of the metrics is a run of its own: `quality/log_loss` of all rows, of the recent ones, of the last window, of the published
model and of the trivial predictor are one chart.
"""

import os
import socket
import time
from collections import defaultdict

import numpy as np
import tensorflow as tf
from tensorboard.plugins.custom_scalar import metadata as custom_scalars

from tfonline.evaluate.progressive import Counts, sigmoid
from tfonline.report.layout import layout
from tfonline.report.reliability import HEIGHT, WIDTH, reliability_png
from tfonline.report.writers import Scalars

_RUN = "train"  # of all that is no metric
_SCOPES = ("running", "window", "total", "weighted", "served")
_METRICS = ("auc", "log_loss", "trivial_log_loss", "ne", "calibration")
# TensorBoard orders groups by their names: how good the model is comes first.
_GROUPS = {"": "stream/", "export": "serving/export_", "served": "serving/"}
_RGB = 3


class TensorBoard:
    """Writes events for TensorBoard below `folder`, for `tensorboard --logdir <folder>`.

    Not by tf.summary: each write of a window's scalars keeps some 17 kB of memory for good there.
    """

    def __init__(self, folder: str):
        self._folder = folder
        self._files: dict[str, tf.io.TFRecordWriter] = {}
        self._write(_RUN, 0, [_layout_value()])

    def write(self, step: int, scalars: Scalars) -> None:
        """Each scalar under its run and tag; readable at once."""
        values = defaultdict(list)
        for name, value in scalars.items():
            for run, tag in places(name):
                values[run].append(tf.compat.v1.Summary.Value(tag=tag, simple_value=value))
        for run in values:
            self._write(run, step, values[run])

    def write_scores(self, step: int, counts: Counts) -> None:
        """Histograms of the scores, as logits and as probabilities, and the reliability diagram; nothing of no rows."""
        parts = counts.by_score()
        if not parts:
            return
        edges, rows = counts.histogram()
        png = reliability_png(parts)
        image = tf.compat.v1.Summary.Image(height=HEIGHT, width=WIDTH, colorspace=_RGB, encoded_image_string=png)
        histograms = {"probability": _histogram(sigmoid(edges), rows), "logit": _histogram(edges, rows)}
        values = [tf.compat.v1.Summary.Value(tag=f"scores/{name}", histo=histo) for name, histo in histograms.items()]
        self._write("running", step, [tf.compat.v1.Summary.Value(tag="scores/reliability", image=image), *values])

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


def _layout_value() -> tf.compat.v1.Summary.Value:
    about = tf.compat.v1.SummaryMetadata.FromString(custom_scalars.create_summary_metadata().SerializeToString())
    text = tf.make_tensor_proto(layout().SerializeToString(), tf.string)
    return tf.compat.v1.Summary.Value(tag=custom_scalars.CONFIG_SUMMARY_TAG, metadata=about, tensor=text)


def _histogram(edges: np.ndarray, rows: np.ndarray) -> tf.compat.v1.HistogramProto:
    """Of `rows` [n] between `edges` [n + 1], which rise."""
    middles = (edges[:-1] + edges[1:]) / 2
    return tf.compat.v1.HistogramProto(
        min=edges[0], max=edges[-1], num=rows.sum(), sum=(rows * middles).sum(), sum_squares=(rows * middles**2).sum(),
        bucket_limit=edges[1:].tolist(), bucket=rows.tolist(),
    )  # fmt: skip
