"""Ids that come and go: a vocabulary that grows beside a dictionary of the first tenth, and the best that any model could do.

Needs neither DuckDB nor Kafka.
"""

import argparse
import itertools
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.commands import ROOT
from benchmarks.gpu.rows import dictionaries_of
from benchmarks.quality.scores import scored
from benchmarks.speed.usage import usage
from benchmarks.vocabulary.figures import Figures
from benchmarks.vocabulary.picture import draw
from benchmarks.vocabulary.rows import make_rows
from tfonline.evaluate.progressive import exact_auc
from tfonline.features.dictionaries import save_dictionaries

sys.path.insert(0, str(ROOT / "tools"))

import synthetic

_WINDOWS = 100  # of the stream
_PARTS = 10  # of the stream: the dictionary is of the first, the AUC of the last
_MIN_COUNT = 7  # as process_data
_SAMPLE_SECS = 0.25
_FULL = 0.95  # of the rows that are in use at the end
# Of the trainer, both times; what the quality benchmark found for larger batches.
_FLAGS = ["--deep_learning_rate=2e-3", "--stop_at=latest", "--save_predictions", "--checkpoint_every_steps=0", "--report_secs=2"]


class Run(NamedTuple):
    """A trainer's run.

    Attributes:
      logits: float32 [rows], each before the row was learned from.
      labels: float32 [rows], 0 or 1.
      memory: (seconds since 1970, resident kB) all the while.
      summary: its summary.json.
    """

    logits: np.ndarray
    labels: np.ndarray
    memory: list[tuple[float, int]]
    summary: dict


def measure(args: argparse.Namespace, folder: pathlib.Path, figures: Figures) -> tuple[dict[str, str], list[str]]:
    """Figures of the closing line, and no table; drift.svg goes to the folder."""
    count = args.drift_rows
    with tempfile.TemporaryDirectory(prefix="drift-", dir=folder) as name:
        own = pathlib.Path(name)
        began = time.monotonic()
        rows, truth = make_rows(own, count, 2 * count)
        figures.note("rows made, rows/s", count / (time.monotonic() - began))
        with rows.open() as lines:
            known = dictionaries_of(itertools.islice(lines, count // _PARTS), _MIN_COUNT)
        save_dictionaries(str(own / "dictionaries"), known)
        figures.note("ids in the dictionary of the first tenth", known.num_ids)

        extra = [f"--batch_size={args.drift_batch}", *_FLAGS, *shlex.split(args.drift_flags)]
        files = [f"--input_files={rows}", f"--dictionary_dir={own / 'dictionaries'}"]
        flags = {"growing": ["--flagfile=configs/growing.flags"], "buckets": ["--flagfile=configs/criteo.flags"]}
        flags["frozen"] = [*flags["buckets"], "--oov_buckets=0"]
        if args.drift_vocabulary_rows:
            flags["growing"].append(f"--vocabulary_rows={args.drift_vocabulary_rows}")
        runs = {name: train([*of, *files, *extra], own / name) for name, of in flags.items()}
        rows.unlink()
        rows, _ = make_rows(own, count, 0)
        files[0] = f"--input_files={rows}"
        runs["still"] = train([*flags["frozen"], *files, *extra], own / "still")
        for name, run in runs.items():
            figures.note(f"{name}, rows/s", run.summary["rows_per_sec"])
        for name, value in runs["growing"].summary["vocabulary"].items():
            figures.note(f"vocabulary at the end, {name}", value)
        in_use = rows_in_use(own / "growing")

    since = full_at(in_use)
    figures.note("seconds from when the vocabulary was full to the end", in_use[-1][0] - since)
    growth = memory_growth(runs["growing"].memory, since)
    if growth is not None:
        figures.note("growth of resident memory in that time", growth)

    curves = {name: auc_by_window(run.logits, run.labels) for name, run in runs.items()}
    curves["best"] = [synthetic.bayes_auc(of) for of in np.array_split(truth, _WINDOWS)]
    for name, curve in curves.items():
        figures.note(f"AUC by hundredths of the stream, {name}", curve)
    titles = {"growing": "ids that come with the stream", "buckets": "dictionary, and buckets for others", "frozen": "dictionary"}
    titles |= {"still": "dictionary, ids stay", "best": "the best possible"}
    (folder / "drift.svg").write_text(draw({titles[name]: curve for name, curve in curves.items()}, count))

    last = count - count // _PARTS
    auc = {name: exact_auc(run.logits[last:], run.labels[last:]) for name, run in runs.items()}
    auc["best"] = synthetic.bayes_auc(truth[last:])
    for name, value in auc.items():
        figures.note(f"AUC of the last tenth, {name}", value)
    closing = {f"drift_{name}": f"{value:.5f}" for name, value in auc.items()}
    for name, most in (("closed", "best"), ("regained", "still")):
        share = closed_share(auc["growing"], auc["frozen"], auc[most])
        figures.note(f"share of the gap to {most} that is closed", share)
        closing[f"drift_{name}"] = f"{share:.3f}"
    return closing | ({} if growth is None else {"memory_growth": f"{growth:.2%}"}), []


def train(flags: list[str], model_dir: pathlib.Path) -> Run:
    """Runs the trainer by its command line, and looks at its memory meanwhile; ends the program where it fails."""
    memory, log = [], model_dir.with_suffix(".log")
    command = [sys.executable, "-m", "tfonline.train", *flags, f"--model_dir={model_dir}"]
    with log.open("wb") as out, subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT) as process:
        while process.poll() is None:
            try:
                memory.append((time.time(), usage(process.pid)["memory"]))
            except (OSError, KeyError):  # it has just ended
                continue
            time.sleep(_SAMPLE_SECS)
    if process.returncode:
        sys.exit(f"{' '.join(command[:5])} ended with exit code {process.returncode}\n{log.read_text()[-3000:]}")
    logits, labels = scored(model_dir)
    return Run(logits, labels, memory, json.loads((model_dir / "summary.json").read_text()))


def rows_in_use(model_dir: pathlib.Path) -> list[tuple[float, float]]:
    """(seconds since 1970, rows of the vocabulary in use) as the trainer told TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(model_dir / "tensorboard" / "train"), {"scalars": 0}).Reload()  # 0: all of them
    return [(event.wall_time, event.value) for event in events.Scalars("vocabulary/rows_in_use")]


def full_at(in_use: Sequence[tuple[float, float]]) -> float:
    """When the vocabulary had as many rows in use as at the end, or nearly so: (seconds, rows) in order to seconds."""
    return next(secs for secs, rows in in_use if rows >= _FULL * in_use[-1][1])


def memory_growth(samples: Sequence[tuple[float, int]], since: float) -> float | None:
    """From the first to the last tenth of the samples after `since`, by the least of each; None of fewer than ten.

    The least: garbage that waits to be collected, or a copy for a checkpoint, does not count.

    Args:
      samples: (seconds, resident memory), in order.
      since: seconds.
    """
    after = [memory for secs, memory in samples if secs >= since]
    tenth = len(after) // 10
    return min(after[-tenth:]) / min(after[:tenth]) - 1 if tenth else None


def auc_by_window(logits: np.ndarray, labels: np.ndarray) -> list[float]:
    """Of each hundredth of the stream: float32 [rows] both."""
    parts = zip(np.array_split(logits, _WINDOWS), np.array_split(labels, _WINDOWS), strict=True)
    return [exact_auc(*part) for part in parts]


def closed_share(growing: float, frozen: float, most: float) -> float:
    """How much of what a frozen dictionary leaves to be gained the other one gains: AUCs to a share, 1 for all of it."""
    return (growing - frozen) / (most - frozen)
