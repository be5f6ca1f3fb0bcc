"""Formats that Python decodes, message by message, before the graph's own checks. Imports no TensorFlow until it decodes."""

import abc
import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tfonline.formats.reasons import REASONS

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from tfonline.features.column import Column
    from tfonline.formats.decoders import Decoders
    from tfonline.formats.separated import Decoded


class Refused(ValueError):
    """A message is no row; its text says why, in words.

    Attributes:
      reason: an index into REASONS.
    """

    def __init__(self, reason: str, why: str):
        super().__init__(why)
        self.reason = REASONS.index(reason)


def in_one(values: Sequence[str], column: "Column", path: str) -> str:
    """The text of a list, for a column of kind categories.

    Args:
      values: '' for one that is missing; it is left out.
      column: says what stands between values.
      path: where the message has the list, for the words of an error.

    Raises:
      Refused: a value holds the separator, so that it would become two.
    """
    for i, value in enumerate(values):
        if column.separator in value:
            raise Refused(
                "type", f"{path}[{i}] holds {column.separator!r}, the separator of column {column.name}; give it another one"
            )
    return column.separator.join(value for value in values if value)


class ByPython(abc.ABC):
    """What such a format has beside its own: see Format.

    Attributes:
      decoders: processes that decode; None: this one does.
      error: what `canonical` has raised. TensorFlow makes a text of its own of an exception in its graph: who gets that error
        raises this one.
    """

    name: str
    in_graph, many = False, False
    error: Exception | None = None
    decoders: "Decoders | None" = None

    @property
    def about(self) -> dict[str, Any]:
        """See Format."""
        return {"format": self.name}

    @abc.abstractmethod
    def canonical(self, messages: Sequence[bytes], columns: "tuple[Column, ...]") -> tuple[list[bytes], list[int]]:
        """Canonical rows, b'' where there is none; and why there is none: an index into REASONS, 0 where one is, or no byte.

        A canonical row is the columns' texts with a tab between them, in UTF-8. A text with a tab or a line end is none that a
        column takes.

        Raises:
          UserError: it cannot be said whether a message is a row.
        """

    def decode(self, message: "tf.Tensor", columns: "Sequence[Column]") -> "Decoded":
        """See Format."""
        import tensorflow as tf

        from tfonline.formats.decoders import decoded
        from tfonline.formats.separated import Decoded, cut

        rows, refused = decoded(self, message, _rows, (tuple(columns),), [tf.string, tf.int32])
        row = tf.reshape(tf.io.parse_tensor(tf.ensure_shape(rows, []), tf.string), tf.shape(message))
        refused = tf.reshape(refused, tf.shape(message))
        text, reason = cut(row, (refused > 0) | (message == ""), columns)
        return Decoded(text, tf.where(refused > 0, refused, reason))


class EachByPython(ByPython):
    """A format whose messages are decoded one after the other."""

    @abc.abstractmethod
    def row_of(self, columns: "Sequence[Column]") -> Callable[[bytes], bytes]:
        """What makes the canonical row of a message; it raises Refused for a message that has none."""

    def canonical(self, messages: Sequence[bytes], columns: "tuple[Column, ...]") -> tuple[list[bytes], list[int]]:
        """See ByPython."""
        row_of = _row_of(self, columns)
        rows, reasons = [], []
        for message in messages:
            try:
                row, reason = row_of(message) if message else b"", 0
            except Refused as e:
                row, reason = b"", e.reason
            rows.append(row)
            reasons.append(reason)
        return rows, reasons


# A type that is made of the columns takes a millisecond or more: a server's requests share it.
@functools.lru_cache(maxsize=8)
def _row_of(form: EachByPython, columns: "tuple[Column, ...]") -> Callable[[bytes], bytes]:
    return form.row_of(columns)


def messages_of(sizes: "np.ndarray", content: bytes) -> list[bytes]:
    """The messages of these sizes, which stand one behind the other."""
    return [content[start:stop] for start, stop in itertools.pairwise(itertools.accumulate(sizes.tolist(), initial=0))]


def _rows(form: ByPython, sizes: "np.ndarray", content: bytes, columns: "tuple[Column, ...]") -> "tuple[bytes, np.ndarray]":
    """See ByPython.canonical: the rows as string_tensor.serialized has them, and the reasons, int32 [m]."""
    import numpy as np

    from tfonline.string_tensor import serialized

    rows, reasons = form.canonical(messages_of(sizes, content), columns)
    return serialized(np.fromiter(map(len, rows), np.int64, len(rows)), b"".join(rows)), np.array(reasons, np.int32)


@contextlib.contextmanager
def keeping_error(form: ByPython) -> Iterator[None]:
    """Keeps the first error that is raised within, see ByPython.error."""
    try:
        yield
    except Exception as error:
        form.error = form.error or error
        raise
