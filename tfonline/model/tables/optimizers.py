"""FTRL, Adam and Adagrad, each with a dense update and one of rows.

An update of rows touches only the rows that a batch has, and wants the gradients of repeated ids added up. Keras 3's optimizers
do neither. Slots are variables made under the strategy's scope. Each replica calls `apply` for its own copies, with gradients that
are summed over the replicas; which update it is follows from the gradient (a tensor, or IndexedSlices without
repeated ids).
"""

from collections.abc import Sequence

import tensorflow as tf

from tfonline.model.tables.replicas import own, read_first
from tfonline.settings.model import OPTIMIZERS, OptimizerSettings

Gradient = tf.Tensor | tf.IndexedSlices
KINDS = OPTIMIZERS


def make_optimizer(
    kind: str, variables: Sequence[tf.Variable], settings: OptimizerSettings, jit_compile: bool
) -> "Ftrl | LazyAdam | Adagrad":
    """One of KINDS; inside the strategy's scope."""
    s = settings
    if kind == "ftrl":
        return Ftrl(variables, s.wide_learning_rate, s.wide_l1, s.wide_l2, s.wide_initial_accumulator, jit_compile)
    if kind == "adam":
        return LazyAdam(variables, s.deep_learning_rate, s.l2)
    make = {"adagrad": Adagrad, "rowwise_adagrad": RowWiseAdagrad}[kind]
    return make(variables, s.adagrad_learning_rate, s.l2, s.adagrad_initial_accumulator)


def slot_numbers(kind: str, width: int) -> int:
    """How many numbers an optimizer keeps beside a row of so many weights."""
    return {"ftrl": 2 * width, "adam": 2 * width, "adagrad": width, "rowwise_adagrad": 1}[kind]


def times(gradient: Gradient, factor: tf.Tensor) -> Gradient:
    """A gradient times a number."""
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * factor, gradient.indices, gradient.dense_shape)
    return gradient * factor


def _slots(variables: Sequence[tf.Variable], start: float, name: str) -> list[tf.Variable]:
    return [tf.Variable(tf.fill(v.shape, start), trainable=False, name=f"{name}_{i}") for i, v in enumerate(variables)]


class Ftrl(tf.Module):
    """Follow the regularised leader, proximal, per coordinate (McMahan et al., KDD 2013, algorithm 1).

    With g the gradient, n the accumulator and z the linear term: `s = (sqrt(n + g^2) - sqrt(n)) / lr`, `z += g - s w`,
    `n += g^2`, `w = (sign(z) l1 - z) / (sqrt(n) / lr + 2 l2)` where `|z| > l1`, else 0.

    Args:
      variables: what it will train; make the object inside the strategy's scope.
      learning_rate: lr.
      l1: as above.
      l2: as above.
      initial_accumulator: n before the first step, above 0.
      jit_compile: write row-wise updates in operations that XLA has; TensorFlow's own kernel, which is faster, is none of them.
    """

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        learning_rate: float,
        l1: float,
        l2: float,
        initial_accumulator: float,
        jit_compile: bool = False,
    ):
        super().__init__(name="ftrl")
        self._jit_compile = jit_compile
        self._rates = {"lr": learning_rate, "l1": l1, "l2": l2, "l2_shrinkage": 0.0, "lr_power": -0.5}
        self._initial_accumulator = initial_accumulator
        self.accumulators = _slots(variables, initial_accumulator, "accumulator")
        self.linears = _slots(variables, 0.0, "linear")

    @property
    def slots(self) -> list[list[tf.Variable]]:
        """Of each kind, a slot a variable."""
        return [self.accumulators, self.linears]

    def apply(self, variables: Sequence[tf.Variable], gradients: Sequence[Gradient]) -> None:
        """One step, a gradient a variable, in the order that the object was made with."""
        for v, n, z, g in zip(variables, self.accumulators, self.linears, gradients, strict=True):
            self._update(own(v), own(n), own(z), g)

    def rescale(self, variables: Sequence[tf.Variable], initial_accumulator: float) -> None:
        """Takes over slots that were learned by other rates, so that each learned weight stays and goes on at the rates of today.

        z is in units of 1 / lr, so by another rate the same z is another weight: at its next update the weight would jump. By the
        update's own formula, the z of a weight w is `z = -(w (sqrt(n) / lr + 2 l2) + sign(w) l1)`. A weight that l1 holds at 0
        stays there: its z is cut to [-l1, l1]. Where z is 0 nothing was learned, and w is the first weight.

        Args:
          variables: in the order that the object was made with. Call it outside of any replica.
          initial_accumulator: that of the slots; n is moved by its difference from today's.
        """
        lr, l1, l2 = (self._rates[name] for name in ("lr", "l1", "l2"))
        for variable, accumulator, linear in zip(variables, self.accumulators, self.linears, strict=True):
            w, n, z = (read_first(v) for v in (variable, accumulator, linear))
            n += self._initial_accumulator - initial_accumulator
            of_weight = -(w * (tf.sqrt(n) / lr + 2 * l2) + tf.sign(w) * l1)
            accumulator.assign(n)
            linear.assign(tf.where(z == 0.0, 0.0, tf.where(w == 0.0, tf.clip_by_value(z, -l1, l1), of_weight)))

    def _update(self, v: tf.Variable, n: tf.Variable, z: tf.Variable, g: Gradient) -> None:
        if isinstance(g, tf.IndexedSlices) and self._jit_compile:
            self._update_rows(v, n, z, g)
        elif isinstance(g, tf.IndexedSlices):
            tf.raw_ops.ResourceSparseApplyFtrlV2(
                var=v.handle, accum=n.handle, linear=z.handle, grad=g.values, indices=g.indices, **self._rates
            )
        else:
            tf.raw_ops.ResourceApplyFtrlV2(var=v.handle, accum=n.handle, linear=z.handle, grad=g, **self._rates)

    def _update_rows(self, v: tf.Variable, n: tf.Variable, z: tf.Variable, g: tf.IndexedSlices) -> None:
        lr, l1, l2 = (self._rates[name] for name in ("lr", "l1", "l2"))
        before = tf.gather(n, g.indices)
        after = before + tf.square(g.values)
        linear = tf.gather(z, g.indices) + g.values - (tf.sqrt(after) - tf.sqrt(before)) / lr * tf.gather(v, g.indices)
        weight = tf.where(tf.abs(linear) > l1, (tf.sign(linear) * l1 - linear) / (tf.sqrt(after) / lr + 2 * l2), 0.0)
        _set_rows(g.indices, (n, after), (z, linear), (v, weight))


class LazyAdam(tf.Module):
    """Adam (Kingma, Ba, arXiv 1412.6980, the form before section 2.1), lazily on rows.

    With t the step: `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
    `w -= lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)`. Rows that a batch does not touch keep w, m and v, where Adam would
    move them by their old momentum; with every row touched the two are the same. `l2` adds `l2 w` to a touched row's gradient.

    Args:
      variables: what it will train; make the object inside the strategy's scope.
      learning_rate: lr.
      l2: for row-wise updates only.
    """

    BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

    def __init__(self, variables: Sequence[tf.Variable], learning_rate: float, l2: float):
        super().__init__(name="lazy_adam")
        self._learning_rate, self._l2 = learning_rate, l2
        self.step = tf.Variable(0, trainable=False, dtype=tf.int64, name="adam_step")
        self.means = _slots(variables, 0.0, "mean")
        self.squares = _slots(variables, 0.0, "square")

    @property
    def slots(self) -> list[list[tf.Variable]]:
        """Of each kind, a slot a variable."""
        return [self.means, self.squares]

    def apply(self, variables: Sequence[tf.Variable], gradients: Sequence[Gradient]) -> tf.Tensor:
        """One step, a gradient a variable, in the order that the object was made with.

        Returns:
          float32 []: `l2 / 2` times the sum of squares of the touched rows, as they were before the step.
        """
        own(self.step).assign_add(1)
        t = tf.cast(own(self.step), tf.float32)
        beta1_power, beta2_power = self.BETA1**t, self.BETA2**t
        rate = self._learning_rate * tf.sqrt(1 - beta2_power) / (1 - beta1_power)
        penalty = tf.constant(0.0)
        for variable, mean, square, g in zip(variables, self.means, self.squares, gradients, strict=True):
            w, m, v = own(variable), own(mean), own(square)
            if isinstance(g, tf.IndexedSlices):
                penalty += self._update_rows(w, m, v, g, rate)
            else:
                tf.raw_ops.ResourceApplyAdam(
                    var=w.handle, m=m.handle, v=v.handle, grad=g, lr=self._learning_rate, beta1=self.BETA1, beta2=self.BETA2,
                    epsilon=self.EPSILON, beta1_power=beta1_power, beta2_power=beta2_power,
                )  # fmt: skip
        return penalty

    def _update_rows(self, w: tf.Variable, m: tf.Variable, v: tf.Variable, g: tf.IndexedSlices, rate: tf.Tensor) -> tf.Tensor:
        ids, sums, rows = g.indices, g.values, tf.gather(w, g.indices)
        if self._l2:
            sums += self._l2 * rows
        mean = self.BETA1 * tf.gather(m, ids) + (1 - self.BETA1) * sums
        square = self.BETA2 * tf.gather(v, ids) + (1 - self.BETA2) * tf.square(sums)
        change = rate * mean / (tf.sqrt(square) + self.EPSILON)
        _set_rows(ids, (m, mean), (v, square), (w, rows - change))
        return self._l2 * tf.nn.l2_loss(rows) if self._l2 else tf.constant(0.0)


class Adagrad(tf.Module):
    """Adagrad (Duchi, Hazan, Singer, JMLR 12, 2011): `n += g^2`, `w -= lr g / (sqrt(n) + eps)`.

    Rows that a batch does not touch stay as they are, which is Adagrad itself. `l2` adds `l2 w` to a touched row's gradient.

    Args:
      variables: what it will train; make the object inside the strategy's scope.
      learning_rate: lr.
      l2: for updates of rows only.
      initial_accumulator: n before the first step, 0 or more.
    """

    EPSILON = 1e-8

    def __init__(self, variables: Sequence[tf.Variable], learning_rate: float, l2: float, initial_accumulator: float):
        super().__init__(name="adagrad")
        self._learning_rate, self._l2 = learning_rate, l2
        self.accumulators = self._accumulators(variables, initial_accumulator)

    @staticmethod
    def _accumulators(variables: Sequence[tf.Variable], start: float) -> list[tf.Variable]:
        return _slots(variables, start, "accumulator")

    @property
    def slots(self) -> list[list[tf.Variable]]:
        """Of each kind, a slot a variable."""
        return [self.accumulators]

    @staticmethod
    def squares(g: tf.Tensor) -> tf.Tensor:
        """What a gradient, [..., width], adds to the accumulator."""
        return tf.square(g)

    def apply(self, variables: Sequence[tf.Variable], gradients: Sequence[Gradient]) -> tf.Tensor:
        """One step, a gradient a variable, in the order that the object was made with; returns what LazyAdam does."""
        penalty = tf.constant(0.0)
        for variable, accumulator, g in zip(variables, self.accumulators, gradients, strict=True):
            w, n = own(variable), own(accumulator)
            if isinstance(g, tf.IndexedSlices):
                ids, sums, rows = g.indices, g.values, tf.gather(w, g.indices)
                if self._l2:
                    sums, penalty = sums + self._l2 * rows, penalty + self._l2 * tf.nn.l2_loss(rows)
                after = tf.gather(n, ids) + self.squares(sums)
                _set_rows(ids, (n, after), (w, rows - self._change(sums, after)))
            else:
                n.assign_add(self.squares(g))
                w.assign_sub(self._change(g, n))
        return penalty

    def _change(self, g: tf.Tensor, n: tf.Tensor) -> tf.Tensor:
        return self._learning_rate * g / (tf.sqrt(n) + self.EPSILON)


class RowWiseAdagrad(Adagrad):
    """Adagrad with one accumulator a row: `n += mean(g^2)` over its numbers (Gupta et al., arXiv 2010.08899, section 3.2.4).

    It keeps one number a row beside the weights, where Adam keeps two a weight. What is no table of rows has one, too, over its
    last dimension.
    """

    @staticmethod
    def _accumulators(variables: Sequence[tf.Variable], start: float) -> list[tf.Variable]:
        shapes = [tf.TensorShape([*v.shape[:-1], 1]) if v.shape.rank else v.shape for v in variables]
        return [tf.Variable(tf.fill(s, start), trainable=False, name=f"accumulator_{i}") for i, s in enumerate(shapes)]

    @staticmethod
    def squares(g: tf.Tensor) -> tf.Tensor:
        """See Adagrad."""
        return tf.reduce_mean(tf.square(g), axis=-1, keepdims=True) if g.shape.rank else tf.square(g)


def _set_rows(ids: tf.Tensor, *new: tuple[tf.Variable, tf.Tensor]) -> None:
    for variable, rows in new:
        tf.raw_ops.ResourceScatterUpdate(resource=variable.handle, indices=ids, updates=rows)
