"""DIN (Zhou et al., KDD 2018, arXiv 1706.06978): the values of a list count by what they have to do with the candidate."""

import keras
import tensorflow as tf

from tfonline.features.spec import Spec
from tfonline.flags import wrong
from tfonline.model.networks.network import Logits
from tfonline.model.networks.wide_deep.deep import Deep, refuse_average
from tfonline.model.networks.wide_deep.tower import Tower, bias_add
from tfonline.model.tables.lookup import Rows
from tfonline.model.tables.table import TableSpec, normal
from tfonline.settings.model import ModelSettings


class Attention(keras.layers.Layer):
    """`sum_j a_j e_j` over the values e_j of a list, and beside it `sum_j a_j`, with a_j = a(e_j, s_j, c) and c the candidate.

    s_j is a vector for the position, counted back from the list's last value, plus what stands along. a is a ReLU layer over
    [e_j, s_j, c, e_j - c, e_j * c] and one number behind it. As in the paper the weights are not made to add up to 1: their sum
    tells how much of the list has to do with the candidate.

    Args:
      length: L, places of the list.
      dim: D, width of an embedding.
      units: of the ReLU layer.
      seed: of the initial weights.
    """

    def __init__(self, length: int, dim: int, units: int, seed: int, **kwargs):
        super().__init__(**kwargs)
        self._length, self._dim, self._units, self._seed = length, dim, units, seed

    def build(self, _=None) -> None:
        """Makes the weights."""
        glorot = [keras.initializers.GlorotUniform(seed=self._seed + i) for i in range(2)]
        self.positions = self.add_weight(name="positions", shape=(self._length, self._dim), initializer="zeros")
        self.kernel = self.add_weight(name="kernel", shape=(5 * self._dim, self._units), initializer=glorot[0])
        self.bias = self.add_weight(name="bias", shape=(self._units,), initializer="zeros")
        self.last = self.add_weight(name="last", shape=(self._units, 1), initializer=glorot[1])
        self.built = True

    def call(self, values: list[tf.Tensor], candidate: tf.Tensor, holds: tf.Tensor) -> tf.Tensor:
        """To float32 [B, D + 1].

        Args:
          values: embeddings of the list's values, and of what stands along, float32 [B, L, D] each.
          candidate: float32 [B, D].
          holds: float32 [B, L], 1 at a place that holds a value; these stand first.
        """
        last = tf.cast(tf.reduce_sum(holds, axis=1, keepdims=True), tf.int32) - 1
        places = tf.reshape(tf.one_hot(last - tf.range(self._length), self._length), [-1, self._length])  # 0 behind the last one
        positions = tf.reshape(tf.matmul(places, self.positions), [-1, self._length, self._dim])
        values, *along = values
        candidates = tf.tile(candidate[:, None], [1, self._length, 1])
        about = [values, tf.add_n([*along, positions]), candidates, values - candidates, values * candidates]
        hidden = tf.matmul(tf.reshape(tf.concat(about, axis=2), [-1, 5 * self._dim]), self.kernel)
        hidden = tf.nn.relu(bias_add(hidden, tf.convert_to_tensor(self.bias)))
        weights = tf.reshape(tf.matmul(hidden, self.last), [-1, 1, self._length]) * holds[:, None]
        return tf.squeeze(tf.matmul(weights, tf.concat([values, tf.ones_like(values[:, :, :1])], axis=2)), 1)


class Din(Deep):
    """Dense layers over what the deep side of Wide & Deep gets, and over an Attention for each list.

    It is for lists whose values have the ids of another column: that column is the candidate. All of it learns by Adam.

    Args:
      spec: the inputs.
      settings: the model's flags.

    Raises:
      UserError: there is no such list, or --average_rows is given (exit 64).
    """

    def __init__(self, spec: Spec, settings: ModelSettings):
        s = settings
        if not spec.attended:
            raise wrong("--network=din wants a column of kind categories that `shares` the ids of another column. There is none.")
        refuse_average(s)
        tables = {"embedding": TableSpec(s.embedding_dim, "adam", normal(s.init_stddev, s.seed))}
        super().__init__(spec, tables, name="din", history=s.history)
        for i, of in enumerate(spec.attended):
            length = of.places[1] - of.places[0]
            attention = Attention(length, s.embedding_dim, s.din_units, s.seed + 100 + 2 * i, name=f"attention_{i}")
            setattr(self, f"attention_{i}", attention)
        width = self.width + len(spec.attended) * (s.embedding_dim + 1)
        dense = (width, (0, s.embedding_dim), s.layers, s.dense_init, s.init_stddev, s.seed, s.precision, len(spec.heads))
        self.tower = Tower(*dense, name="tower")

    @property
    def parts(self) -> list:
        """See Deep."""
        return [*super().parts, *(getattr(self, f"attention_{i}") for i in range(len(self.spec.attended))), self.tower]

    def call(self, rows: dict[str, Rows], inputs: dict[str, tf.Tensor]) -> Logits:
        """Logits by head."""
        table, values = rows["embedding"], inputs["values"]
        attended = [self.flat(self.fields(table, inputs), inputs)]
        first = self.spec.scaled_fields or 0  # `each` has the places behind these
        for i, of in enumerate(self.spec.attended):
            spans = (of.places, *of.along)
            holds = [tf.cast(values[:, start:past] != 0, tf.float32) for start, past in spans]
            lists = [table.each[:, a - first : b - first] * h[:, :, None] for (a, b), h in zip(spans, holds, strict=True)]
            attended.append(getattr(self, f"attention_{i}")(lists, table.each[:, of.candidate - first], holds[0]))
        return self.by_head(self.tower(self.dense_input(tf.concat(attended, axis=1), table, inputs)))


make = Din
