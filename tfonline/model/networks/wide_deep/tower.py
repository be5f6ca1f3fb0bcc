"""The dense layers of the deep side, and their average over the last steps."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from tfonline.model.tables.replicas import own

# The average never reaches back further than this share of the rows so far: the first weights know nothing.
_SHARE = 0.3
# Of the shift, as if it were known to be 0 from some 300 rows with few clicks.
_PRIOR_INFORMATION = 50.0


class DeepInput(NamedTuple):
    """What the dense layers get: `[B, S D + K]` numbers, of which those of field s < S are a row of weights times a value.

    Attributes:
      x: float32 or, rounded beforehand, bfloat16 [B, K], the other numbers.
      values: float32 [B, S].
      rows: float32 [S, D], the same for the whole batch.
    """

    x: tf.Tensor
    values: tf.Tensor
    rows: tf.Tensor


class _Dense(keras.layers.Layer):
    """keras.layers.Dense with its kernel stored as `[units, inputs]`.

    As `[inputs, units]`, with a power of 2 for units, the kernel's rows fall into the same few lines of the cache, and at batch 100
    the product forwards takes twice as long (benchmarks/speed/README.md).
    """

    def __init__(self, units: int, activation: str | None, initializer: Callable, **kwargs):
        super().__init__(**kwargs)
        self.units, self._relu, self._initializer = units, activation == "relu", initializer

    def build(self, shape: tuple) -> None:
        """Makes kernel and bias."""
        self.kernel = self.add_weight(name="kernel", shape=(self.units, shape[-1]), initializer=self._initializer)
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        self.built = True

    def call(self, x: tf.Tensor, values: tf.Tensor | None = None, products: tf.Tensor | None = None) -> tf.Tensor:
        """[B, inputs] to [B, units], `values @ products` among what is added up where there are any, [B, S] and [S, units]."""
        bias = tf.convert_to_tensor(self.bias)
        if not x.shape[1]:  # all inputs are scaled fields: oneDNN ends the process at a product over none, fused with the ReLU
            x = bias_add(tf.matmul(values, products), bias)
        else:
            x = bias_add(tf.matmul(x, self.kernel, transpose_b=True), bias)
            if values is not None:
                x += tf.matmul(values, products)
        return tf.nn.relu(x) if self._relu else x


def bias_add(x: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """[B, n] plus [n]."""
    return (_bias_add_on_gpu if tf.config.get_visible_devices("GPU") else tf.nn.bias_add)(x, bias)


@tf.custom_gradient
def _bias_add_on_gpu(x: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """With the bias's gradient as a product: TensorFlow's own kernel adds up by atomics, a tenth of a step."""

    def gradient(g: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return g, tf.reshape(tf.matmul(tf.ones([1, tf.shape(g)[0]], g.dtype), g), [-1])

    return tf.nn.bias_add(x, bias), gradient


class Tower(keras.layers.Layer):
    """Dense ReLU layers and a last one, of width 1 if not told otherwise.

    The first layer multiplies a scaled field's row by the kernel before it multiplies by the values: that row is the same for the
    whole batch, so `[B, S D]` numbers take as few products as `[B, S]`. Its kernel is in two parts for it, which start as one.

    Args:
      width: S D + K, numbers a row.
      scaled: S and D; see DeepInput.
      layers: widths of the ReLU layers.
      initializer: `glorot`, or `normal` with `stddev`.
      stddev: as above.
      seed: of the initial weights.
      precision: `float32`, or `bfloat16` for the ReLU layers' products; weights and the last layer are always float32.
      outputs: the last layer's width.
    """

    def __init__(
        self,
        width: int,
        scaled: tuple[int, int],
        layers: tuple[int, ...],
        initializer: str,
        stddev: float,
        seed: int,
        precision: str,
        outputs: int = 1,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # a first layer in bfloat16 may get bfloat16
        self._width, self._scaled = width, scaled
        self._initializers = [_initializer(initializer, stddev, seed + i) for i in range(len(layers) + 1)]
        self._layers_in_order = []
        for i, (w, activation) in enumerate([*((w, "relu") for w in layers), (outputs, None)]):
            dtype = "mixed_bfloat16" if activation and precision == "bfloat16" else "float32"
            layer = _Dense(w, activation, self._initializers[i] if i else self._unscaled, dtype=dtype, name=f"dense_{i}")
            self._layers_in_order.append(layer)
            setattr(self, f"dense_{i}", layer)  # Keras 3 leaves what is only in a list out of a tf.train.Checkpoint

    @property
    def multiplies_in(self) -> str:
        """The dtype of the first layer's products."""
        return self._layers_in_order[0].compute_dtype

    def build(self, _=None) -> None:
        """Makes the weights; under a strategy's scope, they are mirrored."""
        fields, dim = self._scaled
        width = self._width - fields * dim
        for layer in self._layers_in_order:
            layer.build((None, width))
            width = layer.units
        if fields:
            shape = (fields, dim, self._layers_in_order[0].units)
            self.scaled_kernel = self.add_weight(name="scaled_kernel", shape=shape, initializer=self._of_scaled)
        self.built = True

    def call(self, inputs: DeepInput) -> tf.Tensor:
        """To logits float32 [B], or with several outputs [B, outputs]."""
        first, *others = self._layers_in_order
        if self._scaled[0]:
            products = tf.matmul(tf.expand_dims(inputs.rows, 1), self.scaled_kernel)  # [S, 1, units]
            x = first(inputs.x, inputs.values, tf.squeeze(products, 1))
        else:
            x = first(inputs.x)
        for layer in others:
            x = layer(x)
        return tf.squeeze(x, 1) if x.shape[1] == 1 else x

    def _whole_kernel(self, units: int, dtype: str) -> tf.Tensor:
        return self._initializers[0]((units, self._width), dtype)

    def _unscaled(self, shape: tuple[int, int], dtype: str) -> tf.Tensor:
        return self._whole_kernel(shape[0], dtype)[:, self._width - shape[1] :]

    def _of_scaled(self, shape: tuple[int, int, int], dtype: str) -> tf.Tensor:
        fields, dim, units = shape
        return tf.transpose(tf.reshape(self._whole_kernel(units, dtype)[:, : fields * dim], [units, fields, dim]), [1, 2, 0])


class AverageTower(Tower):
    """The moving average of another tower's weights (Polyak, Juditsky, SIAM J. Control Optim. 30(4), 1992, with forgetting).

    After a step on b rows: `average += min(1, b / w) (weight - average)`, where w is `rows`, at first 0.3 times the rows so far.
    A step's weights swing with the last rows; their average swings less and predicts better.

    As its logits vary less than those that the bias was learned with, their mean probability would be too low where clicks are
    rare. A shift keeps it at the share of clicks, by Newton steps with forgetting over the same rows: with p the probabilities
    scored and y the labels, `h = (1 - min(1, b / w)) h + sum p (1 - p)`, `shift -= sum (p - y) / (h + 50)`. Of rows that are there
    once more with a late label, the label alone is new: their p and their rows do not count.

    Args:
      rows: over so many rows the average reaches, give or take.
    """

    def __init__(self, rows: int, *args, **kwargs):
        super().__init__(*args, trainable=False, **kwargs)
        self._rows = float(rows)

    def build(self, _=None) -> None:
        """Makes the weights, the count of rows and the shift."""
        super().build()
        self.seen = tf.Variable(0.0, trainable=False, name="seen")  # rows, no further than they matter
        self.shift = tf.Variable([0.0, 0.0], trainable=False, name="shift")  # the shift, and h

    @property
    def state(self) -> list[tf.Variable]:
        """All that `move` moves."""
        return [self.seen, self.shift, *(w.value for w in self.weights)]

    def call(self, inputs: DeepInput) -> tf.Tensor:
        """To logits float32 [B]."""
        return tf.squeeze(bias_add(super().call(inputs)[:, None], self.shift[:1]), 1)  # not `+`, as in WideDeep

    def move(
        self, tower: Tower, logits: tf.Tensor, label: tf.Tensor, weight: tf.Tensor, first_weight: tf.Tensor | None = None
    ) -> None:
        """Moves this replica's copy towards the tower's weights after a step.

        Args:
          tower: what learned.
          logits: float32 [B], the model's as scored in the step.
          label: float32 [B].
          weight: float32 [B]; rows with 0 do not count.
          first_weight: float32 [B], the same, and 0 for late rows; None: the same.
        """
        first = weight if first_weight is None else first_weight
        rows = tf.reduce_sum(first)
        p = tf.sigmoid(logits)
        excess, information = tf.reduce_sum(first * p - weight * label), tf.reduce_sum(first * p * (1 - p))
        seen, shift = own(self.seen), own(self.shift)
        seen.assign(tf.minimum(seen + rows, self._rows / _SHARE))
        part = tf.minimum(1.0, tf.math.divide_no_nan(rows, _SHARE * seen))
        known = (1 - part) * shift[1] + information
        shift.assign([shift[0] - excess / (known + _PRIOR_INFORMATION), known])
        for average, newest in zip(self.weights, tower.weights, strict=True):
            own(average.value).assign_add(part * (own(newest.value) - own(average.value)))


def _initializer(kind: str, stddev: float, seed: int) -> keras.initializers.Initializer:
    if kind == "normal":
        return keras.initializers.RandomNormal(stddev=stddev, seed=seed)
    return keras.initializers.GlorotUniform(seed=seed)
