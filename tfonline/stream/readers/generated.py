"""Rows that Python reads, as a reader's pieces."""

from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

# Rows of a piece. So many cost Python and tf.data little a row, and hold little memory however long the window is.
PIECE_ROWS = 512

_PIECE_SPEC = (tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int64))


def generated_rows(
    pieces: Callable[[int, int, int], Iterable[tuple[int, list[bytes]]]], partition: tf.Tensor, start: tf.Tensor, stop: tf.Tensor
) -> tf.data.Dataset:
    """A reader's rows from Python: `pieces(partition, start, stop)` gives messages without a gap, and the offset of their first."""

    def generate(p, s, e):
        for offset, piece in pieces(int(p), int(s), int(e)):
            yield piece, np.arange(offset, offset + len(piece))

    return tf.data.Dataset.from_generator(generate, args=(partition, start, stop), output_signature=_PIECE_SPEC)
