"""Rows for the benchmark, and dictionaries of at most the default vocabulary, without process_data: that needs DuckDB."""

import collections
import pathlib
import shutil

from benchmarks.commands import tool
from benchmarks.speed.data import VOCAB

_DICTIONARY_ROWS = 100_000
# Ids of the features beside the categories' own: the columns' and, with --numeric=bucket, the buckets.
_OTHER_IDS = 4_000


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
    from tfonline.features.dictionaries import Dictionaries, save_dictionaries
    from tfonline.features.schema import load_schema

    folder = pathlib.Path(context["folder"]) / "dictionaries"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    schema = load_schema("configs/criteo.yaml")
    values: collections.Counter[tuple[str, str]] = collections.Counter()
    largest, smallest = dict.fromkeys(schema.ranged, 1), dict.fromkeys(schema.ranged, 0)
    with rows.open() as file:
        for _, line in zip(range(_DICTIONARY_ROWS), file, strict=False):
            fields = dict(zip(schema.names, line.rstrip("\n").split("\t"), strict=True))
            for c in schema.ranged:
                if fields[c]:
                    largest[c], smallest[c] = max(largest[c], int(fields[c])), min(smallest[c], int(fields[c]))
            values.update((c, fields[c]) for c in schema.listed if fields[c])
    ids = {c: i for i, c in enumerate(schema.ranged)}
    ids |= {f"OOV{c}": len(ids) + i for i, c in enumerate(schema.listed)}
    for (column, value), _ in values.most_common(VOCAB - _OTHER_IDS - len(ids)):
        ids[f"{column}_{value}"] = len(ids)
    save_dictionaries(str(folder), Dictionaries(largest, smallest, ids))
    return str(folder)
