"""DeepFM (Guo et al., IJCAI 2017, arXiv 1703.04247): a factorisation machine and dense layers over the same embeddings."""

import tensorflow as tf

from tfonline.features.spec import Spec
from tfonline.model.networks.network import Logits
from tfonline.model.networks.wide_deep.deep import Deep, refuse_average
from tfonline.model.networks.wide_deep.tower import Tower
from tfonline.model.tables.lookup import Rows
from tfonline.model.tables.table import TableSpec, normal
from tfonline.settings.model import ModelSettings


class DeepFM(Deep):
    """`logit = bias + sum_f w[id_f] x_f + sum_{f < g} <e_f, e_g> + tower(e, histories, numbers)`.

    e_f is the embedding of column f times its value, of a list the sum over its values. The first two terms learn by FTRL, as the
    wide side of Wide & Deep does; the rest by Adam.

    Args:
      spec: the inputs.
      settings: the model's flags.

    Raises:
      UserError: --average_rows (exit 64).
    """

    def __init__(self, spec: Spec, settings: ModelSettings):
        s, initializer = settings, normal(settings.init_stddev, settings.seed)
        refuse_average(s)
        heads = len(spec.heads)
        tables = {"linear": TableSpec(heads, "ftrl", initializer), "embedding": TableSpec(s.embedding_dim, "adam", initializer)}
        super().__init__(spec, tables, name="deepfm", history=s.history)
        self.bias = tf.Variable([0.0] * heads, trainable=True, name="bias")
        # How much of each number's pairs each label takes: with one label all, as published.
        self.mix = self.add_weight(name="mix", shape=(s.embedding_dim, heads), initializer="ones") if heads > 1 else None
        dense = (self.width, (0, s.embedding_dim), s.layers, s.dense_init, s.init_stddev, s.seed, s.precision, heads)
        self.tower = Tower(*dense, name="tower")

    @property
    def parts(self) -> list:
        """See Deep."""
        return [*super().parts, self.tower]

    @property
    def dense_variables(self) -> dict[str, list[tf.Variable]]:
        """The bias learns as the linear table does."""
        mix = [self.mix.value] if self.mix is not None else []
        return {"ftrl": [self.bias], "adam": [*mix, *(w.value for w in self.tower.weights)]}

    def call(self, rows: dict[str, Rows], inputs: dict[str, tf.Tensor]) -> Logits:
        """Logits by head."""
        linear = tf.reduce_sum(self.fields(rows["linear"], inputs), axis=1)  # [B, H] of H labels
        e = self.fields(rows["embedding"], inputs)
        # The sum over pairs, in linear time (Rendle, ICDM 2010, lemma 3.1).
        pairs = (tf.square(tf.reduce_sum(e, axis=1)) - tf.reduce_sum(tf.square(e), axis=1)) / 2
        pairs = tf.reduce_sum(pairs, axis=1, keepdims=True) if self.mix is None else tf.matmul(pairs, self.mix)
        deep = self.tower(self.dense_input(self.flat(e, inputs), rows["embedding"], inputs))
        # One operation: of several additions TensorFlow would change the order where it knows the batch size.
        deep = deep[:, None] if self.mix is None else deep
        logits = tf.add_n([linear, pairs, deep, tf.broadcast_to(self.bias, tf.shape(deep))])
        return self.by_head(tf.squeeze(logits, 1) if self.mix is None else logits)


make = DeepFM
