"""Plain Keras at the same sizes: `Embedding` layers, `Dense` layers, Adam and `fit` on arrays in memory."""

import itertools
import time

import numpy as np

from benchmarks.gpu.sizes import SIZES, how
from benchmarks.speed.data import FIELDS, batches

# size, rows a batch, batches an epoch
_CASES = (("default", 1000, 200), ("default", 16_384, 30), ("default", 65_536, 10), ("replaced", 16_384, 10))


def measure(context: dict) -> dict[str, float]:
    """Samples/s of the last of three epochs, by size, batch and precision."""
    import keras
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    found = {}
    for size, rows, count in _CASES:
        rows, s = rows // context["shrink"], SIZES[size]
        some = batches(rows, 2, s.vocab)
        label, ids, values = (np.concatenate([some[i % 2][k] for i in range(count)]) for k in (0, 1, 2))
        for precision, jit_compile in itertools.product(("bfloat16", "float32"), (False, True)):
            if jit_compile and context["without_xla"]:
                continue
            keras.mixed_precision.set_global_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
            inputs = keras.Input([FIELDS], dtype="int32")
            scales = keras.Input([FIELDS, 1])
            wide = keras.layers.Flatten()(keras.layers.Embedding(s.vocab, 1)(inputs) * scales)
            x = keras.layers.Flatten()(keras.layers.Embedding(s.vocab, s.embedding)(inputs) * scales)
            for width in s.layers:
                x = keras.layers.Dense(width, "relu")(x)
            logits = keras.ops.sum(wide, axis=1, keepdims=True) + keras.layers.Dense(1)(x)
            model = keras.Model([inputs, scales], keras.layers.Activation("linear", dtype="float32")(logits))
            loss = keras.losses.BinaryCrossentropy(from_logits=True)
            model.compile(keras.optimizers.Adam(3.5e-4), loss, jit_compile=jit_compile)
            clock = _make_clock()
            model.fit([ids, values[:, :, None]], label, batch_size=rows, epochs=3, verbose=0, shuffle=False, callbacks=[clock])
            found[f"Keras fit: {size}, {precision}, batch {rows:,}{how(1, jit_compile)}, samples/s"] = len(label) / clock.secs
    return found


def _make_clock():
    """A callback whose `secs` is how long the last epoch took."""
    import keras

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self._began = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.secs = time.perf_counter() - self._began

    return Clock()
