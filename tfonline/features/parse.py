"""Raw messages to typed values, vectorised. A bad row is found and set aside; it never fails its batch."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tfonline import formats
from tfonline.features.column import Column
from tfonline.features.kinds import KINDS, feature_kinds
from tfonline.features.schema import Schema
from tfonline.formats.reasons import REASONS
from tfonline.formats.tsv import Tsv


class Fields(NamedTuple):
    """The typed values of b rows. A refused row has those of blank texts: label 0, and all else missing.

    Attributes:
      values: by the name of a kind, what its `parse` makes of its columns, in their order: a nest of [b, number of columns, ...].
        There are only those kinds of which there are columns.
      reason: int32 [b], an index into formats.reasons.REASONS; 0 for a good row.
    """

    values: dict[str, Any]
    reason: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Parse:
    """Turns messages into Fields.

    Attributes:
      schema: the columns in the order of the message.
      form: the messages' format.
      labelled: whether messages have the label's field. If not, no message has it (who asks for a score does not know it), and
        there are no labels. Never both in one: a message that is one field short may have no label or have lost its last field,
        and nothing in it says which.
    """

    schema: Schema
    form: formats.Format = dataclasses.field(default_factory=Tsv)
    labelled: bool = True

    def __call__(self, message: tf.Tensor) -> Fields:
        """Parses `message`, string [b]."""
        columns = self.schema.columns if self.labelled else self.schema.unlabelled
        text, reason = self.form.decode(message, columns)
        if any(column.default_text for column in columns):
            text = tf.where(text == "", tf.constant([column.default_text for column in columns]), text)
        values = {}
        for name, kind in KINDS.items():
            if places := [i for i, column in enumerate(columns) if column.kind == name]:
                values[name] = kind.parse(tf.gather(text, places, axis=1), [columns[i] for i in places])
        return Fields(values, reason)


def parse_served(schema: Schema, given: Mapping[str, tf.Tensor]) -> Fields:
    """What the signature `columns` of a SavedModel was given, to Fields without labels.

    Args:
      schema: the columns.
      given: by the column's name, [b] of the kind's `served_dtype`.
    """
    values, reason = {}, tf.constant(0)
    # The kind that is looked at last has the last word: the first reason that fits counts.
    for kind in sorted(feature_kinds(), key=lambda kind: REASONS.index(kind.reason), reverse=True):
        if columns := schema.columns_of(kind.name):
            stacked = tf.stack([_with_default(given[column.name], column) for column in columns], axis=1)
            values[kind.name], taken = kind.parse_served(stacked, columns)
            reason = tf.where(tf.reduce_all(taken, axis=1), reason, REASONS.index(kind.reason))
    return Fields(values, reason)


def _with_default(given: tf.Tensor, column: Column) -> tf.Tensor:
    """What the signature `columns` was given for a column, [b], with the default in place of missing values."""
    if not column.default_text:
        return given
    if given.dtype == tf.string:
        return tf.where(given == "", column.default_text, given)
    return tf.where(tf.math.is_nan(given), tf.constant(float(column.default_text), given.dtype), given)
