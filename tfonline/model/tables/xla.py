"""XLA's own ways: distinct ids in a number that is known beforehand, sums over several GPUs, and whether it works at all."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfonline.lifecycle import Exit, UserError
from tfonline.model.tables.distinct import sums_of_parts

_GROUP_KEY = 2**20  # of all GPUs that add up; TensorFlow's own begin at 1
# Of FixedDistinct: with so many ids or fewer, each id has one partial sum; else so many of them at most.
_FEW_IDS, _MOST_COPIES = 100_000, 8


class FixedDistinct(NamedTuple):
    """What Distinct is, where XLA compiles: it wants to know shapes beforehand.

    Attributes:
      ids: int [U]; where there are fewer than U, some are of no row: XLA reads the last row for them, and writes none.
      places: int [n], where in `ids` each of them is; beyond it where one is of no row.
      copies: number of partial sums per id. Threads that add to one row wait for each other, so repeated ids are spread over so
        many rows first.
    """

    ids: tf.Tensor
    places: tf.Tensor
    copies: int

    @classmethod
    def of(cls, ids: tf.Tensor, num_rows: int, replicas: int = 1) -> "FixedDistinct":
        """Those of ids, int [n]. U is n; or num_rows, where all replicas together have as many ids.

        Args:
          ids: those that are not below num_rows are of no row.
          num_rows: of the table.
          replicas: so many exchange sums by n ids each.
        """
        # A scatter of int32 that puts any one of several values is plain stores on a GPU; a minimum or a bool would be atomics.
        ids, n = tf.cast(ids, tf.int32), ids.shape[0]
        order = tf.range(n)
        one_of = tf.tensor_scatter_nd_update(tf.fill([num_rows], n), ids[:, None], order)
        copies = min(_MOST_COPIES, 2 * n // min(n, num_rows)) if n > _FEW_IDS else 1
        if n * replicas >= num_rows:  # each id that there is has its place
            return cls(tf.where(one_of < n, tf.range(num_rows), num_rows), ids, copies)
        places = tf.where(ids < num_rows, tf.gather(one_of, ids), n)
        return cls(tf.where(places == order, ids, num_rows), places, copies)

    def sums(self, values: tf.Tensor) -> tf.Tensor:
        """As Distinct.sums."""
        n, most = self.places.shape[0], self.ids.shape[0]
        places = tf.where(self.places < most, self.places + tf.range(n) % self.copies * most, self.copies * most)
        sums = _segment_sum(values, places, self.copies * most)
        return tf.reduce_sum(tf.reshape(sums, [self.copies, most, values.shape[1]]), axis=0)

    def sums_of(self, parts: Sequence[tf.Tensor]) -> tf.Tensor:
        """As Distinct.sums_of."""
        return sums_of_parts(parts, self.places, lambda values, places: _segment_sum(values, places, tf.size(self.ids)))

    def ids_behind(self, count: int) -> tf.Tensor:
        """As Distinct.ids_behind, but int64: outside of XLA, int32 is the host's."""
        return tf.cast(tf.concat([tf.range(count), self.ids], axis=0) if count else self.ids, tf.int64)

    def sums_behind(self, first: tf.Tensor, sums: tf.Tensor) -> tf.Tensor:
        """As Distinct.sums_behind. Flat, or XLA lays out all rows column by column, as the first ones come out of their product."""
        if not first.shape[0]:
            return sums
        return tf.reshape(tf.concat([tf.reshape(t, [-1]) for t in (first, sums)], axis=0), [-1, sums.shape[1]])


def _segment_sum(values: tf.Tensor, places: tf.Tensor, num_places: tf.Tensor | int) -> tf.Tensor:
    # With a third axis, or XLA lays the sums out as it does `[n, 1]` ids: column by column.
    return tf.math.unsorted_segment_sum(values[:, :, None], places, num_places)[:, :, 0]


def compiled(of_replica: Callable) -> Callable:
    """As Strategy.run can call it: of a tf.function as such, it would make one over all replicas where these are no GPUs."""
    function = tf.function(of_replica, autograph=False, jit_compile=True)
    return lambda *args: function(*args)


def add_up(x: tf.Tensor, num_replicas: int) -> tf.Tensor:
    """The sum of what all replicas have, of any float type, in a function that XLA compiles for each one's GPU: by NCCL.

    What ReplicaContext.all_reduce does, but for its instance key: TensorFlow numbers each call anew, and a call would wait until
    the one before it has ended, as the number is copied from the host. XLA does not look at it.
    """
    return tf.raw_ops.CollectiveReduceV2(
        input=x, group_size=num_replicas, group_key=_GROUP_KEY + num_replicas, instance_key=0, ordering_token=[], merge_op="Add",
        final_op="Id", communication_hint="nccl",
    )  # fmt: skip


def try_xla(strategy: tf.distribute.Strategy) -> None:
    """Has XLA compile a product, and several GPUs add it up: what it lacks, it lacks for all.

    Raises:
      UserError: it does not work on the strategy's devices (exit 64).
    """
    devices = strategy.extended.worker_devices
    several_gpus = len(devices) > 1 and "GPU" in devices[0]

    def product(x: tf.Tensor) -> tf.Tensor:
        return add_up(x @ x, len(devices)) if several_gpus else x @ x

    compiled = tf.function(product, autograph=False, jit_compile=True)
    try:
        found = tf.function(lambda x: strategy.run(compiled, (x,)), autograph=False)(tf.ones([8, 8]))
        strategy.experimental_local_results(found)[0].numpy()  # a GPU that fails says so when it is read
    except tf.errors.OpError as e:
        why = re.sub(r"^\s*(\{\{.*?\}\}\s*)*", "", e.message)  # without the names of graph functions
        problem = f"--jit_compile: XLA cannot compile for {', '.join(devices)} ({(why.splitlines() or [type(e).__name__])[0]})"
        raise UserError(f"{problem}. Leave it out, or see BUILD.md on what XLA needs beside TensorFlow.", Exit.FLAGS) from e
