"""Cuts batches anew out of rows that come in pieces of any size."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Rows = Any  # a nest of tensors, [b, ...] each, or of some other first dimension
Sizes = Any  # the same nest of first dimensions, int32 [] each


def cut_anew(
    pieces: tf.data.Dataset,
    batch_size: int,
    parallel: int,
    count: Callable[[Sizes], tf.Tensor],
    behind: Callable[[Rows, Sizes], Rows],
    part: Callable[[Rows, Any, Any], Rows],
) -> tf.data.Dataset:
    """Turns `(rows, window, last, left_out)` into the same: of each window batches of a size, behind them the rest of its rows.

    A window ends with a batch without a row, marked last. `left_out`, int64 [], is how many negatives were left out since the batch
    before. A piece that is marked last and has no rows goes through as it is.

    Pieces are held as they are, in lists, until there are rows for a batch: each row is copied once, by several threads.

    Args:
      pieces: rows in nests of tensors.
      batch_size: rows a batch.
      parallel: so many times pieces are put together at a time.
      count: of the sizes of rows, how many they are.
      behind: a piece as it stands behind others, by the sizes of all of these.
      part: the rows from one place to another.
    """
    spec = pieces.element_spec[0]
    nothing = tf.nest.map_structure(lambda of: tf.constant(0), spec)

    def lists(rows: Rows | None = None) -> Rows:
        """Of each tensor a list, of this one piece or of none."""
        empty = tf.nest.map_structure(_empty_list, spec)
        return empty if rows is None else tf.nest.map_structure(_with, empty, rows)

    @tf.autograph.experimental.do_not_convert
    def cut(held: tuple, new: tuple) -> tuple:
        (before, sizes, first, left_before), (more, window, last, left_out) = held, new
        of_more = tf.nest.map_structure(lambda t: tf.shape(t)[0], more)
        all_lists = tf.nest.map_structure(_with, before, behind(more, sizes))
        sizes = tf.nest.map_structure(tf.add, sizes, of_more)
        left_out += left_before
        total = count(sizes) - first
        whole = tf.where(last, total, total - total % batch_size)
        told, rest = (whole > 0) | last, total - whole
        # Fewer rows than a batch were held, so what is left over is of the last piece.
        case = tf.where(told, tf.where(rest > 0, 1, 2), 0)
        keep = (lambda: (all_lists, sizes, first), lambda: (lists(more), of_more, count(of_more) - rest))
        kept = tf.switch_case(case, [*keep, lambda: (lists(), nothing, tf.constant(0))])
        left = tf.where(told, tf.zeros_like(left_out), left_out)
        return (*kept, left), (all_lists, first, whole, window, last, left_out)

    @tf.autograph.experimental.do_not_convert
    def whole_batches(all_lists: Rows, first: tf.Tensor, whole: tf.Tensor, *others: tf.Tensor) -> tuple:
        rows = tf.nest.map_structure(_in_one, all_lists, spec)
        return part(rows, first, first + whole), whole, *others

    @tf.autograph.experimental.do_not_convert
    def batches(rows: Rows, total: tf.Tensor, window: tf.Tensor, last: tf.Tensor, left_out: tf.Tensor) -> tf.data.Dataset:
        starts = tf.concat([tf.range(0, total, batch_size), tf.boolean_mask([total], last[None])], axis=0)

        def batch(start: tf.Tensor) -> tuple:
            of_batch = part(rows, start, tf.minimum(start + batch_size, total))
            return of_batch, window, start == total, tf.where(start == 0, left_out, tf.zeros_like(left_out))

        return tf.data.Dataset.from_tensor_slices(starts).map(batch)

    found = pieces.scan((lists(), nothing, tf.constant(0), tf.constant(0, tf.int64)), cut)
    found = found.filter(lambda lists, first, whole, window, last, left_out: (whole > 0) | last)
    return found.map(whole_batches, num_parallel_calls=parallel, deterministic=True).flat_map(batches)


def _empty_list(spec: tf.TensorSpec) -> tf.Tensor:
    return tf.raw_ops.EmptyTensorList(element_shape=_shape(spec), max_num_elements=-1, element_dtype=spec.dtype)


def _with(held: tf.Tensor, tensor: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.TensorListPushBack(input_handle=held, tensor=tensor)


def _in_one(held: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    no_sizes = tf.constant([], tf.int64)  # each tensor knows its own
    tensor, _ = tf.raw_ops.TensorListConcatV2(
        input_handle=held, element_shape=_shape(spec), leading_dims=no_sizes, element_dtype=spec.dtype
    )
    return tf.ensure_shape(tensor, [None, *spec.shape[1:]])


def _shape(spec: tf.TensorSpec) -> tf.Tensor:
    return tf.constant([-1, *(-1 if size is None else size for size in spec.shape[1:])], tf.int32)
