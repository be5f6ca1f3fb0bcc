"""What every part of the benchmark measures with: batches in memory and clocks. No TensorFlow: the peers use it, too."""

import itertools
import pathlib
import statistics
import time
from collections.abc import Callable

import numpy as np

FIELDS = 39
VOCAB = 200_000
EMBEDDING = 80
LAYERS = (1024, 512, 256, 128)


def batches(rows: int, count: int = 8, vocab: int = VOCAB) -> list[tuple[np.ndarray, np.ndarray]]:
    """`(label float32 [rows], ids int32 [rows, FIELDS])`, ids as skewed as those of clicks, the same for each learner."""
    random = np.random.default_rng(1)
    return [
        (random.integers(0, 2, rows).astype(np.float32), (random.zipf(1.2, (rows, FIELDS)) % vocab).astype(np.int32))
        for _ in range(count)
    ]


def precisions() -> tuple[str, ...]:
    """What is measured: bfloat16 only where the processor has instructions for it; elsewhere it is emulated and slower."""
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    return ("float32", "bfloat16") if "avx512_bf16" in flags or "amx_bf16" in flags else ("float32",)


def flops_per_row() -> int:
    """Of the dense layers, forwards and backwards: 2 operations a weight, three products a layer."""
    widths = (FIELDS * EMBEDDING, *LAYERS, 1)
    return 6 * sum(a * b for a, b in itertools.pairwise(widths))


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
