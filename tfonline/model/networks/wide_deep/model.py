"""Wide & Deep (Cheng et al., arXiv 1606.07792) as a Keras model: logits out."""

from typing import NamedTuple

import keras
import tensorflow as tf

from tfonline.features.batch import Examples
from tfonline.features.spec import Spec
from tfonline.model.networks.wide_deep.history import CrossHistory, IdHistory, Standardise
from tfonline.model.networks.wide_deep.tower import AverageTower, DeepInput, Tower, bias_add
from tfonline.model.tables.distinct import Distinct
from tfonline.model.tables.table import Table
from tfonline.model.tables.xla import FixedDistinct


class Rows(NamedTuple):
    """The tables' rows that a batch needs, and by which the loss is derived.

    Attributes:
      wide: float32 [B, C, 1], of the fields whose id changes from row to row.
      deep: float32 or, rounded to what the dense layers multiply in, bfloat16 [B, C, D].
      scaled_wide: float32 [S, 1], of the fields whose id is their number.
      scaled_deep: float32 [S, D].
    """

    wide: tf.Tensor
    deep: tf.Tensor
    scaled_wide: tf.Tensor
    scaled_deep: tf.Tensor


class WideDeep(keras.Model):
    """`logit = sum_f w[id_f] x_f + bias + tower(concat_f(e[id_f] x_f), histories, numbers)`.

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
        super().__init__(name="wide_deep")
        self.embedding_dim = embedding_dim
        self._any_values, self._scaled_fields = spec.scaled_fields is None, spec.scaled_fields or 0
        self.wide = Table(spec.num_ids, 1, stddev, seed, name="wide")
        self.embedding = Table(spec.num_ids, embedding_dim, stddev, seed, name="embedding")
        # A plain variable, as the tables are: it learns by FTRL with the wide side and is no concern of the deep one.
        self.bias = tf.Variable(0.0, trainable=True, name="wide_bias")
        self.history = IdHistory(spec.num_ids, name="history") if history else None
        crosses = spec.cross_buckets
        self.cross_history = CrossHistory(crosses, spec.num_fields, name="cross_history") if crosses else None
        self.standardise = Standardise(spec.num_numeric, name="standardise") if spec.num_numeric else None
        width = spec.num_fields * (embedding_dim + 2 * history + bool(crosses)) + 2 * spec.num_numeric
        dense = (width, (self._scaled_fields, embedding_dim), layers, dense_init, stddev, seed, precision)
        self.tower = Tower(*dense, name="tower")
        self.average = AverageTower(average_rows, *dense, name="average") if average_rows else None

    @property
    def padding_id(self) -> int:
        """The id whose weights are zero for good."""
        return self.wide.padding_id

    @property
    def num_rows(self) -> int:
        """Of the tables: an id each, and the padding."""
        return self.padding_id + 1

    def build(self, _=None) -> None:
        """Makes all variables; call it inside the strategy's scope."""
        parts = (self.wide, self.embedding, self.history, self.cross_history, self.standardise, self.tower, self.average)
        for part in filter(None, parts):
            part.build(None)
        self.built = True

    @property
    def statistics(self) -> list[tf.Variable]:
        """What `observe` counts or averages: nothing that is learned by gradients."""
        counted = [v for h in (self.history, self.cross_history) if h for v in (h.counts, h.total)]
        counted += [self.standardise.sums] if self.standardise else []
        return counted + (self.average.state if self.average else [])

    @property
    def observed_features(self) -> list[str]:
        """The features that `observe` looks at."""
        parts = {"ids": self.history, "crosses": self.cross_history, "numeric": self.standardise}
        return [name for name, part in parts.items() if part]

    @property
    def all_weights(self) -> list[tf.Variable]:
        """All that is learned, then `statistics`: what its scores depend on, and what they will."""
        return [self.wide.table, self.bias, self.embedding.table, *(w.value for w in self.tower.weights), *self.statistics]

    def call(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
        """Features, as pipeline.Features makes them, to logits float32 [B]."""
        wide, deep = self.inputs_of_sides(self.rows(features["ids"]), features)
        return wide + self.scorer(deep)

    @property
    def scorer(self) -> Tower:
        """The dense layers that score: the average, or the newest."""
        return self.average or self.tower

    def rows(self, ids: tf.Tensor, distinct: Distinct | FixedDistinct | None = None) -> Rows:
        """What the tables hold for ids, int [B, F]; `distinct(ids)`, where it is there, says which are the same."""
        scaled, ids = self._scaled_ids(ids.dtype), ids[:, self._scaled_fields :]
        if distinct is None:
            return Rows(self.wide(ids), self.embedding(ids), self.wide(scaled), self.embedding(scaled))
        wide, deep = self.wide(distinct.ids), self.embedding(distinct.ids)
        if not self._any_values:
            deep = tf.cast(deep, self.tower.multiplies_in)  # few as they are
        # Not the places' shape, which TensorFlow would change in the host's memory.
        shape = [tf.shape(ids)[0], ids.shape[1]]
        wide, deep = (tf.reshape(tf.gather(t, distinct.places), [*shape, t.shape[-1]]) for t in (wide, deep))
        return Rows(wide, deep, self.wide(scaled), self.embedding(scaled))

    def distinct(self, ids: tf.Tensor, fixed_rows: int | None = None, replicas: int = 1) -> Distinct | FixedDistinct:
        """Of ids, int [B, F], those that change from row to row; `fixed_rows`, `replicas`: see FixedDistinct."""
        ids = tf.reshape(ids[:, self._scaled_fields :], [-1])
        return FixedDistinct.of(ids, fixed_rows, replicas) if fixed_rows else Distinct.of(ids)

    def gradients(self, distinct: Distinct | FixedDistinct, of_rows: Rows) -> tuple[tf.IndexedSlices, tf.IndexedSlices]:
        """The gradients of the wide and the deep table, by those of `rows(ids, distinct)`: each id once, in one order for both."""
        ids = distinct.ids_behind(self._scaled_fields)

        def gradient(of_table: tf.Tensor, of_scaled: tf.Tensor) -> tf.IndexedSlices:
            sums = distinct.sums(tf.cast(tf.reshape(of_table, [-1, of_table.shape[-1]]), tf.float32))
            return tf.IndexedSlices(distinct.sums_behind(of_scaled, sums), ids)

        return gradient(of_rows.wide, of_rows.scaled_wide), gradient(of_rows.deep, of_rows.scaled_deep)

    def of_all_ids(self, gradient: tf.IndexedSlices) -> bool:
        """Whether one of `gradients` has a row for each id that there is: `all_ids`, but for those that the batch has not."""
        return gradient.indices.shape[0] == self._scaled_fields + self.num_rows

    def all_ids(self, dtype: tf.DType) -> tf.Tensor:
        """The ids of such rows, int [S + R]."""
        return tf.concat([self._scaled_ids(dtype), tf.range(self.num_rows, dtype=dtype)], axis=0)

    def _scaled_ids(self, dtype: tf.DType) -> tf.Tensor:
        return tf.range(self._scaled_fields, dtype=dtype)  # of the ids' own type: what is int32 a GPU would be sent at each step

    def inputs_of_sides(self, rows: Rows, features: dict[str, tf.Tensor]) -> tuple[tf.Tensor, DeepInput]:
        """The wide side's logits, float32 [B], and what the deep side's dense layers get."""
        wide, deep, values = rows.wide, rows.deep, features["values"]
        if self._any_values:
            wide, deep = wide * values[:, :, None], deep * values[:, :, None]
        wide = tf.reduce_sum(wide, axis=1)
        scaled = values[:, : self._scaled_fields]
        if self._scaled_fields:
            wide += tf.matmul(scaled, rows.scaled_wide)
        # Not `+`: TensorFlow changes the order of several additions where it knows the batch size, and so the last bit of a score.
        wide = tf.squeeze(bias_add(wide, tf.reshape(self.bias, [1])), 1)
        deep = [tf.reshape(deep, [tf.shape(deep)[0], deep.shape[1] * self.embedding_dim])]
        if self.history:
            deep.append(self.history(features["ids"]))
        if self.cross_history:
            deep.append(self.cross_history(features["crosses"]))
        if self.standardise:
            deep.append(self.standardise(features["numeric"]))
        deep = [tf.cast(d, deep[0].dtype) for d in deep]
        return wide, DeepInput(tf.concat(deep, axis=1), scaled, rows.scaled_deep)

    def observe(self, examples: Examples, logits: tf.Tensor) -> None:
        """Counts a global batch that was scored with `logits` and learned from, and moves the average: this replica's copies."""
        ((label,), weight, features) = examples._replace(label=tuple(examples.label.values()))
        if self.history:
            self.history.count(features["ids"], label, weight)
        if self.cross_history:
            self.cross_history.count(features["crosses"], label, weight)
        if self.standardise:
            self.standardise.count(features["numeric"], weight)
        if self.average:
            self.average.move(self.tower, logits, label, weight)
