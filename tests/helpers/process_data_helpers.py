"""A small data set for process_data, and ways to run it."""

import json
import pathlib
import pickle
import random

import process_data

ROOT = pathlib.Path(__file__).parents[2]
CRITEO = str(ROOT / "configs/criteo.yaml")
FILES = ("all_val_max_dict.pkl", "all_val_min_dict.pkl", "cat2id_dict.pkl")

# Spark's small jobs take half the time where Java compiles its code once, and not twice as for jobs that last.
QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"

SMALL_YAML = """
name: small
columns:
  - {name: label, kind: label}
  - {name: I1..I2, kind: integer}
  - {name: C1..C2, kind: category}
"""


def build(folder: pathlib.Path, *files, columns="", out="out", **flags) -> tuple[int, pathlib.Path]:
    flags = {"output_dir": folder / out, "columns": columns or folder / "small.yaml", "temp_dir": folder, **flags}
    code = process_data.main([*map(str, files), *(f"--{name}={value}" for name, value in flags.items())])
    assert [f.name for f in folder.iterdir() if f.name.startswith("process_data_")] == []  # the temporary folder is gone
    return code, folder / out


def pickles(out: pathlib.Path) -> list[dict]:
    return [pickle.loads((out / name).read_bytes()) for name in FILES]


def report(out: pathlib.Path) -> dict:
    return json.loads((out / "report.json").read_text())


def make_rows(num_rows: int, seed: int, bad_ratio: float = 0.05) -> bytes:
    """Criteo-shaped rows: skewed values, quotes, letters of four bytes, missing fields, every kind of bad row, empty lines."""
    rnd = random.Random(seed)
    odd = ['"', '""', "'", "\\", "é", "\U0001f600", "a b", "-", "NULL", "\x00", "_"]

    def row() -> bytes:
        numbers = ["" if rnd.random() < 0.3 else str(int(rnd.paretovariate(0.5)) % 10**12 - 2) for _ in range(13)]
        values = [
            "" if (p := rnd.random()) < 0.2 else rnd.choice(odd) if p < 0.25 else f"{int(rnd.paretovariate(0.7)) % 997:08x}"
            for _ in range(26)
        ]
        return "\t".join([rnd.choice("01"), *numbers, *values]).encode()

    def spoilt() -> bytes:
        line = row()
        return rnd.choice(
            [line + b"\t", line[:-9], line + b"\r", b"2" + line[1:], line[:1] + b"\tx" + line[2:], line + b"\xff", b""]
        )

    return b"".join((spoilt() if rnd.random() < bad_ratio else row()) + b"\n" for _ in range(num_rows))
