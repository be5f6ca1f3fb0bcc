"""Raw messages to typed fields, vectorised. A bad row is found and set aside; it never fails its batch."""

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from tfonline import formats
from tfonline.features.schema import Column, Schema


class Fields(NamedTuple):
    """The fields of b rows. A refused row has label 0 and all fields missing.

    Attributes:
      label: float32 [b], 0 or 1.
      integers: int64 [b, number of integer columns]; 0 where missing.
      missing: bool [b, number of integer columns].
      categories: string [b, number of category columns]; '' where missing.
      reason: int32 [b], an index into formats.reasons.REASONS; 0 for a good row.
    """

    label: tf.Tensor
    integers: tf.Tensor
    missing: tf.Tensor
    categories: tf.Tensor
    reason: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Parse:
    """Turns messages into Fields.

    Attributes:
      schema: the columns in the order of the message.
      message_format: the name of the messages' format.
      labelled: whether messages have the label's field. If not, no message has it (who asks for a score does not know it), and all
        labels are 0. Never both in one: a message that is one field short may have no label or have lost its last field, and
        nothing in it says which.
    """

    schema: Schema
    message_format: str = "tsv"
    labelled: bool = True

    def __call__(self, message: tf.Tensor) -> Fields:
        """Parses `message`, string [b]."""
        text, reason = formats.find(self.message_format).decode(message, self._columns)
        number, categories = (tf.gather(text, self._places(kind), axis=1) for kind in ("integer", "category"))
        missing = tf.equal(number, "")
        return Fields(
            label=self._label(text),
            integers=tf.strings.to_number(tf.where(missing, "0", number), tf.int64),
            missing=missing,
            categories=categories,
            reason=reason,
        )

    @property
    def _columns(self) -> list[Column]:
        """The columns of a message, in order."""
        return [c for c in self.schema.columns if self.labelled or c.kind != "label"]

    def _places(self, kind: str) -> tf.Tensor:
        """Where the columns of a kind stand in a message, int32."""
        return tf.constant([i for i, c in enumerate(self._columns) if c.kind == kind], tf.int32)

    def _label(self, text: tf.Tensor) -> tf.Tensor:
        if not self.labelled:
            return tf.zeros([tf.shape(text)[0]])
        place = next(i for i, c in enumerate(self._columns) if c.kind == "label")
        return tf.strings.to_number(text[:, place], tf.float32)
