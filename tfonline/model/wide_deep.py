"""Wide & Deep (Cheng et al., arXiv 1606.07792) as a Keras model: logits out."""

import keras
import tensorflow as tf

from tfonline.model.embeddings import Table
from tfonline.model.history import CrossHistory, IdHistory, Standardise
from tfonline.model.tower import AverageTower, Tower


class WideDeep(keras.Model):
    """`logit = sum_f w[id_f] x_f + bias + tower(concat_f(e[id_f] x_f), histories, numbers)`.

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
      cross_buckets: it also sees that of pairs of columns (history.CrossHistory), in so many buckets; 0: it does not.
      average_rows: scores are of the dense layers' average over so many rows (tower.AverageTower); 0: of the newest.
      precision: of the dense layers' products, see tower.Tower.
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
        average_rows: int = 0,
        precision: str = "float32",
    ):
        super().__init__(name="wide_deep")
        self.num_fields, self.embedding_dim = num_fields, embedding_dim
        self.wide = Table(num_ids, 1, stddev, seed, name="wide")
        self.embedding = Table(num_ids, embedding_dim, stddev, seed, name="embedding")
        # A plain variable, as the tables are: it learns by FTRL with the wide side and is no concern of the deep one.
        self.bias = tf.Variable(0.0, trainable=True, name="wide_bias")
        self.history = IdHistory(num_ids, name="history") if history else None
        self.cross_history = CrossHistory(cross_buckets, num_fields, name="cross_history") if cross_buckets else None
        self.standardise = Standardise(num_numeric, name="standardise") if num_numeric else None
        width = num_fields * (embedding_dim + 2 * history + bool(cross_buckets)) + 2 * num_numeric
        dense = (width, layers, dense_init, stddev, seed, precision)
        self.tower = Tower(*dense, name="tower")
        self.average = AverageTower(average_rows, *dense, name="average") if average_rows else None

    @property
    def padding_id(self) -> int:
        """The id whose weights are zero for good."""
        return self.wide.padding_id

    def build(self, _=None) -> None:
        """Makes all variables; call it inside the strategy's scope."""
        parts = (self.wide, self.embedding, self.history, self.cross_history, self.standardise, self.tower, self.average)
        for part in filter(None, parts):
            part.build(None)
        self.built = True

    @property
    def followed(self) -> list[tf.Variable]:
        """What is counted or averaged and not learned by gradients."""
        counted = [v for h in (self.history, self.cross_history) if h for v in (h.counts, h.total)]
        counted += [self.standardise.sums] if self.standardise else []
        return counted + (self.average.state if self.average else [])

    @property
    def all_weights(self) -> list[tf.Variable]:
        """All that is learned, then `followed`: what its scores depend on, and what they will."""
        return [self.wide.table, self.bias, self.embedding.table, *(w.value for w in self.tower.weights), *self.followed]

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """ids int32 [B, F], values float32 [B, F], numeric float32 [B, N], crosses int32 [B, W] to logits float32 [B]."""
        wide, deep = self.inputs_of_sides(*inputs)
        return wide + self.scorer(deep)

    @property
    def scorer(self) -> Tower:
        """The dense layers that score: the average, or the newest."""
        return self.average or self.tower

    def inputs_of_sides(
        self, ids: tf.Tensor, values: tf.Tensor, numeric: tf.Tensor, crosses: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The wide side's logits, float32 [B], and what the deep side's dense layers get, float32 [B, K]."""
        wide = tf.reduce_sum(self.wide(ids) * values[:, :, None], axis=1)
        # Not `+`: TensorFlow changes the order of several additions where it knows the batch size, and so the last bit of a score.
        wide = tf.nn.bias_add(wide, self.bias[None])[:, 0]
        deep = [tf.reshape(self.embedding(ids) * values[:, :, None], [-1, self.num_fields * self.embedding_dim])]
        if self.history:
            deep.append(self.history(ids))
        if self.cross_history:
            deep.append(self.cross_history(crosses))
        if self.standardise:
            deep.append(self.standardise(numeric))
        return wide, tf.concat(deep, axis=1)

    def follow(
        self, label: tf.Tensor, ids: tf.Tensor, numeric: tf.Tensor, crosses: tf.Tensor, weight: tf.Tensor, logits: tf.Tensor
    ) -> None:
        """Counts a global batch that was scored with `logits` and learned from, and moves the average; in cross-replica context."""
        if self.history:
            self.history.count(ids, label, weight)
        if self.cross_history:
            self.cross_history.count(crosses, label, weight)
        if self.standardise:
            self.standardise.count(numeric, weight)
        if self.average:
            self.average.follow(self.tower, logits, label, weight)
