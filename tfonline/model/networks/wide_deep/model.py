"""Wide & Deep (Cheng et al., arXiv 1606.07792) as a Keras model: logits out."""

from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from tfonline.features.batch import Examples
from tfonline.features.spec import Spec
from tfonline.flags import wrong
from tfonline.model.networks.network import Logits
from tfonline.model.networks.wide_deep.deep import Deep
from tfonline.model.networks.wide_deep.tower import AverageTower, DeepInput, Tower, bias_add
from tfonline.model.tables.lookup import Rows
from tfonline.model.tables.table import TableSpec, normal


class WideDeep(Deep):
    """`logit = sum_f w[id_f] x_f + bias + tower(concat_f(e[id_f] x_f), histories, numbers)`; of a list the sum over its values.

    Args:
      spec: the inputs. With `crosses`, the deep side sees the past of pairs of columns (history.CrossHistory), too.
      embedding_dim: width of an embedding.
      layers: widths of the dense ReLU layers; a last one of width 1 follows.
      dense_init: `glorot`, or `normal` with `stddev`.
      stddev: of the initial embeddings, wide weights and, with `normal`, dense weights.
      seed: of all initial weights.
      history: whether the deep side sees each id's past (history.IdHistory).
      average_rows: scores are of the dense layers' average over so many rows (tower.AverageTower); 0: of the newest.
      precision: of the dense layers' products, see tower.Tower.
    """

    # The names that these had before there was another network.
    optimizer_names: ClassVar[Mapping[str, str]] = {"ftrl": "wide_optimizer", "adam": "deep_optimizer"}
    loss_names: ClassVar[tuple[str, str]] = ("wide_loss", "deep_loss")

    def __init__(
        self,
        spec: Spec,
        embedding_dim: int,
        layers: tuple[int, ...],
        dense_init: str,
        stddev: float,
        seed: int,
        history: bool = False,
        average_rows: int = 0,
        precision: str = "float32",
    ):
        initializer, any_values = normal(stddev, seed), spec.scaled_fields is None or bool(spec.lists)
        # Without values to multiply them by, the first thing done with embeddings is to round them for the dense layers.
        embedding = TableSpec(embedding_dim, "adam", initializer, "float32" if any_values else precision)
        outputs = len(spec.heads)
        if average_rows and outputs > 1:
            raise wrong("--average_rows goes with one label, and the columns have several. Expected 0.")
        tables = {"wide": TableSpec(outputs, "ftrl", initializer), "embedding": embedding}
        super().__init__(spec, tables, name="wide_deep", history=history)
        self._scaled_fields = spec.scaled_fields or 0
        # A plain variable, as the tables are: it learns by FTRL with the wide side and is no concern of the deep one.
        self.bias = tf.Variable([0.0] * outputs if outputs > 1 else 0.0, trainable=True, name="wide_bias")
        dense = (self.width, (self._scaled_fields, embedding_dim), layers, dense_init, stddev, seed, precision, outputs)
        self.tower = Tower(*dense, name="tower")
        self.average = AverageTower(average_rows, *dense, name="average") if average_rows else None

    @property
    def parts(self) -> list:
        """See Deep."""
        return [*super().parts, *(part for part in (self.tower, self.average) if part)]

    @property
    def dense_variables(self) -> dict[str, list[tf.Variable]]:
        """The wide side's bias learns by FTRL, as its table does."""
        return {"ftrl": [self.bias], "adam": [w.value for w in self.tower.weights]}

    @property
    def gradient_dtype(self) -> str:
        """That of the dense layers' products."""
        return self.tower.multiplies_in

    @property
    def statistics(self) -> list[tf.Variable]:
        """What `observe` counts or averages: nothing that is learned by gradients."""
        return super().statistics + (self.average.state if self.average else [])

    def call(self, rows: dict[str, Rows], inputs: dict[str, tf.Tensor]) -> Logits:
        """The scores: by the dense layers' average, or by the newest."""
        wide, deep = self.sides(rows, inputs)
        return self.sum_by_head(wide, (self.average or self.tower)(deep))

    def logits_and_scores(self, rows: dict[str, Rows], inputs: dict[str, tf.Tensor]) -> tuple[Logits, Logits]:
        """The logits by the newest dense layers, and the scores."""
        return self._logits_and_scores(*self.sides(rows, inputs))

    def _logits_and_scores(self, wide: tf.Tensor, deep: DeepInput) -> tuple[Logits, Logits]:
        logits = self.sum_by_head(wide, self.tower(deep))
        return logits, self.sum_by_head(wide, self.average(deep)) if self.average else logits

    def sides(self, rows: dict[str, Rows], inputs: dict[str, tf.Tensor]) -> tuple[tf.Tensor, DeepInput]:
        """The wide side's logits, float32 [B] or of H > 1 labels [B, H], and what the deep side's dense layers get."""
        (wide, scaled_wide), (deep, scaled_deep), values = rows["wide"], rows["embedding"], inputs["values"]
        if self._any_values:
            of_each = values[:, self._scaled_fields :, None]
            wide, deep = wide * of_each, self.spec.by_field(deep * of_each)
        wide = tf.reduce_sum(wide, axis=1)
        scaled = values[:, : self._scaled_fields]
        if self._scaled_fields:
            wide += tf.matmul(scaled, scaled_wide)
        # Not `+`: TensorFlow changes the order of several additions where it knows the batch size, and so the last bit of a score.
        wide = bias_add(wide, tf.reshape(self.bias, [wide.shape[1]]))
        wide = tf.squeeze(wide, 1) if wide.shape[1] == 1 else wide
        return wide, DeepInput(self.flat(deep, inputs), scaled, scaled_deep)

    @property
    def remembered_width(self) -> int:
        """What the dense layers get, and the wide side's logit; see Network. A scaled field's row is not remembered."""
        return 0 if self._scaled_fields or len(self.spec.heads) > 1 else self.width + 1

    def remember(self, rows: dict[str, Rows], inputs: dict[str, tf.Tensor]) -> tuple[Logits, Logits, tf.Tensor]:
        """See Network."""
        wide, deep = self.sides(rows, inputs)
        logits, scores = self._logits_and_scores(wide, deep)
        return logits, scores, tf.concat([tf.cast(deep.x, tf.float32), wide[:, None]], axis=1)

    def logits_of_remembered(self, remembered: tf.Tensor) -> Logits:
        """See Network. The wide side's logit is the one of then: nothing but the dense layers learns."""
        none = tf.zeros([remembered.shape[0], 0]), tf.zeros([0, self.embedding_dim])
        x = tf.cast(remembered[:, :-1], self.tower.multiplies_in)
        return self.by_head(remembered[:, -1] + self.tower(DeepInput(x, *none)))

    def observe(self, examples: Examples, logits: Logits) -> None:
        """Counts a global batch that was scored with `logits` and learned from, and moves the average: this replica's copies."""
        super().observe(examples, logits)
        if self.average:
            (logit,), (label,) = logits.values(), examples.label.values()
            self.average.move(self.tower, logit, label, examples.weight, examples.first_weight)
