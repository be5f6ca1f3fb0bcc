"""The class that networks derive from; the package's docstring is the contract."""

from collections.abc import Mapping
from typing import ClassVar

import keras
import tensorflow as tf

from tfonline.features.batch import Examples
from tfonline.features.spec import Spec
from tfonline.model.late_labels import POLICIES
from tfonline.model.tables.lookup import Lookup, Rows
from tfonline.model.tables.table import Table, TableSpec
from tfonline.model.tables.vocabulary import Vocabulary

Logits = dict[str, tf.Tensor]  # by head, float32 [B]


class Network(keras.Model):
    """See the package.

    Args:
      spec: the inputs.
      tables: the tables that it declares, by name.
      name: of the Keras model.

    Raises:
      ValueError: a table's name is not free, as an attribute.

    Attributes:
      spec: the inputs.
      vocabulary: which ids belong to which values of the stream; None where the spec has none.
      late_labels: how it learns of labels that come late, one of late_labels.POLICIES. What `call` gives hangs on it; `score` does
        not: the probability is always that of a row's being positive at last.
      optimizer_names: under which name of the learner's an optimizer's slots stand in checkpoints; if none is told,
        under its own.
      loss_names: of the loss, and of it with `l2 / 2` times the sum of squares of the touched rows that learn by Adam or Adagrad;
        in loss.log, on the console and in TensorBoard.
    """

    optimizer_names: ClassVar[Mapping[str, str]] = {"ftrl": "ftrl", "adam": "adam"}
    loss_names: ClassVar[tuple[str, str]] = ("loss", "loss_with_l2")
    vocabulary: Vocabulary | None = None
    late_labels: str = "wait"

    def __init__(self, spec: Spec, tables: Mapping[str, TableSpec], name: str):
        super().__init__(name=name, autocast=False)  # rows may be bfloat16, see TableSpec
        self.spec, self._table_names = spec, tuple(tables)
        for table, its_spec in tables.items():
            if hasattr(type(self), table):
                raise ValueError(f"a table cannot be named {table}: each Keras model has an attribute of this name. Use another.")
            setattr(self, table, Table(spec.num_ids, its_spec, name=table))
        if spec.vocabulary:
            self.vocabulary = Vocabulary(spec.vocabulary, name="vocabulary")

    @property
    def tables(self) -> dict[str, Table]:
        """The tables, in the order in which they were declared."""
        return {name: getattr(self, name) for name in self._table_names}

    @property
    def dense_variables(self) -> dict[str, list[tf.Variable]]:
        """What learns beside the tables, by optimizer: tf.Variables, of a Keras weight its `value`."""
        return {"adam": [w.value for w in self.trainable_weights]}

    @property
    def statistics(self) -> list[tf.Variable]:
        """What `observe` counts or averages: nothing that is learned by gradients."""
        return []

    @property
    def statistics_of_ids(self) -> list[tf.Variable]:
        """Those of `statistics` that have a row an id: where an id goes to another value, its row does."""
        return []

    @property
    def statistics_of_inputs(self) -> dict[str, list[tf.Variable]]:
        """Those of `statistics` that have a row for each value of one of `observed_features` other than `ids`, by its name.

        Only what is large need be named: deltas (docs/serving.md) then look at the rows that a batch has. All others are looked at
        as a whole.
        """
        return {}

    @property
    def remembered_width(self) -> int:
        """Numbers a row that `remember` gives; 0: the network cannot learn from rows again (--replay)."""
        return 0

    @property
    def observed_features(self) -> list[str]:
        """The inputs that `observe` looks at."""
        return []

    @property
    def gradient_dtype(self) -> str:
        """In which dense gradients and tables' sums travel between GPUs that XLA compiles for: float32 or bfloat16."""
        return "float32"

    def only_score(self) -> None:
        """Before `build`: rows will be scored, and nothing learned or counted. So what is large may take less (ServedCounts)."""

    def build(self, _=None) -> None:
        """Makes all variables; call it inside the strategy's scope."""
        self.build_tables()
        self.built = True
        row = {name: tf.constant(i.padding, i.dtype, [1, i.width]) for name, i in self.spec.inputs.items()}
        self.score(row)

    def build_tables(self) -> None:
        """Makes the tables, and the vocabulary; for a `build` of a network's own."""
        for table in self.tables.values():
            table.build()
        if self.vocabulary:
            self.vocabulary.build()

    def score(self, inputs: Mapping[str, tf.Tensor]) -> Logits:
        """Inputs, as pipeline.Features makes them, to what serving gives."""
        if self.vocabulary:
            inputs = {**inputs, "ids": self.vocabulary.ids(inputs["ids"], inputs["keys"])}
        logits = self(Lookup(self.tables, self.spec.scaled_fields).rows(inputs["ids"]), inputs)
        return {head: POLICIES[self.late_labels].scores(x) for head, x in logits.items()}

    def stacked(self, logits: Logits) -> tf.Tensor:
        """Logits by head to float32 [B], or of H > 1 heads to [B, H] in the order of the labels."""
        of_heads = [logits[head] for head in self.spec.heads]
        return tf.stack(of_heads, axis=1) if len(of_heads) > 1 else of_heads[0]

    def by_head(self, logits: tf.Tensor) -> Logits:
        """What `stacked` gives, back to logits by head."""
        heads = self.spec.heads
        return dict(zip(heads, tf.unstack(logits, axis=1), strict=True)) if len(heads) > 1 else {heads[0]: logits}

    def sum_by_head(self, one: tf.Tensor, other: tf.Tensor) -> Logits:
        """The sum of two of what `by_head` takes.

        Added up by head: TensorFlow would do the sum of several heads in one with the product before it where it knows the batch
        size, and change the last bit of a score.
        """
        ones, others = self.by_head(one), self.by_head(other)
        return {head: ones[head] + others[head] for head in ones}

    def logits_and_scores(self, rows: dict[str, Rows], inputs: dict[str, tf.Tensor]) -> tuple[Logits, Logits]:
        """The logits that the loss is taken of, by the weights that learn; and what `call` gives."""
        logits = self(rows, inputs)
        return logits, logits

    def remember(self, rows: dict[str, Rows], inputs: dict[str, tf.Tensor]) -> tuple[Logits, Logits, tf.Tensor]:
        """What `logits_and_scores` gives, and what its dense layers got of each row, [B, remembered_width]."""
        raise NotImplementedError

    def logits_of_remembered(self, remembered: tf.Tensor) -> Logits:
        """The logits of rows by what was remembered of them, float32 [n, remembered_width], and today's dense layers."""
        raise NotImplementedError

    def observe(self, examples: Examples, logits: Logits) -> None:
        """Counts a global batch that was scored with `logits` and learned from: this replica's copies. See `statistics`.

        A row that is late (examples.late) was counted as a row before: only its click is new.

        Args:
          examples: label (NaN where an optional one is missing), weight and late, and of the features those of
            `observed_features`, [B, ...] each.
          logits: by head, float32 [B], the scores.
        """
