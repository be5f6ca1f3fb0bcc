"""How many bytes a model takes, reckoned from its flags before anything is made. Imports no TensorFlow."""

import itertools
from typing import TYPE_CHECKING, NamedTuple

from tfonline.config import Config

if TYPE_CHECKING:
    from tfonline.features.spec import Spec

_FLOAT_BYTES, _STEP_BYTES = 4, 8
# Of the lookup table that a version takes along: a hash, a tab, an id and a line feed.
_TABLE_LINE_BYTES = 29


class Sizes(NamedTuple):
    """Bytes of a model, one copy of it.

    Attributes:
      checkpoint: weights, slots, and what is counted or averaged; on disk some ten to a hundred kilobytes more (metrics, names).
      version: what scores depend on, without slots; on disk about a megabyte more (the graph).
      table: of the lookup table as a file, at most.
    """

    checkpoint: int
    version: int
    table: int


def reckon(config: Config, spec: "Spec") -> Sizes:
    """The sizes of the model that the flags ask for.

    With R = num_ids + 1 rows of a table (an id each, and the padding), D = --embedding_dim, F and N the fields and numbers of a
    row, and H, X and A being 1 with --history, with an input `crosses` and with --average_rows, else 0:

    - dense layers: `T = sum (inputs + 1) units` over --deep_layers and a last one of 1 unit; the first has
      `F (D + 2 H + X) + 2 N` inputs;
    - learned: `L = R (1 + D) + 1 + T`, the wide table and the embeddings, the bias, the dense layers. Each has two slots: n and z
      of FTRL, or the moments of Adam;
    - followed: `C = H (2 R + 2) + X (2 (cross_buckets + 1) + 2) + 3 N + A (T + 3)`.

    All are float32: a checkpoint is `4 (3 L + C) + 8` (Adam's step is int64), a version `4 (L + C)`.

    Args:
      config: the flags.
      spec: what the network gets of the features.
    """
    rows, fields, numbers = spec.num_ids + 1, spec.num_fields, spec.num_numeric
    history, crosses, average = bool(config.history), bool(spec.cross_buckets), bool(config.average_rows)
    inputs = fields * (config.embedding_dim + 2 * history + crosses) + 2 * numbers
    dense = sum((i + 1) * units for i, units in itertools.pairwise([inputs, *config.layers, 1]))
    learned = rows * (1 + config.embedding_dim) + 1 + dense
    followed = history * (2 * rows + 2) + crosses * (2 * (spec.cross_buckets + 1) + 2) + 3 * numbers + average * (dense + 3)
    return Sizes(
        checkpoint=_FLOAT_BYTES * (3 * learned + followed) + _STEP_BYTES,
        version=_FLOAT_BYTES * (learned + followed),
        table=_TABLE_LINE_BYTES * spec.num_ids,
    )
