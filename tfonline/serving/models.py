"""The model that is served: the newest whole version of an export folder, exchanged for a newer one while requests go on."""

import contextlib
import dataclasses
import functools
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfonline import garbage
from tfonline.deltas import weights as of_weights
from tfonline.deltas.folder import DeltaFolder
from tfonline.deltas.weights import At, Weights
from tfonline.features.kinds import texts_of
from tfonline.formats import of_manifest, served
from tfonline.formats.by_python import ByPython
from tfonline.formats.json_objects import JsonObjects
from tfonline.keep.contract import schema_of
from tfonline.keep.plain_path import plain_path
from tfonline.keep.variables import release
from tfonline.lifecycle import Exit, UserError
from tfonline.publish.versions import Versions
from tfonline.serving.deltas import Deltas
from tfonline.serving.predict import Decoding, Request
from tfonline.serving.why import MOST, Reading, of_reason, why
from tfonline.settings.keeping import delta_dir_of

# A version that could not be loaded is looked at again: what failed may have been the disk.
_RETRY_SECS = 30.0
_WHY_CHARACTERS = 300
_WARM_ROWS = (1, 32)  # batches scored before a version gets its first request


@dataclasses.dataclass(frozen=True)
class Scored:
    """What a signature gave.

    Attributes:
      outputs: by name, [n] each.
      at: the version and the delta by which.
    """

    outputs: dict[str, np.ndarray]
    at: At

    def __getitem__(self, name: str) -> np.ndarray:
        """An output."""
        return self.outputs[name]


@dataclasses.dataclass(frozen=True)
class Model:
    """A loaded version.

    Attributes:
      number: the version.
      manifest: what it is, see publish.versions.
      inputs: by signature and input, whether the input is of strings (else of float64).
      decoding: of rows as in the topic, where it does not do it itself.
      weights: which deltas move on while rows are scored by them.
    """

    number: int
    manifest: dict[str, Any]
    inputs: dict[str, dict[str, bool]]
    decoding: Decoding | None
    weights: Weights
    _signatures: dict[str, Callable[..., dict[str, tf.Tensor]]]

    @functools.cached_property
    def example(self) -> dict[str, Any]:
        """A row as in the topic that a person may begin with: the `format`'s name, a `text`, and whether it is an `object` in JSON.

        Of messages that name their values, which may be no text, it is the object that the server takes in their place.
        """
        form, schema = of_manifest(self.manifest), schema_of(self.manifest["contract"], self.manifest["label"])
        fields = [texts_of(column).example for column in schema.columns]
        written = (JsonObjects() if form.named else form).encode(fields, schema.columns)
        return {"format": form.name, "text": written.decode(), "object": form.named}

    def score(self, signature: str, inputs: dict[str, list | bytes]) -> Scored:
        """Runs a signature.

        Args:
          signature: its name.
          inputs: by name, n values each: bytes or str, or float (NaN where missing); or all of them as a serialised TensorProto.
        """
        types = self.inputs[signature]
        tensors = {}
        for name, values in inputs.items():
            read = tf.io.parse_tensor if isinstance(values, bytes) else tf.constant
            tensors[name] = read(values, tf.string if types[name] else tf.float64)
        with self.weights.reading() as at:
            return Scored({name: output.numpy() for name, output in self._signatures[signature](**tensors).items()}, at)

    def whys(self, asked: Request, reasons: np.ndarray) -> dict[int, str]:
        """What is wrong with the rows that have no score, in words, by their numbers.

        Args:
          asked: the request.
          reasons: int32 [n], indices into formats.reasons.REASONS.
        """
        refused = np.flatnonzero(reasons).tolist()
        found = {i: of_reason(int(reasons[i])) for i in refused} | (asked.whys or {})
        reading, looked_at = self._readings.get(asked.signature), [i for i in refused[:MOST] if i not in (asked.whys or {})]
        if reading and looked_at:
            values = asked.inputs["message"]
            if isinstance(values, bytes):
                values = tf.io.parse_tensor(values, tf.string).numpy()
            for i in looked_at:
                message = values[i].encode() if isinstance(values[i], str) else values[i]
                found[i] = why(message, int(reasons[i]), reading)
        return found

    @functools.cached_property
    def _readings(self) -> dict[str, Reading]:
        """How the model itself reads rows, by the signatures that take such."""
        schema, form = schema_of(self.manifest["contract"], self.manifest["label"]), served(of_manifest(self.manifest))
        return {"serving_default": Reading(form, schema.columns), "unlabelled": Reading(form, schema.unlabelled)}


class Models:
    """Follows an export folder. Reads it only; a server and a trainer need no more in common.

    Args:
      versions: of the folder.
      say: where lines go.
      delta_dir: of deltas between versions; None: beside them.

    Attributes:
      deltas: those that are followed.
      current: what is served; None while there is no version. Exchanged in one assignment: who needs one model for a whole batch
        reads it once.
      failed: by number, why a version could not be loaded.
      loads: how often a version was loaded.
      failures: how often one could not be.
    """

    def __init__(self, versions: Versions, say: Callable[[str], None], delta_dir: str | None = None):
        self._versions, self._say = versions, say
        if delta_dir is None and versions:
            delta_dir = delta_dir_of(str(versions.folder))
        self.deltas = Deltas(DeltaFolder(delta_dir or ""), say)
        self.current: Model | None = None
        self.failed: dict[int, str] = {}
        self.loads = self.failures = 0
        self._tried: dict[int, float] = {}
        self._end = threading.Event()

    def look(self) -> None:
        """Takes up the newest version that is whole, if it is newer than what is served, and the deltas that lead on from it."""
        if self.current:
            self.deltas.follow(self.current.weights)
        loads = self.loads
        if self._look_for_version():
            self.deltas.follow(self.current.weights)  # those that have come while it was loaded
        if self.loads > loads:
            garbage.give_back()  # the model before, and what the load took

    def _look_for_version(self) -> bool:
        """Loads it, where deltas have not led to it; says whether there is another one now."""
        numbers, bad = self._versions.numbers, self._versions.bad
        for number in reversed(numbers):
            if self.current and number <= self.current.number:
                return False
            if number in bad or time.monotonic() < self._tried.get(number, -_RETRY_SECS) + _RETRY_SECS:
                continue
            began = time.monotonic()
            try:
                model = self._adopted(number)
                how = "to which deltas have led"
                if model is None:
                    model = self._load(number)
                    self.loads += 1
                    how = f"loaded in {time.monotonic() - began:.1f} s"
            except Exception as e:  # whatever is wrong with it, the one before stays
                self._fail(number, _first_line(e))
                continue
            self.current = model
            self.failed.pop(number, None)
            self._say(f"serving version {number} (step {model.manifest.get('step')}), {how}")
            return True
        return False

    def follow(self, secs: float) -> None:
        """Looks at once and every so many seconds, until `close`. Runs in a thread of its own."""
        while not self._end.is_set():
            with contextlib.suppress(Exception):  # a line that cannot be written, for instance: the next look comes
                try:
                    self.look()
                    self.failed.pop(0, None)
                except Exception as e:  # of the folder itself
                    self._fail(0, f"{self._versions.folder} cannot be read: {_first_line(e)}")
            self._end.wait(secs)

    def close(self) -> None:
        """Ends `follow`."""
        self._end.set()

    def listing(self) -> list[dict[str, Any]]:
        """All versions of the folder, newest first: version, state, why, and the manifest's published, step, rows, metrics and
        newest_row_time.
        """
        found, bad, served = [], self._versions.bad, self.current.number if self.current else 0
        for number in reversed(self._versions.numbers):
            why = bad.get(number) or self.failed.get(number, "")
            state = "served" if number == served else "bad" if number in bad else "failed" if why else ""
            try:
                manifest = self._versions.manifest(number)
            except UserError as e:  # damaged, or just removed
                manifest, why = {}, why or str(e)
            about = {name: manifest.get(name) for name in ("published", "step", "rows", "metrics", "newest_row_time")}
            found.append({"version": number, "state": state, "why": why, **about})
        return found

    def _adopted(self, number: int) -> Model | None:
        """The model that is served, as this version; None where deltas have not led to that."""
        manifest, model = self._versions.manifest(number), self.current
        if not model or not self.deltas.adopts(manifest, model.manifest, model.weights):
            return None
        return dataclasses.replace(model, number=number, manifest=manifest)

    def _load(self, number: int) -> Model:
        manifest = self._versions.manifest(number)
        if problems := self._versions.problems(number):
            raise UserError("; ".join(problems), Exit.DATA)
        with plain_path(self._versions.path(number)) as plain:
            loaded = tf.saved_model.load(plain)
        signatures = loaded.signatures
        place = {name: i for i, name in enumerate(manifest["contract"]["columns"])}
        inputs = {}
        for name, f in signatures.items():
            specs = f.structured_input_signature[1]
            inputs[name] = {key: specs[key].dtype == tf.string for key in sorted(specs, key=lambda key: place.get(key, 0))}
        weights = Weights(loaded, *of_weights.of_manifest(manifest))
        weakref.finalize(weights, release, weights.variables).atexit = False  # once no request is scored by it
        model = Model(number, manifest, inputs, _decoding(manifest), weights, dict(signatures))
        for rows in _WARM_ROWS:
            for signature, types in inputs.items():
                found = model.score(signature, {name: [b"" if string else np.nan] * rows for name, string in types.items()})
                if "reason" not in found.outputs:
                    raise UserError(f"its signature {signature} gives no reason: not a model of tfonline", Exit.DATA)
        self.deltas.begin(model.weights)
        self.deltas.follow(model.weights)
        return model

    def _fail(self, number: int, why: str) -> None:
        self._tried[number] = time.monotonic()
        self.failures += 1
        if self.failed.get(number) == why:
            return
        self.failed[number] = why
        served = f"version {self.current.number} stays" if self.current else "no version is served"
        self._say(f"warning: version {number or '?'} cannot be served: {why}; {served}")


def _decoding(manifest: dict[str, Any]) -> Decoding | None:
    form = of_manifest(manifest)
    if not isinstance(form, ByPython):
        return None
    return Decoding(form, schema_of(manifest["contract"], manifest["label"]).unlabelled)


def _first_line(error: Exception) -> str:
    text = str(getattr(error, "message", None) or error) or type(error).__name__
    return text.splitlines()[0][:_WHY_CHARACTERS]
