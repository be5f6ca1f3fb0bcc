"""Publishes checkpoints as SavedModels while training goes on, through the gate; scores the stream by what is published."""

import dataclasses
import json
import os
import pathlib
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import tensorflow as tf

from tfonline.config import Config
from tfonline.evaluate.progressive import without_nan
from tfonline.features.pipeline import Element, Features
from tfonline.features.schema import Schema
from tfonline.lifecycle import Every, UserError
from tfonline.model.step import Learner
from tfonline.publish.checkpoints import Position
from tfonline.publish.gate import Gate, Limits
from tfonline.publish.servable import Servable
from tfonline.publish.versions import Versions
from tfonline.report.console import Console
from tfonline.report.writers import Scalars

# Of the trainer's logits, by the SavedModel that was loaded back: the same operations on the same weights.
_PROBE_TOLERANCE = 1e-5


class _Refused(Exception):
    """The model is not published, for the reasons in the text."""


@dataclasses.dataclass
class _Job:
    """A model that may be published, as it is when it is saved: training has gone on when its checkpoint is on disk."""

    manifest: dict[str, Any]
    refusals: list[str]
    messages: list[bytes]
    logits: np.ndarray


class Publisher:
    """What `--export_dir` asks for. A failure to publish is said and counted; it never ends the training.

    The files of a published checkpoint get a second name in `<model_dir>/published`, so that it stays for as long as its version,
    however many newer ones there are.

    Args:
      config: the flags.
      schema: the columns.
      features: the trainer's, see Servable.
      learner: what is trained.
      position: where it is.
      console: where lines go.

    Raises:
      UserError: the folder cannot be written (exit 73).
    """

    def __init__(self, config: Config, schema: Schema, features: Features, learner: Learner, position: Position, console: Console):
        c = config
        self._learner, self._position, self._console = learner, position, console
        self._about = {"label": schema.label, "message_format": c.message_format, "libraries": {"tensorflow": tf.__version__}}
        self._versions = Versions(c.export_dir, c.keep_exports)
        self._pins = pathlib.Path(c.model_dir) / "published"
        self._pins.mkdir(exist_ok=True)
        self._servable = Servable(c, schema, features)
        self._served = self._servable.make_model()
        self._gate = Gate(Limits(c.gate_rows, c.gate_max_regression, c.gate_min_auc, c.gate_calibration))
        self._cadence = Every(steps=c.export_every_windows, secs=c.export_every_secs)
        self._cadence.done(position.window)
        self._thread = ThreadPoolExecutor(1, "publish")
        self._running: Future[int] | None = None
        self._counts = {"published": 0, "refused": 0, "failed": 0}
        self._prepared: _Job | None = None
        self._last: Element | None = None
        self._number = 0  # of the version that `_served` is
        self._since = (time.time(), position.rows)
        self._take_up_published()

    def follow(self, element: Element, good: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> None:
        """A batch that was scored: float32 [n] labels and the trainer's logits of its `good` rows, bool [B]."""
        self._collect()
        served = None
        if self._number:
            batch = element.batch
            served = self._score(batch.ids, batch.values, batch.numeric, batch.crosses).numpy()[good]
        self._gate.add(labels, logits, served)
        self._last = element

    def saving(self) -> None:
        """The model is about to be saved as it is now."""
        self._prepared = None
        if self._last is None or not self._due():
            return
        batch, messages = self._last.batch, self._last.message.numpy().tolist()
        logits = self._learner.score(batch.ids, batch.values, batch.numeric, batch.crosses).numpy()
        good = batch.weight.numpy() > 0
        p, report = self._position, self._gate.report()
        manifest = {"window": p.window, "step": p.step, "rows": p.rows, "next": list(p.next), "metrics": without_nan(report)}
        manifest |= {"contract": p.contract, **self._about}
        # As many rows as a batch has: then the scores are the same to the bit.
        messages += [b""] * (len(good) - len(messages))
        self._prepared = _Job(manifest, self._gate.refusals(report), messages, np.where(good, logits, np.nan))

    def saved(self, checkpoint: str) -> None:
        """That checkpoint is on disk; begins to publish it where it is time."""
        self._collect()
        if self._prepared is None or self._versions.paused:
            return
        self._cadence.done(self._position.window)
        self._running = self._thread.submit(self._publish, checkpoint, self._prepared)

    def scalars(self) -> Scalars:
        """What TensorBoard shows: the served curve, its age, and what was published, refused and failed."""
        scalars = {f"export/{name}": float(count) for name, count in self._counts.items()}
        if self._number:
            report = self._gate.report()
            scalars |= {f"served/{name}": report[f"served_{name}"] for name in ("rows", "auc", "log_loss")}
            scalars["served/version"] = float(self._number)
            scalars["served/age_secs"] = time.time() - self._since[0]
            scalars["served/age_rows"] = float(self._position.rows - self._since[1])
        return scalars

    def finish(self) -> None:
        """Waits for what is being published."""
        if self._running:
            wait([self._running])
        self._collect()

    def close(self) -> None:
        """Begins nothing more. What is being published may be cut off: serving never sees half of it."""
        self._thread.shutdown(wait=False)

    def _due(self) -> bool:
        return self._gate.full and self._running is None and self._cadence.due(self._position.window)

    def _publish(self, checkpoint: str, job: _Job) -> int:
        """In the thread: writes, looks at what was written, and publishes it."""
        if job.refusals:
            raise _Refused("; ".join(job.refusals))
        self._servable.load(checkpoint)
        name = os.path.basename(checkpoint)
        # Before the version is there: a version always belongs to a checkpoint that is.
        for file in pathlib.Path(checkpoint).parent.glob(f"{name}.*"):
            pin = self._pins / file.name
            pin.unlink(missing_ok=True)
            os.link(file, pin)
        number = self._versions.publish(lambda beside: self._write(beside, job), {"checkpoint": name, **job.manifest})
        used = {self._versions.manifest(n)["checkpoint"] for n in self._versions.numbers}
        for pin in self._pins.iterdir():
            if pin.name.partition(".")[0] not in used:
                pin.unlink()
        return number

    def _write(self, beside: pathlib.Path, job: _Job) -> None:
        self._servable.write(beside)
        found = tf.saved_model.load(str(beside)).signatures["serving_default"](message=tf.constant(job.messages))
        logits = found["logit"].numpy()
        good = ~np.isnan(job.logits)
        if not np.allclose(logits[good], job.logits[good], rtol=0, atol=_PROBE_TOLERANCE):
            furthest = np.nanmax(np.abs(logits[good] - job.logits[good]), initial=0)
            raise _Refused(f"the SavedModel does not score as the trainer does (logits differ by up to {furthest:.2g})")

    def _collect(self) -> None:
        """Takes up what the thread has done."""
        if self._running is None or not self._running.done():
            return
        done, self._running = self._running, None
        try:
            number = done.result()
        except _Refused as e:
            self._counts["refused"] += 1
            self._console.say(f"not published: {e}. Version {self._number or 'none'} stays.")
            self._record_refusal(str(e))
        except (OSError, UserError, tf.errors.OpError) as e:
            self._counts["failed"] += 1
            self._console.say(f"warning: publishing failed, training goes on: {getattr(e, 'message', None) or e}")
        else:
            self._counts["published"] += 1
            self._serve(number)
            self._console.say(f"published version {number} in {self._versions.path(number)}")

    def _record_refusal(self, why: str) -> None:
        line = {"time": time.time(), "window": self._position.window, "step": self._position.step, "why": why}
        try:
            with (self._versions.folder / "refused.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as e:
            self._console.say(f"warning: the refusal could not be recorded in {self._versions.folder}/refused.jsonl: {e}")

    def _serve(self, number: int) -> None:
        """From here on the stream is scored by this version, too: the one that the servable holds."""
        for ours, theirs in zip(self._served.all_weights, self._servable.model.all_weights, strict=True):
            ours.assign(theirs)
        self._number, self._since = number, (time.time(), self._position.rows)
        self._gate.published()

    def _take_up_published(self) -> None:
        """After a restart: the version that is published goes on being scored."""
        for number in self._versions.numbers[-1:]:
            pinned = self._pins / self._versions.manifest(number)["checkpoint"]
            if not pinned.with_suffix(".index").exists():
                self._console.say(f"version {number} is not of this model: the stream is not scored by it")
                return
            self._servable.load(str(pinned))
            self._serve(number)

    @tf.function(autograph=False)
    def _score(self, *inputs: tf.Tensor) -> tf.Tensor:
        return self._served(inputs)
