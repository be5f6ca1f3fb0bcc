"""How many bytes a model takes, reckoned before anything is made. Imports no TensorFlow."""

from typing import TYPE_CHECKING, NamedTuple

from tfonline.settings.model import ModelSettings
from tfonline.settings.vocabulary import VocabularySettings

if TYPE_CHECKING:
    from tfonline.features.spec import Spec

_FLOAT_BYTES, _STEP_BYTES = 4, 8
# Of the lookup table that a version takes along: a hash, a tab, an id and a line feed.
_TABLE_LINE_BYTES = 29


# Of a vocabulary, a row: its key; and since when it is there, when and how often it was seen, and its share of a set's claim.
_KEY_BYTES, _PLACE_BYTES = 8, 20.5
# Of rows that are learned from again: a number, and a row's label and weight.
_REMEMBERED_BYTES, _OUTCOME_BYTES = 2, 8


class Sizes(NamedTuple):
    """Bytes of a model, one copy of it.

    Attributes:
      checkpoint: weights, slots, and what is counted or averaged; on disk some ten to a hundred kilobytes more (metrics, names).
      version: what scores depend on, without slots; on disk about a megabyte more (the graph).
      table: of the lookup table as a file, at most.
      rows: no bytes: the rows that deltas look after, of ids and of pairs.
    """

    checkpoint: int
    version: int
    table: int
    rows: int = 0


def reckon(spec: "Spec", settings: ModelSettings, vocabulary: VocabularySettings | None = None) -> Sizes:
    """The sizes of the model that the flags ask for.

    A network's module may have a function `reckon(spec, settings)` to the numbers that learn and those that are counted or
    averaged. Of another network, the tables alone are reckoned: all but them is small.

    Args:
      spec: what the network gets of the features.
      settings: of the network.
      vocabulary: rows for values that come with the stream; None: there are none.

    Raises:
      UserError: see networks.find.
    """
    from tfonline.model.networks.find import find, make_network
    from tfonline.model.tables.optimizers import slot_numbers

    module, _ = find(settings.network)
    known = hasattr(module, "reckon")
    tables = [] if known and not settings.table_optimizers else list(make_network(spec, settings).tables.values())
    learned, counted = module.reckon(spec, settings) if known else (sum(t.num_rows * t.spec.width for t in tables), 0)
    # Each number that learns has two slots: n and z of FTRL, or the moments of Adam, whose step is int64. Adagrad has fewer.
    slots = 2 * learned - sum(t.num_rows * (2 * t.spec.width - slot_numbers(t.spec.optimizer, t.spec.width)) for t in tables)
    past = _STEP_BYTES + (settings.replay_rows + 1) * _bytes_of_a_past_row(spec, settings) if settings.replay else 0
    rows, counters = (vocabulary.vocabulary_rows, vocabulary.admit_counters) if spec.vocabulary and vocabulary else (0, 0)
    return Sizes(
        checkpoint=_FLOAT_BYTES * (learned + slots + counted + counters)
        + _STEP_BYTES
        + round((_KEY_BYTES + _PLACE_BYTES) * rows)
        + past,
        version=_FLOAT_BYTES * (learned + counted) + _KEY_BYTES * rows,
        table=0 if rows else _TABLE_LINE_BYTES * spec.num_ids,
        rows=spec.num_ids + spec.cross_buckets,
    )


def _bytes_of_a_past_row(spec: "Spec", settings: ModelSettings) -> int:
    """Of Wide & Deep: what its dense layers get, and the wide side's logit."""
    from tfonline.model.networks.wide_deep.sizes import width

    return _REMEMBERED_BYTES * (width(spec, settings) + 1) + _OUTCOME_BYTES
