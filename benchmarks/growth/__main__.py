"""How costs grow: python -m benchmarks.growth, or

    python -m benchmarks.growth --only=partitions,windows
    python -m benchmarks.growth --only=ids --ids=10000,100000000
    python -m benchmarks.growth --table --folder=runs/growth     the tables of what is in the folder; measures nothing

Each point is a process of its own (or two runs of the trainer, and the difference between them). Figures go to
<folder>/results.jsonl as they come, tables to <folder>/table.md: each figure with its ratio to the smallest point, and the exponent
between neighbours, 1 where it grows as the axis does. Several of these may run at the same time, with a folder each.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time
from typing import NamedTuple

from benchmarks.commands import ROOT, run
from benchmarks.growth import table

sys.path.insert(0, str(ROOT / "tools"))

import broker


class Axis(NamedTuple):
    """An axis.

    Attributes:
      function: `module:name` under benchmarks.growth, which measures a point.
      sizes: the points.
      variants: ways to measure it, each a table.
      needs_kafka: whether it needs a broker.
    """

    function: str
    sizes: tuple[int, ...]
    variants: tuple[str, ...]
    needs_kafka: bool = False


_READERS = ("consumer", "tfio")
_AXES = {
    "partitions": Axis("axes_of_stream:partitions", (1, 10, 100, 1000), _READERS, needs_kafka=True),
    "windows": Axis("axes_of_stream:windows", (100, 1000, 10_000, 100_000, 1_000_000), _READERS, needs_kafka=True),
    "columns": Axis("columns:measure", (10, 100, 300, 1000), ("no pairs", "10 partners")),
    "ids": Axis("ids:measure", (10_000, 100_000, 1_000_000, 10_000_000), ("embedding 16",)),
    "workers": Axis("axes_of_stream:workers", (1, 2, 4), ("pairs", "no pairs"), needs_kafka=True),
}
_TFIO_PARTITIONS = 512  # a worker's, at most


def main() -> None:
    """Measures point by point, prints the tables and the closing line."""
    args = _parse()
    if args.point:
        _measure_here(json.loads(args.point))
        return
    folder = pathlib.Path(args.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not args.table:
        (folder / "results.jsonl").unlink(missing_ok=True)
        _measure(folder, args)
    _tell(folder)


def _measure(folder: pathlib.Path, args: argparse.Namespace) -> None:
    only = args.only.split(",")
    if unknown := set(only) - set(_AXES):
        sys.exit(f"--only={args.only}: no axis {', '.join(sorted(unknown))}. There are {', '.join(_AXES)}.")
    for axis in only:
        sizes = [int(size) for size in getattr(args, axis).split(",")]
        for variant in args.variants.split(",") if args.variants else _AXES[axis].variants:
            if variant == "tfio" and importlib.util.find_spec("tensorflow_io") is None:
                print(f"{axis}, tfio: tensorflow-io is not on this stack", flush=True)
                continue
            for size in sizes:
                if axis == "partitions" and variant == "tfio" and size > _TFIO_PARTITIONS:
                    continue
                _point(folder, axis, variant, size, args.batch_size)


def _point(folder: pathlib.Path, axis: str, variant: str, size: int, batch_size: int) -> None:
    began = time.monotonic()
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=f"{axis}-", dir=folder))
    bootstrap = ""
    try:
        if _AXES[axis].needs_kafka:
            bootstrap = broker.start(temporary / "kafka").bootstrap
        asked = {"axis": axis, "variant": variant, "size": size, "folder": str(temporary), "bootstrap": bootstrap}
        asked |= {"batch_size": batch_size}  # of workers alone
        found = json.loads(run([sys.executable, "-m", "benchmarks.growth", f"--point={json.dumps(asked)}"]).splitlines()[-1])
    finally:
        if bootstrap:
            broker.stop(temporary / "kafka")
        shutil.rmtree(temporary)
    with (folder / "results.jsonl").open("a") as results:
        results.write(json.dumps({"axis": axis, "variant": variant, "size": size, **found}) + "\n")
    figures = "  ".join(f"{name} {value:,.4g}" for name, value in found.items())
    print(f"{axis} {variant} {size:,} ({time.monotonic() - began:.0f} s): {figures}", flush=True)


def _measure_here(asked: dict) -> None:
    module, name = _AXES[asked["axis"]].function.split(":")
    found = getattr(importlib.import_module(f"benchmarks.growth.{module}"), name)(asked, asked["size"])
    print(json.dumps(found))


def _tell(folder: pathlib.Path) -> None:
    """Of all results in the folder, also those of several runs in folders within it."""
    found: dict[str, dict[str, dict[float, dict]]] = {}
    for path in sorted(folder.rglob("results.jsonl")):
        for line in path.read_text().splitlines():
            point = json.loads(line)
            of = found.setdefault(point.pop("axis"), {}).setdefault(point.pop("variant"), {})
            of[point.pop("size")] = point
    lines, closing = [], []
    for axis in (axis for axis in _AXES if axis in found):
        for variant, points in found[axis].items():
            lines += [*table.lines(axis, variant, points), ""]
        closing.append(f"{axis}={max(map(table.largest, found[axis].values())):.2f}")
    (folder / "table.md").write_text("\n".join(lines))
    print("\n".join(["", *lines, f"growth: {' '.join(closing)}"]))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(_AXES), help=f"axes, comma separated (default {','.join(_AXES)})")
    for name, axis in _AXES.items():
        sizes = ",".join(map(str, axis.sizes))
        parser.add_argument(f"--{name}", default=sizes, help=f"points of that axis, comma separated (default {sizes})")
    parser.add_argument("--batch_size", type=int, default=1000, help="rows a step of all workers together (default 1,000)")
    parser.add_argument("--variants", default="", help="of the axis, such as consumer (default: all)")
    parser.add_argument("--folder", default=str(ROOT / "runs" / "growth"), help="of results and tables (default runs/growth)")
    parser.add_argument("--table", action="store_true", help="only the tables, of the results that are in the folder and below it")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
