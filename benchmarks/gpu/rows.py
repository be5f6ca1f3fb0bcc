"""Rows for the benchmark, and dictionaries of at most the default vocabulary, without process_data: that needs DuckDB."""

import collections
import heapq
import itertools
import pathlib
import shutil
from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchmarks.commands import tool
from benchmarks.speed.data import VOCAB

if TYPE_CHECKING:
    from tfonline.features.dictionaries import Dictionaries

_DICTIONARY_ROWS = 100_000
# Ids of the features beside the categories' own: the columns' and, with --numeric=bucket, the buckets.
_OTHER_IDS = 4_000
_ROWS_AT_ONCE = 10_000


def make_rows(context: dict, count: int) -> pathlib.Path:
    """A file of so many rows, one a line: synthetic, or those of `rows` (all of them)."""
    path = pathlib.Path(context["folder"]) / f"rows_{count}.tsv"
    if context["rows"]:
        return pathlib.Path(context["rows"])
    if not path.exists():
        tool("synthetic.py", f"--rows={count}", f"--output={path}")
    return path


def make_dictionaries(context: dict, rows: pathlib.Path) -> str:
    """A folder of dictionaries of the file's first rows: the most frequent values, as many as the default vocabulary holds."""
    from tfonline.features.dictionaries import save_dictionaries

    folder = pathlib.Path(context["folder"]) / "dictionaries"
    shutil.rmtree(folder, ignore_errors=True)
    with rows.open() as file:
        found = dictionaries_of(itertools.islice(file, _DICTIONARY_ROWS), most=VOCAB - _OTHER_IDS)
    save_dictionaries(str(folder), found)
    return str(folder)


def dictionaries_of(lines: Iterable[str], min_count: int = 1, most: int | None = None) -> "Dictionaries":
    """What process_data makes of good rows in TSV, in plain Python.

    Args:
      lines: the rows, with or without line ends.
      min_count: a value must have been seen so often.
      most: so many ids at most, those of the columns among them: the values that were seen least are left out. None: all.
    """
    from tfonline.features.dictionaries import Dictionaries
    from tfonline.features.schema import load_schema

    schema = load_schema("configs/criteo.yaml")
    counts = {name: collections.Counter() for name in schema.names}
    lines = iter(lines)
    while some := [line.rstrip("\n").split("\t") for line in itertools.islice(lines, _ROWS_AT_ONCE)]:
        for name, values in zip(schema.names, zip(*some, strict=True), strict=True):
            counts[name].update(values)
    numbers = {c: [0, *(int(text) for text in counts[c] if text)] for c in schema.ranged}
    own = [*schema.ranged, *(f"OOV{c}" for c in schema.listed)]
    kept = [(n, c, value) for c in schema.listed for value, n in counts[c].items() if value and n >= min_count]
    if most is not None:
        kept = heapq.nlargest(most - len(own), kept)
    place = {c: i for i, c in enumerate(schema.listed)}
    kept.sort(key=lambda of: (place[of[1]], -of[0], of[2].encode()))
    keys = own + [f"{c}_{value}" for _, c, value in kept]
    largest, smallest = ({c: of(n) for c, n in numbers.items()} for of in (max, min))
    return Dictionaries(largest, smallest, {key: i for i, key in enumerate(keys)})
