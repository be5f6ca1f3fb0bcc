"""How the loss and the gradients of each replica become those of all."""

from collections.abc import Sequence

import tensorflow as tf

from tfonline.model.tables.lookup import Lookup
from tfonline.model.tables.packed import Learned, Packed, split
from tfonline.model.tables.replicas import Replicas

# So many replicas send each other all that they have. What each gets grows with their number; a collective's share hardly does.
_MOST_DIRECT = 4


class Exchange:
    """Between replicas, of one worker or of several; with a single one, everything stays as it is.

    The tables' rows are exchanged here and not by the strategy, whose collectives would gather them for one table after the
    other: a replica's rows are already added up by id, so few travel, and which belong together is found once for all tables.
    Where each replica has a row for each id, they are added up as they lie, with all that is dense. A few replicas of one worker
    send each other all they have, at once, which takes half as long as a collective of TensorFlow's. Where XLA compiles all of a
    step, they meet (xla_steps.meet).

    Args:
      replicas: all of them.
      lookup: of the tables.
      tables: their variables.
      dense: all other variables that learn.
    """

    def __init__(self, replicas: Replicas, lookup: Lookup, tables: Sequence[tf.Variable], dense: Sequence[tf.Variable]):
        self._replicas, self._lookup, self._tables, self._dense = replicas, lookup, tables, dense

    def pack(self, learned: Learned) -> Packed | Learned:
        """What one replica has to tell, in its context."""
        if self._replicas.count == 1:
            return learned
        loss, tables, dense = learned
        dense = [loss, *dense]
        if of_all_ids := self._lookup.of_all_ids(tables[0]):
            ids = tables[0].indices
            touched = tf.cast(ids == self._lookup.all_ids(ids.dtype), tf.float32)
            dense += [*(t.values for t in tables), touched]
        return Packed((tf.concat([tf.reshape(g, [-1]) for g in dense], axis=0),), () if of_all_ids else (tuple(tables),))

    def between(self, packed: Packed | Learned) -> Packed | Learned:
        """What each replica tells to what all tell, for each of them; in cross-replica context."""
        if self._replicas.count == 1:
            return packed
        (dense,), tables = packed
        if self._replicas.workers > 1:  # whose rows only a collective can bring
            dense, *tables = self._reduce((dense, *tables[0]), (self._tables[0], *self._tables))
            return Packed((dense,), (tuple(tables),))
        copies_of = self._replicas.copies_of  # TensorFlow brings them where they are used
        tables = copies_of(tables[0]) if tables else ()
        if self._replicas.count > _MOST_DIRECT:
            return Packed(tuple(self._reduce([dense], [self._tables[0]])), tables)
        return Packed(copies_of(dense), tables)

    def unpack(self, packed: Packed | Learned) -> Learned:
        """The sums of what `between` or xla_steps.meet has brought, in a replica's context; a table's gradient has each id once."""
        if self._replicas.count == 1:
            return packed
        dense, tables = packed
        shapes = [[], *(v.shape for v in self._dense)]
        if not tables:
            ids = self._lookup.all_ids(tf.int64)
            shapes += [*([ids.shape[0], t.shape[1]] for t in self._tables), ids.shape]
        loss, *dense = split(tf.add_n(dense), shapes)
        if tables:
            return Learned(loss, self._lookup.sums_of(tables), dense)
        dense, (*sums, touched) = dense[: len(self._dense)], dense[len(self._dense) :]
        ids = tf.where(touched > 0, ids, self._lookup.num_rows)
        return Learned(loss, [tf.IndexedSlices(values, ids) for values in sums], dense)

    def _reduce(self, gradients: Sequence, variables: Sequence) -> Sequence:
        # Not reduce_to, which brings all to one device and back.
        pairs = list(zip(gradients, variables, strict=True))
        return self._replicas.strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)
