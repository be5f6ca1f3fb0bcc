"""The steps of a call, over all replicas: what each does with its rows, what they tell each other, what each makes of it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfonline.features.batch import Examples
from tfonline.model.tables.batches_of_a_call import Result, apart, at, in_turn
from tfonline.model.tables.exchange import Exchange
from tfonline.model.tables.packed import Learned, Packed
from tfonline.model.tables.replicas import Replicas, share, this_replica
from tfonline.model.tables.xla import compiled


class Halves(NamedTuple):
    """A step of one replica, in its context.

    Attributes:
      forward_backward: the sum of the batch's weights, float32 [], and the replica's rows to its logits, float32 [b], or of
        H > 1 heads [b, H], and what it has learned: its share.
      update: what all have learned, and then what is observed, to the losses, float32 [] each.
      num_losses: so many.
      num_heads: H.
      observed: the features of all rows that `update` looks at, beside label, weight and logits; None: it looks at nothing.
      look_up: the features `ids` and `keys` of all rows, which are observed then, to their ids, where values come with the stream;
        None: ids are ids.
    """

    forward_backward: Callable[[tf.Tensor, Examples], tuple[tf.Tensor, Learned]]
    update: Callable[..., tuple[tf.Tensor, ...]]
    num_losses: int
    num_heads: int
    observed: Sequence[str] | None
    look_up: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None


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
        return [in_turn(self._step, self._halves.num_losses, self._halves.num_heads, num_steps, which, total, batches, parts)]

    def _step(self, i: tf.Tensor | None, total: tf.Tensor, batches: Examples, parts: Examples) -> Result:
        """A step of all replicas on the i-th batch, or on the only one (None).

        Args:
          i: int32 [], or None.
          total: float32 [N], the sums of the batches' weights; or [].
          batches: what Learner.train takes, with N before it or not.
          parts: the same, each replica's rows.
        """
        batch = self._of_all_workers(at(i, batches))
        looked_up = [batch.features[name] for name in ("ids", "keys")] if self._halves.look_up else []
        logits, learned, *ids = self._replicas.run(self._tell, (i, total, parts, *looked_up))
        logits = self._replicas.of_all_workers(tf.concat(self._replicas.copies_of(logits), axis=0))
        losses = self._replicas.run(self._learn, (self._exchange.between(learned), *self._observed(batch, logits), *ids))
        return logits, *(self._replicas.copies_of(x)[0] for x in losses)

    def _tell(self, i: tf.Tensor | None, total: tf.Tensor, parts: Examples, *looked_up: tf.Tensor) -> tuple:
        """The first half, of one replica: what it tells; and all rows' ids, int [B, F], where they are looked up."""
        total, part = at(i, (total, parts))
        ids = [self._halves.look_up(*looked_up)] if looked_up else []
        if ids:
            part = with_ids(part, share(this_replica(), self._replicas.count, *ids))
        logits, learned = self._halves.forward_backward(total, part)
        return logits, self._exchange.pack(learned), *ids

    def _learn(
        self,
        packed: Packed | Learned,
        examples: Examples | None = None,
        logits: tf.Tensor | None = None,
        ids: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, ...]:
        """The second half, of one replica, with what is observed."""
        if ids is not None:
            examples = with_ids(examples, ids)
        observed = () if examples is None else (examples, logits)
        return self._halves.update(self._exchange.unpack(packed), *observed)

    def _observed(self, batch: Examples, logits: tf.Tensor) -> tuple[Examples, tf.Tensor] | tuple[()]:
        """What is observed of all rows; nothing where there is no use for it."""
        if self._halves.observed is None:
            return ()
        return batch._replace(features={name: batch.features[name] for name in self._halves.observed}), logits

    def _of_all_workers(self, batch: Examples) -> Examples:
        """A batch with what is observed of all workers' rows."""
        names = self._halves.observed or ()
        return batch._replace(features={name: self._replicas.of_all_workers(batch.features[name]) for name in names})


def with_ids(examples: Examples, ids: tf.Tensor) -> Examples:
    """Examples with other ids, [b, F]."""
    return examples._replace(features={**examples.features, "ids": ids})
