"""How many numbers Wide & Deep holds, reckoned from the flags before anything is made."""

import itertools

from tfonline.features.spec import Spec
from tfonline.settings.model import ModelSettings


def width(spec: Spec, settings: ModelSettings) -> int:
    """The numbers of a row that the dense layers get."""
    of_label = spec.num_fields * 2 * bool(settings.history) + spec.num_lifts
    return spec.num_fields * settings.embedding_dim + len(spec.heads) * of_label + 2 * spec.width("numeric")


def reckon(spec: Spec, settings: ModelSettings) -> tuple[int, int]:
    """The numbers that learn, L, and those that are counted or averaged, C; see model.sizes.

    With R = num_ids + 1 rows of a table (an id each, and the padding), D = --embedding_dim, F and N the fields and numbers of a
    row, G the fields that have pairs and once more those that have chosen ones, and H, X and A being 1 with --history, with an
    input `crosses` and with --average_rows, else 0:

    - dense layers: `T = sum (inputs + 1) units` over --deep_layers and a last one of 1 unit; the first has
      `F (D + 2 H) + G X + 2 N` inputs;
    - learned: `L = R (1 + D) + 1 + T`, the wide table and the embeddings, the bias, the dense layers;
    - followed: `C = H (2 R + 2) + X (2 (cross_buckets + 1) + 2) + 3 N + A (T + 3)`.

    With K labels R K + K of the wide table and the biases, K units of the last layer, and K times the histories.

    All are float32: a checkpoint is `4 (3 L + C) + 8`, a version `4 (L + C)`.
    """
    rows, numbers = spec.num_ids + 1, spec.width("numeric")
    history, crosses, average = bool(settings.history), bool(spec.cross_buckets), bool(settings.average_rows)
    labels = len(spec.heads)
    dense = sum((i + 1) * units for i, units in itertools.pairwise([width(spec, settings), *settings.layers, labels]))
    learned = rows * (labels + settings.embedding_dim) + labels + dense
    of_label = history * (2 * rows + 2) + crosses * (2 * (spec.cross_buckets + 1) + 2)
    counted = labels * of_label + 3 * numbers + average * (dense + 3)
    return learned, counted
