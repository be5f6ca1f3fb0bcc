"""Publishes checkpoints as SavedModels while training goes on, through the gate; scores the stream by what is published."""

import contextlib
import dataclasses
import json
import pathlib
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

import tfonline
from tfonline.evaluate.progressive import without_nan
from tfonline.features.batch import Batch, Element
from tfonline.features.column import Column
from tfonline.features.pipeline import Features
from tfonline.features.schema import Schema
from tfonline.formats import Format
from tfonline.keep.plain_path import plain_path
from tfonline.lifecycle import Every, UserError
from tfonline.model.learner import Learner
from tfonline.publish import score_by_version
from tfonline.publish.exports import Exports
from tfonline.publish.gate import Gate, Limits
from tfonline.publish.newest import Newest
from tfonline.publish.pins import Pins
from tfonline.publish.score_by_version import Kept
from tfonline.publish.servable import Servable
from tfonline.publish.versions import Paused, Versions
from tfonline.report.console import Console
from tfonline.report.writers import Scalars
from tfonline.settings.keeping import ServingSettings
from tfonline.settings.model import ModelSettings
from tfonline.state import Position

# Of the trainer's logits, by the SavedModel that was loaded back: the same operations on the same weights.
_PROBE_TOLERANCE = 1e-5


class _Refused(Exception):
    """The model is not published, for the reasons in the text."""


@dataclasses.dataclass
class _Job:
    """A model that may be published, as it is when it is saved: training has gone on when its checkpoint is on disk.

    Attributes:
      over: the newest version then, which the gate compares with; 0: there is none.
      scored: whether the gate has the scores of that version, else they come from its SavedModel.
      besides: what is to be said of the version that it replaces.
    """

    over: int
    scored: bool
    manifest: dict[str, Any]
    start: list[int]
    gate: Gate
    features: dict[str, tf.Tensor]
    rows: Kept
    logits: np.ndarray
    besides: str = ""


class _Done(NamedTuple):
    """A version that was published: its number, and what is to be said of the one that it replaces."""

    number: int
    besides: str


class Publisher:
    """What `--export_dir` asks for. A failure to publish is said and counted; it never ends the training.

    The files of a published checkpoint get a second name in `<model_dir>/published`, so that it stays for as long as its version,
    however many newer ones there are. The newest version is scored beside the trainer where it is of this model. Where it is of
    another one, the gate has it score the last rows through its SavedModel before it is replaced.

    Args:
      serving: where, when and by which gate.
      model: the network's settings.
      model_dir: the model folder.
      schema: the columns.
      features: the trainer's, see Servable.
      learner: what is trained.
      contract: what it is made for, see keep.contract.
      position: where it is.
      console: where lines go.
      newest_row_time: see KafkaTopic; None where rows have no time.

    Attributes:
      exports: what has become of them.

    Raises:
      UserError: the folder cannot be written (exit 73).
    """

    def __init__(
        self,
        serving: ServingSettings,
        model: ModelSettings,
        model_dir: str,
        schema: Schema,
        features: Features,
        learner: Learner,
        contract: dict[str, Any],
        position: Position,
        console: Console,
        newest_row_time: Callable[[list[int], list[int]], float | None] | None = None,
    ):
        s = serving
        self._learner, self._position, self._console = learner, position, console
        self._newest_row_time = newest_row_time or (lambda start, stop: None)
        self._contract = contract
        self._form, self._columns = features.parse.form, schema.columns
        self._about = {
            "label": schema.label,
            "message_format": self._form.name,
            "schema_fingerprint": schema.fingerprint,
            "libraries": {
                "python": platform.python_version(),
                **{library.__name__: library.__version__ for library in (tf, keras, np, tfonline)},
            },
        }
        self._replace_foreign = s.replace_foreign
        self._versions = Versions(s.export_dir, s.keep_exports)
        self._versions.make()
        self._pins = Pins(pathlib.Path(model_dir) / "published", console.saying("publish"))
        self._gate = Gate(Limits(s.gate_rows, s.gate_max_regression, s.gate_min_auc, s.gate_calibration))
        self._cadence = Every(steps=s.export_every_windows, secs=s.export_every_secs)
        self._cadence.done(position.window)
        self._thread = ThreadPoolExecutor(1, "publish")
        self._running: Future[_Done] | None = None
        self.exports = Exports()
        self._said = ""  # the last refusal or failure
        self._prepared: _Job | None = None
        self._last: Element | None = None
        self._newest: Newest | None = None
        with self._guarded("nothing is published in this run"):
            servables = Servable(model, schema, features), Servable(model, schema, features)
            self._newest = Newest(self._versions, self._pins, servables, console.saying("publish"))
        if self._newest:
            with self._guarded():
                self._newest.look(position.rows)

    def observe(self, element: Element, good: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> None:
        """A batch that was scored: float32 [n] labels and the trainer's logits of its `good` rows, bool [B]."""
        if not self._newest:
            return
        with self._guarded():
            self._collect()
            served = self._score_by_newest(element.batch)
            by_saved_model = self._newest.number and not self._newest.scored
            kept = Kept(element.message, good, element.batch.place) if by_saved_model else None
            self._gate.add(labels, logits, None if served is None else served[good], kept)
            self._last = element

    def saving(self) -> None:
        """The model is about to be saved as it is now."""
        self._prepared = None
        with self._guarded():
            if self._last is None or self._running is not None:
                return
            if self._newest.look(self._position.rows):
                self._gate.published()
            if not self._cadence.due(self._position.window) or not self._can_judge():
                return
            self.exports.begin()
            with self.exports.stall():
                self._prepared = self._prepare(self._last)

    def saved(self, checkpoint: str) -> None:
        """That checkpoint is on disk; begins to publish it where it is time."""
        with self._guarded():
            self._collect()
            if self._prepared is None or self._paused():
                return
            with self.exports.stall():
                self._cadence.done(self._position.window)
                self._running = self._thread.submit(self._publish, pathlib.Path(checkpoint), self._prepared)

    def scalars(self) -> Scalars:
        """What TensorBoard shows: the served curve, its age, what was published, refused and failed, and what an export takes.

        `export/secs` is how long the last one took from the save of its checkpoint on; `export/stall_secs` how long training stood
        still for it.
        """
        scalars: Scalars = {}
        with self._guarded():
            if self._newest and self._newest.scored:
                since, rows = self._newest.since
                scalars = {f"served/{name}": value for name, value in self._gate.served().items()}
                scalars["served/version"] = float(self._newest.number)
                scalars["served/age_secs"] = time.time() - since
                scalars["served/age_rows"] = float(self._position.rows - rows)
        return self.exports.scalars() | scalars

    @property
    def newest(self) -> tuple[int, float | None]:
        """The newest version, 0 for none, and when it was published, seconds since 1970; None where that is not known."""
        return (self._newest.number, self._newest.published_at) if self._newest else (0, None)

    def finish(self) -> None:
        """Waits for what is being published."""
        with self._guarded():
            if self._running:
                wait([self._running])
            self._collect()

    def close(self) -> None:
        """Begins nothing more. What is being published may be cut off: serving never sees half of it."""
        self._thread.shutdown(wait=False)

    @contextlib.contextmanager
    def _guarded(self, so: str = "") -> Iterator[None]:
        """What goes wrong within is said and counted: whatever it is, the model that is trained is whole."""
        try:
            yield
        except Exception as e:
            self._failed(e, so)

    def _score_by_newest(self, batch: Batch) -> np.ndarray | None:
        """See Newest.score. A version that cannot score is not asked again: before it is replaced, the gate asks its SavedModel."""
        try:
            return self._newest.score(batch)
        except Exception as e:  # whatever it is: the model that is trained is whole
            self._failed(e, f"the stream is not scored by version {self._newest.number} any more")
            self._newest.scored = False
            return None

    def _can_judge(self) -> bool:
        """Whether the gate has seen enough rows, and the newest version has scored some of them or can be asked for them all."""
        compared = self._gate.any_compared if self._newest.scored else self._gate.all_kept
        return self._gate.full and (compared or not self._newest.number)

    def _prepare(self, last: Element) -> _Job:
        batch = last.batch
        logits, good = self._learner.score(batch.features).numpy(), batch.valid.numpy()
        p = self._position
        manifest = {"window": p.window, "step": p.step, "rows": p.rows, "next": list(p.next)}
        manifest |= {"contract": self._contract, **self._about, "messages": self._form.about}
        # As many rows as a batch has: then the scores are the same to the bit.
        rows = Kept(last.message, good, batch.place)
        logits, over, scored = np.where(good, logits, np.nan), self._newest.number, self._newest.scored
        return _Job(over, scored, manifest, list(p.start), self._gate.copy(), batch.features, rows, logits)

    def _publish(self, checkpoint: pathlib.Path, job: _Job) -> _Done:
        """In the thread: judges, writes, looks at what was written, and publishes it."""
        try:
            return self._publish_judged(checkpoint, job)
        finally:
            self.exports.end()

    def _publish_judged(self, checkpoint: pathlib.Path, job: _Job) -> _Done:
        judged = self._judge(job, job.over)
        # Before the version is there: a version always belongs to a checkpoint that is.
        kept, identity = self._pins.keep(checkpoint)
        servable = self._newest.spare
        servable.load(str(kept))
        about = {**identity, "newest_row_time": self._newest_row_time(job.start, job.manifest["next"])}
        about |= job.manifest
        servable.score_features(job.features)  # here it is traced, so that training need not wait for that

        def judge(newest: int) -> dict[str, Any]:
            return judged if newest == job.over else self._judge(job, newest)

        number = self._versions.publish(lambda beside: _write(servable, beside, job, self._form, self._columns), about, judge)
        self._pins.only({self._manifest_of(n).get("checkpoint", "") for n in self._versions.numbers})
        return _Done(number, job.besides)

    def _judge(self, job: _Job, newest: int) -> dict[str, Any]:
        """Whether the model may be published over that version; what its manifest says of that.

        Raises:
          _Refused: it may not.
        """
        gate, job.besides = job.gate.copy(), ""
        if newest != job.over:
            self._check_overtaken(job, newest)
        if newest and not (newest == job.over and job.scored):
            try:
                gate.compare(
                    lambda rows: score_by_version.score(self._versions, newest, rows, self._about, self._form, self._columns)
                )
            except score_by_version.CannotScore as e:
                if not self._replace_foreign:
                    raise _Refused(
                        f"version {newest} cannot be compared with ({e}), and nothing is published over it unseen. Publish into "
                        "another --export_dir, go back to a good version (tools/models.py rollback), or have it replaced by "
                        "--replace_foreign"
                    ) from e
                job.besides = f", over version {newest}, which could not be compared with ({e})"
        report = gate.report()
        if refusals := gate.refusals(report):
            raise _Refused("; ".join(refusals))
        return {"metrics": without_nan(report)}

    def _check_overtaken(self, job: _Job, newest: int) -> None:
        """Whether the model may be judged against a version that is the newest only since it was saved.

        Raises:
          _Refused: it may not.
        """
        if not newest:
            raise _Refused(f"version {job.over} is gone since the model was saved")
        since = [n for n in self._versions.numbers if n > job.over]
        if any("rolled_back_to" in self._manifest_of(n) for n in since):
            raise _Refused(f"version {newest} was gone back to since the model was saved, which may be as bad as what was left")
        if not job.gate.all_kept:
            raise _Refused(f"version {newest} has been published since the model was saved; the next model is compared with it")

    def _collect(self) -> None:
        """Takes up what the thread has done."""
        if self._running is None or not self._running.done():
            return
        done, self._running = self._running, None
        with self.exports.stall():
            published = self._take_up(done)
        if published:
            self.exports.was_published()

    def _take_up(self, done: Future[_Done]) -> bool:
        """Says, counts and serves what the thread has done; returns whether it has published a version."""
        try:
            number, besides = done.result()
        except (_Refused, Paused) as e:
            self.exports.count("refused")
            self._say_once(f"not published: {e}. Version {self._newest.number or 'none'} stays.")
            self._record_refusal(str(e))
        except Exception as e:  # whatever it is: the model that is trained is whole
            self._failed(e, export=True)
        else:
            self.exports.count("published")
            self._newest.published(number, self._position.rows)
            self._gate.published()
            said = f"published version {number} in {self._versions.path(number)}{besides}"
            self._console.say(said, "published", version=number)
            return True
        return False

    def _failed(self, error: Exception, so: str = "", export: bool = False) -> None:
        """Counts and says what went wrong; `export` says whether it is an export, which took its time."""
        self.exports.count("failed", timed=export)
        why = getattr(error, "message", None) or (error if isinstance(error, OSError | UserError) else repr(error))
        self._say_once(f"warning: publishing failed, training goes on: {why}{so and f' ({so})'}")

    def _say_once(self, text: str) -> None:
        """Says it, unless it was said last: what goes wrong at each batch, or each export, is counted."""
        if text != self._said:
            self._console.say(text, "publish", "warning")
        self._said = text

    def _paused(self) -> bool:
        """Whether nothing is to be published, because somebody said so or because the folder cannot be read."""
        try:
            self.exports.paused = bool(self._versions.paused)
            return self.exports.paused
        except (OSError, UserError) as e:
            self._failed(e)
            return True

    def _manifest_of(self, number: int) -> dict[str, Any]:
        """What a version is; {} where that cannot be read, or it has just been removed."""
        try:
            return self._versions.manifest(number)
        except UserError:
            return {}

    def _record_refusal(self, why: str) -> None:
        line = {"time": time.time(), "window": self._position.window, "step": self._position.step, "why": why}
        try:
            with (self._versions.folder / "refused.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as e:
            text = f"warning: the refusal could not be recorded in {self._versions.folder}/refused.jsonl: {e}"
            self._console.say(text, "publish")


def _write(servable: Servable, beside: pathlib.Path, job: _Job, form: Format, columns: Sequence[Column]) -> None:
    """Writes a SavedModel and holds what it gives, loaded back, against the trainer's scores.

    Raises:
      _Refused: they differ.
    """
    servable.write(beside)
    with plain_path(beside) as plain:
        signature = tf.saved_model.load(plain).signatures["serving_default"]
    logits = signature(message=tf.constant(job.rows.canonical(form, columns)))["logit"].numpy()
    good = ~np.isnan(job.logits)
    if not np.allclose(logits[good], job.logits[good], rtol=0, atol=_PROBE_TOLERANCE):
        furthest = np.nanmax(np.abs(logits[good] - job.logits[good]), initial=0)
        raise _Refused(f"the SavedModel does not score as the trainer does (logits differ by up to {furthest:.2g})")
