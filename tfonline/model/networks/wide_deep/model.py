"""Wide & Deep (Cheng et al., arXiv 1606.07792) as a Keras model: logits out."""

from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from tfonline.features.batch import Examples
from tfonline.features.spec import Spec
from tfonline.model.networks.network import Logits, Network
from tfonline.model.networks.wide_deep.history import CrossHistory, IdHistory, Standardise
from tfonline.model.networks.wide_deep.tower import AverageTower, DeepInput, Tower, bias_add
from tfonline.model.tables.lookup import Rows
from tfonline.model.tables.table import TableSpec, normal


class WideDeep(Network):
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
        super().__init__(spec, {"wide": TableSpec(1, "ftrl", initializer), "embedding": embedding}, name="wide_deep")
        self.embedding_dim = embedding_dim
        self._any_values, self._scaled_fields = any_values, spec.scaled_fields or 0
        (self._head,) = spec.heads
        # A plain variable, as the tables are: it learns by FTRL with the wide side and is no concern of the deep one.
        self.bias = tf.Variable(0.0, trainable=True, name="wide_bias")
        self.history = IdHistory(spec, name="history") if history else None
        self.cross_history = CrossHistory(spec.cross_buckets, spec.pairs, name="cross_history") if spec.pairs else None
        self.standardise = Standardise(spec.width("numeric"), name="standardise") if spec.width("numeric") else None
        width = spec.num_fields * (embedding_dim + 2 * history) + spec.num_crossed + 2 * spec.width("numeric")
        dense = (width, (self._scaled_fields, embedding_dim), layers, dense_init, stddev, seed, precision)
        self.tower = Tower(*dense, name="tower")
        self.average = AverageTower(average_rows, *dense, name="average") if average_rows else None

    def build(self, _=None) -> None:
        """Makes all variables; call it inside the strategy's scope."""
        self.build_tables()
        for part in filter(None, (self.history, self.cross_history, self.standardise, self.tower, self.average)):
            part.build(None)
        self.built = True

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
        counted = [v for h in (self.history, self.cross_history) if h for v in (h.counts, h.total)]
        counted += [self.standardise.sums] if self.standardise else []
        return counted + (self.average.state if self.average else [])

    @property
    def statistics_of_ids(self) -> list[tf.Variable]:
        """The ids' pasts."""
        return [self.history.counts] if self.history else []

    @property
    def statistics_of_inputs(self) -> dict[str, list[tf.Variable]]:
        """The pairs' pasts."""
        return {"crosses": [self.cross_history.counts]} if self.cross_history else {}

    @property
    def observed_features(self) -> list[str]:
        """The features that `observe` looks at."""
        parts = {"ids": self.history, "crosses": self.cross_history, "numeric": self.standardise}
        return [name for name, part in parts.items() if part]

    def call(self, rows: dict[str, Rows], inputs: dict[str, tf.Tensor]) -> Logits:
        """The scores: by the dense layers' average, or by the newest."""
        wide, deep = self.sides(rows, inputs)
        return {self._head: wide + (self.average or self.tower)(deep)}

    def logits_and_scores(self, rows: dict[str, Rows], inputs: dict[str, tf.Tensor]) -> tuple[Logits, Logits]:
        """The logits by the newest dense layers, and the scores."""
        wide, deep = self.sides(rows, inputs)
        logits = {self._head: wide + self.tower(deep)}
        return logits, {self._head: wide + self.average(deep)} if self.average else logits

    def sides(self, rows: dict[str, Rows], inputs: dict[str, tf.Tensor]) -> tuple[tf.Tensor, DeepInput]:
        """The wide side's logits, float32 [B], and what the deep side's dense layers get."""
        (wide, scaled_wide), (deep, scaled_deep), values = rows["wide"], rows["embedding"], inputs["values"]
        if self._any_values:
            of_each = values[:, self._scaled_fields :, None]
            wide, deep = wide * of_each, self.spec.by_field(deep * of_each)
        wide = tf.reduce_sum(wide, axis=1)
        scaled = values[:, : self._scaled_fields]
        if self._scaled_fields:
            wide += tf.matmul(scaled, scaled_wide)
        # Not `+`: TensorFlow changes the order of several additions where it knows the batch size, and so the last bit of a score.
        wide = tf.squeeze(bias_add(wide, tf.reshape(self.bias, [1])), 1)
        deep = [tf.reshape(deep, [tf.shape(deep)[0], deep.shape[1] * self.embedding_dim])]
        if self.history:
            deep.append(self.history(inputs["ids"], inputs.get("counted")))
        if self.cross_history:
            deep.append(self.cross_history(inputs["crosses"], inputs.get("counted")))
        if self.standardise:
            deep.append(self.standardise(inputs["numeric"]))
        deep = [tf.cast(d, deep[0].dtype) for d in deep]
        return wide, DeepInput(tf.concat(deep, axis=1), scaled, scaled_deep)

    def observe(self, examples: Examples, logits: Logits) -> None:
        """Counts a global batch that was scored with `logits` and learned from, and moves the average: this replica's copies."""
        label, weight, features, first = examples.label[self._head], examples.weight, examples.features, examples.first_weight
        if self.history:
            self.history.count(features["ids"], label, weight, first)
        if self.cross_history:
            self.cross_history.count(features["crosses"], label, weight, first)
        if self.standardise:
            self.standardise.count(features["numeric"], first)
        if self.average:
            self.average.move(self.tower, logits[self._head], label, weight, first)
