"""Wide & Deep (Cheng et al., arXiv 1606.07792) as a Keras model: logits out."""

import keras
import tensorflow as tf

from tfonline.model.embeddings import Table


class WideDeep(keras.Model):
    """`logit = sum_f w[id_f] x_f + bias + dense(concat_f(e[id_f] x_f))`.

    Args:
      num_ids: ids are 0 to num_ids - 1; num_ids itself is the padding.
      num_fields: F, ids a row.
      embedding_dim: width of an embedding.
      layers: widths of the dense ReLU layers; a last one of width 1 follows.
      dense_init: `glorot`, or `normal` with `stddev`.
      stddev: of the initial embeddings, wide weights and, with `normal`, dense weights.
      seed: of all initial weights.
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
    ):
        super().__init__(name="wide_deep")
        self.num_fields, self.embedding_dim = num_fields, embedding_dim
        self.wide = Table(num_ids, 1, stddev, seed, name="wide")
        self.embedding = Table(num_ids, embedding_dim, stddev, seed, name="embedding")
        # A plain variable, as the tables are: it learns by FTRL with the wide side and is no concern of the deep one.
        self.bias = tf.Variable(0.0, trainable=True, name="wide_bias")
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
        self.embedding.build(None)
        width = self.num_fields * self.embedding_dim
        for layer in self.dense:
            layer.build((None, width))
            width = layer.units
        self.built = True

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """ids int32 [B, F] and values float32 [B, F] to logits float32 [B]."""
        ids, values = inputs
        wide = tf.reduce_sum(self.wide(ids)[:, :, 0] * values, axis=1) + self.bias
        deep = tf.reshape(self.embedding(ids) * values[:, :, None], [-1, self.num_fields * self.embedding_dim])
        for layer in self.dense:
            deep = layer(deep)
        return wide + deep[:, 0]


def _initializer(kind: str, stddev: float, seed: int) -> keras.initializers.Initializer:
    if kind == "normal":
        return keras.initializers.RandomNormal(stddev=stddev, seed=seed)
    return keras.initializers.GlorotUniform(seed=seed)
