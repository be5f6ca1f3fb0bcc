"""Training with ids that come with the stream, beside the same model with ids that were looked up before."""

import statistics

from benchmarks.gpu.sizes import how, make_config, rows_per_sec
from benchmarks.speed.data import FIELDS, NUMBERS, VOCAB, batches
from benchmarks.speed.training import examples

# rows a batch, batches a call
_CASES = ((1000, 16), (16_384, 1), (65_536, 1))
_ROWS, _BUCKETS = 1 << 18, 10_000
_TURNS = 3


def measure(context: dict) -> dict[str, float]:
    """Samples/s of both, in turns, and their ratio."""
    import tensorflow as tf

    from tfonline.features.spec import Input, Spec, VocabularySpec
    from tfonline.model.learner import make_learner
    from tfonline.model.tables.replicas import make_strategy
    from tfonline.settings.vocabulary import VocabularySettings

    first_id = NUMBERS + _BUCKETS
    config = make_config("default", context["precision"], vocab_size=first_id + _ROWS)
    of_keys = {"keys": Input(FIELDS - NUMBERS, "int64", 0)}
    specs = {
        "ids": Spec.of(first_id + _ROWS, FIELDS, scaled_fields=NUMBERS),
        "growing": Spec.of(
            first_id + _ROWS, FIELDS, of_keys, NUMBERS, vocabulary=VocabularySpec(_ROWS, first_id, ((NUMBERS, FIELDS),))
        ),
    }
    strategy, compiled, found = make_strategy(1, "auto"), context["jit_compile"], {}
    for rows, steps in _CASES:
        rows = max(4, rows // context["shrink"])
        which, num_steps = tf.range(steps), tf.constant(steps)
        made = batches(rows * steps, 2 if rows * steps > 10_000 else 8, VOCAB)
        rates = {name: [] for name in specs}
        for _ in range(_TURNS):
            for name, spec in specs.items():
                learner = make_learner(
                    strategy, spec, config.model, config.optimizers, jit_compile=compiled, vocabulary=VocabularySettings(_ROWS)
                )
                with tf.device("CPU:0"):
                    on_host = [_keyed(batch, first_id) if name == "growing" else examples(batch) for batch in made]
                ready = [learner.inputs(batch) for batch in on_host]

                def call(i, learner=learner, ready=ready, which=which, num_steps=num_steps):
                    return learner.train_steps(num_steps, which, ready[i % len(ready)]).losses["deep_loss"]

                for i in range(8 * len(ready)):  # until most values have their rows
                    call(i).numpy()
                rates[name].append(rows_per_sec(call, rows * steps, lambda x: x.numpy(), context["secs"]))
                if name == "growing":
                    in_use = float(strategy.experimental_local_results(learner.admission.tally)[0].numpy()[0])
                del learner, ready
        named = f"{context['precision']}, batch {rows:,}{how(steps, compiled)}"
        medians = {name: statistics.median(of) for name, of in rates.items()}
        found |= {f"{name}: {named}, samples/s": rate for name, rate in medians.items()}
        found[f"growing: {named}, of the same with ids"] = medians["growing"] / medians["ids"]
        found[f"growing: {named}, rows in use"] = in_use
    return found


def _keyed(batch, first_id: int):
    """The same batch with keys: a category's id becomes a key, and its id that of a bucket."""
    import tensorflow as tf

    made = examples(batch)
    ids = made.features["ids"]
    keys = (tf.cast(ids[:, NUMBERS:], tf.int64) + 1) * tf.constant(0x5851F42D4C957F2D, tf.int64)
    buckets = tf.cast(NUMBERS + tf.math.floormod(keys, _BUCKETS), ids.dtype)
    features = {**made.features, "ids": tf.concat([ids[:, :NUMBERS], buckets], axis=1), "keys": keys}
    return made._replace(features=features)
