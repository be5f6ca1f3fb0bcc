"""Publishes checkpoints as SavedModels while training goes on, through the gate; scores the stream by what is published."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfonline
from tfonline.config import Config
from tfonline.evaluate.progressive import without_nan
from tfonline.features.pipeline import Element, Features
from tfonline.features.schema import Schema
from tfonline.lifecycle import Every, UserError
from tfonline.model.step import Learner
from tfonline.publish.checkpoints import Position
from tfonline.publish.gate import Gate, Limits
from tfonline.publish.plain_path import plain_path
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

    began: float  # time.monotonic
    manifest: dict[str, Any]
    start: list[int]
    gate: Gate
    inputs: tuple[tf.Tensor, ...]
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
      newest_row_time: see KafkaTopic; None where rows have no time.

    Raises:
      UserError: the folder cannot be written (exit 73).
    """

    def __init__(
        self,
        config: Config,
        schema: Schema,
        features: Features,
        learner: Learner,
        position: Position,
        console: Console,
        newest_row_time: Callable[[list[int], list[int]], float | None] | None = None,
    ):
        c = config
        self._learner, self._position, self._console = learner, position, console
        self._newest_row_time = newest_row_time or (lambda start, stop: None)
        self._about = {
            "label": schema.label,
            "message_format": c.message_format,
            "schema_fingerprint": _fingerprint(schema),
            "libraries": {
                "python": platform.python_version(),
                **{library.__name__: library.__version__ for library in (tf, keras, np, tfonline)},
            },
        }
        self._versions = Versions(c.export_dir, c.keep_exports)
        self._versions.make()
        self._pins = pathlib.Path(c.model_dir) / "published"
        self._pins.mkdir(exist_ok=True)
        # In turn: while the stream is scored by one, the next version is loaded into the other.
        self._served, self._next = Servable(c, schema, features), Servable(c, schema, features)
        self._gate = Gate(Limits(c.gate_rows, c.gate_max_regression, c.gate_min_auc, c.gate_calibration))
        self._cadence = Every(steps=c.export_every_windows, secs=c.export_every_secs)
        self._cadence.done(position.window)
        self._thread = ThreadPoolExecutor(1, "publish")
        self._running: Future[tuple[int, float]] | None = None
        self._counts = {"published": 0, "refused": 0, "failed": 0}
        self._prepared: _Job | None = None
        self._stall_secs = 0.0  # how long training has stood still for the export that goes on
        self._last_export: Scalars = {}
        self._last: Element | None = None
        self._number = 0  # of the version that `_served` holds
        self._since = (time.time(), position.rows)
        self._take_up_published()

    def follow(self, element: Element, good: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> None:
        """A batch that was scored: float32 [n] labels and the trainer's logits of its `good` rows, bool [B]."""
        self._collect()
        served = None
        if self._number:
            batch = element.batch
            served = self._served.score_inputs(batch.ids, batch.values, batch.numeric, batch.crosses).numpy()[good]
        self._gate.add(labels, logits, served)
        self._last = element

    def saving(self) -> None:
        """The model is about to be saved as it is now."""
        self._prepared = None
        if self._last is None or not self._due():
            return
        began, self._stall_secs = time.monotonic(), 0.0
        with self._stall():
            batch, messages = self._last.batch, self._last.message.numpy().tolist()
            inputs = (batch.ids, batch.values, batch.numeric, batch.crosses)
            logits, good = self._learner.score(*inputs).numpy(), batch.weight.numpy() > 0
            p = self._position
            manifest = {"window": p.window, "step": p.step, "rows": p.rows, "next": list(p.next)}
            manifest |= {"contract": p.contract, **self._about}
            # As many rows as a batch has: then the scores are the same to the bit.
            messages += [b""] * (len(good) - len(messages))
            logits = np.where(good, logits, np.nan)
            self._prepared = _Job(began, manifest, list(p.start), self._gate.copy(), inputs, messages, logits)

    def saved(self, checkpoint: str) -> None:
        """That checkpoint is on disk; begins to publish it where it is time."""
        self._collect()
        if self._prepared is None or self._paused():
            return
        with self._stall():
            self._cadence.done(self._position.window)
            self._running = self._thread.submit(self._publish, checkpoint, self._prepared)

    def scalars(self) -> Scalars:
        """What TensorBoard shows: the served curve, its age, what was published, refused and failed, and what an export takes.

        `export/secs` is how long the last one took from the save of its checkpoint on; `export/stall_secs` how long training stood
        still for it.
        """
        scalars = {f"export/{name}": float(count) for name, count in self._counts.items()} | self._last_export
        if self._number:
            scalars |= {f"served/{name}": value for name, value in self._gate.served().items()}
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

    @contextlib.contextmanager
    def _stall(self) -> Iterator[None]:
        """What training stands still for."""
        began = time.monotonic()
        yield
        self._stall_secs += time.monotonic() - began

    def _publish(self, checkpoint: str, job: _Job) -> tuple[int, float]:
        """In the thread: writes, looks at what was written, and publishes it; returns its number and how long it took, seconds."""
        report = job.gate.report()
        if refusals := job.gate.refusals(report):
            raise _Refused("; ".join(refusals))
        self._next.load(checkpoint)
        name = os.path.basename(checkpoint)
        # Before the version is there: a version always belongs to a checkpoint that is.
        for file in pathlib.Path(checkpoint).parent.glob(f"{name}.*"):
            pin = self._pins / file.name
            pin.unlink(missing_ok=True)
            os.link(file, pin)
        about = {"checkpoint": name, "newest_row_time": self._newest_row_time(job.start, job.manifest["next"])}
        about |= {**job.manifest, "metrics": without_nan(report)}
        self._next.score_inputs(*job.inputs)  # here it is traced, so that training need not wait for that
        number = self._versions.publish(lambda beside: self._write(beside, job), about)
        used = {self._checkpoint_of(n) for n in self._versions.numbers}
        for pin in self._pins.iterdir():
            if pin.name.partition(".")[0] not in used:
                pin.unlink()
        return number, time.monotonic() - job.began

    def _write(self, beside: pathlib.Path, job: _Job) -> None:
        self._next.write(beside)
        with plain_path(beside) as plain:
            signature = tf.saved_model.load(plain).signatures["serving_default"]
        found = signature(message=tf.constant(job.messages))
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
        with self._stall():
            secs = self._take_up(done)
        if secs:
            self._last_export = {"export/secs": secs, "export/stall_secs": self._stall_secs}

    def _take_up(self, done: Future[tuple[int, float]]) -> float | None:
        """Says, counts and serves what the thread has done; returns how long the export took, seconds, or None for none."""
        try:
            number, secs = done.result()
        except _Refused as e:
            self._counts["refused"] += 1
            self._console.say(f"not published: {e}. Version {self._number or 'none'} stays.")
            self._record_refusal(str(e))
        except Exception as e:  # whatever it is: the model that is trained is whole
            self._failed(e)
        else:
            self._counts["published"] += 1
            self._serve(number)
            self._console.say(f"published version {number} in {self._versions.path(number)}")
            return secs
        return None

    def _failed(self, error: Exception) -> None:
        self._counts["failed"] += 1
        why = getattr(error, "message", None) or (error if isinstance(error, OSError | UserError) else repr(error))
        self._console.say(f"warning: publishing failed, training goes on: {why}")

    def _paused(self) -> bool:
        """Whether nothing is to be published, because somebody said so or because the folder cannot be read."""
        try:
            return bool(self._versions.paused)
        except (OSError, UserError) as e:
            self._failed(e)
            return True

    def _checkpoint_of(self, number: int) -> str:
        """The name of the checkpoint that a version is of; '' where its manifest does not say, or it has just been removed."""
        try:
            return self._versions.manifest(number)["checkpoint"]
        except (UserError, KeyError):
            return ""

    def _record_refusal(self, why: str) -> None:
        line = {"time": time.time(), "window": self._position.window, "step": self._position.step, "why": why}
        try:
            with (self._versions.folder / "refused.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as e:
            self._console.say(f"warning: the refusal could not be recorded in {self._versions.folder}/refused.jsonl: {e}")

    def _serve(self, number: int) -> None:
        """From here on the stream is scored by this version, too: the one that was loaded last."""
        self._served, self._next = self._next, self._served
        self._number, self._since = number, (time.time(), self._position.rows)
        self._gate.published()

    def _take_up_published(self) -> None:
        """After a restart: the version that is published goes on being scored."""
        for number in self._versions.numbers[-1:]:
            name = self._checkpoint_of(number)
            if not name:
                self._console.say(f"warning: version {number} is damaged: the stream is not scored by it")
                return
            if not (self._pins / f"{name}.index").exists():
                self._console.say(f"version {number} is not of this model: the stream is not scored by it")
                return
            try:
                self._next.load(str(self._pins / name))
            except (tf.errors.OpError, IndexError, ValueError, TypeError) as e:
                self._console.say(f"warning: the checkpoint of version {number} is damaged: the stream is not scored by it ({e})")
                return
            self._serve(number)


def _fingerprint(schema: Schema) -> str:
    """The first half of the SHA-256, in hex, of the columns' names and kinds in their order."""
    columns = json.dumps([[column.name, column.kind] for column in schema.columns])
    return hashlib.sha256(columns.encode()).hexdigest()[:32]
