"""What the workers of a job agree on. Each reads rows of its own; they learn in step, end a window together, and stop together.

A round is one sum over all workers, of whole numbers: what each has next (a batch, its window's end, a tick), how many rows are in
it, and what it wants. From the sums each worker sees the same, and does the same.

- Where someone has a batch, all learn: who has no rows of the window left pads with a batch of none.
- A window ends where all are at its end.
- Someone whose next element is a tick has not heard of the window yet that others read: they wait for it.
"""

import enum
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import tensorflow as tf

from tfonline.cluster.collectives import gather, of_workers
from tfonline.cluster.members import Cluster
from tfonline.features.batch import Batch, Element
from tfonline.formats.reasons import REASONS
from tfonline.lifecycle import Exit, Stop, UserError

T = TypeVar("T")


class _Has(enum.IntEnum):
    """What a worker has next."""

    BATCH = 0
    LAST = 1
    TICK = 2
    NOTHING = 3


class Rounds:
    """Makes of each worker's elements one sequence, the same for all but for the rows' features.

    Args:
      strategy: over all workers.
      cluster: who they are.
      local: asked to stop this worker: it asks all.
      stop: set when all have agreed to stop.
      offsets: whether each worker needs to know all rows' partitions and offsets.

    Attributes:
      save_due: on the chief, whether it is time for a checkpoint.
      leave_due: on the chief, whether the time is up in which a window may still end after a stop was asked for.
      final: on the chief, the number of the last window, where it is known.
      failed: whether this worker's rows have ended by an error.
      rejected: refused in this round by all workers, by reason's index.
      save: whether the chief wants a checkpoint.
      leave: whether the window is to be dropped.
      peer_failed: whether it was another worker's error that has ended the rows.
      moved: when the last round was, time.monotonic.
      over: set when there are no more rounds.
    """

    def __init__(self, strategy: tf.distribute.Strategy, cluster: Cluster, local: Stop, stop: Stop, offsets: bool):
        self._strategy, self._cluster, self._local, self._stop, self._offsets = strategy, cluster, local, stop, offsets
        self.save_due = self.leave_due = self.failed = lambda: False
        self.final: Callable[[], int | None] = lambda: None
        self.rejected = [0] * len(REASONS)
        self.save = self.leave = self.peer_failed = False
        self.over = threading.Event()
        self.moved = time.monotonic()

    def join(self, elements: Iterable[Element]) -> Iterator[Element]:
        """This worker's part of what all do. A batch's label, weight, valid and origin are those of all workers, [B], and so is the
        fingerprint; its features and refused rows are this worker's.

        Raises:
          UserError: a worker's rows ended in the middle of a window (exit 75).
        """
        try:
            yield from self._rounds(iter(elements))
        finally:
            self.over.set()

    def _rounds(self, iterator: Iterator[Element]) -> Iterator[Element]:
        held, inside = None, False
        while True:
            held = next(iterator, None) if held is None else held
            has, counts, failed, last, fingerprint = self._round(held)
            if failed or counts[_Has.NOTHING] or (self._stop.requested() and not inside):
                self.peer_failed = failed and not self.failed()
                if inside:  # what was learned of this window must not be saved
                    raise UserError("rows ended in the middle of a window, here or on another worker: see the logs", Exit.TRY_AGAIN)
                return
            if counts[_Has.TICK] and counts[_Has.TICK] < len(self._cluster.workers):
                held = None if has == _Has.TICK else held
                continue
            if counts[_Has.BATCH]:
                inside = True
                yield held._replace(batch=self._gathered(held.batch), fingerprint=fingerprint, last=tf.constant(False))
                held = None if has == _Has.BATCH else held
                continue
            yield held
            if counts[_Has.LAST]:
                inside = False
                if last or self._stop.requested():
                    return
            held = None

    def sum(self, numbers: list[int]) -> list[int]:
        """Sums over all workers, modulo 2^64 and signed; waits for all."""
        sums = self._sum(tf.constant(np.array(numbers, np.uint64).astype(np.int64))).numpy().tolist()
        self.moved = time.monotonic()
        return sums

    def _round(self, element: Element | None) -> tuple[_Has, list[int], bool, bool, tf.Tensor]:
        """What this worker has, how many have what, whether one has failed, whether this is the last window; the fingerprint."""
        if element is None:
            has = _Has.NOTHING
        elif element.window.numpy() < 0:
            has = _Has.TICK
        else:
            has = _Has.LAST if element.last.numpy() else _Has.BATCH
        rejected, fingerprint, window = np.zeros(len(REASONS), np.int64), 0, 0
        if has == _Has.BATCH:
            fingerprint = int(element.fingerprint) % 2**64
            rejected = np.bincount(element.rejected.reason.numpy(), minlength=len(REASONS))
        if has in (_Has.BATCH, _Has.LAST):
            window = int(element.window)
        chief, is_last = self._cluster.chief, has == _Has.LAST and window == self.final()
        wants = [self._local.requested(), self.failed(), *(chief and w for w in (self.save_due(), self.leave_due(), is_last))]
        sums = self.sum([*(has == kind for kind in _Has), *wants, fingerprint, window, *rejected.tolist()])
        counts, (stop, failed, self.save, self.leave, last) = sums[: len(_Has)], map(bool, sums[len(_Has) : len(_Has) + 5])
        fingerprint, windows, *self.rejected = sums[len(_Has) + 5 :]
        if window and windows != window * (counts[_Has.BATCH] + counts[_Has.LAST]):
            raise AssertionError(f"the workers are in different windows: this one in {window}, the sum is {windows}, {counts}")
        if stop:
            self._stop.request(self._local.reason if self._local.requested() else "another worker's signal")
        return has, counts, failed, last, tf.constant(fingerprint, tf.int64)

    def _gathered(self, batch: Batch) -> Batch:
        """The batch with what `join` says of all workers' rows: in as few collectives as there are types."""
        of_rows = (batch.label, batch.weight, tf.cast(batch.valid, tf.float32))
        label, weight, valid = self._of_all(of_rows)
        batch = batch._replace(label=label, weight=weight, valid=valid > 0)
        if self._offsets:
            origin, place = self._of_all(tf.nest.map_structure(lambda x: tf.cast(x, tf.int64), (batch.origin, batch.place)))
            batch = batch._replace(origin=origin, place=place)
        return batch

    def _of_all(self, nest: T) -> T:
        """Tensors of one type, [b] each, as those of all workers' rows, [B]."""
        columns = tf.stack(tf.nest.flatten(nest), axis=1)
        return tf.nest.pack_sequence_as(nest, tf.unstack(self._gather(columns), axis=1))

    @tf.function(autograph=False, reduce_retracing=True)
    def _sum(self, numbers: tf.Tensor) -> tf.Tensor:
        def collective(context: tf.distribute.ReplicaContext, first: bool) -> tf.Tensor:
            return context.all_reduce("SUM", tf.identity(numbers) if first else tf.zeros_like(numbers))

        return of_workers(self._strategy, len(self._cluster.workers), collective)

    @tf.function(autograph=False)
    def _gather(self, rows: tf.Tensor) -> tf.Tensor:
        return gather(self._strategy, len(self._cluster.workers), rows)
