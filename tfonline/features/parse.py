"""Raw messages to typed values, vectorised. A bad row is found and set aside; it never fails its batch."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfonline import formats
from tfonline.features.column import Column
from tfonline.features.kinds import KINDS, feature_kinds, texts_of
from tfonline.features.schema import Schema
from tfonline.formats import coded
from tfonline.formats.reasons import REASONS
from tfonline.formats.tsv import Tsv


class Place(NamedTuple):
    """Where rows stand in messages of many rows.

    Attributes:
      message: int32 [b], the number of a row's message, counted from 0.
      row: int32 [b], the number of a row in its message, likewise.
    """

    message: tf.Tensor
    row: tf.Tensor


class Fields(NamedTuple):
    """The typed values of b rows. A refused row has those of blank texts: label 0, and all else missing.

    Attributes:
      values: by the name of a kind, what its `parse` makes of its columns, in their order: a nest of [b, number of columns, ...].
        There are only those kinds of which there are columns.
      reason: int32 [b], an index into formats.reasons.REASONS; 0 for a good row.
      place: where the rows stand in their messages; () where each message is a row.
    """

    values: dict[str, Any]
    reason: tf.Tensor
    place: Place | tuple[()] = ()


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

    @property
    def of_messages(self) -> Schema:
        """The schema of the messages, with the label or without."""
        return self.schema if self.labelled else self.schema.without_label

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of a message, in order."""
        return self.of_messages.columns

    def __call__(self, message: tf.Tensor) -> Fields:
        """Parses `message`, string [b]; where messages are of many rows string [m], and there are any number of rows."""
        columns = self.columns
        if self.form.many:
            return _of_coded(coded.decode(self.form, message, columns), columns)
        text, reason = self.form.decode(message, columns)
        if any(column.default_text for column in columns):
            text = tf.where(text == "", tf.constant([column.default_text for column in columns]), text)
        values = {}
        for name, kind in KINDS.items():
            if places := [i for i, column in enumerate(columns) if column.kind == name]:
                values[name] = kind.parse(tf.gather(text, places, axis=1), [columns[i] for i in places])
        return Fields(values, reason)

    def text(self, message: bytes, name: str) -> str:
        """What a message holds in the column `name`, or its default: of a message that is one row, which was not refused."""
        columns = self.columns
        place = [column.name for column in columns].index(name)
        column = columns[place]
        if self.form.many:
            texts, places = coded.decode(self.form, tf.constant([message]), columns).texts[column.kind]
            of_kind = self.schema.of_kind(column.kind).index(name)
            text = texts[of_kind][int(places[of_kind, 0])]
        else:
            text = self.form.decode(tf.constant([message]), columns)[0][0, place]
        return text.numpy().decode(errors="replace") or column.default_text


def _of_coded(rows: coded.Coded, columns: Sequence[Column]) -> Fields:
    """Typed values of rows of which each column has its distinct texts: those are parsed, and rows get them by their places."""
    of_kind = {kind: [column for column in columns if column.kind == kind] for kind in (*rows.texts, *rows.numbers)}
    reason, parsed = rows.reason, {}
    # What the decoder says of numbers is one of the kinds' reasons; its others stay.
    of_kinds = [REASONS.index(KINDS[kind].reason) for kind in rows.numbers]
    open_to_more = tf.reduce_any(reason[:, None] == tf.constant([0, *of_kinds]), axis=1)
    # The kind that is looked at last has the last word: the first reason that fits counts.
    for kind in sorted(rows.texts, key=lambda kind: REASONS.index(KINDS[kind].reason), reverse=True):
        texts, places = rows.texts[kind]
        parsed[kind] = []
        for column, text, place in zip(of_kind[kind], texts, tf.unstack(places), strict=True):
            if KINDS[kind].reason:
                fits = tf.strings.regex_full_match(text, texts_of(column).pattern)
                reason = _refuse(reason, open_to_more, fits, place, KINDS[kind].reason)
                text = tf.where(fits, text, texts_of(column).blank)
            if column.default_text:
                text = tf.where(text == "", column.default_text, text)
            parsed[kind].append(KINDS[kind].parse(text[:, None], [column]))
    good, values = reason == 0, {}
    for kind, of_columns in parsed.items():
        texts, places = rows.texts[kind]
        first = tf.cumsum(tf.stack([tf.size(text) for text in texts]), exclusive=True)
        place = tf.transpose(tf.where(good, places, 0) + first[:, None])  # the first of its column's is that of a missing value
        values[kind] = tf.nest.map_structure(lambda *t, place=place: tf.gather(tf.concat(t, axis=0)[:, 0], place), *of_columns)
    for kind, (number, valid) in rows.numbers.items():
        default = [column.default_text for column in of_kind[kind]]
        number, valid = tf.transpose(tf.where(good, number, 0)), tf.transpose(valid & good)
        if any(default):
            given = np.array([text or 0 for text in default]).astype(KINDS[kind].numbers)
            number, valid = tf.where(valid, number, given), valid | np.array([text != "" for text in default])
        values[kind] = KINDS[kind].of_numbers(number, valid)
    return Fields(values, reason, Place(rows.message, rows.row))


def _refuse(reason: tf.Tensor, open_to_more: tf.Tensor, fits: tf.Tensor, place: tf.Tensor, name: str) -> tf.Tensor:
    """The reasons of rows, int32 [R], with that of this name for rows whose text does not fit.

    Args:
      reason: so far.
      open_to_more: bool [R], which of them may be another one.
      fits: bool [d], of each text.
      place: int32 [R], where a row has its text.
      name: of the reason.
    """

    def some() -> tf.Tensor:
        return tf.where(open_to_more & ~tf.gather(fits, place), REASONS.index(name), reason)

    # That of a missing value, the first, is of no matter where no row misses one.
    return tf.cond(tf.reduce_all(fits[1:]) & (fits[0] | tf.reduce_all(place > 0)), lambda: reason, some)


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
