"""How fast tfonline is on this machine, and of what is possible how much: make bench, or

    python -m benchmarks.speed [--only=training,reading] [--folder=runs/speed]
    python -m benchmarks.speed --against=PATH       this checkout beside another one, in turns

Each part is a process of its own, one after the other, so that none disturbs another; peers run in .venv-peers. Figures go to
<folder>/results.jsonl as they come, the table against the targets, of medians, to <folder>/table.md, and a picture of where an
end-to-end second goes to <folder>/profile.svg.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.commands import PEERS_PYTHON, ROOT, run, tool
from benchmarks.speed import against
from benchmarks.speed.against import best

sys.path.insert(0, str(ROOT / "tools"))

import broker

import tfonline  # noqa: F401 - says how TensorFlow multiplies; the parts and the peers inherit it

_TOPIC = "tfonline_benchmark"
_ROWS = 100_000
_SIZES = (100, 1000, 16_384)

# part: [(module, what else it is told)], each a process.
_PARTS: dict[str, list[tuple[str, dict]]] = {
    # In turns, three times: a machine that is shared is not as fast from one minute to the next.
    "training": [*[("machine", {}), ("training", {}), ("peers", {"part": "torch"})] * 3, ("peers", {"part": "deepctr"})],
    "features": [("features", {"cores": 1}), ("features", {"cores": 0}), ("peers", {"part": "pandas"})],
    "reading": [("reading", {"part": "readers"})],
    "end_to_end": [("stream", {"part": "end_to_end"}), ("profile", {})],
    "freshness": [("stream", {"part": "freshness", "reader": reader}) for reader in ("tfio", "consumer")] * 2,
    "partitions": [
        ("partitions", {"partitions": n, "idle": idle}) for n, idle in ((2, False), (64, False), (1000, True), (1000, False))
    ],
    "growth": [("reading", {"part": "growth"}), *(("growth", {"vocab": v}) for v in (200_000, 2_000_000, 20_000_000))],
    "saving": [("saving", {})],
    "monitoring": [("monitoring", {})],
    "dictionaries": [("dictionaries", {"million": 1}), ("dictionaries", {"million": 10}), ("dictionaries", {"start_up": 10})],
    "spark": [("dictionaries", {"million": 10, "engines": ["duckdb", "spark"]})],
}
_UNLESS_ASKED_FOR = ("spark", "monitoring")  # minutes of its own
_NEEDS_KAFKA = {"reading", "end_to_end", "freshness", "partitions", "growth"}


class Target(NamedTuple):
    """A figure of the closing line: what it is, and what is asked of it."""

    name: str
    value: Callable[[dict[str, float]], float]
    at_least: float | None
    aim: float | None
    higher_is_better: bool = True


def _share_of_roof(found: dict[str, float], rows: int) -> float:
    return best(found, "training", rows) / best(found, "roof", rows)


def _vs_tfio(found: dict[str, float], case: str) -> float:
    return found[f"{case}, consumer, rows/s"] / found[f"{case}, tfio, rows/s"]


_TARGETS = [
    Target("b100", lambda f: best(f, "training", 100), 5_000, 10_000),
    Target("b1000", lambda f: best(f, "training", 1000), 11_000, 15_000),
    Target("b16384", lambda f: best(f, "training", 16_384), 13_000, 16_000),
    *(
        Target(f"b{n}_vs_torch", lambda f, n=n: best(f, "training", n) / best(f, "PyTorch", n), 1.2, None)
        for n in _SIZES
    ),
    Target("roof_share_b1000", lambda f: _share_of_roof(f, 1000), 0.65, None),
    Target("roof_share_b16384", lambda f: _share_of_roof(f, 16_384), 0.75, None),
    Target("features_per_core", lambda f: f["features bucket (1 core), rows/s"], 200_000, 500_000),
    *(
        Target(f"read_{name}_vs_tfio", lambda f, case=case: _vs_tfio(f, case), at_least, aim)
        for name, case, at_least, aim in (
            ("100", "windows of 100", 10, 20),
            ("1000", "windows of 1,000", 6, 12),
            ("10000", "windows of 10,000", 1.5, 2.5),
            ("64_partitions", "64 partitions", 5, 10),
        )
    ),
    Target("read_vs_consume", lambda f: f["one window, consumer, rows/s"] / f["consume to tensors, rows/s"], 1.0, 1.5),
    Target("end_to_end_share", lambda f: f["Kafka to trained, rows/s"] / f["training alone beside it, rows/s"], 0.85, 0.95),
    Target("freshness_p95_ms", lambda f: f["produced to trained, consumer, p95, ms"], 1000, 250, higher_is_better=False),
    Target(
        "freshness_vs_tfio",
        lambda f: f["produced to trained, consumer, p95, ms"] / f["produced to trained, tfio, p95, ms"],
        0.6, 0.3, higher_is_better=False,
    ),
    Target(
        "vocab_growth",
        lambda f: f["vocabulary 20,000,000: step, ms"] / f["vocabulary 200,000: step, ms"],
        1.1, 1.0, higher_is_better=False,
    ),
    Target(
        "save_stall",
        lambda f: f["background save of 1 GB, training stands, s"] / f["background save of 1 GB, s"],
        0.25, 0.0, higher_is_better=False,
    ),
    Target("monitored", lambda f: f["monitored, answers, share of a core"], 0.01, None, higher_is_better=False),
    Target("process_data", lambda f: f["process_data, 10 million rows, rows/s"], 350_000, 800_000),
]  # fmt: skip


def main() -> None:
    """Measures part by part, prints the table and the closing line."""
    args = _parse()
    if args.part:
        _measure_here(args.part, json.loads(args.context))
        return
    folder = pathlib.Path(args.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if args.against:
        against.main(str(pathlib.Path(args.against).resolve()), folder)
        return
    parts = [p for p in _PARTS if p in args.only.split(",")]
    if unknown := set(args.only.split(",")) - set(_PARTS):
        sys.exit(f"--only={args.only}: no part {', '.join(sorted(unknown))}. There are {', '.join(_PARTS)}.")
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="tfonline-speed-") as temporary, (folder / "results.jsonl").open("w") as results:
        context = _prepare(pathlib.Path(temporary), parts) | {"picture": str(folder / "profile.svg")}
        try:
            for part in parts:
                for module, more in _PARTS[part]:
                    began = time.monotonic()
                    figures = _measure(module, context | more)
                    for name, value in figures.items():
                        found.setdefault(name, []).append(value)
                        print(f"{name:<52}{value:>16,.2f}", flush=True)
                        results.write(json.dumps({"part": part, "name": name, "value": value}) + "\n")
                    print(f"({part}: {time.monotonic() - began:.0f} s)", flush=True)
        finally:
            if context["bootstrap"]:
                broker.stop(pathlib.Path(temporary) / "kafka")
    lines, closing = _against_targets({name: statistics.median(values) for name, values in found.items()})
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(["", *lines, "", f"bench: {' '.join(closing)}"]))


def _prepare(folder: pathlib.Path, parts: list[str]) -> dict:
    """Rows, dictionaries and, where a part needs it, a broker with the rows in a topic."""
    rows = folder / "rows.tsv"
    tool("synthetic.py", f"--rows={_ROWS}", f"--output={rows}")
    tool("process_data.py", rows, f"--output_dir={folder / 'dictionaries'}")
    context = {"folder": str(folder), "rows": str(rows), "dictionaries": str(folder / "dictionaries")}
    context |= {"topic": _TOPIC, "bootstrap": ""}
    if _NEEDS_KAFKA & set(parts):
        context["bootstrap"] = broker.start(folder / "kafka").bootstrap
        tool("topic.py", "create", f"--bootstrap_servers={context['bootstrap']}", f"--topic={_TOPIC}")
        for _ in range(2):
            tool("produce.py", f"--bootstrap_servers={context['bootstrap']}", f"--topic={_TOPIC}", rows)
    return context


def _measure(module: str, context: dict) -> dict[str, float]:
    """A part in a process of its own."""
    if module == "peers":
        rows = [context["rows"]] if context["part"] == "pandas" else []
        command = [PEERS_PYTHON, "-m", "benchmarks.speed.peers", context["part"], *rows]
    else:
        command = [sys.executable, "-m", "benchmarks.speed", f"--part={module}", f"--context={json.dumps(context)}"]
    return json.loads(run(command).splitlines()[-1])


def _measure_here(module: str, context: dict) -> None:
    import importlib

    print(json.dumps(importlib.import_module(f"benchmarks.speed.{module}").measure(context)))


def _against_targets(found: dict[str, float]) -> tuple[list[str], list[str]]:
    """A Markdown table, and the closing line's figures."""
    lines, closing = ["| figure | measured | at least | aim | reached |", "|---|---|---|---|---|"], []
    for target in _TARGETS:
        try:
            value = target.value(found)
        except KeyError:  # its part was left out
            continue
        text = f"{value:,.0f}" if value >= 100 else f"{value:.2f}"

        def reached(limit: float | None, value=value, target=target) -> bool:
            return limit is not None and (value >= limit if target.higher_is_better else value <= limit)

        how = "aim" if reached(target.aim) else "yes" if reached(target.at_least) else "no"
        limits = ("" if n is None else f"{n:,g}" for n in (target.at_least, target.aim))
        lines.append(f"| {' | '.join([target.name, text, *limits, how])} |")
        closing.append(f"{target.name}={text.replace(',', '')}")
    return lines, closing


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    usual = ",".join(part for part in _PARTS if part not in _UNLESS_ASKED_FOR)
    parser.add_argument("--only", default=usual, help=f"parts, comma separated, of {', '.join(_PARTS)} (default: {usual})")
    parser.add_argument("--folder", default=str(ROOT / "runs" / "speed"), help="of results and table (default runs/speed)")
    parser.add_argument("--against", help="another checkout of tfonline: measures both, in turns, and nothing else")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--context", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
