"""Dictionaries and features as the flags ask for them. Imports no TensorFlow until features are made."""

from typing import TYPE_CHECKING

from tfonline.features.dictionaries import Dictionaries, load_dictionaries
from tfonline.features.schema import Schema
from tfonline.lifecycle import Exit, UserError
from tfonline.settings.features import FeatureSettings
from tfonline.settings.vocabulary import VocabularySettings

if TYPE_CHECKING:
    from tfonline.features.pipeline import Features
    from tfonline.formats import Format


def load_known(schema: Schema, settings: FeatureSettings, vocabulary: VocabularySettings) -> Dictionaries:
    """What is known of the columns' values before the stream begins.

    Raises:
      UserError: the dictionaries are wanted, and one is missing (exit 66) or does not fit the columns (65).
    """
    if vocabulary.vocabulary_rows and vocabulary.vocabulary_from == "stream":
        return Dictionaries.without_values(schema)
    return load_dictionaries(settings.dictionary_dir, schema)


def of_features(schema: Schema, known: Dictionaries, vocabulary: VocabularySettings) -> Dictionaries:
    """What the features take of it: the values, too, unless a vocabulary holds them, which grows with the stream."""
    return Dictionaries.without_values(schema, known) if vocabulary.vocabulary_rows else known


def make_features(
    schema: Schema,
    known: Dictionaries,
    settings: FeatureSettings,
    vocabulary: VocabularySettings,
    form: "Format | None" = None,
    vocab_size: int = 0,
    labelled: bool = True,
) -> "Features":
    """The features.

    Args:
      schema: the columns.
      known: see load_known.
      settings: of features.
      vocabulary: whether values come with the stream.
      form: the messages' format; None: TSV.
      vocab_size: so many ids the model has; 0: as many as there are.
      labelled: whether messages have the label's field, or it comes in a topic of its own.

    Raises:
      UserError: vocab_size is too small (exit 64), or the dictionaries do not suit the settings (65).
    """
    from tfonline.features.pipeline import Features

    features = Features(
        schema, of_features(schema, known, vocabulary), settings.numeric, form, settings.oov_buckets,
        settings.cross_buckets, settings.cross_fields, vocab_size, vocabulary.vocabulary_rows, labelled,
        settings.cross_partners, settings.chosen_pairs,
    )  # fmt: skip
    if features.spec.num_ids < features.num_ids:
        raise UserError(
            f"--vocab_size={vocab_size} is too small: dictionaries and --numeric={settings.numeric} need {features.num_ids} ids. "
            f"Use 0, or at least {features.num_ids}.",
            Exit.FLAGS,
        )
    return features
