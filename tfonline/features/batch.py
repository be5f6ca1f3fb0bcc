"""What passes from the features to the training loop. All of it are nests, as tf.nest maps over them.

Only formats, feature ops and networks know the names in `label` and `features`. Who pads, splits, copies or gathers rows maps over
the nest, whatever stands in it.
"""

from typing import NamedTuple

import tensorflow as tf

from tfonline.features.parse import Fields, Place
from tfonline.stream.raw import Origin


class Row(NamedTuple):
    """What Features makes of b messages.

    Attributes:
      label: by the column's name, float32 [b], 0 or 1, and NaN where one that is optional is missing; empty where the messages
        have no label.
      weight: float32 [b], how much a row counts in the loss; 1 where no column says it.
      features: the network's inputs by name, [b, ...] each; see Features.
      reason: int32 [b], an index into formats.reasons.REASONS; 0 for a good row.
    """

    label: dict[str, tf.Tensor]
    weight: tf.Tensor
    features: dict[str, tf.Tensor]
    reason: tf.Tensor


class Examples(NamedTuple):
    """What is learned from: B rows, or N batches of B rows one after the other, [N B, ...].

    Attributes:
      label: as in Batch.
      weight: as in Batch.
      features: as in Batch.
      late: as in Batch.
    """

    label: dict[str, tf.Tensor]
    weight: tf.Tensor
    features: dict[str, tf.Tensor]
    late: tf.Tensor | tuple[()] = ()

    @property
    def first_weight(self) -> tf.Tensor:
        """The weights of the rows that are here for the first time, float32 [B]; 0 for one that is late."""
        return self.weight if isinstance(self.late, tuple) else tf.where(self.late, 0.0, self.weight)


class Batch(NamedTuple):
    """B rows, padded to the batch size; padding stands last. A place without a row has Spec.padding for its features.

    Attributes:
      label: by the column's name, float32 [B], 0 or 1, and NaN where one that is optional is missing; 0 in a place without a row.
      weight: float32 [B], how much a row counts in the loss; 0 in a place without a row.
      valid: bool [B], whether a place holds a row to learn from; False for padding and for a refused row.
      features: the network's inputs by name, [B, ...] each.
      origin: where each row, or its message, stands in the stream; that of a refused row, too.
      place: where each row stands in the Element's messages, and -1 for padding; () where each message is a row.
      late: bool [B], whether a row was learned from as a negative before and is here once more, as its outcome has come since
        (--late_labels); () where no row is.
    """

    label: dict[str, tf.Tensor]
    weight: tf.Tensor
    valid: tf.Tensor
    features: dict[str, tf.Tensor]
    origin: Origin
    place: Place | tuple[()] = ()
    late: tf.Tensor | tuple[()] = ()

    @property
    def examples(self) -> Examples:
        """The part of it that is learned from."""
        return Examples(self.label, self.weight, self.features, self.late)


class Rejected(NamedTuple):
    """The refused rows of a batch, k of them.

    Attributes:
      origin: of each.
      reason: int32 [k], an index into formats.reasons.REASONS.
      message: string [k], as they came; of a message of many rows, one of the refused row alone.
      row: int32 [k], the number of each in its message; () where each message is a row.
    """

    origin: Origin
    reason: tf.Tensor
    message: tf.Tensor
    row: tf.Tensor | tuple[()] = ()


class Element(NamedTuple):
    """What the pipeline hands to the training loop.

    Attributes:
      batch: the rows.
      rejected: those of them that were refused.
      fingerprint: int64 [], the sum of the row fingerprints of the good rows, wrapping around.
      message: string [b], the rows as they came, without padding; where a message has many rows, the messages that they are of.
      fields: typed values of the rows, and why they were refused, without padding: row i is at place i of the batch. Of several
        workers each has those of its own rows; the first worker's rows are the batch's first ones.
      window: int64 [], the window's number; -1 for a tick.
      last: bool [], the window ends here; such an element holds no rows.
      left_out: int64 [], how many negatives were left out since the element before, see --keep_negatives.
    """

    batch: Batch
    rejected: Rejected
    fingerprint: tf.Tensor
    message: tf.Tensor
    fields: Fields
    window: tf.Tensor
    last: tf.Tensor
    left_out: tf.Tensor | int = 0
