"""How the columns of the stream are filled: which share of their values is missing, and which the dictionaries do not hold."""

import numpy as np
import tensorflow as tf

from tfonline.features.dictionaries import Dictionaries
from tfonline.features.pipeline import Features
from tfonline.features.schema import Schema
from tfonline.report.writers import Scalars

# Rows looked at: some 20 ms of one core, once a minute.
_MOST_ROWS = 2000


class ColumnShares:
    """Looks at a sample of rows, parsed as the trainer parses them.

    Args:
      schema: the columns.
      dictionaries: the ids.
      features: the trainer's.
      oov_buckets: as in the flag.
    """

    def __init__(self, schema: Schema, dictionaries: Dictionaries, features: Features, oov_buckets: int):
        self._schema, self._features = schema, features
        self._oov = np.array([dictionaries.cat2id[f"OOV{c}"] for c in schema.categories], np.int32)
        self._first_bucket = features.num_ids - oov_buckets

    def __call__(self, message: tf.Tensor) -> Scalars:
        """Shares from 0 to 1 of the good rows of `message`, string [b]; none where no row is good.

        Returns:
          `values/missing_<column>` for each column and `values/unknown_<column>` for each category.
        """
        apart = max(1, int(tf.size(message)) // _MOST_ROWS)
        fields = self._features.parse(message[::apart][:_MOST_ROWS])
        good = fields.reason.numpy() == 0
        if not good.any():
            return {}
        shares = self._named("missing", self._schema.integers, fields.missing.numpy()[good])
        if self._schema.categories:
            ids = self._features.lookup(fields.categories).numpy()[good]
            missing = fields.categories.numpy()[good] == b""
            unknown = ~missing & ((ids == self._oov) | (ids >= self._first_bucket))
            shares |= self._named("missing", self._schema.categories, missing)
            shares |= self._named("unknown", self._schema.categories, unknown)
        return shares

    def _named(self, what: str, columns: tuple[str, ...], holds: np.ndarray) -> Scalars:
        return {f"values/{what}_{column}": float(share) for column, share in zip(columns, holds.mean(axis=0), strict=True)}
