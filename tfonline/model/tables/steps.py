"""The steps of a call, over all replicas: what each does with its rows, what they tell each other, what each makes of it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfonline.features.batch import Examples
from tfonline.model.tables.batches_of_a_call import Result, apart, at, in_turn
from tfonline.model.tables.exchange import Exchange
from tfonline.model.tables.packed import Learned, Packed
from tfonline.model.tables.replicas import Replicas
from tfonline.model.tables.xla import compiled


class Halves(NamedTuple):
    """A step of one replica, in its context.

    Attributes:
      forward_backward: the sum of the batch's weights, float32 [], and the replica's rows to its logits, float32 [b], and what it
        has learned: its share.
      update: what all have learned, and then what is observed, to the losses, float32 [] each.
      num_losses: so many.
      observed: the features of all rows that `update` looks at, beside label, weight and logits; None: it looks at nothing.
    """

    forward_backward: Callable[[tf.Tensor, Examples], tuple[tf.Tensor, Learned]]
    update: Callable[..., tuple[tf.Tensor, ...]]
    num_losses: int
    observed: Sequence[str] | None


class Steps:
    """Steps whose replicas exchange in cross-replica context.

    XLA compiles a step's two halves, if asked to: what lies between exchanges.

    Args:
      replicas: all of them.
      exchange: theirs.
      halves: of a step.
      jit_compile: see above.

    Attributes:
      call: a tf.function: `(num_steps, which, examples)`, as of Learner.train_steps, to a Result of each replica, or of all
        together; of all batches where `which` is None, and of a single one, without N, where num_steps is None, too.
    """

    def __init__(self, replicas: Replicas, exchange: Exchange, halves: Halves, jit_compile: bool):
        self._replicas, self._exchange, self._halves = replicas, exchange, halves
        self.call = tf.function(self._of_all, autograph=False)
        if jit_compile:
            self._tell, self._learn = map(compiled, (self._tell, self._learn))

    def prepared(self, num_steps: tf.Tensor, which: tf.Tensor) -> tuple:
        """The first two arguments of `call`."""
        return num_steps, which

    def inputs(self, examples: Examples) -> Examples:
        """Examples where `call` takes them from: on the GPU where the model is on one."""
        return self._replicas.on_device(examples)

    def _of_all(self, num_steps: tf.Tensor | int | None, which: tf.Tensor | None, examples: Examples) -> list[Result]:
        total, batches = apart(num_steps, which, examples)
        # Split here, not at each step: what is done between two steps holds up the second.
        parts = self._replicas.split(int(total.shape.rank), batches)
        return [in_turn(self._step, self._halves.num_losses, num_steps, which, total, batches, parts)]

    def _step(self, i: tf.Tensor | None, total: tf.Tensor, batches: Examples, parts: Examples) -> Result:
        """A step of all replicas on the i-th batch, or on the only one (None).

        Args:
          i: int32 [], or None.
          total: float32 [N], the sums of the batches' weights; or [].
          batches: what Learner.train takes, with N before it or not.
          parts: the same, each replica's rows.
        """
        logits, learned = self._replicas.run(self._tell, (i, total, parts))
        logits = self._replicas.of_all_workers(tf.concat(self._replicas.copies_of(logits), axis=0))
        observed = self._observed(at(i, batches), logits)
        losses = self._replicas.run(self._learn, (self._exchange.between(learned), *observed))
        return logits, *(self._replicas.copies_of(x)[0] for x in losses)

    def _tell(self, i: tf.Tensor | None, total: tf.Tensor, parts: Examples) -> tuple[tf.Tensor, Packed | Learned]:
        """The first half, of one replica."""
        logits, learned = self._halves.forward_backward(*at(i, (total, parts)))
        return logits, self._exchange.pack(learned)

    def _learn(self, packed: Packed | Learned, *observed: Examples | tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The second half, of one replica."""
        return self._halves.update(self._exchange.unpack(packed), *observed)

    def _observed(self, batch: Examples, logits: tf.Tensor) -> tuple[Examples, tf.Tensor] | tuple[()]:
        """What is observed, of all workers' rows; nothing where there is no use for it."""
        if self._halves.observed is None:
            return ()
        features = {name: self._replicas.of_all_workers(batch.features[name]) for name in self._halves.observed}
        return batch._replace(features=features), logits
