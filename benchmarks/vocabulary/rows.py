"""Synthetic rows whose ids are renewed, made by several processes, and how well each could be scored."""

import concurrent.futures
import itertools
import multiprocessing
import os
import pathlib
import shutil
import sys

import numpy as np

from benchmarks.commands import ROOT

sys.path.insert(0, str(ROOT / "tools"))

import synthetic

_MOST_PROCESSES = 8
_LEAST_ROWS = 10_000  # of a process


def make_rows(folder: pathlib.Path, count: int, lifetime: int) -> tuple[pathlib.Path, np.ndarray]:
    """One file of TSV rows in their order, and the true probabilities of their labels, float64 [count].

    Args:
      folder: for the file.
      count: of rows.
      lifetime: of an id, in rows.
    """
    parts = max(1, min(len(os.sched_getaffinity(0)), _MOST_PROCESSES, count // _LEAST_ROWS))
    starts = [count * i // parts for i in range(parts + 1)]
    paths = [folder / "rows.tsv", *(folder / f"rows-{i}.tsv" for i in range(1, parts))]
    pool = concurrent.futures.ProcessPoolExecutor(parts, multiprocessing.get_context("spawn"))
    with pool, paths[0].open("ab") as whole:
        counts = [stop - start for start, stop in itertools.pairwise(starts)]
        probabilities = list(pool.map(_make_part, paths, counts, starts[:-1], [lifetime] * parts))
        for path in paths[1:]:
            with path.open("rb") as part:
                shutil.copyfileobj(part, whole, 1 << 24)
            path.unlink()
    return paths[0], np.concatenate(probabilities)


def _make_part(path: pathlib.Path, count: int, start: int, lifetime: int) -> np.ndarray:
    probabilities = []
    with path.open("wb") as out:
        for block in synthetic.rows(count, start=start, lifetime=lifetime):
            out.write(b"\n".join(block.lines) + b"\n")
            probabilities.append(block.probability)
    return np.concatenate(probabilities)
