"""DCN-v2 (Wang et al., WWW 2021, arXiv 2008.13535): layers that multiply, beside dense ones."""

import keras
import tensorflow as tf

from tfonline.features.spec import Spec
from tfonline.model.networks.network import Logits
from tfonline.model.networks.wide_deep.deep import Deep, refuse_average
from tfonline.model.networks.wide_deep.tower import Tower, bias_add
from tfonline.model.tables.lookup import Rows
from tfonline.model.tables.table import TableSpec, normal
from tfonline.settings.model import ModelSettings


class Cross(keras.layers.Layer):
    """`x0 * (W x + b) + x`, or with a rank `x0 * (U (V x) + b) + x` (the paper's equations 1 and 2).

    keras_rs.layers.FeatureCross is the same; keras-rs 0.4 cannot be imported beside TensorFlow 2.16.

    Args:
      rank: of W, the paper's r; 0: W is a full matrix.
      initializer: of W, or of U and V.
    """

    def __init__(self, rank: int, initializer: keras.initializers.Initializer, **kwargs):
        super().__init__(**kwargs)
        self._rank, self._initializer = rank, initializer

    def build(self, shape: tuple) -> None:
        """Makes the weights for [B, width]."""
        width = shape[-1]
        if self._rank:
            self.down = self.add_weight(name="down", shape=(width, self._rank), initializer=self._initializer)
        kernel = (self._rank or width, width)
        self.kernel = self.add_weight(name="kernel", shape=kernel, initializer=self._initializer)
        self.bias = self.add_weight(name="bias", shape=(width,), initializer="zeros")
        self.built = True

    def call(self, x0: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """float32 [B, width], the first layer's input and this one's, to [B, width]."""
        product = tf.matmul(x, self.down) if self._rank else x
        return x0 * bias_add(tf.matmul(product, self.kernel), tf.convert_to_tensor(self.bias)) + x


class DcnV2(Deep):
    """`logit = tower(x0) + w . x_L`: --dcn_layers cross layers over x0, in parallel to the dense ones.

    x0 is what the deep side of Wide & Deep gets: embeddings by column, histories, numbers. All of it learns by Adam.

    Args:
      spec: the inputs.
      settings: the model's flags.

    Raises:
      UserError: --average_rows (exit 64).
    """

    def __init__(self, spec: Spec, settings: ModelSettings):
        s = settings
        refuse_average(s)
        tables = {"embedding": TableSpec(s.embedding_dim, "adam", normal(s.init_stddev, s.seed))}
        super().__init__(spec, tables, name="dcn_v2", history=s.history)
        self._cross_layers = []
        for i in range(s.dcn_layers):
            layer = Cross(s.dcn_rank, keras.initializers.GlorotUniform(seed=s.seed + 100 + i), name=f"cross_{i}")
            self._cross_layers.append(layer)
            setattr(self, f"cross_{i}", layer)  # Keras 3 leaves what is only in a list out of a tf.train.Checkpoint
        dense = (self.width, (0, s.embedding_dim), s.layers, s.dense_init, s.init_stddev, s.seed, s.precision, len(spec.heads))
        self.tower = Tower(*dense, name="tower")

    def build(self, _=None) -> None:
        """Makes all variables; call it inside the strategy's scope."""
        for layer in self._cross_layers:
            layer.build((None, self.width))
        self.last = self.add_weight(
            name="last", shape=(self.width, len(self.spec.heads)), initializer=keras.initializers.GlorotUniform(seed=1)
        )
        super().build()

    @property
    def parts(self) -> list:
        """See Deep."""
        return [*super().parts, self.tower]

    def call(self, rows: dict[str, Rows], inputs: dict[str, tf.Tensor]) -> Logits:
        """Logits by head."""
        x0 = x = self.flat(self.fields(rows["embedding"], inputs), inputs)
        for layer in self._cross_layers:
            x = layer(x0, x)
        crossed = tf.matmul(x, self.last)
        crossed = tf.squeeze(crossed, 1) if crossed.shape[1] == 1 else crossed
        deep = self.tower(self.dense_input(x0, rows["embedding"], inputs))
        return self.sum_by_head(deep, crossed)


make = DcnV2
