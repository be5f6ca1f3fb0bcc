"""The train step and the score step, under a strategy of tf.distribute."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import tensorflow as tf

from tfonline.cluster.collectives import gather
from tfonline.cluster.members import Cluster
from tfonline.config import Config
from tfonline.features.batch import Examples
from tfonline.features.spec import Spec
from tfonline.model.networks.wide_deep.model import WideDeep
from tfonline.model.tables.exchange import Exchange, Learned, Packed
from tfonline.model.tables.optimizers import Ftrl, LazyAdam
from tfonline.model.tables.replicas import this_replica
from tfonline.model.tables.xla import try_xla

T = TypeVar("T")

# Of a function that has nothing but a compiled function for each replica. TensorFlow would have what it returns wait for all of
# them, on one GPU for another, and Python with it. Without, TensorFlow leaves out a replica whose results are not returned.
_WITHOUT_ORDER = {"_disable_acd": True}


class StepResult(NamedTuple):
    """What a step saw, before it learned. Of several steps: logits [N B], losses [N]; 0 for a batch that was no step.

    Attributes:
      logits: float32 [B], by the weights (or their average) from before the step: the progressive scores.
      wide_loss: float32 [], the weighted mean of the sigmoid cross entropy over the global batch, by the weights that learn.
      deep_loss: float32 [], wide_loss + l2 / 2 times the sum of squares of the embeddings that the batch touches.
    """

    logits: tf.Tensor
    wide_loss: tf.Tensor
    deep_loss: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Rates:
    """The optimizers' settings; names as in the flags."""

    wide_learning_rate: float
    wide_l1: float
    wide_l2: float
    wide_initial_accumulator: float
    wide_reduction: str
    deep_learning_rate: float
    l2: float


def make_learner(
    strategy: tf.distribute.Strategy,
    config: Config,
    spec: Spec,
    cluster: Cluster | None = None,
) -> "Learner":
    """The model and the optimizers that the flags ask for.

    Raises:
      UserError: --jit_compile, and XLA does not work on the device (exit 64).
    """
    if config.jit_compile:
        try_xla(strategy)
    with strategy.scope():
        model = make_model(config, spec)
    rates = Rates(**{f.name: getattr(config, f.name) for f in dataclasses.fields(Rates)})
    return Learner(strategy, model, rates, cluster, config.jit_compile)


def make_model(config: Config, spec: Spec) -> WideDeep:
    """The model that the flags ask for, not built yet."""
    c = config
    return WideDeep(
        spec, c.embedding_dim, c.layers, c.dense_init, c.init_stddev, c.seed, c.history, c.average_rows, c.precision,
    )  # fmt: skip


class Learner(tf.Module):
    """A model, its optimizers and its steps.

    Args:
      strategy: in whose scope the model was made, and its variables will be.
      model: not built yet.
      rates: the optimizers' settings.
      cluster: the workers over which the strategy reaches; None: this process only.
      jit_compile: have XLA compile the steps; not in a cluster.

    Attributes:
      model: the model.
      wide_optimizer: FTRL over the wide table and the bias.
      deep_optimizer: LazyAdam over the embeddings and the dense layers.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: WideDeep,
        rates: Rates,
        cluster: Cluster | None = None,
        jit_compile: bool = False,
    ):
        super().__init__(name="learner")
        self._strategy, self._rates = strategy, rates
        self._worker, self._workers = (cluster.index, len(cluster.workers)) if cluster else (0, 1)
        self._replicas = strategy.num_replicas_in_sync // self._workers  # of this worker
        with strategy.scope():
            model.build()
            self.model = model
            self.wide_optimizer = Ftrl(
                self._wide, rates.wide_learning_rate, rates.wide_l1, rates.wide_l2, rates.wide_initial_accumulator, jit_compile
            )
            self.deep_optimizer = LazyAdam(self._deep, rates.deep_learning_rate, rates.l2)
        self._fixed_rows = model.num_rows if jit_compile else None
        self._exchange = Exchange(strategy, self._workers, model, self._wide, self._deep, self._fixed_rows)
        # XLA compiles a call if there is one replica; on several GPUs what each does in it, as XLA can exchange there; and else
        # what lies between exchanges.
        alone = strategy.num_replicas_in_sync == 1
        self._whole = jit_compile and (alone or self.on_gpu)
        self._each = self._whole and not alone
        self._train_steps = tf.function(
            self._steps, autograph=False, jit_compile=(jit_compile and alone) or None,
            experimental_attributes=_WITHOUT_ORDER if self._each else None,
        )  # fmt: skip
        if self._each:
            self._steps_of_replica = _compiled(self._steps_of_replica)
        elif jit_compile and not alone:
            self._forward_backward, self._update = map(_compiled, (self._forward_backward, self._update))

    def carry_over(self, rates: Mapping[str, float]) -> bool:
        """Makes what was learned by other rates go on by those of today; says whether anything was converted.

        Args:
          rates: by flag, those that the weights were learned by; {}: today's.
        """
        if not rates or dict(rates) == self.rates:
            return False
        self.wide_optimizer.rescale(self._wide, rates["wide_initial_accumulator"])
        return True

    @property
    def rates(self) -> dict[str, float]:
        """The settings that the slots' units hang on, by flag."""
        r = self._rates
        return {
            "wide_learning_rate": r.wide_learning_rate,
            "wide_l1": r.wide_l1,
            "wide_l2": r.wide_l2,
            "wide_initial_accumulator": r.wide_initial_accumulator,
        }

    @property
    def variables(self) -> tuple[tf.Variable, ...]:
        """Weights, what is counted or averaged, then slots. What a tf.Module finds by itself leaves out a Keras model."""
        return (*self.model.all_weights, *self.wide_optimizer.variables, *self.deep_optimizer.variables)

    # Made anew at each use: as attributes they would give the weights a second name in checkpoints.
    @property
    def _wide(self) -> list[tf.Variable]:
        return [self.model.wide.table, self.model.bias]

    @property
    def _deep(self) -> list[tf.Variable]:
        return [self.model.embedding.table, *(w.value for w in self.model.tower.weights)]

    @tf.function(autograph=False)
    def score(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
        """The model's inputs (WideDeep.call) to logits float32 [B]; learns nothing."""
        return self.model(features)

    def train(self, examples: Examples) -> StepResult:
        """Scores a global batch, then learns from it. At least one weight must be above 0; B divides over the replicas.

        Args:
          examples: B rows. One of weight 0 changes nothing; its features are the padding. In a cluster, label and weight are of the
            global batch, and the features of this worker's part of it, [B / workers, ...].
        """
        return self._train_steps(None, None, examples)[0]

    def train_steps(self, num_steps: tf.Tensor, which: tf.Tensor, examples: Examples) -> StepResult:
        """N batches, one after the other, as so many calls of `train` would do; Python is left and entered once.

        Args:
          num_steps: int32 [], how many of the batches hold a row and so are a step; at least 1.
          which: int32 [N], their numbers first, in order, 0 to N - 1.
          examples: of all N batches, [N B, ...] each.
        """
        if self._whole and self.on_gpu and tf.get_static_value(num_steps) == which.shape[0]:
            # XLA, which knows it beforehand, need not ask the GPU after each step; and a copy from the host would wait for the
            # call before.
            num_steps, which = which.shape[0], None
        return self._train_steps(num_steps, which, examples)[0]

    def _steps(self, num_steps: tf.Tensor | int | None, which: tf.Tensor | None, examples: Examples) -> list[StepResult]:
        """`train_steps`; of all batches where `which` is None; `train` where num_steps is, too.

        Of each replica, where XLA compiles what each does.
        """
        if self._whole:
            of_each = self._strategy.run(self._steps_of_replica, (num_steps, which, examples))
            return [StepResult(*r) for r in zip(*map(self._strategy.experimental_local_results, of_each), strict=True)]
        total, batches = _apart(num_steps, which, examples)
        # Split here, not at each step: what is done between two steps holds up the second.
        return [_in_turn(self._step, num_steps, which, total, batches, self._split(int(total.shape.rank), batches))]

    def _steps_of_replica(self, num_steps: tf.Tensor | int | None, which: tf.Tensor | None, examples: Examples) -> StepResult:
        """`_steps` in the context of a replica, which is given the whole batches."""
        return _in_turn(self._step_of_replica, num_steps, which, *_apart(num_steps, which, examples))

    def _step(self, i: tf.Tensor | None, total: tf.Tensor, batches: Examples, parts: Examples) -> StepResult:
        """A step of all replicas on the i-th batch, or on the only one (None).

        Args:
          i: int32 [], or None.
          total: float32 [N], the sums of the batches' weights; or [].
          batches: what `train` takes, with N before it or not.
          parts: the same, each replica's rows.
        """
        logits, learned = self._strategy.run(self._forward_backward, (i, total, parts))
        logits = self._of_all_workers(tf.concat(self._strategy.experimental_local_results(logits), axis=0))
        observed = self._observed(_at(i, batches), logits)
        losses = self._strategy.run(self._update, (self._exchange.between(learned), *observed))
        return StepResult(logits, *(self._strategy.experimental_local_results(x)[0] for x in losses))

    def _step_of_replica(self, i: tf.Tensor | None, total: tf.Tensor, batches: Examples) -> StepResult:
        """`_step` in the context of a replica, which is given the whole batches."""
        total, batch = _at(i, (total, batches))
        part = tf.nest.map_structure(lambda x: _share(this_replica(), self._replicas, x), batch)
        logits, learned = self._forward_backward(None, total, part)
        learned, logits = self._exchange.meet(learned, logits)
        return StepResult(logits, *self._update(learned, *self._observed(batch, logits)))

    def _observed(self, batch: Examples, logits: tf.Tensor) -> tuple[Examples, tf.Tensor] | tuple[()]:
        """What WideDeep.observe takes, of all workers' rows; nothing where the model has no use for it."""
        if not self.model.statistics:
            return ()
        features = {name: self._of_all_workers(batch.features[name]) for name in self.model.observed_features}
        return batch._replace(features=features), logits

    def inputs(self, examples: Examples) -> Examples:
        """What `train` takes, copied to the GPU where the model is on one, to each where XLA compiles for several; else as it is.

        TensorFlow keeps int32 in the host's memory, and would copy ids to the GPU anew for each use: there they are int64.
        """
        if not self.on_gpu:
            return examples

        def copied(t: tf.Tensor) -> tf.Tensor:  # int32 as uint32, which is half of int64 on the way
            return tf.cast(tf.bitcast(t, tf.uint32), tf.int64) if t.dtype == tf.int32 else tf.identity(t)

        with tf.device(self._strategy.extended.worker_devices[0]):
            examples = tf.nest.map_structure(copied, examples)
        if not self._each:
            return examples
        # A replica takes its rows from the whole: split in the step, they would be waited for.
        return tf.nest.map_structure(lambda t: self._of_each(lambda _: t), examples)

    @property
    def on_gpu(self) -> bool:
        """Whether the model is on GPUs, and so `inputs` copies."""
        return "GPU" in self._strategy.extended.worker_devices[0]

    @tf.function(autograph=False)
    def all_finite(self) -> tf.Tensor:
        """Whether no weight and no slot is NaN or infinite, bool []; looks at all of them."""
        return tf.reduce_all([tf.reduce_all(tf.math.is_finite(v)) for v in self.variables if v.dtype.is_floating])

    def _forward_backward(self, i: tf.Tensor | None, total: tf.Tensor, parts: Examples) -> tuple[tf.Tensor, Packed | Learned]:
        """One replica's logits, and its share of the loss and of the gradients; see `_step`.

        The tables' gradients are IndexedSlices, each id once, in the same order for both.
        """
        total, ((label,), weight, features) = _at(i, (total, parts._replace(label=tuple(parts.label.values()))))
        distinct = self.model.distinct(features["ids"], self._fixed_rows, self._strategy.num_replicas_in_sync)
        rows = self.model.rows(features["ids"], distinct)
        with tf.GradientTape() as tape:
            tape.watch(rows)
            wide, inputs = self.model.inputs_of_sides(rows, features)
            logits = wide + self.model.tower(inputs)
        # Divided by the global batch, not the replica's: the number of replicas changes the speed, and the result by rounding only.
        weight /= total
        # The sigmoid cross entropy and its gradient; a tape would take several times as many operations for the two.
        loss = tf.reduce_sum(weight * (tf.nn.softplus(logits) - label * logits))
        of_logits = weight * (tf.sigmoid(logits) - label)
        # A kernel that no input reaches (tower._Dense) has a gradient of zeros, not none.
        of_rows, wide_dense, deep_dense = tape.gradient(
            logits, (rows, self._wide[1:], self._deep[1:]), of_logits, tf.UnconnectedGradients.ZERO
        )
        if self.model.average:
            logits = wide + self.model.average(inputs)
        of_wide_table, of_deep_table = self.model.gradients(distinct, of_rows)
        wide = [of_wide_table, *wide_dense]
        if self._rates.wide_reduction == "sum":
            wide = [_scale(g, total) for g in wide]
        return logits, self._exchange.pack(Learned(loss, wide, [of_deep_table, *deep_dense]))

    def _update(self, learned: Packed | Learned, *observed: Examples | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One replica's weights by what all have learned; to the wide and the deep loss, float32 []."""
        loss, wide, deep = self._exchange.unpack(learned)
        self.wide_optimizer.apply(self._wide, wide)
        penalty = self.deep_optimizer.apply(self._deep, deep)
        if observed:
            self.model.observe(*observed)
        return loss, loss + penalty

    def _split(self, axis: int, batches: Examples) -> Examples:
        """Each replica's rows of [B, ...] tensors, or of [N, B, ...] where the axis is 1."""
        if self._workers > 1:
            of_all = (batches.label, batches.weight)
            label, weight = tf.nest.map_structure(lambda x: _share(self._worker, self._workers, x), of_all)
            batches = Examples(label, weight, batches.features)
        if self._replicas == 1:
            return batches
        return tf.nest.map_structure(lambda x: self._of_each(lambda copy: _share(copy, self._replicas, x, axis)), batches)

    def _of_each(self, of_copy: Callable[[int], tf.Tensor]) -> tf.distribute.DistributedValues:
        """What it gives for each of this worker's replicas, brought to its device."""
        devices = self._strategy.extended.worker_devices

        def bring(context: tf.distribute.ReplicaContext) -> tf.Tensor:
            copy = context.replica_id_in_sync_group % self._replicas
            x = of_copy(copy)
            with tf.device(devices[copy]):
                return tf.identity(x)

        return self._strategy.experimental_distribute_values_from_function(bring)

    def _of_all_workers(self, x: tf.Tensor) -> tf.Tensor:
        """Each worker's [b, ...] to [B, ...], in the workers' order."""
        if self._workers == 1:
            return x
        found = gather(self._strategy, self._workers, x)
        return tf.ensure_shape(found, [x.shape[0] * self._workers, *x.shape[1:]])


def _num_batches(num_steps: tf.Tensor | int | None, which: tf.Tensor | None) -> int | None:
    return num_steps if which is None else which.shape[0]


def _apart(num_steps: tf.Tensor | int | None, which: tf.Tensor | None, examples: Examples) -> tuple[tf.Tensor, Examples]:
    """The sums of batches' weights, float32 [N], and the batches as [N, B, ...]; or [] of the only one, which stays as it is."""
    n = _num_batches(num_steps, which)
    if n in (None, 1):
        return tf.reduce_sum(examples.weight), examples
    batches = tf.nest.map_structure(lambda x: tf.reshape(x, [n, x.shape[0] // n, *x.shape[1:]]), examples)
    return tf.reduce_sum(batches.weight, axis=1), batches


def _share(part: int, of: int, x: tf.Tensor, axis: int = 0) -> tf.Tensor:
    """Of so many equal parts of [B, ...], or of [N, B, ...] where the axis is 1, this one."""
    rows = x.shape[axis] // of
    own_rows = slice(part * rows, (part + 1) * rows)
    return x[:, own_rows] if axis else x[own_rows]


def _in_turn(
    step: Callable,
    num_steps: tf.Tensor | int | None,
    which: tf.Tensor | None,
    total: tf.Tensor,
    batches: Examples,
    *parts: Examples,
) -> StepResult:
    """`step(i, total, batches, *parts)` for the first num_steps of `which`, to logits [N B] and losses [N]; or one, without N."""
    num_batches = _num_batches(num_steps, which)
    if num_batches is None:
        return step(None, total, batches, *parts)
    if num_batches == 1:
        logits, *losses = step(None, total, batches, *parts)
        return StepResult(logits, *(loss[None] for loss in losses))
    logits = tf.TensorArray(tf.float32, num_batches, element_shape=[batches.weight.shape[1]])
    losses = tf.TensorArray(tf.float32, num_batches, element_shape=[2])

    def one(j: tf.Tensor, logits: tf.TensorArray, losses: tf.TensorArray) -> tuple:
        i = j if which is None else which[j]
        result = step(i, total, batches, *parts)
        loss = tf.stack([result.wide_loss, result.deep_loss])
        return j + 1, logits.write(i, result.logits), losses.write(i, loss)

    _, logits, losses = tf.while_loop(lambda j, *_: j < num_steps, one, (tf.constant(0), logits, losses), parallel_iterations=1)
    return StepResult(tf.reshape(logits.stack(), [-1]), *tf.unstack(losses.stack(), axis=1))


def _at(i: tf.Tensor | None, batches: T) -> T:
    """The i-th of [N, ...] tensors in a nest; the nest as it is where i is None."""
    return batches if i is None else tf.nest.map_structure(lambda x: x[i], batches)


def _compiled(of_replica: Callable) -> Callable:
    """As Strategy.run can call it: of a tf.function as such, it would make one over all replicas where these are no GPUs."""
    compiled = tf.function(of_replica, autograph=False, jit_compile=True)
    return lambda *args: compiled(*args)


def _scale(gradient: tf.Tensor | tf.IndexedSlices, factor: tf.Tensor) -> tf.Tensor | tf.IndexedSlices:
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * factor, gradient.indices, gradient.dense_shape)
    return gradient * factor
