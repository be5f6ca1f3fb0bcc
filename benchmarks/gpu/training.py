"""Training alone, features on the device, beside what products and memory of the same machine allow."""

from benchmarks.gpu.sizes import SIZES, how, make_inputs, make_learner, rows_per_sec
from benchmarks.speed.data import FIELDS, NUMBERS

# size, rows a batch, batches a call
_CASES = (
    ("default", 100, 1),
    ("default", 100, 100),
    ("default", 1000, 1),
    ("default", 1000, 16),
    ("default", 16_384, 1),
    ("default", 65_536, 1),
    ("replaced", 16_384, 1),
    ("replaced", 65_536, 1),
)
_COPY_FLOATS = 1 << 28


def measure(context: dict) -> dict[str, float]:
    """Samples/s by size and batch at one precision, the roof of the products beside it, and the device's rates."""
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(context["tf32"])
    jit_compile = context["jit_compile"]
    named = context["precision"] + (", TF32" if context["precision"] == "float32" and context["tf32"] else "")
    found, learner, made_for = {}, None, None
    for size, rows, steps in _CASES:
        if jit_compile and rows <= 1000 and steps == 1:
            continue  # a GPU that waits for TensorFlow takes several steps a call
        rows = max(4, rows // context["shrink"])
        if size != made_for:
            learner, made_for = None, size  # one model at a time: the large one needs the memory
            learner = make_learner(size, context["precision"], jit_compile=jit_compile)
        ready = make_inputs(learner, size, rows * steps, 2 if rows * steps > 10_000 else 8)
        which, num_steps = tf.range(steps), tf.constant(steps)

        def call(i, learner=learner, ready=ready, which=which, num_steps=num_steps):
            return learner.train_steps(num_steps, which, ready[i % len(ready)]).losses["deep_loss"]

        what = f"{size}, {named}, batch {rows:,}"
        found[f"training: {what}{how(steps, jit_compile)}, samples/s"] = rows_per_sec(call, rows * steps, _wait, context["secs"])
        if steps == 1 and not jit_compile:
            roof = products(size, rows, context["precision"], context["secs"] / 2)
            flops = 6 * sum(a * b for a, b in SIZES[size].products(needed=True))
            found[f"products alone: {what}, samples/s"] = roof
            found[f"products alone: {what}, TFLOP/s"] = flops * roof / 1e12
    return found if jit_compile else found | rates(context)


def products(size: str, rows: int, precision: str, secs: float) -> float:
    """Samples/s that the products which the dense layers need allow, forwards and backwards to both factors."""
    import tensorflow as tf

    with tf.device("GPU:0" if tf.config.list_physical_devices("GPU") else "CPU:0"):
        layers = SIZES[size].products(needed=True)[:-1]
        cast = lambda x: tf.cast(x, precision)  # noqa: E731
        left = [cast(tf.random.normal([rows, a])) for a, _ in layers]
        weights = [cast(tf.random.normal([b, a])) for a, b in layers]
        right = [cast(tf.random.normal([rows, b])) for _, b in layers]

        @tf.function(autograph=False)
        def run():
            corner = tf.zeros([], precision)  # a number of each product: what nobody looks at is not computed
            for x, w, g in zip(left, weights, right, strict=True):
                for product in (tf.matmul(x, w, transpose_b=True), tf.matmul(g, x, transpose_a=True), g @ w):
                    corner += product[0, 0]
            return corner

        return rows_per_sec(lambda _: run(), rows, _wait, secs)


def rates(context: dict) -> dict[str, float]:
    """GB/s of the device's memory, read and written, and of copies to the device."""
    import tensorflow as tf

    floats = _COPY_FLOATS // context["shrink"]
    device = "GPU:0" if tf.config.list_physical_devices("GPU") else "CPU:0"
    with tf.device("CPU:0"):
        host = tf.random.uniform([floats // 8])
    with tf.device(device):
        large = tf.random.uniform([floats])
        memory = rows_per_sec(lambda _: tf.negative(large), 8 * floats, lambda x: x[0].numpy(), context["secs"] / 2)
        to_device = rows_per_sec(lambda _: tf.identity(host)[0], floats // 2, _wait, context["secs"] / 2)
    lookups = 4 * 4 * (FIELDS - NUMBERS) * SIZES["default"].embedding  # gathered and written, and their gradients likewise
    return {
        "device memory, GB/s (read and written)": memory / 1e9,
        "device memory alone: default, samples/s": memory / lookups,
        "host to device, GB/s": to_device / 1e9,
    }


def _wait(x) -> None:
    x.numpy()
