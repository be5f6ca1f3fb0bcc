"""Scores rows by a published version as those who serve it do: through its SavedModel, of whichever model it is."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfonline import formats
from tfonline.features.parse import Parse, Place
from tfonline.formats import Format
from tfonline.keep.plain_path import plain_path
from tfonline.keep.variables import named_variables, release
from tfonline.lifecycle import UserError
from tfonline.publish.versions import Versions

if TYPE_CHECKING:
    from tfonline.features.column import Column

_BATCH_ROWS = 1000
# A model of other columns takes hardly any row for one of its own. One of an older tfonline may refuse a few that this one takes.
_MIN_SCORED = 0.9


class CannotScore(Exception):
    """A published version gives no scores to compare with, for the reason in the text."""


class Kept(NamedTuple):
    """Rows to be scored later.

    Attributes:
      message: string [b], as they came.
      good: bool [b] or longer: which of them count; what is longer is padding.
      place: where messages have many rows, where each row stands in them, as Batch.place; then `good` is of rows.
    """

    message: tf.Tensor
    good: np.ndarray
    place: Place | tuple[()] = ()

    def canonical(self, form: Format, columns: "Sequence[Column]") -> list[bytes]:
        """The rows as a published model takes them, b'' in the places of padding, as many as `good` says."""
        messages = self.message.numpy().tolist()
        places = list(zip(*(t.numpy().tolist() for t in self.place), strict=True)) if self.place else None
        rows = formats.canonical(form, messages, columns, places)
        return rows + [b""] * (len(self.good) - len(rows))


def score(
    versions: Versions,
    number: int,
    rows: Sequence[Kept],
    about: Mapping[str, Any],
    parse: Parse,
) -> np.ndarray:
    """The logits that a version gives for rows: float32 [all that count], NaN for a row that it refuses; of H > 1 labels [..., H].

    Args:
      versions: of the folder.
      number: the version.
      rows: at least one that counts.
      about: the `schema_fingerprint` and `message_format` of the rows, as in a manifest.
      parse: says what the messages are.

    Raises:
      CannotScore: the version is made for other rows, or is damaged, or does not load.
    """
    try:
        logits = _score(versions, number, rows, about, parse)
    except CannotScore:
        raise
    except Exception as e:  # it may be any model, or none
        text = str(getattr(e, "message", None) or e) or type(e).__name__
        raise CannotScore(f"it cannot be loaded and asked: {text.splitlines()[0]}") from e
    scored = int((~np.isnan(logits)).all(axis=tuple(range(1, logits.ndim))).sum())
    if scored < _MIN_SCORED * len(logits):
        raise CannotScore(f"of {len(logits):,} rows it scores {scored:,}: its columns are others")
    return logits


def logits_of(outputs: Mapping[str, tf.Tensor], labels: Sequence[str]) -> np.ndarray:
    """What a signature gives, to logits float32 [n], of H > 1 labels [n, H].

    Raises:
      CannotScore: there are none.
    """
    names = [logit_name(label, labels) for label in labels]
    if missing := [name for name in names if name not in outputs]:
        raise CannotScore(f"it gives no {missing[0]}")
    of_labels = [outputs[name].numpy() for name in names]
    return np.stack(of_labels, axis=1) if len(labels) > 1 else of_labels[0]


def logit_name(label: str, labels: Sequence[str]) -> str:
    """Under which a signature gives a label's logits: `logit`, and where there are several `logit_<label>`."""
    return f"logit_{label}" if len(labels) > 1 else "logit"


def signature_for(parse: Parse) -> str:
    """Which signature of a published version takes the rows that are learned from."""
    return "serving_default" if parse.labelled else "unlabelled"


def _score(versions: Versions, number: int, rows: Sequence[Kept], about: Mapping[str, Any], parse: Parse) -> np.ndarray:
    try:
        manifest = versions.manifest(number)
    except UserError:
        manifest = None  # the model beside it may be whole: then its scores tell whether it is made for such rows
    if manifest is not None:
        for name in ("schema_fingerprint", "message_format"):
            if manifest.get(name, about[name]) != about[name]:
                raise CannotScore(f"its {name} is {manifest[name]}, that of this model's rows {about[name]}")
        if problems := versions.problems(number):
            raise CannotScore(f"it is damaged: {'; '.join(problems)}")
    with plain_path(versions.path(number)) as plain:
        loaded = tf.saved_model.load(plain)
    try:
        return _score_by(loaded.signatures.get(signature_for(parse)), rows, parse)
    finally:
        release(named_variables(loaded))


def _score_by(signature: Callable[..., dict[str, tf.Tensor]] | None, rows: Sequence[Kept], parse: Parse) -> np.ndarray:
    if signature is None:
        raise CannotScore(f"it has no signature {signature_for(parse)}")
    canonical = [kept.canonical(parse.form, parse.columns) for kept in rows]
    messages = [
        row
        for lines, kept in zip(canonical, rows, strict=True)
        for row, good in zip(lines, kept.good.tolist(), strict=True)
        if good
    ]
    found = [signature(message=tf.constant(messages[i : i + _BATCH_ROWS])) for i in range(0, len(messages), _BATCH_ROWS)]
    return np.concatenate([logits_of(outputs, parse.schema.labels) for outputs in found])
