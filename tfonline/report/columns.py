"""How the columns of the stream are filled: which share of their values is missing, and which the dictionaries do not hold."""

import tensorflow as tf

from tfonline.features.pipeline import Features
from tfonline.report.writers import Scalars

# Rows looked at: some 20 ms of one core, once a minute.
_MOST_ROWS = 2000


class ColumnShares:
    """Looks at a sample of rows, parsed as the trainer parses them.

    Args:
      features: the trainer's.
    """

    def __init__(self, features: Features):
        self._features = features

    def __call__(self, message: tf.Tensor) -> Scalars:
        """Shares from 0 to 1 of the good rows of `message`, string [b]; none where no row is good.

        Returns:
          `values/missing_<column>` for each feature and `values/unknown_<column>` for each category; see kinds.Op.shares.
        """
        apart = max(1, int(tf.size(message)) // _MOST_ROWS)
        fields = self._features.parse(message[::apart][:_MOST_ROWS])
        good = fields.reason.numpy() == 0
        if not good.any():
            return {}
        shares: Scalars = {}
        for kind, op in self._features.ops.items():
            if columns := self._features.parse.schema.of_kind(kind):
                for what, holds in op.shares(fields.values[kind]).items():
                    of_columns = zip(columns, holds.numpy()[good].mean(axis=0), strict=True)
                    shares |= {f"values/{what}_{column}": float(share) for column, share in of_columns}
        return shares
