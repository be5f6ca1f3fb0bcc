"""What every part of the benchmark measures with: batches in memory and clocks. No TensorFlow: the peers use it, too."""

import itertools
import pathlib
import statistics
import time
from collections.abc import Callable

import numpy as np

FIELDS = 39
NUMBERS = 13  # of the fields: a row of weights each, times a value; the first ones
VOCAB = 200_000
EMBEDDING = 80
LAYERS = (1024, 512, 256, 128)


def batches(rows: int, count: int = 8, vocab: int = VOCAB) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """`(label float32 [rows], ids int32 [rows, FIELDS], values float32 [rows, FIELDS])`, the same for each learner.

    As with --numeric=minmax: a number has its column's id and a value; other ids are as skewed as those of clicks, with value 1.
    """
    random = np.random.default_rng(1)

    def one():
        ids = NUMBERS + random.zipf(1.2, (rows, FIELDS)) % (vocab - NUMBERS)
        ids[:, :NUMBERS] = np.arange(NUMBERS)
        values = np.ones((rows, FIELDS), np.float32)
        values[:, :NUMBERS] = random.random((rows, NUMBERS))
        return random.integers(0, 2, rows).astype(np.float32), ids.astype(np.int32), values

    return [one() for _ in range(count)]


def precisions() -> tuple[str, ...]:
    """What is measured: bfloat16 only where the processor has instructions for it; elsewhere it is emulated and slower."""
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    return ("float32", "bfloat16") if "avx512_bf16" in flags or "amx_bf16" in flags else ("float32",)


def products() -> list[tuple[int, int]]:
    """Inputs and outputs of each dense layer, as far as a row needs a product with them.

    A number's inputs are its column's row of weights times a value, and that row's product with the kernel is the same for all.
    """
    return list(itertools.pairwise(((FIELDS - NUMBERS) * EMBEDDING, *LAYERS, 1)))


def flops_per_row() -> int:
    """Of `products`, forwards and backwards: 2 operations a weight, three products a layer."""
    return 6 * sum(a * b for a, b in products())


def median_secs(step: Callable[[int], object], at_least: int = 8, secs: float = 1.2) -> float:
    """The median time of `step(i)` over at least so many calls and so many seconds, after three to warm up."""
    for i in range(3):
        step(i)
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < at_least or time.perf_counter() - began < secs:
        start = time.perf_counter()
        step(len(times))
        times.append(time.perf_counter() - start)
    return statistics.median(times)
