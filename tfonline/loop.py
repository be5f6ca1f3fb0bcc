"""The training loop: learn from batches, move the position at a window's end, save, report."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfonline import failures
from tfonline.ahead import ahead
from tfonline.cluster.plan import Follower
from tfonline.config import Config
from tfonline.evaluate.progressive import PREDICTION, ProgressiveMetrics
from tfonline.features.batch import Element, Examples
from tfonline.features.parse import REASONS
from tfonline.lifecycle import DRAIN_SHARE, Every, Exit, Stop, UserError
from tfonline.model.learner import Learner, StepResult
from tfonline.publish.checkpoints import Checkpoints, Position
from tfonline.publish.publisher import Publisher
from tfonline.report.columns import ColumnShares
from tfonline.report.console import Console
from tfonline.report.files import SideFile, loss_line, make_private
from tfonline.report.rejections import Rejections
from tfonline.report.reports import Reports
from tfonline.report.status import Status
from tfonline.report.summary import Run, make_summary, summary_table
from tfonline.report.writers import Scalars, Writer
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.dead_letters import DeadLetters
from tfonline.stream.journal import Journal
from tfonline.stream.offsets import short
from tfonline.stream.readers import Reader
from tfonline.stream.windows import UNREAD, Planner, Source, Window

_UNREAD_BECAUSE = {
    "skip": "SKIPPED by --lag_policy=skip",
    "lost": "LOST: retention had removed them (--on_lost_rows=skip)",
    "passed": "PASSED OVER by --skip_window",
}


@dataclasses.dataclass
class Parts:
    """What the loop works with; `train.run` puts it together."""

    config: Config
    source: Source
    reader: Reader
    planner: Planner | Follower
    journal: Journal | None
    dead_letters: DeadLetters | None
    learner: Learner
    checkpoints: Checkpoints
    publisher: Publisher | None
    position: Position
    metrics: ProgressiveMetrics
    writer: Writer
    console: Console
    status: Status
    stop: Stop
    column_shares: ColumnShares | None


class _Learned(NamedTuple):
    """Batches that the train step was called for, and are yet to be counted."""

    element: Element
    good: np.ndarray  # bool [N, B]: the rows to count
    steps: np.ndarray  # int [k]: which of the N batches are a step
    result: StepResult
    when: float


class Loop:
    """Trains on elements until they end, a stop is asked for, or something is wrong.

    Attributes:
      in_step: whether elements are agreed on with other workers, one after the other.
    """

    in_step = False

    def __init__(self, parts: Parts):
        self._p = parts
        config, lengths = parts.config, parts.position.files
        folder = pathlib.Path(config.model_dir)
        self._files = {
            name: SideFile(folder / name, lengths.get(name, 0), limit, private=name != "loss.log")
            for name, limit in self._side_files.items()
        }
        make_private(folder / "predictions.bin")  # of an older run, where this one writes none
        for path in self._left_behind(folder):
            make_private(path)
            os.truncate(path, min(path.stat().st_size, lengths.get(path.name, 0)))
        rejected = next(iter(self._files.values()))
        self._rejections = Rejections(config, parts.position.rejected, rejected, parts.dead_letters, self._warn)
        self._save_cadence = Every(steps=config.checkpoint_every_steps, secs=config.checkpoint_secs)
        self._save_cadence.done(parts.position.step)
        self._saved_window = parts.position.window
        self._saving: tuple[int, list[int]] = (0, [])  # step and next offsets of the checkpoint that is being written
        self._unsaved: list[Window] = []  # learned from since the last save
        self._began, self._rows_at_start = time.monotonic(), parts.position.rows
        num_features = len(parts.position.contract["columns"]) - 1
        self._reports = Reports(
            config, parts.writer, parts.console, num_features,
            step=parts.position.step, rows=parts.position.rows, column_shares=parts.column_shares,
        )  # fmt: skip
        self._rows_before_window = parts.position.rows + sum(parts.position.rejected.values())
        self._first_step = self._last_step = None  # when it was done, and the rows by then
        self._last_losses: Scalars = {}
        self._learned: _Learned | None = None
        self._drain_until = math.inf
        self._warned: set[str] = set()

    def train(self, elements: Iterable[Element]) -> str:
        """Follows the elements; returns why they ended.

        Raises:
          UserError: the loss is not finite (exit 70), too many rows are refused (65), a step failed (71), or the stream did.
        """
        p = self._p
        p.stop.activity.began = True
        try:
            for element, examples in ahead(self._read(elements), self._inputs, threaded=p.learner.on_gpu and not self.in_step):
                if element.window.numpy() < 0:
                    self._between_windows()
                elif element.last.numpy():
                    self._count()
                    self._end_window(int(element.window))
                    self._between_windows()
                else:
                    self._learn(element, examples)
                    self._report()
                    if p.stop.requested() and time.monotonic() > self._drain():
                        return self._drop_window(int(element.window))
                p.status.set("reading", p.position.window, p.position.step)
                # Not waiting for the elements to end by themselves: the last reads may take seconds to close.
                if element.last.numpy() and (p.stop.requested() or int(element.window) == p.planner.final):
                    break
            if p.position.window > self._saved_window:
                self.save()
        except tf.errors.OpError as e:
            raise self._why_step_failed(e) from e
        self._after_save(wait=True)
        if p.publisher and not p.stop.requested():
            p.publisher.finish()
        if p.stop.requested():
            return f"stopped by {p.stop.reason}"
        return p.planner.ended or "the stream failed"

    def save(self, wait: bool = False) -> None:
        """Begins a checkpoint, or makes one; what follows from it, once it is on disk, is `_after_save`. Only at a window's end.

        Raises:
          UserError: a weight is not finite (exit 70), the disk is full (73), or a dead letter was not taken (69, 64).
        """
        p = self._p
        self._after_save(wait=True)  # one at a time
        p.status.set("saving", p.position.window, p.position.step)
        if self._unsaved and not p.learner.all_finite():
            raise self._not_finite("a weight is NaN or infinite", self._unsaved)
        if p.dead_letters:
            p.dead_letters.flush()
        p.position.files = self._lengths()
        p.position.stop = p.planner.stop_at
        p.status.writing = True
        if p.publisher:
            p.publisher.saving()
        p.checkpoints.begin(p.stop.saving)
        self._saving = (p.position.step, list(p.position.next))
        self._saved_window, self._unsaved = p.position.window, []
        self._save_cadence.done(p.position.step)
        self._after_save(wait)

    def _after_save(self, wait: bool = False) -> None:
        """Where a checkpoint has come to disk: forgets the journal of what it holds, and tells the broker."""
        p = self._p
        path = p.checkpoints.finished(wait)
        if path is None:
            return
        step, next_offsets = self._saving
        p.status.writing = False
        p.status.set("committing", p.position.window, p.position.step)
        p.journal.rotate(p.checkpoints.oldest_window)
        p.console.say(f"saved {path}: step {step:,}, next {short(next_offsets)}")
        if p.publisher and not p.stop.requested():
            p.publisher.saved(path)
        if isinstance(p.source, KafkaTopic):
            failed = p.source.commit(next_offsets)
            if failed:
                self._warn(f"offsets could not be committed under group {p.config.group} ({failed}): lag tools are behind")

    def summarise(self, ended: str) -> dict[str, Any]:
        """Writes `<model_dir>/summary.json`, prints the table of it, and returns it."""
        p, now = self._p, time.monotonic()
        self._reports.final(p.position.step, self._metric_scalars(), p.metrics.counts["running"])
        nothing = (now, p.position.rows)
        timed = (self._first_step or nothing, self._last_step or nothing)
        run = Run(ended, p.position.rows - self._rows_at_start, now - self._began, timed, int(self._rows_before(None)))
        summary = make_summary(run, p.position, p.metrics, p.checkpoints.latest)
        path = pathlib.Path(p.config.model_dir) / "summary.json"
        path.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
        p.console.close()
        tensorboard = pathlib.Path(sys.executable).with_name("tensorboard")
        p.console.say(f"{ended}\n{summary_table(summary)}\n\n{tensorboard} --logdir {p.config.model_dir}/tensorboard")
        return summary

    def rows_lost(self) -> UserError | None:
        """The error where retention has removed rows of a window that is still to be read."""
        return failures.rows_lost(self._p.planner.rows_lost_since_planned(), self._p.config.on_lost_rows)

    def close(self) -> None:
        """Closes files and writers; a checkpoint that is being written gets written."""
        self._p.checkpoints.close()
        if self._p.publisher:
            self._p.publisher.close()
        for file in filter(None, [*self._files.values(), self._p.journal, self._p.writer, self._p.console]):
            file.close()

    def _read(self, elements: Iterable[Element]) -> Iterator[Element]:
        """The same elements. What TensorFlow raises in here is of reading or preparing rows; elsewhere it is of the step."""
        iterator, now = iter(elements), self._p.stop.activity
        while True:
            # A worker does not leave by itself: the others would wait for it.
            now.waiting_since = None if self.in_step else time.monotonic()
            try:
                element = next(iterator, None)
            except tf.errors.OpError as e:
                raise self._why_reading_failed(e) from e
            now.waiting_since = None
            if element is None:
                return
            yield element

    def _inputs(self, element: Element) -> Examples:
        return self._p.learner.inputs(element.batch.examples)

    def _learn(self, element: Element, examples: Examples) -> None:
        """Calls the train step for an element's batches; they are counted while the next ones are learned from."""
        p = self._p
        p.status.set("training", p.position.window, p.position.step)
        self._reports.rows_came(element.message)
        p.stop.activity.window_open = True
        good = element.batch.valid.numpy().reshape(p.config.steps_per_call, -1)
        self._rejections.record(element, self._refused(element), int(good.sum()))
        has_rows = good.any(axis=1)
        num_steps, which = np.int32(has_rows.sum()), np.argsort(~has_rows, kind="stable").astype(np.int32)
        if not num_steps:
            return  # no step at all: neither momentum nor l2 without a row
        result = p.learner.train_steps(tf.constant(num_steps), tf.constant(which), examples)
        self._count()
        self._learned = _Learned(element, good, which[:num_steps], result, time.monotonic())

    def _count(self) -> None:
        """Counts what was learned last."""
        if self._learned is None:
            return
        p, (element, good, steps, result, when), self._learned = self._p, self._learned, None
        batch = element.batch
        (label,) = batch.label.values()
        logits, labels = (t.numpy().reshape(good.shape) for t in (result.logits, label))
        losses = {name: values.numpy() for name, values in result.losses.items()}
        for i in steps:
            self._last_losses = {name: float(values[i]) for name, values in losses.items()}
            *_, loss = self._last_losses.values()  # with all that is added to it
            if not math.isfinite(loss):
                what = f"the loss is {loss} at step {p.position.step + 1}"
                raise self._not_finite(what, [p.planner.planned(int(element.window))])
            p.metrics.add(logits[i][good[i]], labels[i][good[i]])
            p.position.step += 1
            every = p.config.loss_log_every_steps
            if every and p.position.step % every == 0 and "loss.log" in self._files:
                self._files["loss.log"].write(loss_line(p.position.step, self._last_losses))
        logits, labels, rows = logits[good], labels[good], int(good.sum())
        if p.publisher:
            p.publisher.observe(element, good.ravel(), labels, logits)
        p.position.rows += rows
        p.position.fingerprint = (p.position.fingerprint + int(element.fingerprint)) % 2**64
        if "predictions.bin" in self._files:
            scored = np.empty(rows, PREDICTION)
            scored["partition"], scored["offset"] = (x.numpy()[good.ravel()] for x in batch.origin)
            scored["label"], scored["logit"] = labels, logits
            self._files["predictions.bin"].write(scored.tobytes())
        self._last_step = (when, p.position.rows)
        self._first_step = self._first_step or self._last_step
        p.console.progress(sum(p.position.rejected.values()) + p.position.rows)

    def _refused(self, element: Element) -> Sequence[int]:
        """How many rows were refused with an element, by reason's index."""
        return np.bincount(element.rejected.reason.numpy(), minlength=len(REASONS))

    def _end_window(self, number: int) -> None:
        """Moves the position: from here on the window's rows are part of the model."""
        p = self._p
        window = p.planner.take(number)
        p.stop.activity.window_open = False
        p.position.next, p.position.window = list(window.stop), number + 1
        self._rows_before_window = p.position.rows + sum(p.position.rejected.values())
        p.position.start += [0] * (len(window.stop) - len(p.position.start))  # the topic has got more partitions
        self._unsaved.append(window)
        if window.trigger in UNREAD:
            p.position.skipped[window.trigger] = p.position.skipped.get(window.trigger, 0) + window.rows
            because = _UNREAD_BECAUSE[window.trigger]
            offsets = f"{window.rows:,} offsets from {short(window.start)} to {short(window.stop)}"
            p.console.say(f"window {number}, {offsets}: {because}")
        report = p.metrics.end_window()
        if report["rows"]:
            p.writer.write(p.position.step, {f"window/{name}": value for name, value in report.items()})
        self._rejections.end_window()

    def _between_windows(self) -> None:
        """At a window's end and at ticks: save and report where it is time."""
        p = self._p
        self._after_save()
        if p.position.window > self._saved_window and self._save_due():
            self.save()
        self._report()

    def _save_due(self) -> bool:
        return self._save_cadence.due(self._p.position.step)

    def _lengths(self) -> dict[str, int]:
        """Of the files beside the checkpoint, in bytes, by name."""
        return self._p.position.files | {name: file.flushed_length() for name, file in self._files.items()}

    def _left_behind(self, folder: pathlib.Path) -> list[pathlib.Path]:
        """Files of workers that there are no more: they, too, are cut back to the checkpoint."""
        return list(folder.glob("rejected.worker-*.jsonl"))

    @property
    def _side_files(self) -> dict[str, int | None]:
        """The files beside the checkpoint, that of refused rows first, and the size at which each is full."""
        files = {"rejected.jsonl": self._p.config.rejected_max_bytes, "loss.log": None}
        return files | ({"predictions.bin": None} if self._p.config.save_predictions else {})

    def _report(self) -> None:
        """The console's line and TensorBoard's events, where it is time."""
        p = self._p
        if self._reports.due():
            losses = {f"train/{name}": value for name, value in self._last_losses.items()}
            counts, rows_left = p.metrics.counts["running"], self._rows_before(p.planner.stop_at)
            self._reports.report(p.position.step, self._metric_scalars() | losses, counts, rows_left)

    def _rows_before(self, offsets: Sequence[int] | None) -> float:
        """Rows that are still to be read before `offsets`, or before the end as last seen. Falls within a window, too."""
        p = self._p
        of_window = p.position.rows + sum(p.position.rejected.values()) - self._rows_before_window
        return float(max(0, sum(p.planner.ends if offsets is None else offsets) - sum(p.position.next) - max(0, of_window)))

    def _metric_scalars(self) -> Scalars:
        p = self._p
        scalars = {f"{scope}/{n}": v for scope in ("running", "total") for n, v in p.metrics.report(scope).items()}
        scalars["lag_rows"] = self._rows_before(None)
        scalars["rejected_rows"] = float(sum(p.position.rejected.values()))
        scalars |= {f"unread_rows/{trigger}": float(p.position.skipped.get(trigger, 0)) for trigger in UNREAD}
        scalars["rows"] = float(p.position.rows)
        return scalars | (p.publisher.scalars() if p.publisher else {})

    def _drain(self) -> float:
        """Until when the window may go on after a stop was asked for."""
        if math.isinf(self._drain_until):
            self._drain_until = time.monotonic() + DRAIN_SHARE * self._p.config.drain_secs
        return self._drain_until

    def _drop_window(self, number: int) -> str:
        p, self._learned = self._p, None
        self._after_save(wait=True)
        p.console.say(
            f"window {number} did not end within --drain_secs={p.config.drain_secs:g}: dropped unsaved. It and what came after "
            f"{p.checkpoints.latest} will be read again by the next run."
        )
        p.checkpoints.restore()  # the summary tells of the saved model
        return f"stopped by {p.stop.reason}, window {number} dropped"

    def _why_reading_failed(self, error: tf.errors.OpError) -> Exception:
        """The error to end with; asks the broker whether retention has overtaken windows that were planned."""
        p = self._p
        if known := p.planner.error or p.reader.error:
            return known
        return self.rows_lost() or UserError(f"reading or preparing rows failed: {error.message}", Exit.TRY_AGAIN)

    def _why_step_failed(self, error: tf.errors.OpError) -> Exception:
        """The error to end with where TensorFlow could not score, learn or copy the model."""
        p = self._p
        return failures.step_failed(error, p.config, p.position, p.checkpoints.latest)

    def _not_finite(self, what: str, windows: list[Window]) -> UserError:
        p = self._p
        self._after_save(wait=True)  # of a good model
        return failures.not_finite(what, windows, p.config.model_dir, p.position.step, p.checkpoints.latest)

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._p.console.say(f"warning: {text}")
