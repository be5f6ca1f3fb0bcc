"""What serving gets: a SavedModel that takes raw rows and gives probabilities, by the trainer's own features and model."""

import pathlib

import tensorflow as tf

from tfonline.features.parse import Fields, Parse
from tfonline.features.pipeline import Features
from tfonline.features.schema import Schema
from tfonline.formats.reasons import REASONS
from tfonline.keep.plain_path import plain_path
from tfonline.model.networks.find import make_network
from tfonline.publish import warmup
from tfonline.settings.model import ModelSettings

_LARGEST = 2.0**53  # from here on float64, in which the numbers of `columns` come, has no longer every whole number


class Servable(tf.Module):
    """A model and its features. Made once, it is loaded from checkpoint after checkpoint and written as many times.

    Its SavedModel has three signatures, all giving `logit` and `probability`, float32 [n], and `reason`, int32 [n]. A row that
    cannot be scored does not fail its request: its scores are NaN and its reason is an index into REASONS, else 0.

    - `serving_default`: `message`, string [n]: rows as in the topic, all of them with the label's field. It holds 0 or 1, which
      does not change the scores.
    - `unlabelled`: `message`, string [n]: rows as in the topic, all of them without the label's field.
    - `columns`: a tensor [n] a column: float64 for an integer, NaN where missing, and string for a category, '' where missing.
      A number that is not whole, or not below 2^53 in size, is refused: a message says larger ones exactly.

    Args:
      model: the settings that the checkpoints' model was made with.
      schema: the columns.
      features: the trainer's own; where its lookup is kept in a file (CategoryLookup.keep_in), each SavedModel has a copy of that.
    """

    def __init__(self, model: ModelSettings, schema: Schema, features: Features):
        super().__init__(name="servable")
        self._schema, self._features = schema, features
        self._message_format = features.parse.message_format
        self._parse = features.parse
        self._parse_unlabelled = Parse(schema, self._message_format, labelled=False)
        self.model = make_network(features.spec, model)
        self.model.build()
        self.signatures = {
            "serving_default": self.score.get_concrete_function(),
            "unlabelled": self.score_unlabelled.get_concrete_function(),
            "columns": self._of_columns.get_concrete_function(
                **{name: tf.TensorSpec([None], tf.float64, name) for name in schema.integers},
                **{name: tf.TensorSpec([None], tf.string, name) for name in schema.categories},
            ),
        }

    def load(self, checkpoint: str) -> None:
        """Takes over the weights of a checkpoint (its path without a suffix), and nothing else of it.

        Raises:
          tf.errors.OpError: it is damaged.
        """
        learner = tf.train.Checkpoint(model=self.model)
        with plain_path(checkpoint) as path:
            # Not `restore`, which wants a save_counter that the trainer's checkpoints do not have.
            tf.train.Checkpoint(learner=learner).read(path).assert_existing_objects_matched().expect_partial()

    def write(self, folder: str | pathlib.Path) -> None:
        """Writes a SavedModel, and what TensorFlow Serving warms it up with, into a folder that is not there yet.

        Raises:
          OSError, tf.errors.OpError: it cannot be written.
        """
        # Not self: a SavedModel keeps every function and attribute that it can reach.
        served = tf.Module()
        served.model, served.features = self.model, self._features
        tf.saved_model.save(served, str(folder), self.signatures)
        warmup.write(pathlib.Path(folder), self._schema, self._message_format)

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
        """Features, as the trainer has them, to logits float32 [B]."""
        (logits,) = self.model.score(features).values()
        return logits

    @tf.function(autograph=False)
    def _of_columns(self, **columns: tf.Tensor) -> dict[str, tf.Tensor]:
        numbers = _side_by_side(columns, self._schema.integers, tf.float64)
        categories = _side_by_side(columns, self._schema.categories, tf.string)
        missing = tf.math.is_nan(numbers)
        whole = missing | (tf.equal(numbers, tf.floor(numbers)) & (tf.abs(numbers) < _LARGEST))
        good = tf.reduce_all(whole, axis=1)
        integers = tf.cast(tf.where(missing | ~good[:, None], tf.zeros_like(numbers), numbers), tf.int64)
        reason = tf.where(good, 0, REASONS.index("number"))
        return self._score(Fields(tf.zeros_like(good, tf.float32), integers, missing, categories, reason))

    def _score(self, fields: Fields) -> dict[str, tf.Tensor]:
        row = self._features.of_fields(fields)
        (logit,) = self.model.score(row.features).values()
        logit = tf.where(row.reason == 0, logit, float("nan"))
        return {"logit": logit, "probability": tf.sigmoid(logit), "reason": row.reason}


def _side_by_side(columns: dict[str, tf.Tensor], names: tuple[str, ...], dtype: tf.DType) -> tf.Tensor:
    """The named columns, [n] each, as [n, number of names]; a data set may have none of a kind."""
    if not names:
        return tf.zeros([tf.size(next(iter(columns.values()))), 0], dtype)
    return tf.stack([columns[name] for name in names], axis=1)
