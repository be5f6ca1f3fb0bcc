"""What is measured, and with which clock. No TensorFlow above the functions: PyTorch's process uses it, too."""

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.speed.data import EMBEDDING, FIELDS, LAYERS, NUMBERS, VOCAB, batches
from benchmarks.speed.training import examples


class Size(NamedTuple):
    """A model of 39 columns."""

    vocab: int
    embedding: int
    layers: tuple[int, ...]

    def products(self, needed: bool = False) -> list[tuple[int, int]]:
        """Inputs and outputs of each dense layer; `needed`: without the inputs that are one row a column times a number."""
        fields = FIELDS - NUMBERS * needed
        return list(itertools.pairwise((fields * self.embedding, *self.layers, 1)))


# The trainer's default sizes, and those that the replaced system's authors publish their speed for.
SIZES = {"default": Size(VOCAB, EMBEDDING, LAYERS), "replaced": Size(5_860_000, 16, (1024,) * 7)}


def make_config(size: str, precision: str, **changed: object):
    """The flags of configs/mindrec.flags at such a size, with others where told."""
    from tfonline.config import parse

    s = SIZES[size]
    flags = {"vocab_size": s.vocab, "embedding_dim": s.embedding, "deep_layers": ",".join(map(str, s.layers))}
    flags |= {"precision": precision, **changed}
    return parse(["", "--flagfile=configs/mindrec.flags", *(f"--{k}={v}" for k, v in flags.items())])


def make_learner(size: str, precision: str, **changed: object):
    """A learner on the GPUs, or on the CPU where there are none."""
    from tfonline.features.spec import Spec
    from tfonline.model import learner
    from tfonline.model.tables import replicas

    config = make_config(size, precision, **changed)
    strategy = replicas.make_strategy(config.learning.num_replicas, "auto")
    spec = Spec.of(config.model.vocab_size, FIELDS, scaled_fields=NUMBERS)
    return learner.make_learner(strategy, spec, config.model, config.optimizers, jit_compile=config.learning.jit_compile)


def make_inputs(learner: Any, size: str, rows: int, count: int) -> list:
    """So many batches as Learner.train takes them, on the GPU."""
    return [learner.inputs(batch) for batch in on_host(size, rows, count)]


def on_host(size: str, rows: int, count: int) -> list:
    """So many batches as Learner.inputs takes them."""
    import tensorflow as tf

    with tf.device("CPU:0"):
        return [examples(batch) for batch in batches(rows, count, SIZES[size].vocab)]


def how(steps: int, jit_compile: bool) -> str:
    """What a figure's name says of steps a call and of XLA, where there is something to say."""
    return (f", {steps} steps a call" if steps > 1 else "") + (", compiled" if jit_compile else "")


def rows_per_sec(call: Callable[[int], Any], rows: int, wait: Callable[[Any], object], secs: float, turns: int = 3) -> float:
    """The median, over turns, of the rows a second of calls one after the other.

    A GPU works while the next call is made, so only what a turn's last call gave is waited for.

    Args:
      call: what is timed; gets the number of the call.
      rows: rows a call.
      wait: waits for what a call gave.
      secs: how long all turns together take, about.
      turns: how many.
    """
    for i in range(3):
        wait(call(i))
    began = time.perf_counter()
    wait(call(0))
    calls = max(1, round(secs / turns / (time.perf_counter() - began)))
    found = []
    for _ in range(turns):
        began = time.perf_counter()
        for i in range(calls):
            last = call(i)
        wait(last)
        found.append(calls * rows / (time.perf_counter() - began))
    return statistics.median(found)
