"""The roofs: what the machine can do at the model's shapes, whoever asks for it."""

import numpy as np

from benchmarks.speed.data import flops_per_row, median_secs, precisions, products

_COPY_BYTES = 1 << 28


def measure(context: dict) -> dict[str, float]:
    """Rows/s that the dense layers' products alone allow, by batch size and precision, and the memory's copy rate."""
    import tensorflow as tf

    found = {}
    for rows in (100, 1000, 16_384):
        for dtype in map(tf.as_dtype, precisions()):
            layers = products()[:-1]
            left = [tf.cast(tf.random.normal([rows, a]), dtype) for a, _ in layers]
            weights = [tf.cast(tf.random.normal([b, a]), dtype) for a, b in layers]
            right = [tf.cast(tf.random.normal([rows, b]), dtype) for _, b in layers]

            def multiply(left=left, weights=weights, right=right):
                for x, w, g in zip(left, weights, right, strict=True):  # forwards, and backwards to both factors
                    yield from (tf.matmul(x, w, transpose_b=True), tf.matmul(g, x, transpose_a=True), g @ w)

            run = tf.function(lambda multiply=multiply: [tf.reduce_max(p) for p in multiply()], autograph=False)
            secs = median_secs(lambda _, run=run: run()[0].numpy(), at_least=3, secs=1)
            found[f"roof {dtype.name} {rows}, rows/s"] = rows / secs
            found[f"roof {dtype.name} {rows}, GFLOP/s"] = flops_per_row() * rows / secs / 1e9
    source, target = np.ones(_COPY_BYTES // 8), np.empty(_COPY_BYTES // 8)
    found["memory copy, GB/s (read and written)"] = 2 * _COPY_BYTES / median_secs(lambda _: np.copyto(target, source), secs=1) / 1e9
    return found
