"""The train step and the score step, under MirroredStrategy."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tfonline.config import Config
from tfonline.lifecycle import Exit, UserError
from tfonline.model.embeddings import read_rows
from tfonline.model.optimizers import Ftrl, LazyAdam
from tfonline.model.wide_deep import WideDeep


class StepResult(NamedTuple):
    """What a step saw, before it learned.

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


def make_strategy(num_replicas: int, devices: str) -> tf.distribute.Strategy:
    """MirroredStrategy over GPUs or, where there are none, over logical CPU devices.

    Call it before TensorFlow has run anything: logical devices cannot be made later.

    Args:
      num_replicas: how many.
      devices: `gpu`, `cpu`, or `auto` for GPUs where there are enough of them.

    Raises:
      UserError: `gpu` was asked for and TensorFlow sees too few (exit 64).
    """
    gpus = tf.config.list_physical_devices("GPU")
    if devices == "gpu" and len(gpus) < num_replicas:
        raise UserError(
            f"--devices=gpu --num_replicas={num_replicas}, but TensorFlow sees {len(gpus)} GPUs. Check nvidia-smi, and BUILD.md on "
            "the CUDA libraries that TensorFlow 2.16 needs, or use --devices=cpu.",
            Exit.FLAGS,
        )
    if devices != "cpu" and len(gpus) >= num_replicas:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        return _mirrored("GPU", num_replicas)
    tf.config.set_visible_devices([], "GPU")
    cpu = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(cpu) or [None]) < num_replicas:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * num_replicas)
    return _mirrored("CPU", num_replicas)


@functools.cache  # one for a set of devices: in a process with two, the collectives of one take the other's tensors
def _mirrored(kind: str, num_replicas: int) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(num_replicas)])


def make_learner(strategy: tf.distribute.Strategy, config: Config, num_ids: int, num_fields: int, num_numeric: int) -> "Learner":
    """The model and the optimizers that the flags ask for."""
    with strategy.scope():
        model = make_model(config, num_ids, num_fields, num_numeric)
    return Learner(strategy, model, Rates(**{f.name: getattr(config, f.name) for f in dataclasses.fields(Rates)}))


def make_model(config: Config, num_ids: int, num_fields: int, num_numeric: int) -> WideDeep:
    """The model that the flags ask for, not built yet."""
    c = config
    return WideDeep(
        num_ids, num_fields, c.embedding_dim, c.layers, c.dense_init, c.init_stddev, c.seed, num_numeric, c.history,
        c.cross_buckets, c.average_rows, c.precision,
    )  # fmt: skip


class Learner(tf.Module):
    """A model, its optimizers and its steps.

    Args:
      strategy: in whose scope the model was made, and its variables will be.
      model: not built yet.
      rates: the optimizers' settings.

    Attributes:
      model: the model.
      wide_optimizer: FTRL over the wide table and the bias.
      deep_optimizer: LazyAdam over the embeddings and the dense layers.
    """

    def __init__(self, strategy: tf.distribute.Strategy, model: WideDeep, rates: Rates):
        super().__init__(name="learner")
        self._strategy, self._rates = strategy, rates
        with strategy.scope():
            model.build()
            self.model = model
            self.wide_optimizer = Ftrl(
                self._wide, rates.wide_learning_rate, rates.wide_l1, rates.wide_l2, rates.wide_initial_accumulator
            )
            self.deep_optimizer = LazyAdam(self._deep, rates.deep_learning_rate, rates.l2)

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
    def score(self, ids: tf.Tensor, values: tf.Tensor, numeric: tf.Tensor, crosses: tf.Tensor) -> tf.Tensor:
        """The model's inputs (WideDeep.call) to logits float32 [B]; learns nothing."""
        return self.model((ids, values, numeric, crosses))

    @tf.function(autograph=False)
    def train(
        self, label: tf.Tensor, ids: tf.Tensor, values: tf.Tensor, numeric: tf.Tensor, crosses: tf.Tensor, weight: tf.Tensor
    ) -> StepResult:
        """Scores a global batch, then learns from it. At least one weight must be above 0; B divides over the replicas.

        Args:
          label: float32 [B].
          ids: int32 [B, F]; the padding id where the weight is 0.
          values: float32 [B, F].
          numeric: float32 [B, N], NaN where missing.
          crosses: int32 [B, W]; their padding where the weight is 0.
          weight: float32 [B]; rows with 0 change nothing.
        """
        total = tf.reduce_sum(weight)
        run = self._strategy.run(self._forward_backward, (*self._split(label, ids, values, numeric, crosses, weight), total))
        logits, losses, wide, deep = run
        logits = tf.concat(self._strategy.experimental_local_results(logits), axis=0)
        touched, _ = tf.unique(tf.reshape(ids, [-1]))
        with self._strategy.scope():
            embeddings = read_rows(self.model.embedding.table, touched)
        wide_loss = self._strategy.reduce("SUM", losses, axis=None)
        deep_loss = wide_loss + self._rates.l2 / 2 * tf.reduce_sum(tf.square(embeddings))
        # In the scope, so that each replica's own copy is updated.
        with tf.control_dependencies([deep_loss]), self._strategy.scope():
            self.wide_optimizer.apply(self._wide, self._sum(wide, self._wide))
            self.deep_optimizer.apply(self._deep, self._sum(deep, self._deep))
            self.model.follow(label, ids, numeric, crosses, weight, logits)
        return StepResult(logits, wide_loss, deep_loss)

    @tf.function(autograph=False)
    def all_finite(self) -> tf.Tensor:
        """Whether no weight and no slot is NaN or infinite, bool []; looks at all of them."""
        return tf.reduce_all([tf.reduce_all(tf.math.is_finite(v)) for v in self.variables if v.dtype.is_floating])

    def _forward_backward(
        self,
        label: tf.Tensor,
        ids: tf.Tensor,
        values: tf.Tensor,
        numeric: tf.Tensor,
        crosses: tf.Tensor,
        weight: tf.Tensor,
        total: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, Sequence, Sequence]:
        """One replica's share of the loss and its gradients; `total` is the sum of the global batch's weights."""

        with tf.GradientTape() as tape:
            wide, inputs = self.model.inputs_of_sides(ids, values, numeric, crosses)
            logits = wide + self.model.tower(inputs)
            losses = weight * tf.nn.sigmoid_cross_entropy_with_logits(label, logits)
            # Divided by the global batch, not the replica's: the number of replicas changes the speed, not the result.
            loss = tf.reduce_sum(losses) / total
        if self.model.average:
            logits = wide + self.model.average(inputs)
        wide, deep = tape.gradient(loss, (self._wide, self._deep))
        if self._rates.wide_reduction == "sum":
            wide = [_scale(g, total) for g in wide]
        return logits, loss, wide, deep

    def _split(self, *tensors: tf.Tensor) -> tuple:
        """Each replica's rows of [B, ...] tensors."""
        n = self._strategy.num_replicas_in_sync
        if n == 1:
            return tensors

        def part(x):
            rows = x.shape[0] // n
            return self._strategy.experimental_distribute_values_from_function(
                lambda c: x[c.replica_id_in_sync_group * rows : (c.replica_id_in_sync_group + 1) * rows]
            )

        return tuple(part(x) for x in tensors)

    def _sum(self, gradients: Sequence, variables: Sequence[tf.Variable]) -> Sequence:
        """Over the replicas."""
        pairs = list(zip(gradients, variables, strict=True))
        return self._strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, pairs)


def _scale(gradient: tf.Tensor | tf.IndexedSlices, factor: tf.Tensor) -> tf.Tensor | tf.IndexedSlices:
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * factor, gradient.indices, gradient.dense_shape)
    return gradient * factor
