"""Messages of many rows, as the graph gets them: each column's distinct texts, and of each row the number of its text."""

import itertools
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

from tfonline.features.kinds import KINDS
from tfonline.formats.arrow import Arrow
from tfonline.formats.by_python import keeping_error
from tfonline.string_tensor import serialized

if TYPE_CHECKING:
    import pyarrow as pa

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
    # AutoGraph would make a slow copy of all Python that it is let near.
    plain = tf.autograph.experimental.do_not_convert
    read = plain(plain(_of_arrays)(form, [column for of_kind in kinds.values() for column in of_kind], numbers))
    text, size, place, *others = tf.numpy_function(read, [message], types, stateful=False)
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


def _of_arrays(form: Arrow, columns: "Sequence[Column]", numbers: Sequence[str]) -> Callable[[np.ndarray], tuple]:
    def read(messages: np.ndarray) -> tuple:
        with keeping_error(form):
            rows = form.read(messages.tolist(), columns, numbers)
            text = np.empty((), object)
            text[()] = serialized(*_texts(rows.distinct, rows.first))
        of_numbers = (array for kind in numbers for array in rows.numbers[kind])
        # Behind '', the first text of each column.
        return text, np.diff(rows.first) + 1, rows.place, rows.reason, rows.message, rows.row, *of_numbers

    return read


def _texts(distinct: "pa.StringArray", first: np.ndarray) -> tuple[np.ndarray, bytes | memoryview]:
    """The sizes of the texts in bytes, with '' before those of each column, and the texts one behind the other."""
    _, offsets, content = distinct.buffers()
    ends = np.frombuffer(offsets, np.int32)[distinct.offset : distinct.offset + len(distinct) + 1]
    sizes = np.insert(np.diff(ends), first[:-1], 0)
    return sizes, memoryview(content)[ends[0] : ends[-1]] if content else b""
