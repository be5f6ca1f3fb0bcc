"""Training alone: features in memory, at the replaced system's sizes."""

from benchmarks.speed.data import FIELDS, NUMBERS, VOCAB, batches, median_secs, precisions

_SMALL, _STEPS = 100, 10


def make_learner(precision: str = "float32", **changed: object):
    """A learner by configs/mindrec.flags, with other flags where told."""
    from tfonline.config import parse
    from tfonline.features.spec import Spec
    from tfonline.model import learner
    from tfonline.model.tables import replicas

    config = parse(
        ["", "--flagfile=configs/mindrec.flags", f"--precision={precision}", *(f"--{k}={v}" for k, v in changed.items())]
    )
    strategy, spec = replicas.make_strategy(1, "auto"), Spec.of(config.model.vocab_size, FIELDS, scaled_fields=NUMBERS)
    return learner.make_learner(strategy, spec, config.model, config.optimizers, jit_compile=config.learning.jit_compile)


def tensors(rows: int, vocab: int = VOCAB) -> list:
    """Batches as Learner.train takes them."""
    return [examples(batch) for batch in batches(rows, vocab=vocab)]


def examples(batch: tuple):
    """A batch of data.batches as Learner.train takes it."""
    import tensorflow as tf

    from tfonline.features.batch import Examples

    label, ids, values = map(tf.constant, batch)
    return Examples({"label": label}, tf.ones_like(label), {"ids": ids, "values": values})


def measure(context: dict) -> dict[str, float]:
    """Rows/s by batch size and precision; of the smallest also by several steps a call (--steps_per_call)."""
    import tensorflow as tf

    found = {}
    for precision in precisions():
        learner = make_learner(precision)
        for rows in (100, 1000, 16_384):
            ready = tensors(rows)
            secs = median_secs(lambda i, learner=learner, ready=ready: learner.train(ready[i % 8]).logits.numpy(), at_least=3)
            found[f"training {precision} {rows}, rows/s"] = rows / secs
        ready = tensors(_SMALL * _STEPS)

        def several(i: int, learner=learner, ready=ready) -> None:
            learner.train_steps(tf.constant(_STEPS), tf.range(_STEPS), ready[i % 8]).logits.numpy()

        secs = median_secs(several)
        found[f"training {precision} {_SMALL}, {_STEPS} steps a call, rows/s"] = _SMALL * _STEPS / secs
    return found
