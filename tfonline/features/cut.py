"""Cuts batches anew out of rows that come in pieces of any size."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Rows = Any  # a nest


def cut_anew(
    pieces: tf.data.Dataset,
    batch_size: int,
    count: Callable[[Rows], tf.Tensor],
    joined: Callable[[Rows, Rows], Rows],
    part: Callable[[Rows, Any, Any], Rows],
) -> tf.data.Dataset:
    """Turns `(rows, window, last, left_out)` into the same: of each window batches of a size, behind them the rest of its rows.

    A window ends with a batch without a row, marked last. `left_out`, int64 [], is how many negatives were left out since the batch
    before. A piece that is marked last and has no rows goes through as it is.

    Args:
      pieces: rows in nests of tensors [b, ...].
      batch_size: rows a batch.
      count: of rows, int32 [].
      joined: the rows of two parts, in order, as those of one.
      part: the rows from one place to another.
    """

    @tf.autograph.experimental.do_not_convert
    def cut(held: tuple[Rows, tf.Tensor], new: tuple) -> tuple:
        more, window, last, left_out = new
        rows, left_out = joined(held[0], more), held[1] + left_out
        total = count(rows)
        whole = tf.where(last, total, total - total % batch_size)
        told = (whole > 0) | last
        rest = part(rows, whole, total), tf.where(told, tf.zeros_like(left_out), left_out)
        return rest, (part(rows, 0, whole), window, last, left_out)

    @tf.autograph.experimental.do_not_convert
    def batches(rows: Rows, window: tf.Tensor, last: tf.Tensor, left_out: tf.Tensor) -> tf.data.Dataset:
        total = count(rows)
        starts = tf.concat([tf.range(0, total, batch_size), tf.boolean_mask([total], last[None])], axis=0)

        def batch(start: tf.Tensor) -> tuple:
            of_batch = part(rows, start, tf.minimum(start + batch_size, total))
            return of_batch, window, start == total, tf.where(start == 0, left_out, tf.zeros_like(left_out))

        return tf.data.Dataset.from_tensor_slices(starts).map(batch)

    spec = pieces.element_spec[0]
    nothing = tf.nest.map_structure(lambda of: tf.zeros([0, *of.shape[1:]], of.dtype), spec)
    return pieces.scan((nothing, tf.constant(0, tf.int64)), cut).flat_map(batches)
