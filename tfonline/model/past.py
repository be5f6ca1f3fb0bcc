"""Rows of late, as the dense layers got them: they learn from some of them again at each step (--replay).

What a row's embeddings were before it was learned from is kept, and not looked up anew: since then they have learned its label, and
the dense layers would learn to trust what embeddings of new rows do not know.
"""

from typing import NamedTuple

import tensorflow as tf

from tfonline.model.tables.replicas import own
from tfonline.model.tables.table import read_rows


class Replay(NamedTuple):
    """The settings.

    Attributes:
      times: rows learned from again for each place of a batch.
      rows: of the last so many, at least a batch.
      seed: which ones, beside the number of rows so far.
    """

    times: int
    rows: int
    seed: int


class Drawn(NamedTuple):
    """Rows of the past.

    Attributes:
      remembered: float32 [n, K], what the network wanted remembered of each.
      label: float32 [n].
      weight: float32 [n]; 0 while there is no past.
    """

    remembered: tf.Tensor
    label: tf.Tensor
    weight: tf.Tensor


class Past(tf.Module):
    """A ring of rows, of one replica. What it holds is in checkpoints, and in no published model.

    Args:
      width: K.
      replay: the settings.

    Attributes:
      replay: as above.
      remembered: float16 [R + 1, K]; the last row is where padding goes, zeros.
      outcomes: float32 [R + 1, 2], label and weight.
      written: int64 [], rows so far.
    """

    def __init__(self, width: int, replay: Replay):
        super().__init__(name="past")
        self.replay = replay
        self.remembered = tf.Variable(tf.zeros([replay.rows + 1, width], tf.float16), trainable=False, name="past_remembered")
        self.outcomes = tf.Variable(tf.zeros([replay.rows + 1, 2]), trainable=False, name="past_outcomes")
        self.written = tf.Variable(0, trainable=False, dtype=tf.int64, name="past_written")

    def draw(self, num_rows: int) -> Drawn:
        """Rows at random, any of them several times; which ones follows from the seed and the number of rows so far."""
        written = own(self.written).read_value()
        held = tf.clip_by_value(written, 1, self.replay.rows)
        seed = tf.stack([tf.constant(self.replay.seed, tf.int64), written])
        # One generator for all devices.
        places = tf.random.stateless_uniform([num_rows], seed, 0, held, tf.int64, alg="philox")
        label, weight = tf.unstack(read_rows(self.outcomes, places), axis=1)
        return Drawn(tf.cast(read_rows(self.remembered, places), tf.float32), label, weight)

    def keep(self, remembered: tf.Tensor, label: tf.Tensor, weight: tf.Tensor) -> None:
        """Takes a batch, [B, K], [B] and [B], in place of the oldest rows. Rows of weight 0 are not taken."""
        counts = weight > 0
        number = tf.cumsum(tf.cast(counts, tf.int64))  # from 1 on
        written, num_rows = own(self.written), self.replay.rows
        places = tf.where(counts, tf.math.floormod(written + number - 1, num_rows), num_rows)
        remembered = tf.where(counts[:, None], tf.cast(remembered, tf.float16), tf.constant(0, tf.float16))
        outcomes = tf.where(counts[:, None], tf.stack([label, weight], axis=1), 0.0)
        for variable, rows in ((self.remembered, remembered), (self.outcomes, outcomes)):
            tf.raw_ops.ResourceScatterUpdate(resource=own(variable).handle, indices=places, updates=rows)
        written.assign_add(number[-1])
