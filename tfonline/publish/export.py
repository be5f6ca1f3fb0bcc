"""One export: judges a model, writes its SavedModel, looks at what was written, and publishes it. In a thread beside training."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfonline.evaluate.progressive import without_nan
from tfonline.features.parse import Parse
from tfonline.keep.plain_path import plain_path
from tfonline.keep.variables import named_variables, release
from tfonline.lifecycle import UserError
from tfonline.publish import score_by_version
from tfonline.publish.by_label import GateByLabel
from tfonline.publish.gate import Gate
from tfonline.publish.pins import Pins
from tfonline.publish.score_by_version import Kept
from tfonline.publish.servable import Servable
from tfonline.publish.versions import Versions

# Of the trainer's logits, by the SavedModel that was loaded back: the same operations on the same weights.
_PROBE_TOLERANCE = 1e-5


class Refused(Exception):
    """The model is not published, for the reasons in the text."""


@dataclasses.dataclass
class Job:
    """A model that may be published, as it is when it is saved: training has gone on when its checkpoint is on disk.

    Attributes:
      over: the newest version then, which the gate compares with; 0: there is none.
      scored: whether the gate has the scores of that version, else they come from its SavedModel.
      besides: what is to be said of the version that it replaces.
      state: waits for what the manifest says of deltas.
    """

    over: int
    scored: bool
    manifest: dict[str, Any]
    start: list[int]
    gate: Gate | GateByLabel
    features: dict[str, tf.Tensor]
    rows: Kept
    logits: np.ndarray
    besides: str = ""
    state: Callable[[], dict[str, Any]] = dict


class Done(NamedTuple):
    """A version that was published: its number, and what is to be said of the one that it replaces."""

    number: int
    besides: str


class Export:
    """Publishes models of one trainer, one after the other.

    Args:
      versions: of the folder.
      pins: the checkpoints of this model's versions.
      parse: says what the messages are.
      about: the `schema_fingerprint` and `message_format` of the rows, as in a manifest.
      replace_foreign: publish also over a version that cannot be compared with.
      newest_row_time: see KafkaTopic.
    """

    def __init__(
        self,
        versions: Versions,
        pins: Pins,
        parse: Parse,
        about: Mapping[str, Any],
        replace_foreign: bool,
        newest_row_time: Callable[[list[int], list[int]], float | None],
    ):
        self._versions, self._pins, self._parse, self._about = versions, pins, parse, about
        self._replace_foreign, self._newest_row_time = replace_foreign, newest_row_time

    def __call__(self, checkpoint: pathlib.Path, job: Job, take_spare: Callable[[], Servable]) -> Done:
        """Publishes a checkpoint that is on disk.

        Args:
          checkpoint: its path.
          job: the model that it holds.
          take_spare: asked once the gate has let the model pass, for what takes over the weights.

        Raises:
          Refused: it is not published.
          Paused, OSError, UserError: see Versions.publish.
        """
        judged = self._judge(job, job.over)
        # Before the version is there: a version always belongs to a checkpoint that is.
        kept, identity = self._pins.keep(checkpoint)
        servable = take_spare()
        servable.load(str(kept))
        about = {**identity, "newest_row_time": self._newest_row_time(job.start, job.manifest["next"])}
        about |= job.manifest | job.state()
        servable.score_features(job.features)  # here it is traced, so that training need not wait for that

        def judge(newest: int) -> dict[str, Any]:
            return judged if newest == job.over else self._judge(job, newest)

        number = self._versions.publish(lambda beside: self._write(servable, beside, job), about, judge)
        self._pins.only({self._manifest_of(n).get("checkpoint", "") for n in self._versions.numbers})
        return Done(number, job.besides)

    def _judge(self, job: Job, newest: int) -> dict[str, Any]:
        """Whether the model may be published over that version; what its manifest says of that.

        Raises:
          Refused: it may not.
        """
        gate, job.besides = job.gate.copy(), ""
        if newest != job.over:
            self._check_overtaken(job, newest)
        if newest and not (newest == job.over and job.scored):
            try:
                gate.compare(lambda rows: score_by_version.score(self._versions, newest, rows, self._about, self._parse))
            except score_by_version.CannotScore as e:
                if not self._replace_foreign:
                    raise Refused(
                        f"version {newest} cannot be compared with ({e}), and nothing is published over it unseen. Publish into "
                        "another --export_dir, go back to a good version (tools/models.py rollback), or have it replaced by "
                        "--replace_foreign"
                    ) from e
                job.besides = f", over version {newest}, which could not be compared with ({e})"
        report = gate.report()
        if refusals := gate.refusals(report):
            raise Refused("; ".join(refusals))
        return {"metrics": without_nan(report)}

    def _check_overtaken(self, job: Job, newest: int) -> None:
        """Whether the model may be judged against a version that is the newest only since it was saved.

        Raises:
          Refused: it may not.
        """
        if not newest:
            raise Refused(f"version {job.over} is gone since the model was saved")
        since = [n for n in self._versions.numbers if n > job.over]
        if any("rolled_back_to" in self._manifest_of(n) for n in since):
            raise Refused(f"version {newest} was gone back to since the model was saved, which may be as bad as what was left")
        if not job.gate.all_kept:
            raise Refused(f"version {newest} has been published since the model was saved; the next model is compared with it")

    def _manifest_of(self, number: int) -> dict[str, Any]:
        """What a version is; {} where that cannot be read, or it has just been removed."""
        try:
            return self._versions.manifest(number)
        except UserError:
            return {}

    def _write(self, servable: Servable, beside: pathlib.Path, job: Job) -> None:
        """Writes a SavedModel and holds what it gives, loaded back, against the trainer's scores.

        Raises:
          Refused: they differ.
        """
        servable.write(beside)
        with plain_path(beside) as plain:
            loaded = tf.saved_model.load(plain)
        rows = job.rows.canonical(self._parse.form, self._parse.columns)
        signature = loaded.signatures[score_by_version.signature_for(self._parse)]
        logits = score_by_version.logits_of(signature(message=tf.constant(rows)), self._parse.schema.labels)
        release(named_variables(loaded))
        good = ~np.isnan(job.logits)
        if not np.allclose(logits[good], job.logits[good], rtol=0, atol=_PROBE_TOLERANCE):
            furthest = np.nanmax(np.abs(logits[good] - job.logits[good]), initial=0)
            raise Refused(f"the SavedModel does not score as the trainer does (logits differ by up to {furthest:.2g})")
