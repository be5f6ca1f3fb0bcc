"""Messages of many rows, as the graph gets them: each column's distinct texts, and of each row the number of its text."""

import itertools
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

from tfonline.features.kinds import KINDS
from tfonline.formats.arrow import Arrow
from tfonline.formats.arrow_arrays import arrays_of
from tfonline.formats.decoders import decoded

if TYPE_CHECKING:
    from tfonline.features.column import Column


class Coded(NamedTuple):
    """The R rows of some messages, kind by kind.

    Attributes:
      texts: by the name of a kind, of each of its columns string [d], what stands in it, in any order, '' first; and int32 [k, R],
        where a row has its text there.
      numbers: by the name of a kind whose values are numbers, those of its columns, [k, R] of its type, 0 where missing; and bool
        [k, R], which are there.
      reason: int32 [R], an index into REASONS; 0 where the message could be read, and all its values are numbers or texts.
      message: int32 [R], the place of a row's message among the messages.
      row: int32 [R], the place of a row in its message.
    """

    texts: dict[str, tuple[list[tf.Tensor], tf.Tensor]]
    numbers: dict[str, tuple[tf.Tensor, tf.Tensor]]
    reason: tf.Tensor
    message: tf.Tensor
    row: tf.Tensor


def decode(form: Arrow, message: tf.Tensor, columns: "Sequence[Column]") -> Coded:
    """The rows of `message`, string [m]. The columns of a kind are in the order of `columns`."""
    kinds = {kind: [column for column in columns if column.kind == kind] for kind in dict.fromkeys(c.kind for c in columns)}
    numbers = [kind for kind in kinds if KINDS[kind].numbers]
    of_texts = {kind: len(of_kind) for kind, of_kind in kinds.items() if kind not in numbers}
    types = [tf.string, tf.int64, *[tf.int32] * 4, *(t for kind in numbers for t in (KINDS[kind].numbers, tf.bool))]
    given = ([column for of_kind in kinds.values() for column in of_kind], numbers)
    text, size, place, *others = decoded(form, message, arrays_of, given, types)
    num_texts = sum(of_texts.values())
    columns_texts = tf.split(tf.ensure_shape(tf.io.parse_tensor(text, tf.string), [None]), tf.ensure_shape(size, [num_texts]))
    places = tf.split(tf.ensure_shape(place, [num_texts, None]), list(of_texts.values()))
    (reason, of_message, row), of_numbers = (tf.ensure_shape(t, [None]) for t in others[:3]), others[3:]
    texts = {}
    for (kind, count), of_kind in zip(of_texts.items(), places, strict=True):
        texts[kind], columns_texts = (columns_texts[:count], of_kind), columns_texts[count:]
    shapes = [[len(kinds[kind]), None] for kind in numbers]
    pairs = zip(of_numbers[::2], of_numbers[1::2], shapes, strict=True)
    found = {kind: tuple(tf.ensure_shape(t, shape) for t in pair) for kind, (*pair, shape) in zip(numbers, pairs, strict=True)}
    return Coded(texts, found, reason, of_message, row)


def rows_alone(form: Arrow, message: tf.Tensor, of_message: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
    """Messages of one row each, string [k].

    Args:
      form: the format.
      message: string [m].
      of_message: int32 [k], the place of each row's message among them; rows of one message stand together.
      row: int32 [k], the number of each row in its message.
    """
    plain = tf.autograph.experimental.do_not_convert

    def alone(messages: np.ndarray, of_message: np.ndarray, rows: np.ndarray) -> np.ndarray:
        found = []
        for number, places in itertools.groupby(zip(of_message.tolist(), rows.tolist(), strict=True), operator.itemgetter(0)):
            found += form.alone(messages[number], [row for _, row in places])
        return np.array(found, object)

    return tf.reshape(tf.numpy_function(plain(alone), [message, of_message, row], tf.string, stateful=False), tf.shape(row))
