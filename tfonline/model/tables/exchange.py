"""How the loss and the gradients of each replica become those of all."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfonline.model.networks.wide_deep.model import WideDeep
from tfonline.model.tables.distinct import Distinct
from tfonline.model.tables.optimizers import Gradient
from tfonline.model.tables.replicas import this_replica
from tfonline.model.tables.xla import FixedDistinct, add_up

# So many replicas send each other all that they have. What each gets grows with their number; a collective's share hardly does.
_MOST_DIRECT = 4


class Learned(NamedTuple):
    """What a batch tells.

    Attributes:
      loss: float32 [].
      wide: gradients of the wide side's variables, that of its table first.
      deep: likewise.
    """

    loss: tf.Tensor
    wide: Sequence[Gradient]
    deep: Sequence[Gradient]


Tables = tuple[tf.IndexedSlices, tf.IndexedSlices]


class Packed(NamedTuple):
    """The same in few tensors, as each one more costs time between two steps; of one replica, or of several.

    Attributes:
      dense: of each replica, or their sum: float32 [T], the loss and then gradients: all but the tables'; and these too where they
        have a row for each id, with 1 for each that a batch has, else 0.
      tables: of each replica, where they are not in `dense`: those of the wide and the deep table.
    """

    dense: tuple[tf.Tensor, ...]
    tables: tuple[Tables, ...]


class Exchange:
    """Between replicas, of one worker or of several; with a single one, everything stays as it is.

    The tables' rows are exchanged here and not by the strategy, whose collectives would gather them for one table after the
    other: a replica's rows are already added up by id, so few travel, and which belong together is found once for both tables.
    Where each replica has a row for each id, they are added up as they lie, with all that is dense. A few replicas of one worker
    send each other all they have, at once, which takes half as long as a collective of TensorFlow's. Where XLA compiles all of a
    step, they `meet`.

    Args:
      strategy: of the replicas.
      workers: over how many it reaches.
      model: whose gradients they are.
      wide: its variables, the table first.
      deep: likewise.
      fixed_rows: of the tables, where distinct ids are found as XLA can; else None.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        workers: int,
        model: WideDeep,
        wide: Sequence[tf.Variable],
        deep: Sequence[tf.Variable],
        fixed_rows: int | None,
    ):
        self._strategy, self._workers, self._model, self._fixed_rows = strategy, workers, model, fixed_rows
        self._tables, self._wide, self._deep = (wide[0], deep[0]), wide[1:], deep[1:]
        self._dtype = tf.as_dtype(model.tower.multiplies_in)

    def pack(self, learned: Learned) -> Packed | Learned:
        """What one replica has to tell, in its context."""
        if self._strategy.num_replicas_in_sync == 1:
            return learned
        loss, wide, deep = learned
        dense, tables = [loss, *wide[1:], *deep[1:]], (wide[0], deep[0])
        if of_all_ids := self._model.of_all_ids(wide[0]):
            touched = tf.cast(wide[0].indices == self._model.all_ids(wide[0].indices.dtype), tf.float32)
            dense += [*(t.values for t in tables), touched]
        return Packed((tf.concat([tf.reshape(g, [-1]) for g in dense], axis=0),), () if of_all_ids else (tables,))

    def between(self, packed: Packed | Learned) -> Packed | Learned:
        """What each replica tells to what all tell, for each of them; in cross-replica context."""
        if self._strategy.num_replicas_in_sync == 1:
            return packed
        (dense,), tables = packed
        if self._workers > 1:  # whose rows only a collective can bring
            dense, *tables = self._reduce((dense, *tables[0]), (self._deep[0], *self._tables))
            return Packed((dense,), (tuple(tables),))
        copies_of = self._strategy.experimental_local_results  # TensorFlow brings them where they are used
        tables = copies_of(tables[0]) if tables else ()
        if self._strategy.num_replicas_in_sync > _MOST_DIRECT:
            return Packed(tuple(self._reduce([dense], [self._deep[0]])), tables)
        return Packed(copies_of(dense), tables)

    def meet(self, packed: Packed | Learned, logits: tf.Tensor) -> tuple[Packed | Learned, tf.Tensor]:
        """`between` in a replica's context, of a function that XLA compiles for GPUs, with the logits of all replicas' rows.

        One all-reduce brings all: of several, each GPU's program might begin with another. XLA has no all-gather here; where each
        replica's are wanted and not their sum, it adds its own to zeros. Gradients travel, and are added up, in the type that the
        model multiplies in; all else goes byte by byte: bfloat16, too, has each of a byte's values.
        """
        n = self._strategy.num_replicas_in_sync
        if n == 1:
            return packed, logits
        (dense,), tables = packed
        own = [_bytes_of(logits), _bytes_of(dense[0])]
        if tables:
            wide, deep = tables[0]
            own += [_bytes_of(tf.cast(wide.indices, tf.int32)), wide.values, deep.values]
        placed = [x if i == this_replica() else tf.zeros_like(x) for i in range(n) for x in own]
        flat = [tf.reshape(tf.cast(x, self._dtype), [-1]) for x in (dense[1:], *placed)]
        dense, *told = _split(add_up(tf.concat(flat, axis=0), n), [dense[1:].shape, *[x.shape for x in own] * n])
        of_each = [told[i : i + len(own)] for i in range(0, len(told), len(own))]
        if tables:
            ids = [tf.cast(_of_bytes(x, tf.int32), wide.indices.dtype) for _, _, x, *_ in of_each]
            tables = tuple(tuple(tf.IndexedSlices(x, i) for x in each[3:]) for i, each in zip(ids, of_each, strict=True))
        loss = tf.add_n([_of_bytes(x, tf.float32) for _, x, *_ in of_each])
        logits = tf.concat([_of_bytes(x, tf.float32) for x, *_ in of_each], axis=0)
        return Packed((tf.concat([loss[None], dense], axis=0),), tables), logits

    def unpack(self, packed: Packed | Learned) -> Learned:
        """The sums of what `between` or `meet` has brought, in a replica's context; the tables' gradients have each id once."""
        if self._strategy.num_replicas_in_sync == 1:
            return packed
        dense, tables = packed
        shapes = [[], *(v.shape for v in (*self._wide, *self._deep))]
        if not tables:
            ids = self._model.all_ids(tf.int64)
            shapes += [*([ids.shape[0], t.shape[1]] for t in self._tables), ids.shape]
        loss, *dense = _split(tf.add_n(dense), shapes)
        if not tables:
            *dense, wide, deep, touched = dense
            ids = tf.where(touched > 0, ids, self._model.num_rows)
            tables = [tf.IndexedSlices(values, ids) for values in (wide, deep)]
        else:
            ids = tf.concat([wide.indices for wide, _ in tables], axis=0)
            distinct = FixedDistinct.of(ids, self._fixed_rows) if self._fixed_rows else Distinct.of(ids)
            of_each = zip(*tables, strict=True)
            tables = [tf.IndexedSlices(distinct.sums_of([t.values for t in side]), distinct.ids) for side in of_each]
        return Learned(loss, [tables[0], *dense[: len(self._wide)]], [tables[1], *dense[len(self._wide) :]])

    def _reduce(self, gradients: Sequence, variables: Sequence) -> Sequence:
        # Not reduce_to, which brings all to one device and back.
        pairs = list(zip(gradients, variables, strict=True))
        return self._strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)


def _bytes_of(x: tf.Tensor) -> tf.Tensor:
    """float32 or int32 [...] to uint8 [..., 4]."""
    return tf.bitcast(x, tf.uint8)


def _of_bytes(x: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """`_bytes_of`, of any type, back to [...] of this one."""
    return tf.bitcast(tf.cast(x, tf.uint8), dtype)


def _split(x: tf.Tensor, shapes: Sequence) -> list[tf.Tensor]:
    """[T] to float32 tensors of these shapes, one after the other."""
    parts = tf.split(x, [tf.TensorShape(shape).num_elements() for shape in shapes])
    return [tf.reshape(tf.cast(part, tf.float32), shape) for part, shape in zip(parts, shapes, strict=True)]
