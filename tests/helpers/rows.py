"""Rows in Criteo's format for tests, with the dictionaries that belong to them."""

import random

from tfonline.features.dictionaries import Dictionaries, save_dictionaries
from tfonline.features.schema import Schema, load_schema

SCHEMA = load_schema("configs/criteo.yaml")
# Two columns of each kind, for expectations that are worked out by hand.
SMALL_SCHEMA = Schema.model_validate(
    {
        "name": "small",
        "columns": [
            {"name": "label", "kind": "label"},
            {"name": "I1..I2", "kind": "integer"},
            {"name": "C1..C2", "kind": "category"},
        ],
    }
)
# Three columns, for whole runs that bring rows of their own.
CLICKS_YAML = """
name: t
columns:
  - {name: click, kind: label}
  - {name: item, kind: category}
  - {name: user, kind: category}
"""
NUM_VALUES = 20  # of a category column that the dictionaries know; rows hold a few more


def make_rows(n: int, seed: int = 1) -> list[bytes]:
    """n good rows; the label leans on C1, so there is something to learn."""
    r = random.Random(seed)
    rows = []
    for _ in range(n):
        integers = ["" if r.random() < 0.2 else str(r.randint(-1, 300)) for _ in SCHEMA.ranged]
        values = [r.randrange(NUM_VALUES + 3) for _ in SCHEMA.listed]
        label = int(r.random() < (0.6 if values[0] % 2 else 0.1))
        categories = ["" if r.random() < 0.1 else f"{v:08x}" for v in values]
        rows.append("\t".join([str(label), *integers, *categories]).encode())
    return rows


def make_dictionaries(folder) -> str:
    """Writes the three pickles; returns the folder."""
    ids = {c: i for i, c in enumerate(SCHEMA.ranged)}
    ids |= {f"OOV{c}": len(ids) + i for i, c in enumerate(SCHEMA.listed)}
    for c in SCHEMA.listed:
        for v in range(NUM_VALUES):
            ids[f"{c}_{v:08x}"] = len(ids)
    save_dictionaries(str(folder), Dictionaries(dict.fromkeys(SCHEMA.ranged, 300), dict.fromkeys(SCHEMA.ranged, -1), ids))
    return str(folder)
