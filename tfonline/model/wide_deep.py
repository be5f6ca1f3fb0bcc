"""Wide & Deep (Cheng et al., arXiv 1606.07792) as a Keras model: logits out."""

import keras
import tensorflow as tf

from tfonline.model.embeddings import Table
from tfonline.model.history import IdHistory, Standardise


class WideDeep(keras.Model):
    """`wide = sum_f w[id_f] x_f + sum_c u[cross_c] + bias`, `deep = dense(concat_f(e[id_f] x_f), history, numbers)`.

    The logit is their sum, the paper's form, or their mean, where each side learns to predict by itself.

    Args:
      num_ids: ids are 0 to num_ids - 1; num_ids itself is the padding.
      num_fields: F, ids a row.
      embedding_dim: width of an embedding.
      layers: widths of the dense ReLU layers; a last one of width 1 follows.
      dense_init: `glorot`, or `normal` with `stddev`.
      stddev: of the initial embeddings, wide weights and, with `normal`, dense weights.
      seed: of all initial weights.
      num_numeric: N, numbers a row for the deep side, standardised; 0 for none.
      history: whether the deep side sees each id's past (history.IdHistory).
      cross_buckets: crosses are 0 to cross_buckets - 1, and cross_buckets is their padding; 0: none.
      combine: `sum` or `mean`.
    """

    def __init__(
        self,
        num_ids: int,
        num_fields: int,
        embedding_dim: int,
        layers: tuple[int, ...],
        dense_init: str,
        stddev: float,
        seed: int,
        num_numeric: int = 0,
        history: bool = False,
        cross_buckets: int = 0,
        combine: str = "sum",
    ):
        super().__init__(name="wide_deep")
        self.num_fields, self.embedding_dim = num_fields, embedding_dim
        self.wide = Table(num_ids, 1, stddev, seed, name="wide")
        self.cross = Table(cross_buckets, 1, 0.0, seed, name="cross") if cross_buckets else None
        self.combine = combine
        self.embedding = Table(num_ids, embedding_dim, stddev, seed, name="embedding")
        # A plain variable, as the tables are: it learns by FTRL with the wide side and is no concern of the deep one.
        self.bias = tf.Variable(0.0, trainable=True, name="wide_bias")
        self.history = IdHistory(num_ids, name="history") if history else None
        self.standardise = Standardise(num_numeric, name="standardise") if num_numeric else None
        self._width = num_fields * embedding_dim + 2 * num_fields * history + 2 * num_numeric
        widths = [(w, "relu") for w in layers] + [(1, None)]
        self.dense = []
        for i, (w, a) in enumerate(widths):
            self.dense.append(
                keras.layers.Dense(w, a, kernel_initializer=_initializer(dense_init, stddev, seed + i), name=f"dense_{i}")
            )
            setattr(self, f"dense_{i}", self.dense[-1])  # Keras 3 leaves what is only in a list out of a tf.train.Checkpoint

    @property
    def padding_id(self) -> int:
        """The id whose weights are zero for good."""
        return self.wide.padding_id

    def build(self, _=None) -> None:
        """Makes all variables; call it inside the strategy's scope."""
        self.wide.build(None)
        if self.cross:
            self.cross.build(None)
        self.embedding.build(None)
        for counted in (self.history, self.standardise):
            if counted:
                counted.build(None)
        width = self._width
        for layer in self.dense:
            layer.build((None, width))
            width = layer.units
        self.built = True

    @property
    def counted(self) -> list[tf.Variable]:
        """What is counted and not learned by gradients."""
        return ([self.history.counts, self.history.total] if self.history else []) + (
            [self.standardise.sums] if self.standardise else []
        )

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """ids int32 [B, F], values float32 [B, F], numeric float32 [B, N], crosses int32 [B, W] to logits float32 [B]."""
        return self.combined(*self.sides(*inputs))

    def combined(self, wide: tf.Tensor, deep: tf.Tensor) -> tf.Tensor:
        """The logit of the two sides' logits, float32 [B] each."""
        return (wide + deep) / 2 if self.combine == "mean" else wide + deep

    def sides(self, ids: tf.Tensor, values: tf.Tensor, numeric: tf.Tensor, crosses: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The logits of the wide and of the deep side, float32 [B] each."""
        wide = tf.reduce_sum(self.wide(ids)[:, :, 0] * values, axis=1) + self.bias
        if self.cross:
            wide += tf.reduce_sum(self.cross(crosses)[:, :, 0], axis=1)
        deep = tf.reshape(self.embedding(ids) * values[:, :, None], [-1, self.num_fields * self.embedding_dim])
        if self.history:
            deep = tf.concat([deep, self.history(ids)], axis=1)
        if self.standardise:
            deep = tf.concat([deep, self.standardise(numeric)], axis=1)
        for layer in self.dense:
            deep = layer(deep)
        return wide, deep[:, 0]

    def count(self, label: tf.Tensor, ids: tf.Tensor, numeric: tf.Tensor, weight: tf.Tensor) -> None:
        """Counts a global batch that has been scored; in cross-replica context."""
        if self.history:
            self.history.count(ids, label, weight)
        if self.standardise:
            self.standardise.count(numeric, weight)


def _initializer(kind: str, stddev: float, seed: int) -> keras.initializers.Initializer:
    if kind == "normal":
        return keras.initializers.RandomNormal(stddev=stddev, seed=seed)
    return keras.initializers.GlorotUniform(seed=seed)
