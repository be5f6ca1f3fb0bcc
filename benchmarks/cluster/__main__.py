"""Several workers learn from a topic while they are killed at random: make cluster-test, or

    python -m benchmarks.cluster [--workers=4] [--kills=10] [--rows=60000] [--seed=1]
    python -m benchmarks.cluster --vocabulary_rows=4096   ids come with the stream, and must be the same to the bit
    python -m benchmarks.cluster --speed              rows/s of 1, 2 and 4 workers, undisturbed, in one run

tools/launch.py starts them, and starts them again when one has died. The first kill is the chief's, one is a worker that hangs, the
others hit any. Then one process with as many replicas learns from the same topic with --partition_groups=<workers>: its weights
must be close, and every row trained once.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np

from benchmarks.commands import ROOT, emptied, run, tool

sys.path.insert(0, str(ROOT / "tools"))

import broker

from tfonline.evaluate.progressive import PREDICTION

_TOPIC = "tfonline_cluster"
_PARTITIONS = 8
# Relative norm of the difference: the order in which floats are added up differs.
_CLOSE = 1e-5
_WITHIN_SECS = 180.0


def main() -> int:
    """Runs it; returns 0 if no row was lost or trained twice, and the weights are close."""
    args = _parse()
    folder = emptied(args.folder)
    try:
        bootstrap = broker.start(folder / "kafka").bootstrap
        _prepare(folder, bootstrap, args.rows)
        flags = [
            "--flagfile=configs/demo.flags", f"--bootstrap_servers={bootstrap}", f"--topic={_TOPIC}", "--batch_size=200",
            "--deep_layers=64",  # few units: one that is on for a row here, and off there by rounding, moves the weights by 1e-5
            f"--dictionary_dir={folder / 'dictionaries'}", "--window_rows=2000", "--cross_buckets=100000", "--checkpoint_secs=0",
            "--checkpoint_every_steps=20", "--report_secs=5",
        ]  # fmt: skip
        if args.vocabulary_rows:
            flags += [f"--vocabulary_rows={args.vocabulary_rows}", "--admit_after=3", "--admit_counters=65536"]
        if args.speed:
            _speed([f for f in flags if "deep_layers" not in f], folder)
            return 0
        began = time.monotonic()
        kills = _cluster(flags, folder, args)
        print(f"workers: {args.workers}, {kills} kills, {time.monotonic() - began:.0f} s", flush=True)
        one = [*flags, f"--partition_groups={args.workers}", f"--num_replicas={args.workers}", f"--model_dir={folder / 'one'}"]
        run([sys.executable, "-m", "tfonline.train", *one])
    finally:
        broker.stop(folder / "kafka")
    trained = _trained(folder / "workers")
    wanted = _trained(folder / "one")
    lost, duplicated = len(wanted.keys() - trained.keys()), sum(trained.values()) - len(trained)
    furthest = _furthest(folder / "workers", folder / "one")
    summaries = [json.loads((folder / name / "summary.json").read_text()) for name in ("workers", "one")]
    same = ["rows", "rejected", "steps", "windows", "next", "fingerprint"]
    different = {name: [s[name] for s in summaries] for name in same if summaries[0][name] != summaries[1][name]}
    for name, (found, expected) in different.items():
        print(f"{name}: {found} with workers, {expected} with one process")
    print(f"rows {len(trained):,}, relative norm of the weights' difference at most {furthest:.1e}")
    if apart := _apart(folder / "workers", folder / "one"):
        print(f"not equal to the bit: {', '.join(apart)}")
    close = furthest < _CLOSE and not different and not apart
    verdict = f"lost={lost} duplicated={duplicated} weights_close={'yes' if close else 'no'}"
    print(f"cluster: workers={args.workers} kills={kills} {verdict}")
    return 0 if close and not lost and not duplicated and len(wanted) == args.rows and kills == args.kills else 1


def _speed(flags: list[str], folder: pathlib.Path) -> None:
    for workers in (1, 2, 4):
        model_dir = folder / f"speed-{workers}"
        more = ["--batch_size=1000", "--window_rows=10000", "--checkpoint_every_steps=1000", f"--model_dir={model_dir}"]
        command = [sys.executable, "-m", "tfonline.train"]
        if workers > 1:
            command = [sys.executable, ROOT / "tools" / "launch.py", f"--num_workers={workers}", f"--log_dir={folder}", "--"]
        run([*command, *flags, *more])
        rows_per_sec = json.loads((model_dir / "summary.json").read_text())["rows_per_sec"]
        print(f"{workers} worker(s): {rows_per_sec:,.0f} rows/s", flush=True)


def _prepare(folder: pathlib.Path, bootstrap: str, rows: int) -> None:
    tool("synthetic.py", f"--rows={rows}", f"--output={folder / 'rows.tsv'}")
    tool("topic.py", "create", f"--bootstrap_servers={bootstrap}", f"--topic={_TOPIC}", f"--partitions={_PARTITIONS}")
    tool("produce.py", f"--bootstrap_servers={bootstrap}", f"--topic={_TOPIC}", folder / "rows.tsv")
    tool("process_data.py", folder / "rows.tsv", f"--output_dir={folder / 'dictionaries'}")


def _cluster(flags: list[str], folder: pathlib.Path, args: argparse.Namespace) -> int:
    """Runs the workers to the end of the topic, and kills some on the way; returns how many."""
    chance, log = random.Random(args.seed), folder / "launch.log"
    command = [sys.executable, ROOT / "tools" / "launch.py", f"--num_workers={args.workers}", f"--log_dir={folder / 'logs'}", "--"]
    command += [*flags, f"--model_dir={folder / 'workers'}", "--worker_timeout_secs=15"]
    with log.open("wb") as out:
        launcher = subprocess.Popen([str(c) for c in command], cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    kills = 0
    try:
        while kills < args.kills:
            pids = _wait_for_a_step(launcher, log, folder / "workers" / "status", kills)
            time.sleep(chance.uniform(0, 6))
            victim = 0 if kills == 0 else chance.randrange(args.workers)
            hang = kills == 1
            print(f"{'SIGSTOP' if hang else 'SIGKILL'} to worker {victim}", flush=True)
            os.kill(pids[victim], signal.SIGSTOP if hang else signal.SIGKILL)
            kills += 1
        if launcher.wait(_WITHIN_SECS):
            sys.exit(f"launch.py ended with exit code {launcher.returncode}\n{log.read_text()}")
    finally:
        launcher.terminate()
        launcher.wait()
    return kills


def _wait_for_a_step(launcher: subprocess.Popen, log: pathlib.Path, status: pathlib.Path, starts: int) -> list[int]:
    """Waits until the workers that were started after so many starts have learned; returns their pids."""
    deadline, first = time.monotonic() + _WITHIN_SECS, None
    while time.monotonic() < deadline:
        if launcher.poll() is not None:
            sys.exit(f"launch.py has ended with exit code {launcher.returncode} after {starts} kills\n{log.read_text()}")
        begun = re.findall(r"launch: \d+ workers \(([\d ]+)\)", log.read_text())
        if len(begun) > starts:
            pids = [int(pid) for pid in begun[-1].split()]
            found = re.search(r" pid (\d+) \w+ window \d+ step (\d+)", _text(status))
            if found and int(found[1]) == pids[0]:
                step = int(found[2])
                first = step if first is None else first
                if step > first:
                    return pids
        time.sleep(0.01)
    sys.exit(f"no step within {_WITHIN_SECS:g} s\n{log.read_text()}")


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _trained(model_dir: pathlib.Path) -> collections.Counter:
    """How often each (partition, offset) was trained."""
    scored = np.fromfile(model_dir / "predictions.bin", PREDICTION)
    return collections.Counter(zip(scored["partition"].tolist(), scored["offset"].tolist(), strict=True))


def _furthest(*model_dirs: pathlib.Path) -> float:
    """The greatest relative norm of the difference between two newest checkpoints, of a tensor of the model."""
    import tensorflow as tf

    ours, theirs = (tf.train.load_checkpoint(tf.train.latest_checkpoint(str(d))) for d in model_dirs)
    types, furthest = ours.get_variable_to_dtype_map(), 0.0
    for name in types:
        if types[name] == tf.float32 and name.startswith("learner/model/"):
            a, b = (reader.get_tensor(name).astype(np.float64) for reader in (ours, theirs))
            furthest = max(furthest, np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30))
    return float(furthest)


def _apart(*model_dirs: pathlib.Path) -> list[str]:
    """What of a vocabulary that grows differs between two newest checkpoints; [] also where there is none."""
    import tensorflow as tf

    ours, theirs = (tf.train.load_checkpoint(tf.train.latest_checkpoint(str(d))) for d in model_dirs)
    names = [name for name in ours.get_variable_to_dtype_map() if "/vocabulary/" in name or "/admission/" in name]
    return [name for name in names if not np.array_equal(ours.get_tensor(name), theirs.get_tensor(name))]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=4, help="how many (default 4)")
    parser.add_argument("--kills", type=int, default=10, help="how many (default 10)")
    parser.add_argument("--rows", type=int, default=60_000, help="synthetic rows (default 60,000)")
    parser.add_argument("--vocabulary_rows", type=int, default=0, help="of ids that come with the stream (default 0: dictionaries)")
    parser.add_argument("--seed", type=int, default=1, help="of the victims and moments")
    parser.add_argument("--speed", action="store_true", help="rows/s of 1, 2 and 4 workers instead")
    parser.add_argument("--folder", default=str(ROOT / "runs" / "cluster"), help="emptied first (default runs/cluster)")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
