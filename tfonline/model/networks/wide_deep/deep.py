"""What the networks of this package share: embeddings, and the inputs that are counted and not learned."""

from collections.abc import Mapping

import tensorflow as tf

from tfonline.features.batch import Examples
from tfonline.features.spec import Spec
from tfonline.flags import wrong
from tfonline.model.networks.network import Logits, Network
from tfonline.model.networks.wide_deep.history import CrossHistory, IdHistory, Standardise
from tfonline.model.networks.wide_deep.tower import DeepInput
from tfonline.model.tables.lookup import Rows
from tfonline.model.tables.table import TableSpec
from tfonline.settings.model import ModelSettings


def refuse_average(settings: ModelSettings) -> None:
    """Raises UserError where --average_rows is given to a network that averages nothing (exit 64)."""
    if settings.average_rows:
        raise wrong("--average_rows goes with --network=wide_deep alone, whose dense layers it averages. Expected 0.")


class Deep(Network):
    """A network over one embedding a field, ids' and pairs' pasts and standardised numbers.

    Args:
      spec: the inputs. With `crosses`, it sees the past of pairs of columns (history.CrossHistory), too.
      tables: as of Network; one is `embedding`.
      name: of the Keras model.
      history: whether it sees each id's past (history.IdHistory).

    Attributes:
      embedding_dim: width of an embedding.
      width: of `flat`.

    With several labels each has a past of its own.
    """

    def __init__(self, spec: Spec, tables: Mapping[str, TableSpec], name: str, history: bool):
        super().__init__(spec, tables, name=name)
        self.embedding_dim = tables["embedding"].width
        self._any_values = spec.scaled_fields is None or bool(spec.lists)
        # Of the first label under these names, as when there was one; of each other one with its name behind.
        self._behind = {head: f"_{head}" if i else "" for i, head in enumerate(spec.heads)}
        for behind in self._behind.values():
            setattr(self, f"history{behind}", IdHistory(spec, name=f"history{behind}") if history else None)
            pairs = CrossHistory(spec.cross_buckets, spec.pairs, name=f"cross_history{behind}") if spec.pairs else None
            setattr(self, f"cross_history{behind}", pairs)
        self.standardise = Standardise(spec.width("numeric"), name="standardise") if spec.width("numeric") else None
        self.width = spec.num_fields * self.embedding_dim + 2 * spec.width("numeric")
        self.width += len(spec.heads) * (spec.num_fields * 2 * history + spec.num_lifts)

    @property
    def parts(self) -> list:
        """The layers, those that there are, in the order in which they are built."""
        return [part for part in (*self._histories, *self._cross_histories, self.standardise) if part]

    @property
    def _histories(self) -> list[IdHistory]:
        """By label; none without --history."""
        return [history for behind in self._behind.values() if (history := getattr(self, f"history{behind}"))]

    @property
    def _cross_histories(self) -> list[CrossHistory]:
        """By label; none without --cross_buckets."""
        return [history for behind in self._behind.values() if (history := getattr(self, f"cross_history{behind}"))]

    def build(self, _=None) -> None:
        """Makes all variables; call it inside the strategy's scope."""
        self.build_tables()
        for part in self.parts:
            part.build(None)
        self.built = True

    def only_score(self) -> None:
        """See Network."""
        for history in self._cross_histories:
            history.only_scores = True

    @property
    def statistics(self) -> list[tf.Variable]:
        """What `observe` counts: nothing that is learned by gradients."""
        counted = [v for h in (*self._histories, *self._cross_histories) for v in (h.counts, h.total)]
        return counted + ([self.standardise.sums] if self.standardise else [])

    @property
    def statistics_of_ids(self) -> list[tf.Variable]:
        """The ids' pasts."""
        return [history.counts for history in self._histories]

    @property
    def statistics_of_inputs(self) -> dict[str, list[tf.Variable]]:
        """The pairs' pasts."""
        counts = [history.counts for history in self._cross_histories]
        return {"crosses": counts} if counts else {}

    @property
    def observed_features(self) -> list[str]:
        """The features that `observe` looks at."""
        parts = {"ids": self.history, "crosses": self.cross_history, "numeric": self.standardise}
        return [name for name, part in parts.items() if part]

    def fields(self, rows: Rows, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """A table's rows by field, each times its value, of a list the sum: float32 [B, F, width]."""
        if not self._any_values and not self.spec.scaled_fields:  # all values are 1
            return rows.each
        return self.spec.by_field(rows.times(inputs["values"]))

    def counted(self, inputs: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """The inputs that are counted and not learned, float32 [B, n] each."""
        found = [history(inputs["ids"], inputs.get("counted")) for history in self._histories]
        found += [history(inputs["crosses"], inputs.get("counted")) for history in self._cross_histories]
        if self.standardise:
            found.append(self.standardise(inputs["numeric"]))
        return found

    def flat(self, embeddings: tf.Tensor, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Embeddings by field, [B, F, embedding_dim], and what is counted side by side: [B, width] of the embeddings' dtype."""
        flat = tf.reshape(embeddings, [tf.shape(embeddings)[0], embeddings.shape[1] * self.embedding_dim])
        return tf.concat([flat, *(tf.cast(x, flat.dtype) for x in self.counted(inputs))], axis=1)

    @staticmethod
    def dense_input(x: tf.Tensor, rows: Rows, inputs: Mapping[str, tf.Tensor]) -> DeepInput:
        """What a Tower takes of `x`, float32 [B, width], beside which no field is scaled."""
        return DeepInput(x, inputs["values"][:, :0], rows.scaled[:0])

    def observe(self, examples: Examples, logits: Logits) -> None:
        """Counts a global batch that was scored with `logits` and learned from: this replica's copies."""
        weight, features, first = examples.weight, examples.features, examples.first_weight
        for head, behind in self._behind.items():
            label, of_label, of_first = examples.label[head], weight, first
            if len(self._behind) > 1:  # where it is missing, the row is none of this label
                known = ~tf.math.is_nan(label)
                label, of_label, of_first = (tf.where(known, x, 0.0) for x in (label, weight, first))
            if history := getattr(self, f"history{behind}"):
                history.count(features["ids"], label, of_label, of_first)
            if history := getattr(self, f"cross_history{behind}"):
                history.count(features["crosses"], label, of_label, of_first)
        if self.standardise:
            self.standardise.count(features["numeric"], first)
