"""Steps that XLA compiles as a whole: a call on one device, or what each of several GPUs does in it, their exchange included."""

import functools
from collections.abc import Callable

import tensorflow as tf

from tfonline.features.batch import Examples
from tfonline.model.tables.batches_of_a_call import Result, apart, at, in_turn
from tfonline.model.tables.exchange import Exchange
from tfonline.model.tables.packed import Learned, Packed, split
from tfonline.model.tables.replicas import Replicas, share, this_replica
from tfonline.model.tables.steps import Halves, Steps, with_ids
from tfonline.model.tables.xla import add_up, compiled

# `_disable_acd` keeps TensorFlow from adding control dependencies between the replicas' calls. With them, each GPU's result waits
# for every other GPU, and Python with it. Without them, TensorFlow leaves out a replica whose results are not returned.
_WITHOUT_ORDER = {"_disable_acd": True}


def make_steps(replicas: Replicas, exchange: Exchange, halves: Halves, jit_compile: bool, dtype: str) -> Steps:
    """Steps; WholeSteps where XLA is asked for and there is one replica, or where replicas are GPUs: on these, XLA can exchange.

    Args:
      replicas: all of them.
      exchange: theirs.
      halves: of a step.
      jit_compile: have XLA compile what it can.
      dtype: see `meet`.
    """
    if jit_compile and (replicas.count == 1 or replicas.on_gpu):
        return WholeSteps(replicas, exchange, halves, dtype)
    return Steps(replicas, exchange, halves, jit_compile)


class WholeSteps(Steps):
    """Steps whose replicas exchange in their own context, as a part of the function that XLA compiles.

    Args:
      replicas: those of one worker.
      exchange: theirs.
      halves: of a step.
      dtype: see `meet`.
    """

    def __init__(self, replicas: Replicas, exchange: Exchange, halves: Halves, dtype: str):
        super().__init__(replicas, exchange, halves, jit_compile=False)
        self._several = replicas.count > 1
        self._meet: Callable = functools.partial(meet, num_replicas=replicas.count, dtype=tf.as_dtype(dtype))
        self.call = tf.function(
            self._of_all, autograph=False, jit_compile=not self._several or None,
            experimental_attributes=_WITHOUT_ORDER if self._several else None,
        )  # fmt: skip
        if self._several:
            self._of_replica = compiled(self._of_replica)

    def prepared(self, num_steps: tf.Tensor, which: tf.Tensor) -> tuple:
        """The first two arguments of `call`.

        XLA, which knows of a full call beforehand, need not ask the GPU after each step; and a copy from the host would wait for
        the call before.
        """
        if self._replicas.on_gpu and tf.get_static_value(num_steps) == which.shape[0]:
            return which.shape[0], None
        return num_steps, which

    def inputs(self, examples: Examples) -> Examples:
        """Examples where `call` takes them from: all of them on each of several GPUs."""
        examples = super().inputs(examples)
        if not self._several:
            return examples
        # A replica takes its rows from the whole: split in the step, they would be waited for.
        return tf.nest.map_structure(lambda t: self._replicas.each(lambda _: t), examples)

    def _of_all(self, num_steps: tf.Tensor | int | None, which: tf.Tensor | None, examples: Examples) -> list[Result]:
        of_each = self._replicas.run(self._of_replica, (num_steps, which, examples))
        return list(zip(*map(self._replicas.copies_of, of_each), strict=True))

    def _of_replica(self, num_steps: tf.Tensor | int | None, which: tf.Tensor | None, examples: Examples) -> Result:
        """`_of_all` in the context of a replica, which is given the whole batches."""
        return in_turn(
            self._step_of_replica,
            self._halves.num_losses,
            self._halves.num_heads,
            num_steps,
            which,
            *apart(num_steps, which, examples),
        )

    def _step_of_replica(self, i: tf.Tensor | None, total: tf.Tensor, batches: Examples) -> Result:
        total, batch = at(i, (total, batches))
        if self._halves.look_up:
            batch = with_ids(batch, self._halves.look_up(batch.features["ids"], batch.features["keys"]))
        part = tf.nest.map_structure(lambda x: share(this_replica(), self._replicas.of_worker, x), batch)
        logits, packed = self._tell(None, total, part)
        packed, logits = self._meet(packed, logits)
        return logits, *self._learn(packed, *self._observed(batch, logits))


def meet(packed: Packed | Learned, logits: tf.Tensor, num_replicas: int, dtype: tf.DType) -> tuple[Packed | Learned, tf.Tensor]:
    """Exchange.between in a replica's context, of a function that XLA compiles for GPUs, with the logits of all replicas' rows.

    One all-reduce brings all: of several, each GPU's program might begin with another. XLA has no all-gather here; where each
    replica's are wanted and not their sum, it adds its own to zeros. Gradients travel, and are added up, in `dtype`; all else goes
    byte by byte: bfloat16, too, has each of a byte's values.

    Args:
      packed: what this replica tells.
      logits: float32 [b], of its rows.
      num_replicas: how many meet.
      dtype: in which gradients travel, float32 or bfloat16.
    """
    if num_replicas == 1:
        return packed, logits
    (dense,), tables = packed
    own = [_bytes_of(logits), _bytes_of(dense[0])]
    if tables:
        ids = tables[0][0].indices
        own += [_bytes_of(tf.cast(ids, tf.int32)), *(t.values for t in tables[0])]
    placed = [x if i == this_replica() else tf.zeros_like(x) for i in range(num_replicas) for x in own]
    flat = [tf.reshape(tf.cast(x, dtype), [-1]) for x in (dense[1:], *placed)]
    shapes = [dense[1:].shape, *[x.shape for x in own] * num_replicas]
    dense, *told = split(add_up(tf.concat(flat, axis=0), num_replicas), shapes)
    of_each = [told[i : i + len(own)] for i in range(0, len(told), len(own))]
    if tables:
        ids_of_each = [tf.cast(_of_bytes(x, tf.int32), ids.dtype) for _, _, x, *_ in of_each]
        tables = tuple(tuple(tf.IndexedSlices(x, i) for x in each[3:]) for i, each in zip(ids_of_each, of_each, strict=True))
    loss = tf.add_n([_of_bytes(x, tf.float32) for _, x, *_ in of_each])
    logits = tf.concat([_of_bytes(x, tf.float32) for x, *_ in of_each], axis=0)
    return Packed((tf.concat([loss[None], dense], axis=0),), tables), logits


def _bytes_of(x: tf.Tensor) -> tf.Tensor:
    """float32 or int32 [...] to uint8 [..., 4]."""
    return tf.bitcast(x, tf.uint8)


def _of_bytes(x: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """`_bytes_of`, of any type, back to [...] of this one."""
    return tf.bitcast(tf.cast(x, tf.uint8), dtype)
