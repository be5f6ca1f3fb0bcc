"""A network and how it learns: tape, loss, and the train and score steps under a strategy of tf.distribute."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfonline.cluster.members import Cluster
from tfonline.features.batch import Examples
from tfonline.features.negatives import Negatives
from tfonline.features.spec import Spec
from tfonline.flags import wrong
from tfonline.model.late_labels import POLICIES, Term
from tfonline.model.networks.find import make_network
from tfonline.model.networks.network import Logits, Network
from tfonline.model.past import Past, Replay
from tfonline.model.tables.admission import Admission
from tfonline.model.tables.exchange import Exchange
from tfonline.model.tables.lookup import Lookup
from tfonline.model.tables.optimizers import KINDS, Adagrad, Ftrl, Gradient, LazyAdam, make_optimizer, times
from tfonline.model.tables.packed import Learned
from tfonline.model.tables.replicas import Replicas, this_replica
from tfonline.model.tables.small_counts import all_finite
from tfonline.model.tables.steps import Halves
from tfonline.model.tables.touched import IDS, Touched
from tfonline.model.tables.xla import try_xla
from tfonline.model.tables.xla_steps import make_steps
from tfonline.settings.model import ModelSettings, OptimizerSettings
from tfonline.settings.vocabulary import VocabularySettings


class StepResult(NamedTuple):
    """What a step saw, before it learned. Of several steps: logits [N B, ...], losses [N]; 0 for a batch that was no step.

    Attributes:
      logits: float32 [B], by the weights (or their average) from before the step: the progressive scores. Of H > 1 heads [B, H].
      losses: float32 [] each, by the network's names for them: the weighted mean of the sigmoid cross entropy over the global
        batch, by the weights that learn; and the same + l2 / 2 times the sum of squares of the rows that the batch touches, of the
        tables that learn by Adam or Adagrad.
    """

    logits: tf.Tensor
    losses: dict[str, tf.Tensor]


def make_learner(
    strategy: tf.distribute.Strategy,
    spec: Spec,
    model: ModelSettings,
    optimizers: OptimizerSettings,
    cluster: Cluster | None = None,
    jit_compile: bool = False,
    vocabulary: VocabularySettings | None = None,
    keep_negatives: float = 1.0,
) -> "Learner":
    """The network and the optimizers that the settings ask for; see Learner.

    Raises:
      UserError: --jit_compile, and XLA does not work on the device; there is no such --network; or it cannot learn from rows
        again, and --replay is given (exit 64).
    """
    if jit_compile:
        try_xla(strategy)
    with strategy.scope():
        network = make_network(spec, model)
    replay = Replay(model.replay, model.replay_rows, model.seed) if model.replay else None
    return Learner(strategy, network, optimizers, cluster, jit_compile, vocabulary, keep_negatives, replay)


class Learner(tf.Module):
    """A network, its optimizers and its steps.

    An optimizer is an attribute under the network's name for it, as its slots stand in checkpoints (Network.optimizer_names).

    Args:
      strategy: in whose scope the network was made, and its variables will be.
      network: not built yet.
      optimizers: their settings.
      cluster: the workers over which the strategy reaches; None: this process only.
      jit_compile: have XLA compile the steps; not in a cluster.
      vocabulary: which values of the stream get rows, where the network has a vocabulary; None: as the flags have it by themselves.
      keep_negatives: the share of the negatives that rows are learned from.
      replay: how the dense layers learn from rows again, on one replica; None: they do not.

    Raises:
      UserError: `replay`, and the network remembers nothing (exit 64).

    Attributes:
      model: the network.
      negatives: how many of them are kept.
      late_labels: what rows teach whose labels come late, as the network's `late_labels` has it.
      admission: gives rows to values of the stream; None where the network has no vocabulary.
      past: rows that are learned from again; None without `replay`.
      touched: the rows that were learned by or counted; None: nobody has asked for them, see mark_touched.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        network: Network,
        optimizers: OptimizerSettings,
        cluster: Cluster | None = None,
        jit_compile: bool = False,
        vocabulary: VocabularySettings | None = None,
        keep_negatives: float = 1.0,
        replay: Replay | None = None,
    ):
        super().__init__(name="learner")
        self.negatives = Negatives(keep_negatives)
        self.touched: Touched | None = None
        self._strategy, self._settings = strategy, optimizers
        self._replicas = replicas = Replicas(strategy, cluster)
        with strategy.scope():
            network.build()
            self.model = network
            self.late_labels = POLICIES[network.late_labels](network.spec, [t.spec.width for t in network.tables.values()])
            for kind in KINDS:
                if variables := self.learned_by(kind):
                    setattr(self, network.optimizer_names.get(kind, kind), make_optimizer(kind, variables, optimizers, jit_compile))
            self.past = None
            if replay:
                if not network.remembered_width:
                    expected = "--network=wide_deep, one label and no --numeric=minmax"
                    raise wrong(f"--replay={replay.times} goes with {expected}. Leave it out.")
                self.past = Past(network.remembered_width, replay)
            self.admission = None
            if network.vocabulary:
                settings = vocabulary or VocabularySettings()
                self.admission = Admission(network.vocabulary, settings, jit_compile, branches=not replicas.on_gpu)
        by_kind = sorted(network.tables.items(), key=lambda item: KINDS.index(item[1].spec.optimizer))
        self._lookup = Lookup(dict(by_kind), network.spec.scaled_fields, replicas.count if jit_compile else None)
        tables, dense = self._trained
        exchange = Exchange(replicas, self._lookup, tuple(itertools.chain(*tables)), tuple(itertools.chain(*dense)))
        observed = network.observed_features if network.statistics else None
        if network.vocabulary:
            observed = sorted({*(observed or []), "ids", "keys"})
        look_up = network.vocabulary.ids if network.vocabulary else None
        num_heads = len(network.spec.heads)
        halves = Halves(self._forward_backward, self._update, len(network.loss_names), num_heads, observed, look_up)
        self._steps = make_steps(replicas, exchange, halves, jit_compile, network.gradient_dtype)
        self._train_steps = self._steps.call

    def learned_by(self, kind: str) -> list[tf.Variable]:
        """The variables that an optimizer of tables.optimizers.KINDS trains, the tables first."""
        tables, dense = (group[KINDS.index(kind)] for group in self._trained)
        return [*tables, *dense]

    # Made anew at each use: as attributes they would give the weights a second name in checkpoints.
    @property
    def _trained(self) -> tuple[list[list[tf.Variable]], list[list[tf.Variable]]]:
        """The tables, and all else that learns: of each of KINDS a list."""
        tables, dense = self.model.tables.values(), self.model.dense_variables
        dense = {**dense, "ftrl": [*dense.get("ftrl", []), *self.late_labels.learned]}
        return [[t.table for t in tables if t.spec.optimizer == kind] for kind in KINDS], [dense.get(kind, []) for kind in KINDS]

    @property
    def _optimizers(self) -> dict[str, Ftrl | LazyAdam | Adagrad]:
        """Those that there are, by kind."""
        return {kind: getattr(self, self.model.optimizer_names.get(kind, kind)) for kind in KINDS if self.learned_by(kind)}

    def carry_over(self, rates: Mapping[str, float]) -> bool:
        """Makes what was learned by other rates go on by those of today; says whether anything was converted.

        Args:
          rates: by flag, those that the weights were learned by; {}: today's.
        """
        ftrl = self._optimizers.get("ftrl")
        if not rates or dict(rates) == self.rates or not ftrl:
            return False
        ftrl.rescale(self.learned_by("ftrl"), rates["wide_initial_accumulator"])
        return True

    @property
    def rates(self) -> dict[str, float]:
        """The settings that the slots' units hang on, by flag."""
        return self._settings.units

    @property
    def all_weights(self) -> list[tf.Variable]:
        """All that is learned, then what is counted or averaged: what the network's scores depend on, and what they will."""
        keys = [self.model.vocabulary.keys] if self.model.vocabulary else []
        return [*itertools.chain(*map(self.learned_by, KINDS)), *self.model.statistics, *keys]

    @property
    def variables(self) -> tuple[tf.Variable, ...]:
        """`all_weights`, then slots. What a tf.Module finds by itself leaves out a Keras model."""
        admission = self.admission.variables if self.admission else ()
        slots = itertools.chain(*(optimizer.variables for optimizer in self._optimizers.values()))
        return (*self.all_weights, *slots, *admission, *(self.past.variables if self.past else ()))

    @property
    def rows_of_ids(self) -> list[tf.Variable]:
        """All that has a row an id: the tables, their slots, and what the network counts by id."""
        found = list(self.model.statistics_of_ids)
        for kind, optimizer in self._optimizers.items():
            tables = self._trained[0][KINDS.index(kind)]
            found += [*tables, *itertools.chain(*(slots[: len(tables)] for slots in optimizer.slots))]
        return found

    def mark_touched(self) -> None:
        """Has the steps mark the rows that they touch; to be called before the first one."""
        sizes = {IDS: next(iter(self.model.tables.values())).num_rows}
        sizes |= {name: v.shape[0] for name, counted in self.model.statistics_of_inputs.items() for v in counted}
        self.touched = Touched(sizes, self._strategy.extended.worker_devices[0])

    @tf.function(autograph=False)
    def score(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
        """The network's inputs to logits float32 [B], of H > 1 heads [B, H]; learns nothing."""
        return self.model.stacked(self.model.score(features))

    def train(self, examples: Examples) -> StepResult:
        """Scores a global batch, then learns from it. At least one place must hold a row; B divides over the replicas.

        Args:
          examples: B rows. One of weight 0 changes nothing; its features are the padding. In a cluster, label and weight are of the
            global batch, and the features of this worker's part of it, [B / workers, ...].
        """
        return self._result(self._train_steps(None, None, self._seen(examples)))

    def train_steps(self, num_steps: tf.Tensor, which: tf.Tensor, examples: Examples) -> StepResult:
        """N batches, one after the other, as so many calls of `train` would do; Python is left and entered once.

        Args:
          num_steps: int32 [], how many of the batches hold a row and so are a step; at least 1.
          which: int32 [N], their numbers first, in order, 0 to N - 1.
          examples: of all N batches, [N B, ...] each.
        """
        return self._result(self._train_steps(*self._steps.prepared(num_steps, which), self._seen(examples)))

    def _result(self, of_replicas: Sequence[Sequence[tf.Tensor]]) -> StepResult:
        logits, *losses = of_replicas[0]
        return StepResult(logits, dict(zip(self.model.loss_names, losses, strict=True)))

    def inputs(self, examples: Examples) -> Examples:
        """What `train` takes, copied to where the steps take it from: to GPUs where the model is on some; else as it is."""
        return self._steps.inputs(self._seen(examples))

    def _seen(self, examples: Examples) -> Examples:
        """Without what the policy of late labels does not look at."""
        return examples if self.late_labels.sees_late or isinstance(examples.late, tuple) else examples._replace(late=())

    @property
    def on_gpu(self) -> bool:
        """Whether the model is on GPUs, and so `inputs` copies."""
        return self._replicas.on_gpu

    @tf.function(autograph=False)
    def all_finite(self) -> tf.Tensor:
        """Whether no weight and no slot is NaN or infinite, bool []; looks at all of them."""
        return tf.reduce_all([all_finite(v) for v in self.variables if v.dtype.is_floating])

    def _forward_backward(self, total: tf.Tensor, part: Examples) -> tuple[tf.Tensor, Learned]:
        """One replica's scores, and its share of the loss and of the gradients.

        Args:
          total: float32 [], the sum of the global batch's weights.
          part: the replica's rows.
        """
        labels, weight, inputs, late = part
        if self.late_labels.sees_late and isinstance(late, tuple):
            raise ValueError(f"--late_labels={self.model.late_labels} wants to know which rows are late. These do not say it.")
        if self.late_labels.sees_late:
            inputs = {**inputs, "counted": weight - part.first_weight}
        distinct, rows = self._lookup.distinct_rows(inputs["ids"])
        first = self.model.spec.heads[0]
        dense = self._trained[1]
        drawn = self.past.draw(self.past.replay.times * weight.shape[0]) if self.past else None
        with tf.GradientTape() as tape:
            tape.watch(rows)
            if drawn:
                logits, scores, remembered = self.model.remember(rows, inputs)
                again = [self.model.logits_of_remembered(drawn.remembered)[first]]
            else:
                logits, scores = self.model.logits_and_scores(rows, inputs)
                again = []
            guesses = self.late_labels.guesses(rows, inputs["values"], logits[first])
        if logits.keys() != labels.keys():
            raise ValueError(f"the network gives logits for {sorted(logits)}. Expected {sorted(labels)}, the label columns.")
        if drawn:
            self.past.keep(tf.stop_gradient(remembered), labels[first], weight)
        # Divided by the global batch, not the replica's: the number of replicas changes the speed, and the result by rounding only.
        weight = tf.math.divide_no_nan(weight, total)  # 0 where no row counts
        of_labels = self._terms(logits, labels, weight, late, guesses)
        terms = [*of_labels, *self.late_labels.of_guesses(weight, labels[first], late, guesses)]
        if drawn:  # as if they were so many batches: each adds a mean
            terms.append(Term(self.negatives.logits_of_kept(*again), drawn.label, drawn.weight / weight.shape[0]))
        of_logits = [term.gradient for term in terms]
        x = [logits[head] for head in self.model.spec.heads]
        # A weight that no input reaches, as a kernel where there are no inputs, has a gradient of zeros, not none.
        of_rows, of_dense = tape.gradient([*x, *guesses, *again], (rows, dense), of_logits, tf.UnconnectedGradients.ZERO)
        of_tables = self._by_kind(self._lookup.gradients(distinct, of_rows), self._trained[0])
        for i, kind in enumerate(KINDS):
            of_dense[i] = [tf.convert_to_tensor(g) for g in of_dense[i]]  # a look-up of the network's own gives slices
            if self._settings.is_sum(kind):
                of_tables[i], of_dense[i] = ([times(g, total) for g in group[i]] for group in (of_tables, of_dense))
        scores = self.late_labels.scores(self.model.stacked(scores))
        return scores, Learned(
            tf.add_n([term.loss for term in of_labels]), [*itertools.chain(*of_tables)], [*itertools.chain(*of_dense)]
        )

    def _terms(
        self, logits: Logits, labels: Mapping[str, tf.Tensor], weight: tf.Tensor, late: tf.Tensor, guesses: Sequence[tf.Tensor]
    ) -> list[Term]:
        """The loss by label. Where one of several is missing, a row counts nothing in its loss."""
        heads = self.model.spec.heads
        if len(heads) == 1:
            x, label = logits[heads[0]], labels[heads[0]]
            weight = self.late_labels.weight(weight, label, late, x, guesses)
            return [Term(self.negatives.logits_of_kept(x), label, weight)]
        terms = []
        for head in heads:
            known = ~tf.math.is_nan(labels[head])
            of_head = tf.where(known, weight, 0.0) * self._settings.weight_of_label.get(head, 1.0)
            terms.append(Term(logits[head], tf.where(known, labels[head], 0.0), of_head))
        return terms

    def _update(self, learned: Learned, *observed: Examples | tf.Tensor) -> tuple[tf.Tensor, ...]:
        """One replica's weights by what all have learned; to the losses, float32 [] each."""
        tables, dense = (self._by_kind(g, like) for g, like in zip(learned[1:], self._trained, strict=True))
        loss_with_l2 = learned.loss
        touched = self.touched if this_replica() == 0 else None  # the others' rows are the same
        if touched:
            touched.mark(IDS, learned.tables[0].indices)
        for kind, optimizer in self._optimizers.items():
            i = KINDS.index(kind)
            penalty = optimizer.apply(self.learned_by(kind), [*tables[i], *dense[i]])
            if penalty is not None:
                loss_with_l2 += penalty
        if observed:
            examples, logits = observed
            if self.model.statistics:
                self.model.observe(self.negatives.standing_for_all(examples), self.model.by_head(logits))
            for name in self.model.statistics_of_inputs if touched else ():
                touched.mark(name, examples.features[name])
            if self.admission:
                ids, keys, weight = examples.features["ids"], examples.features["keys"], examples.first_weight
                if not isinstance(examples.late, tuple):
                    keys = tf.where(examples.late[:, None], tf.zeros_like(keys), keys)  # they were seen at its first sight
                # A row that changes hands gets its bucket's mark, too.
                rows_of_ids = [*self.rows_of_ids, *([touched.marks[IDS]] if touched else [])]
                self.admission.update(self.model.vocabulary, ids, keys, weight, rows_of_ids)
        return learned.loss, loss_with_l2

    @staticmethod
    def _by_kind(gradients: Sequence[Gradient], variables: Sequence[Sequence[tf.Variable]]) -> list[list[Gradient]]:
        """A gradient a variable, one after the other, to a list of each of KINDS."""
        gradients = iter(gradients)
        return [list(itertools.islice(gradients, len(group))) for group in variables]
