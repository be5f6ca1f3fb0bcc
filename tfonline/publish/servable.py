"""What serving gets: a SavedModel that takes raw rows and gives probabilities, by the trainer's own features and model."""

import pathlib

import tensorflow as tf

from tfonline.config import Config
from tfonline.features.dictionaries import Dictionaries
from tfonline.features.parse import REASONS, Fields
from tfonline.features.pipeline import Features, Row
from tfonline.features.schema import Schema
from tfonline.model.step import make_model
from tfonline.model.wide_deep import WideDeep

_LARGEST = 1e18  # integers have at most 18 digits, as in messages


class Servable(tf.Module):
    """A model and its features. Made once, it is loaded from checkpoint after checkpoint and written as many times.

    Its SavedModel has two signatures, both giving `logit` and `probability`, float32 [n], and `reason`, int32 [n]. A row that
    cannot be scored does not fail its request: its scores are NaN and its reason is an index into parse.REASONS, else 0.

    - `serving_default`: `message`, string [n]: rows as in the topic, with or without the label's field.
    - `columns`: a tensor [n] a column: float64 for an integer, NaN where missing, and string for a category, '' where missing.

    Args:
      config: the flags that the checkpoints' model was made with.
      schema: the columns.
      dictionaries: ids and ranges.
      folder: where the lookup table is written, to be copied into each SavedModel.
    """

    def __init__(self, config: Config, schema: Schema, dictionaries: Dictionaries, folder: str | pathlib.Path):
        super().__init__(name="servable")
        c, self._schema = config, schema
        table = str(pathlib.Path(folder) / "category_ids.tsv")
        self._features = Features(
            schema, dictionaries, c.numeric, c.message_format, c.oov_buckets, c.cross_buckets, label_optional=True, table_file=table
        )
        self._config = config
        self.model = self.make_model()
        self.signatures = {
            "serving_default": self._of_messages.get_concrete_function(),
            "columns": self._of_columns.get_concrete_function(
                **{name: tf.TensorSpec([None], tf.float64, name) for name in schema.integers},
                **{name: tf.TensorSpec([None], tf.string, name) for name in schema.categories},
            ),
        }

    def make_model(self) -> WideDeep:
        """Another model of this kind, with weights of its own."""
        f = self._features
        model = make_model(self._config, self._config.vocab_size or f.num_ids, f.num_fields, f.num_numeric)
        model.build()
        return model

    def load(self, checkpoint: str) -> None:
        """Takes over the weights of a checkpoint, see load_model."""
        load_model(self.model, checkpoint)

    def write(self, folder: str | pathlib.Path) -> None:
        """Writes a SavedModel into a folder that is not there yet."""
        # Not self: a SavedModel keeps every function and attribute that it can reach.
        served = tf.Module()
        served.model, served.features = self.model, self._features
        tf.saved_model.save(served, str(folder), self.signatures)

    def score(self, message: tf.Tensor) -> dict[str, tf.Tensor]:
        """What the signature `serving_default` gives for messages, string [n]."""
        return self._of_messages(message)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string, "message")])
    def _of_messages(self, message: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._score(self._features(message))

    @tf.function(autograph=False)
    def _of_columns(self, **columns: tf.Tensor) -> dict[str, tf.Tensor]:
        numbers = tf.stack([columns[name] for name in self._schema.integers], axis=1)
        categories = tf.stack([columns[name] for name in self._schema.categories], axis=1)
        missing = tf.math.is_nan(numbers)
        whole = missing | (tf.equal(numbers, tf.floor(numbers)) & (tf.abs(numbers) < _LARGEST))
        good = tf.reduce_all(whole, axis=1)
        integers = tf.cast(tf.where(missing | ~good[:, None], tf.zeros_like(numbers), numbers), tf.int64)
        reason = tf.where(good, 0, REASONS.index("number"))
        return self._score(self._features.of_fields(Fields(tf.zeros_like(good, tf.float32), integers, missing, categories, reason)))

    def _score(self, row: Row) -> dict[str, tf.Tensor]:
        logit = self.model((row.ids, row.values, row.numeric, row.crosses))
        logit = tf.where(row.reason == 0, logit, float("nan"))
        return {"logit": logit, "probability": tf.sigmoid(logit), "reason": row.reason}


def load_model(model: WideDeep, checkpoint: str) -> None:
    """Takes over the weights of a checkpoint (its path without a suffix), and nothing else of it.

    Raises:
      tf.errors.OpError: it is damaged.
    """
    learner = tf.train.Checkpoint(model=model)
    tf.train.Checkpoint(learner=learner).restore(checkpoint).assert_existing_objects_matched().expect_partial()
