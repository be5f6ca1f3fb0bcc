"""Rows of any number of columns, their YAML, and dictionaries without values: every value has the id of a bucket."""

import pathlib

import numpy as np

_DISTINCT_LINES = 100_000  # a longer topic has them again
_VALUES = 5000  # of a category, the few much more often than the many


def write_columns(folder: pathlib.Path, integers: int, categories: int) -> tuple[str, str]:
    """The YAML of so many columns, and a folder of dictionaries for it; the path of each."""
    from tfonline.features.dictionaries import Dictionaries, save_dictionaries
    from tfonline.features.schema import load_schema

    columns = folder / f"columns-{integers}-{categories}.yaml"
    own = [f"  - {{name: {name}, kind: {kind}}}" for name, kind in _columns(integers, categories)]
    columns.write_text("\n".join(["name: growth", "columns:", "  - {name: label, kind: label}", *own, ""]))
    dictionaries = folder / f"dictionaries-{integers}-{categories}"
    dictionaries.mkdir(exist_ok=True)
    save_dictionaries(str(dictionaries), Dictionaries.without_values(load_schema(str(columns))))
    return str(columns), str(dictionaries)


def lines(count: int, integers: int, categories: int) -> list[bytes]:
    """So many rows as TSV: a label, integers, categories; the same at each call."""
    random = np.random.default_rng(1)
    label = random.integers(0, 2, count).astype(str)
    numbers = random.geometric(0.05, (count, integers)).astype(str)
    values = np.char.add("v", (random.zipf(1.2, (count, categories)) % _VALUES).astype(str))
    return ["\t".join([*row]).encode() for row in np.concatenate([label[:, None], numbers, values], axis=1)]


def write_lines(folder: pathlib.Path, integers: int, categories: int, count: int = _DISTINCT_LINES) -> pathlib.Path:
    """A file of such rows."""
    path = folder / f"rows-{integers}-{categories}.tsv"
    path.write_bytes(b"\n".join(lines(count, integers, categories)) + b"\n")
    return path


def _columns(integers: int, categories: int) -> list[tuple[str, str]]:
    """Names and kinds."""
    spans = [(f"I1..I{integers}", "integer", integers), (f"C1..C{categories}", "category", categories)]
    return [(name if count > 1 else name.partition("..")[0], kind) for name, kind, count in spans if count]
