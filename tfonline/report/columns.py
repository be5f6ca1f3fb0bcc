"""How the columns of the stream are filled: which share of their values is missing, and which the dictionaries do not hold."""

import numpy as np
import tensorflow as tf

from tfonline.features.parse import Fields
from tfonline.features.pipeline import Features
from tfonline.model.tables.vocabulary import Vocabulary
from tfonline.report.writers import Scalars

# Rows looked at: some 20 ms of one core, once a minute.
_MOST_ROWS = 2000


class ColumnShares:
    """Looks at a sample of rows, as the trainer has parsed them.

    Args:
      features: the trainer's.
      vocabulary: the model's, where values come with the stream; None: the dictionaries say which are known.
    """

    def __init__(self, features: Features, vocabulary: Vocabulary | None = None):
        self._features, self._vocabulary = features, vocabulary

    def __call__(self, fields: Fields) -> Scalars:
        """Shares from 0 to 1 of the good rows of `fields`; none where no row is good.

        Returns:
          `values/missing_<column>` for each feature and `values/unknown_<column>` for each category; see kinds.Op.shares. Unknown
          is what the dictionaries do not hold or, with a vocabulary, what has no row.
        """
        apart = max(1, len(fields.reason) // _MOST_ROWS)
        fields = tf.nest.map_structure(lambda t: t[::apart][:_MOST_ROWS], fields)
        good = fields.reason.numpy() == 0
        if not good.any():
            return {}
        shares: Scalars = {}
        for kind, op in self._features.ops.items():
            if columns := self._features.parse.schema.of_kind(kind):
                for what, holds in op.shares(fields.values[kind]).items():
                    of_columns = zip(columns, holds.numpy()[good].mean(axis=0), strict=True)
                    shares |= {f"values/{what}_{column}": float(share) for column, share in of_columns}
        if self._vocabulary:
            shares |= self._without_row(fields, good)
        return shares

    def _without_row(self, fields: Fields, good: np.ndarray) -> Scalars:
        spec, made = self._vocabulary.spec, self._features.of_fields(fields).features
        ids, keys = self._vocabulary.ids(made["ids"], made["keys"]), made["keys"].numpy()
        unknown = (keys != 0) & (spec.keyed(ids).numpy() < spec.first_id)
        columns = np.array(self._features.keyed_columns)
        return {f"values/unknown_{name}": float(unknown[good][:, columns == name].mean()) for name in dict.fromkeys(columns)}
