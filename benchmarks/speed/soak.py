"""Whether a trainer that runs for long grows: make soak, or python -m benchmarks.speed.soak [--windows=20000] [--warm_up=2000].

Short windows one after the other on a real broker, as many a second as the machine manages; checkpoints every ten seconds. Memory
is the least resident set of a tenth of the run, so that garbage that waits to be collected does not count.
"""

import argparse
import pathlib
import sys
import tempfile
import time

from benchmarks.chaos.trainer import ROOT, Trainer, command_of

sys.path.insert(0, str(ROOT / "tools"))

import broker
import process_data
import synthetic
import topic as topic_tool
from kafka_cli import Connection

from benchmarks.chaos.stream import Feeder
from benchmarks.speed.usage import usage

_TOPIC, _WINDOW_ROWS, _ROWS_PER_SEC = "soak", 40, 600
_MOST_GROWTH = 0.02  # of resident memory


def main() -> int:
    """Runs it and prints a line a tenth and the closing line; 1 if something grew."""
    args = _parse()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tfonline-soak-") as name:
        folder = pathlib.Path(name)
        bootstrap = broker.start(folder / "kafka").bootstrap
        try:
            topic_tool.create(Connection(bootstrap, {}), _TOPIC, 2, 1)
            rows = folder / "rows.tsv"
            rows.write_bytes(b"".join(line + b"\n" for block in synthetic.rows(20_000, 1) for line in block.lines))
            process_data.run(process_data.parse_args([str(rows), f"--output_dir={folder / 'dictionaries'}"]))
            feeder = Feeder(bootstrap, _TOPIC, 2, _ROWS_PER_SEC, seed=3)
            flags = {"bootstrap_servers": bootstrap, "topic": _TOPIC, "dictionary_dir": folder / "dictionaries"}
            flags |= {"model_dir": folder / "model", "window_rows": _WINDOW_ROWS, "window_secs": 60, "batch_size": _WINDOW_ROWS}
            flags |= {"checkpoint_secs": 10, "max_rejected_ratio": 1, "report_secs": 10}
            trainer = Trainer(command_of(""), flags, folder / "trainer.log")
            samples = _watch(trainer, args.windows, args.warm_up)
            trainer.terminate()
            trainer.wait_for_exit(0, 60, "SIGTERM")
            feeder.stop()
        finally:
            broker.stop(folder / "kafka")
    first, last = samples[0], samples[-1]
    growth = last["memory"] / first["memory"] - 1
    more = {kind: last[kind] - first[kind] for kind in ("threads", "files")}
    print(
        f"soak: windows={args.windows} memory_growth={growth:.2%} threads={more['threads']:+d} files={more['files']:+d} "
        f"seconds={time.monotonic() - began:.0f}"
    )
    return int(growth > _MOST_GROWTH or any(n > 0 for n in more.values()))


def _watch(trainer: Trainer, windows: int, warm_up: int) -> list[dict[str, int]]:
    """The least memory (kB), threads and open files of each tenth of the windows after the warm-up."""
    samples, part = [], []
    tenth = max(1, (windows - warm_up) // 10)
    while len(samples) < 10:
        _, window, _ = trainer.state()
        if window >= warm_up:
            part.append(usage(trainer.pid))
        if window >= warm_up + tenth * (len(samples) + 1):
            samples.append({kind: min(of[kind] for of in part) for kind in part[0]})
            print(f"window {window:>7,}  {samples[-1]}", flush=True)
            part = []
        trainer.wait_until(lambda *_: True, 60, "soaking")
        time.sleep(0.25)
    return samples


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=20_000, help="(default 20,000, half an hour)")
    parser.add_argument("--warm_up", type=int, default=2_000, help="windows before the first sample (default 2,000)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
