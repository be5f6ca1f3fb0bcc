"""Labels that come late (--late_labels): what a row teaches whose outcome may still come, and what it teaches once it has come.

A row that is there once more, as its outcome has come after all, is called late. All policies but `wait` see each row at once, with
the label of that moment, and each late one with label 1. So the rows are not those of the truth: a late positive was a negative
before.
In all formulas p is the model's probability, of which no gradient is taken.

| policy | the loss of a row | scores |
|---|---|---|
| `wait` | the plain one: a label is settled before the row is learned from | p |
| `fnw` | the plain one times a weight: 1 + p of a positive, (1 - p) (1 + p) of a negative | p |
| `fnc` | the plain one: the model learns the share b of positives among the rows of the stream | b / (1 - b) |
| `es_dfm` | the plain one times a weight, by two estimates of how many positives are late | p |
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfonline.features.spec import Spec
from tfonline.model.tables.lookup import Rows

# Probabilities of fnc end here: above, b would have to be more than a half.
_LARGEST = 0.999
# Before es_dfm has learned anything, half of the positives are taken to be late.
_FIRST_SHARE = 0.5


class Term(NamedTuple):
    """The sigmoid cross entropy of rows, a part of the loss. A tape would take several times as many operations for the two.

    Attributes:
      logits: float32 [B].
      label: float32 [B], 0 or 1.
      weight: float32 [B].
    """

    logits: tf.Tensor
    label: tf.Tensor
    weight: tf.Tensor

    @property
    def loss(self) -> tf.Tensor:
        """Its sum, float32 []."""
        return tf.reduce_sum(self.weight * (tf.nn.softplus(self.logits) - self.label * self.logits))

    @property
    def gradient(self) -> tf.Tensor:
        """By the logits, float32 [B]."""
        return self.weight * (tf.sigmoid(self.logits) - self.label)


class Wait(tf.Module):
    """Each row has one label, which is settled. What the other policies derive from.

    Args:
      spec: what the network gets.
      widths: of a row of each of its tables.
    """

    sees_late = False  # whether rows come once more

    def __init__(self, spec: Spec, widths: Sequence[int]):
        super().__init__(name="late_labels")

    @property
    def learned(self) -> list[tf.Variable]:
        """What the policy itself learns, by FTRL as the wide side's bias does: a part of checkpoints, and not of what is served."""
        return []

    def guesses(self, rows: Mapping[str, Rows], values: tf.Tensor, logits: tf.Tensor) -> list[tf.Tensor]:
        """The logits of the policy's own estimates, float32 [B] each; none of their gradients reaches the network.

        Args:
          rows: as the network gets them.
          values: float32 [B, P], likewise.
          logits: float32 [B], the network's.
        """
        return []

    def weight(
        self, weight: tf.Tensor, label: tf.Tensor, late: tf.Tensor, logits: tf.Tensor, guesses: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        """How much rows count in the loss, float32 [B].

        Args:
          weight: float32 [B], how much they would count otherwise.
          label: float32 [B], 0 or 1.
          late: bool [B]; () under `wait`.
          logits: float32 [B], the network's.
          guesses: of these rows.
        """
        return weight

    def of_guesses(self, weight: tf.Tensor, label: tf.Tensor, late: tf.Tensor, guesses: Sequence[tf.Tensor]) -> list[Term]:
        """What the guesses learn by, a term each; arguments as of `weight`."""
        return []

    @staticmethod
    def scores(logits: tf.Tensor) -> tf.Tensor:
        """The network's logits to those of the probability that a row is positive at last, float32 [B]."""
        return logits


class FakeNegativeWeighting(Wait):
    """Importance weights for a stream in which each row is a negative first (Ktena et al., RecSys 2019, section 4.3).

    Of rows x, the stream has `b(x) = p(x) / (1 + p(x))` positives, as each positive is a negative, too. The ratios of the truth to
    the stream are `p / b = 1 + p` for positives and `(1 - p) / (1 - b) = (1 - p) (1 + p)` for negatives.
    """

    sees_late = True

    def weight(self, weight, label, late, logits, guesses) -> tf.Tensor:
        """See Wait."""
        p = tf.sigmoid(logits)
        return weight * (1 + p) * tf.where(label == 1, 1.0, 1 - p)


class FakeNegativeCalibration(Wait):
    """The model learns the share of positives of that stream, b, and p follows of it (Ktena et al., RecSys 2019, section 4.3).

    `p = b / (1 - b)`, which is e^x of the network's logit x: `logit(p) = x - ln(1 - e^x)`. It ends at 0.999.
    """

    sees_late = True

    @staticmethod
    def scores(logits: tf.Tensor) -> tf.Tensor:
        """See Wait."""
        log_p = tf.minimum(logits, tf.math.log(_LARGEST))
        return log_p - tf.math.log(-tf.math.expm1(log_p))


class ElapsedTime(Wait):
    """Rows come after some time, with the label of that moment (Yang et al., ES-DFM, AAAI 2021, section 4).

    The truth over the stream is `1 + p_dp` for positives and `(1 + p_dp) p_rn` for negatives. p_dp is how often a row is late;
    p_rn how often one that came as a negative is none at last. Two estimates give them:

    - q among all rows of the stream: the share of late ones. A row is there once, and once more where it is late: `q = d / (1 + d)`
      with d the share of late ones among those that came once, so `p_dp = d = q / (1 - q)`.
    - r among negatives and late ones: likewise, of the rows that came as negatives `r / (1 - r)` are late, and
      `p_rn = 1 - r / (1 - r)`.

    Each is a logistic regression by the rows' weights in all tables, added up by field, and by ln p; it learns by the plain loss,
    beside the network, on the same rows. The logit of q is ln d, and begins as ln p - ln 2: no more rows can be late than are
    positive, and this holds for both at any time, `d <= p` and `1 - p_rn <= p`.

    Attributes:
      kernel: float32 [K, 2], where a row has K - 1 weights.
      bias: float32 [2].
    """

    sees_late = True

    def __init__(self, spec: Spec, widths: Sequence[int]):
        super().__init__(spec, widths)
        self._by_field = spec.by_field
        self.kernel = tf.Variable(tf.zeros([spec.num_fields * sum(widths) + 1, 2]), name="kernel")
        self.bias = tf.Variable(tf.zeros([2]), name="bias")

    @property
    def learned(self) -> list[tf.Variable]:
        """See Wait."""
        return [self.kernel, self.bias]

    def guesses(self, rows, values, logits) -> list[tf.Tensor]:
        """See Wait; of q, then of r."""
        log_p = tf.math.log_sigmoid(logits)[:, None]
        of_tables = [self._by_field(table.times(values)) for table in rows.values()]
        numbers = [tf.reshape(t, [tf.shape(t)[0], t.shape[1] * t.shape[2]]) for t in of_tables]
        x = tf.stop_gradient(tf.concat([*numbers, log_p], axis=1))
        guesses = tf.matmul(x, self.kernel) + self.bias + (x[:, -1:] + tf.math.log(_FIRST_SHARE))
        return tf.unstack(guesses, axis=1)

    def weight(self, weight, label, late, logits, guesses) -> tf.Tensor:
        """See Wait."""
        p = tf.sigmoid(logits)
        delayed, fake = (tf.minimum(tf.exp(tf.minimum(guess, 0.0)), p) for guess in guesses)
        return weight * (1 + delayed) * tf.where(label == 1, 1.0, 1 - fake)

    def of_guesses(self, weight, label, late, guesses) -> list[Term]:
        """See Wait."""
        is_late = tf.cast(late, tf.float32)
        of_all, of_negatives = guesses
        return [Term(of_all, is_late, weight), Term(of_negatives, is_late, tf.where(late | (label == 0), weight, 0.0))]


POLICIES: Mapping[str, type[Wait]] = {
    "wait": Wait,
    "fnw": FakeNegativeWeighting,
    "fnc": FakeNegativeCalibration,
    "es_dfm": ElapsedTime,
}
