"""Publishes checkpoints as SavedModels while training goes on, through the gate; scores the stream by what is published."""

import contextlib
import json
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
from tfonline import garbage
from tfonline.deltas.folder import DeltaFolder
from tfonline.features.batch import Batch, Element
from tfonline.features.pipeline import Features
from tfonline.features.schema import Schema
from tfonline.lifecycle import Every, UserError
from tfonline.model.learner import Learner
from tfonline.publish.by_label import make_delta_gate, make_gate, make_regression
from tfonline.publish.delta_publisher import DeltaPublisher
from tfonline.publish.export import Done, Export, Job, Refused
from tfonline.publish.exports import Exports
from tfonline.publish.gate import Limits
from tfonline.publish.newest import Newest
from tfonline.publish.pins import Pins
from tfonline.publish.regression import Worse
from tfonline.publish.score_by_version import Kept
from tfonline.publish.servable import Servable
from tfonline.publish.versions import Paused, Versions
from tfonline.report.console import Console
from tfonline.report.writers import Scalars
from tfonline.settings.keeping import ServingSettings
from tfonline.settings.model import ModelSettings
from tfonline.state import Position


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
      newest_row: the time of the newest row learned from, seconds since 1970; None where it is not known.

    Attributes:
      exports: what has become of them.
      deltas: what is published between them; None: nothing is.

    Raises:
      UserError: a folder cannot be written (exit 73), or another trainer makes deltas there (75).
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
        newest_row: Callable[[], float | None] = lambda: None,
    ):
        s = serving
        self._learner, self._position, self._console = learner, position, console
        self._newest_row_time = newest_row_time or (lambda start, stop: None)
        self._contract = contract
        self._form = features.parse.form
        self._about = {
            "label": schema.label,
            **({"labels": schema.labels} if len(schema.labels) > 1 else {}),
            "message_format": self._form.name,
            "schema_fingerprint": schema.fingerprint,
            "libraries": {
                "python": platform.python_version(),
                **{library.__name__: library.__version__ for library in (tf, keras, np, tfonline)},
            },
        }
        self._versions = Versions(s.export_dir, s.keep_exports)
        self._versions.make()
        self._pins = Pins(pathlib.Path(model_dir) / "published", console.saying("publish"))
        limits = Limits(s.gate_rows, s.gate_max_regression, s.gate_min_auc, s.gate_calibration)
        self._gate = make_gate(limits, schema.labels)
        self._cadence = Every(steps=s.export_every_windows, secs=s.export_every_secs)
        self._cadence.done(position.window)
        limit = s.rollback_on_regression
        self._regression = make_regression(limit, s.gate_rows, schema.labels) if limit else None
        self._export = Export(self._versions, self._pins, features.parse, self._about, s.replace_foreign, self._newest_row_time)
        self._thread = ThreadPoolExecutor(1, "publish")
        self._running: Future[Done] | None = None
        self.exports = Exports()
        self._said = ""  # the last refusal or failure
        self._prepared: Job | None = None
        self._last: Element | None = None
        self._newest: Newest | None = None
        with self._guarded("nothing is published in this run"):
            servables = Servable(model, schema, features), Servable(model, schema, features)
            self._newest = Newest(self._versions, self._pins, servables, console.saying("publish"), bool(limit))
        if self._newest:
            with self._guarded():
                self._newest.look(position.rows)
        self.deltas: DeltaPublisher | None = None
        if s.delta_every_secs and self._newest:
            self.deltas = DeltaPublisher(
                DeltaFolder(s.deltas), s.delta_every_secs, learner, position, self._newest, self._versions,
                make_delta_gate(limits, schema.labels), self._newest_row_time, newest_row, console,
            )  # fmt: skip
            with self._guarded():
                self.deltas.begin()

    def observe(
        self,
        element: Element,
        good: np.ndarray,
        labels: np.ndarray,
        logits: np.ndarray,
        weights: np.ndarray | None = None,
        late: np.ndarray | None = None,
    ) -> None:
        """A batch that was scored.

        Args:
          element: the batch.
          good: bool [B], which rows of it count.
          labels: float32 [n], of these; where rows have H > 1 labels [n, H].
          logits: likewise, the trainer's.
          weights: float32 [n], how much each counts; None: 1.
          late: bool [n], which of them are here once more, as their outcome has come; None: none.
        """
        if not self._newest:
            return
        with self._guarded():
            self._collect()
            served = self._score_by_newest(element.batch)
            by_saved_model = self._newest.number and not self._newest.scored
            kept = Kept(element.message, good, element.batch.place) if by_saved_model else None
            served_good = None if served is None else served[good]
            self._gate.add(labels, logits, served_good, kept, weights, late)
            if self.deltas:
                self.deltas.gate.add(labels, logits, served_good, weights, late)
            self._last = element
            if self._regression and served is not None:
                self._compare(element.batch, good, labels, served, weights, late)

    def between_windows(self) -> None:
        """A window has ended, or nothing has come for a while: begins to publish a delta where it is time."""
        if self.deltas:
            with self._guarded():
                self.deltas.between_windows()

    def saving(self) -> None:
        """The model is about to be saved as it is now."""
        self._prepared = None
        with self._guarded():
            if self._last is None or self._running is not None:
                return
            if self._newest.look(self._position.rows):
                self._other_version()
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
        """What TensorBoard shows: the served curve, its ages, what was published, refused and failed, and what an export takes.

        `export/secs` is how long the last one took from the save of its checkpoint on; `export/stall_secs` how long training stood
        still for it.
        """
        scalars: Scalars = {}
        with self._guarded():
            if self._newest and self._newest.scored:
                scalars = {f"served/{name}": value for name, value in self._gate.served().items()}
                scalars |= self._newest.scalars(self._position.rows)
        return self.exports.scalars() | (self.deltas.scalars() if self.deltas else {}) | scalars

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
            if self.deltas:
                self.deltas.finish()

    def close(self) -> None:
        """Begins nothing more. What is being published may be cut off: serving never sees half of it."""
        self._thread.shutdown(wait=False)
        if self.deltas:
            self.deltas.close()

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

    def _other_version(self, own: bool = False) -> None:
        """From here on another version is the newest one."""
        self._gate.published()
        if self.deltas and not own:
            self.deltas.other_version()
        if self._regression:
            self._regression.forget()

    def _compare(
        self,
        batch: Batch,
        good: np.ndarray,
        labels: np.ndarray,
        served: np.ndarray,
        weights: np.ndarray | None,
        late: np.ndarray | None,
    ) -> None:
        """Has the version before score the rows, too, and goes back to it where the newest one is worse."""
        before = self._newest.score_before(batch)
        if before is None:
            return
        self._regression.add(labels, served[good], before[good], weights, late)
        if worse := self._regression.worse():
            self._go_back(worse)

    def _go_back(self, worse: Worse) -> None:
        """The version before becomes the newest again, and nothing more is published until somebody says so.

        Training waits meanwhile: what takes long is the reading of one version.
        """
        bad, before = self._newest.number, self._newest.before
        # Until that many rows more have come, where it fails.
        self._regression.forget()
        why = (
            f"version {bad} was worse than version {before} by {worse.by:.4f} nats over {worse.rows:,} rows "
            f"(--rollback_on_regression={self._regression.limit:g})"
        )
        self._versions.pause(why)
        self.finish()  # what is being exported now has learned from the same rows
        number = self._versions.roll_back(before, why)
        self.exports.count("rolled_back", timed=False)
        self.exports.paused = True
        self._newest.look(self._position.rows)
        self._other_version()
        self._console.say(
            f"warning: {why}: version {before} is served again, as version {number}, and nothing is published until "
            f"`tools/models.py resume {self._versions.folder}`. Look at the rows since version {before} first",
            "rolled_back", version=number, bad=bad, again=before, rows=worse.rows, by=worse.by, error=worse.error,
        )  # fmt: skip

    def _can_judge(self) -> bool:
        """Whether the gate has seen enough rows, and the newest version has scored some of them or can be asked for them all."""
        compared = self._gate.any_compared if self._newest.scored else self._gate.all_kept
        return self._gate.full and (compared or not self._newest.number)

    def _prepare(self, last: Element) -> Job:
        batch = last.batch
        logits, good = self._learner.score(batch.features).numpy().copy(), batch.valid.numpy()
        p = self._position
        manifest = {"window": p.window, "step": p.step, "rows": p.rows, "next": list(p.next)}
        manifest |= {"contract": self._contract, **self._about, "messages": self._form.about}
        # As many rows as a batch has: then the scores are the same to the bit.
        rows = Kept(last.message, good, batch.place)
        logits[~good] = np.nan
        over, scored = self._newest.number, self._newest.scored
        state = self.deltas.exporting() if self.deltas else dict
        return Job(over, scored, manifest, list(p.start), self._gate.copy(), batch.features, rows, logits, state=state)

    def _publish(self, checkpoint: pathlib.Path, job: Job) -> Done:
        """In the thread."""
        try:
            return self._export(checkpoint, job, self._newest.take_spare)
        finally:
            self.exports.end()
            garbage.give_back()

    def _collect(self) -> None:
        """Takes up what the thread has done."""
        if self._running is None or not self._running.done():
            return
        done, self._running = self._running, None
        with self.exports.stall():
            published = self._take_up(done)
        if published:
            self.exports.was_published()

    def _take_up(self, done: Future[Done]) -> bool:
        """Says, counts and serves what the thread has done; returns whether it has published a version."""
        try:
            number, besides = done.result()
        except (Refused, Paused) as e:
            self.exports.count("refused")
            self._say_once(f"not published: {e}. Version {self._newest.number or 'none'} stays.")
            self._record_refusal(str(e))
        except Exception as e:  # whatever it is: the model that is trained is whole
            self._failed(e, export=True)
        else:
            self.exports.count("published")
            self._newest.published(number, self._position.rows)
            self._other_version(own=True)
            if self.deltas:
                self.deltas.published(number)
            said = f"published version {number} in {self._versions.path(number)}{besides}"
            self._console.say(said, "published", version=number)
            return True
        if not self._newest.before:  # the export has taken the spare
            self._newest.load_before()
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

    def _record_refusal(self, why: str) -> None:
        line = {"time": time.time(), "window": self._position.window, "step": self._position.step, "why": why}
        try:
            with (self._versions.folder / "refused.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as e:
            text = f"warning: the refusal could not be recorded in {self._versions.folder}/refused.jsonl: {e}"
            self._console.say(text, "publish")
