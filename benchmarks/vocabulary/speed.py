"""What a vocabulary that grows costs: rows/s from Kafka to trained, and of the features alone, in turns with dictionaries."""

import argparse
import pathlib
import statistics
import sys
import tempfile

from benchmarks.commands import ROOT, run, tool
from benchmarks.quality.scores import dictionaries_of_head, labels_of, plain_rows
from benchmarks.speed.stream import kafka_to_trained
from benchmarks.vocabulary.figures import Figures

sys.path.insert(0, str(ROOT / "tools"))

import broker

_TOPIC, _SYNTHETIC_ROWS, _TURNS = "vocabulary", 100_000, 3
_BATCHES = (100, 1000)
_FLAG_FILES = {"dictionaries": "configs/criteo.flags", "growing": "configs/growing.flags"}


def measure(args: argparse.Namespace, folder: pathlib.Path, figures: Figures) -> tuple[dict[str, str], list[str]]:
    """Ratios for the closing line, growing over dictionaries, of medians of turns; and no table."""
    with tempfile.TemporaryDirectory(prefix="tfonline-vocabulary-") as temporary:
        own = pathlib.Path(temporary)
        if args.rows:
            rows = plain_rows(args.rows, folder)
            dictionaries = dictionaries_of_head(rows, len(labels_of(rows)), folder)
        else:
            rows = own / "rows.tsv"
            tool("synthetic.py", f"--rows={_SYNTHETIC_ROWS}", f"--output={rows}")
            dictionaries = dictionaries_of_head(rows, _SYNTHETIC_ROWS, own)
        ratios = _end_to_end(own, rows, dictionaries, figures)
        command = [sys.executable, "-m", "benchmarks.vocabulary.features"]
        for what, flags in {"features": [], "features_without_crosses": ["--cross_buckets=0"]}.items():
            ratios[what] = _in_turns(
                lambda name, flags=flags: float(run([*command, _FLAG_FILES[name], dictionaries, rows, *flags])),
                f"{what.replace('_', ' ')}, one core",
                figures,
            )
    return {name: f"{ratio:.3f}" for name, ratio in ratios.items()}, []


def _end_to_end(own: pathlib.Path, rows: pathlib.Path, dictionaries: pathlib.Path, figures: Figures) -> dict[str, float]:
    context = {"folder": str(own), "topic": _TOPIC, "bootstrap": broker.start(own / "kafka").bootstrap}
    try:
        tool("topic.py", "create", f"--bootstrap_servers={context['bootstrap']}", f"--topic={_TOPIC}")
        tool("produce.py", f"--bootstrap_servers={context['bootstrap']}", f"--topic={_TOPIC}", rows)

        def rate(name: str, batch: int) -> float:
            options = [f"--flagfile={_FLAG_FILES[name]}", f"--batch_size={batch}"]
            known = [f"--dictionary_dir={dictionaries}"] if name == "dictionaries" else []
            return kafka_to_trained(context, options + known)

        return {
            f"speed_b{batch}": _in_turns(lambda name, batch=batch: rate(name, batch), f"Kafka to trained, batch {batch:,}", figures)
            for batch in _BATCHES
        }
    finally:
        broker.stop(own / "kafka")


def _in_turns(rate, what: str, figures: Figures) -> float:
    """The median of growing over that of dictionaries: a machine that is shared is not as fast from one minute to the next.

    Args:
      rate: a name of _FLAG_FILES to rows/s.
      what: is measured.
      figures: get each turn's rate.
    """
    rates: dict[str, list[float]] = {name: [] for name in _FLAG_FILES}
    for turn in range(1, _TURNS + 1):
        for name, of in rates.items():
            of.append(rate(name))
            figures.note(f"{what}, {name}, turn {turn}, rows/s", of[-1])
    medians = {name: statistics.median(of) for name, of in rates.items()}
    for name, median in medians.items():
        figures.note(f"{what}, {name}, median, rows/s", median)
    return medians["growing"] / medians["dictionaries"]
