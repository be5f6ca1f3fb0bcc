"""What serving gets: a SavedModel that takes raw rows and gives probabilities, by the trainer's own features and model."""

import pathlib

import tensorflow as tf

from tfonline import formats
from tfonline.features.kinds import feature_kinds
from tfonline.features.parse import Fields, Parse, parse_served
from tfonline.features.pipeline import Features
from tfonline.features.schema import Schema
from tfonline.keep import packed_counts
from tfonline.keep.plain_path import plain_path
from tfonline.keep.variables import named_variables
from tfonline.model.networks.find import make_network
from tfonline.model.tables.served_counts import ServedCounts
from tfonline.publish import warmup
from tfonline.settings.model import ModelSettings


class Servable(tf.Module):
    """A model and its features. Made once, it is loaded from checkpoint after checkpoint and written as many times.

    Its SavedModel has three signatures, all giving `logit` and `probability`, float32 [n], and `reason`, int32 [n]. A row that
    cannot be scored does not fail its request: its scores are NaN and its reason is an index into REASONS, else 0. Of several
    labels each has `logit_<label>` and `probability_<label>`; `logit` and `probability` are those of the first one.

    - `serving_default`: `message`, string [n]: rows as in the topic, or as TSV (see formats.served), all of them with the label's
      field. It holds 0 or 1, which does not change the scores.
    - `unlabelled`: `message`, string [n]: rows as in the topic, all of them without the label's field.
    - `columns`: a tensor [n] a column that is a feature: float64 for an integer, NaN where missing, and string for a category, ''
      where missing. A number that is not whole, or not below 2^53 in size, is refused: a message says larger ones exactly.

    Args:
      model: the settings that the checkpoints' model was made with.
      schema: the columns.
      features: the trainer's own; where tables are kept in files (Features.keep_in), each SavedModel has copies of those.
    """

    def __init__(self, model: ModelSettings, schema: Schema, features: Features):
        super().__init__(name="servable")
        self._schema, self._features = schema, features
        self._form = formats.served(features.parse.form)
        self._parse = Parse(schema, self._form)
        self._parse_unlabelled = Parse(schema, self._form, labelled=False)
        self.model = make_network(features.spec, model)
        self.model.only_score()
        self.model.build()
        self.signatures = {
            "serving_default": self.score.get_concrete_function(),
            "unlabelled": self.score_unlabelled.get_concrete_function(),
            # Not a method: a column may be named self.
            "columns": tf.function(
                lambda **columns: self._score(parse_served(schema, columns)), autograph=False
            ).get_concrete_function(
                **{
                    name: tf.TensorSpec([None], kind.served_dtype, name)
                    for kind in feature_kinds()
                    for name in schema.of_kind(kind.name)
                }
            ),
        }

    def load(self, checkpoint: str) -> None:
        """Takes over the weights of a checkpoint (its path without a suffix), and nothing else of it.

        Raises:
          tf.errors.OpError: it is damaged.
        """
        with plain_path(checkpoint) as path:
            packed_counts.read(path, {f"learner/model/{name}": v for name, v in named_variables(self.model).items()})

    def write(self, folder: str | pathlib.Path) -> None:
        """Writes a SavedModel, and what TensorFlow Serving warms it up with, into a folder that is not there yet.

        Raises:
          OSError, tf.errors.OpError: it cannot be written.
        """
        # Not self: a SavedModel keeps every function and attribute that it can reach.
        served = tf.Module()
        served.model, served.features = self.model, self._features
        counts = [v for v in named_variables(self.model).values() if isinstance(v, ServedCounts)]
        for table in counts:
            table.pack()
        tf.saved_model.save(served, str(folder), self.signatures)
        for table in counts:
            table.unpack()
        warmup.write(pathlib.Path(folder), self._schema, self._form)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, "message")])
    def score(self, message: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the signature `serving_default` gives for messages, string [n]."""
        return self._score(self._parse(message))

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, "message")])
    def score_unlabelled(self, message: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the signature `unlabelled` gives for messages, string [n]."""
        return self._score(self._parse_unlabelled(message))

    @tf.function(autograph=False)
    def score_features(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
        """Features, as the trainer has them, to logits float32 [B], of H > 1 labels [B, H]."""
        return self.model.stacked(self.model.score(features))

    def _score(self, fields: Fields) -> dict[str, tf.Tensor]:
        row = self._features.of_fields(fields)
        logits = self.model.score(row.features)
        logits = {label: tf.where(row.reason == 0, logits[label], float("nan")) for label in self._schema.labels}
        first = logits[self._schema.label]
        of_labels = {}
        for label, logit in logits.items() if len(logits) > 1 else ():
            of_labels |= {f"logit_{label}": tf.identity(logit), f"probability_{label}": tf.sigmoid(logit)}
        return {"logit": first, "probability": tf.sigmoid(first), "reason": row.reason, **of_labels}
