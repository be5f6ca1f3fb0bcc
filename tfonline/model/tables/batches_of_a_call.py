"""Several batches of one call, one after the other."""

from collections.abc import Callable
from typing import TypeVar

import tensorflow as tf

from tfonline.features.batch import Examples

T = TypeVar("T")

Result = tuple[tf.Tensor, ...]  # of a step: logits float32 [B], or of H > 1 heads [B, H], and then losses, float32 [] each


def _num_batches(num_steps: tf.Tensor | int | None, which: tf.Tensor | None) -> int | None:
    return num_steps if which is None else which.shape[0]


def apart(num_steps: tf.Tensor | int | None, which: tf.Tensor | None, examples: Examples) -> tuple[tf.Tensor, Examples]:
    """The sums of batches' weights, float32 [N], and the batches as [N, B, ...]; or [] of the only one, which stays as it is."""
    n = _num_batches(num_steps, which)
    if n in (None, 1):
        return tf.reduce_sum(examples.weight), examples
    batches = tf.nest.map_structure(lambda x: tf.reshape(x, [n, x.shape[0] // n, *x.shape[1:]]), examples)
    return tf.reduce_sum(batches.weight, axis=1), batches


def in_turn(
    step: Callable,
    num_losses: int,
    num_heads: int,
    num_steps: tf.Tensor | int | None,
    which: tf.Tensor | None,
    total: tf.Tensor,
    batches: Examples,
    *parts: Examples,
) -> Result:
    """`step(i, total, batches, *parts)` for the first num_steps of `which`, to logits [N B] and losses [N]; or one, without N."""
    num_batches = _num_batches(num_steps, which)
    if num_batches is None:
        return step(None, total, batches, *parts)
    if num_batches == 1:
        logits, *losses = step(None, total, batches, *parts)
        return logits, *(loss[None] for loss in losses)
    of_heads = [num_heads] if num_heads > 1 else []
    logits = tf.TensorArray(tf.float32, num_batches, element_shape=[batches.weight.shape[1], *of_heads])
    losses = tf.TensorArray(tf.float32, num_batches, element_shape=[num_losses])

    def one(j: tf.Tensor, logits: tf.TensorArray, losses: tf.TensorArray) -> tuple:
        i = j if which is None else which[j]
        scores, *found = step(i, total, batches, *parts)
        found = tf.stack(found)
        return j + 1, logits.write(i, scores), losses.write(i, found)

    _, logits, losses = tf.while_loop(lambda j, *_: j < num_steps, one, (tf.constant(0), logits, losses), parallel_iterations=1)
    return tf.reshape(logits.stack(), [-1, *of_heads]), *tf.unstack(losses.stack(), axis=1)


def at(i: tf.Tensor | None, batches: T) -> T:
    """The i-th of [N, ...] tensors in a nest; the nest as it is where i is None."""
    return batches if i is None else tf.nest.map_structure(lambda x: x[i], batches)
