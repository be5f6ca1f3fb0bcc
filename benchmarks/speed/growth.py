"""How time, memory and checkpoints grow: with the vocabulary, the windows and the partitions."""

import pathlib
import resource
import tempfile
import time

from benchmarks.speed.data import median_secs
from benchmarks.speed.training import make_learner, tensors

_ROWS = 1000


def measure(context: dict) -> dict[str, float]:
    """A step and a save at embedding 16 for a vocabulary of so many thousands: one a process, for its memory."""
    import tensorflow as tf

    vocab = context["vocab"]
    learner = make_learner(embedding_dim=16, vocab_size=vocab)
    ready = tensors(_ROWS, vocab)
    name = f"vocabulary {vocab:,}"
    secs = median_secs(lambda i: learner.train(ready[i % 8]).logits.numpy(), secs=6)
    with tempfile.TemporaryDirectory(dir=context["folder"]) as folder:
        checkpoint = tf.train.Checkpoint(learner=learner)
        began = time.perf_counter()
        checkpoint.write(f"{folder}/ckpt")
        save_secs = time.perf_counter() - began
        size = sum(f.stat().st_size for f in pathlib.Path(folder).iterdir())
    return {
        f"{name}: step, ms": 1000 * secs,
        f"{name}: checkpoint, s": save_secs,
        f"{name}: checkpoint, MB": size / 1e6,
        f"{name}: memory at most, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }
