"""This checkout beside another one: make bench BENCH=--against=PATH. In turns, so that a slow minute is slow for both.

Each turn is a process in each of the two, with that checkout's modules. What is asked of both is the same; where an older one wants
batches in another form (a tensor an argument, not a nest), they are given so; where it has no configs/growing.flags, it runs by its
configs/criteo.flags for that. PyTorch trains the plain model in each turn, too.

A figure is told as the median of the turns' ratios, with their least and their largest: of five turns, the true median lies between
those two with a chance of 94 % (1 - 2 / 2^5).
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from benchmarks.commands import PEERS_PYTHON, ROOT, run, tool

TURNS = 5
_FLAG_FILES = ("mindrec", "criteo", "growing")
_SIZES = (100, 1000, 16_384)
_SECS = 1.5
_ROWS, _FIRST = 30_000, 200
_TORCH = "PyTorch"
# Of the closing line: the figure's name. Of rates, this / other says how much faster; of bytes and seconds, how much is left.
_CLOSING = {
    "tuned_b100": "training 100, criteo, rows/s",
    "tuned_b1000": "training 1000, criteo, rows/s",
    **{f"b{rows}_vs_torch": f"plain model beside {_TORCH}, batch {rows}" for rows in _SIZES},
    "checkpoint_bytes": "checkpoint, criteo, MB",
    "folder_gb": "folder of a run that publishes, criteo, MB",
    "memory": "memory at most, criteo, MB",
    "start": f"a run of {_FIRST} rows, criteo, s",
}
_Turn = dict[str, dict[str, float]]  # figures by side


def main(rival: str, folder: pathlib.Path) -> None:
    """Prints and writes each figure of both, and their ratio."""
    turns = []
    with tempfile.TemporaryDirectory(prefix="tfonline-against-") as temporary:
        prepare(pathlib.Path(temporary))
        for number in range(TURNS):
            turns.append(turn(rival, temporary, number))
            print(f"turn {number + 1}: {json.dumps(turns[-1])}", flush=True)
    lines, closing = table(turns)
    (folder / "against.md").write_text("\n".join(lines) + "\n")
    print("\n".join([*lines, "", closing]))


def prepare(folder: pathlib.Path) -> None:
    """Rows and dictionaries for all turns."""
    rows = folder / "rows.tsv"
    tool("synthetic.py", f"--rows={_ROWS}", f"--output={rows}")
    tool("process_data.py", rows, f"--output_dir={folder}/dictionaries")
    (folder / "first.tsv").write_bytes(b"".join(rows.open("rb").readlines()[:_FIRST]))


def turn(rival: str, folder: str, number: int) -> _Turn:
    """The figures of each side, and of PyTorch beside the plain model of this one; who is first changes from turn to turn."""
    sides = {"this": str(ROOT), "other": rival}
    found = {side: _measure(sides[side], folder) for side in (sides if number % 2 else reversed(sides))}
    if PEERS_PYTHON.exists():
        ours = json.loads(run([sys.executable, "-m", "benchmarks.speed", "--part=training", "--context={}"]).splitlines()[-1])
        theirs = json.loads(run([PEERS_PYTHON, "-m", "benchmarks.speed.peers", "torch"]).splitlines()[-1])
        for rows in _SIZES:
            name = f"plain model beside {_TORCH}, batch {rows}"
            found["this"][name], found["other"][name] = best(ours, "training", rows), best(theirs, _TORCH, rows)
    return found


def table(turns: list[_Turn]) -> tuple[list[str], str]:
    """A Markdown table of all figures, and the closing line."""
    lines = [f"| {len(turns)} turns | this | other | this / other | least | largest |", "|---|---|---|---|---|---|"]
    told = {}
    for name in turns[0]["this"]:
        this, other = (statistics.median(turn[side][name] for turn in turns) for side in ("this", "other"))
        ratios = [turn["this"][name] / turn["other"][name] for turn in turns]
        told[name] = statistics.median(ratios)
        lines.append(f"| {name} | {this:,.2f} | {other:,.2f} | {told[name]:.3f} | {min(ratios):.3f} | {max(ratios):.3f} |")
    closing = " ".join(f"{short}={told[name]:.3f}" for short, name in _CLOSING.items() if name in told)
    return lines, f"speed: {closing} (this / other)"


def best(found: dict[str, float], learner: str, rows: int) -> float:
    """Rows/s: the better of the precisions that were measured, and of one step and several a call."""
    named = tuple(f"{learner} {precision} {rows}," for precision in ("float32", "bfloat16"))
    rates = [value for name, value in found.items() if name.startswith(named) and name.endswith("rows/s")]
    if not rates:
        raise KeyError(learner)
    return max(rates)


def _measure(checkout: str, folder: str) -> dict[str, float]:
    """All figures of one turn of one checkout."""
    path = os.pathsep.join(filter(None, [checkout, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, __file__, folder], cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    for flags in _FLAG_FILES:
        done = _run(checkout, environment, folder, flags, "rows.tsv")
        found[f"end to end, {flags}, rows/s"] = done.rows_per_sec
        found[f"memory at most, {flags}, MB"] = done.memory_mb
        found[f"checkpoint, {flags}, MB"] = done.checkpoint_mb
        found[f"a run of {_FIRST} rows, {flags}, s"] = _run(checkout, environment, folder, flags, "first.tsv").secs
    published = _run(checkout, environment, folder, "criteo", "rows.tsv", publish=True)
    return found | {"folder of a run that publishes, criteo, MB": published.folder_mb}


def _flagfile(name: str, checkout: str = ".") -> str:
    there = pathlib.Path(checkout, "configs", f"{name}.flags").exists()
    return f"--flagfile=configs/{name if there else 'criteo'}.flags"


class _Done(NamedTuple):
    """A run from files: from its start to its end; of memory, what it held at most; of the folder, what it left."""

    rows_per_sec: float
    secs: float
    memory_mb: float
    checkpoint_mb: float
    folder_mb: float


def _run(checkout: str, environment: dict[str, str], folder: str, flags: str, rows: str, publish: bool = False) -> _Done:
    """Trains the rows of a file. To publish, a version and a checkpoint a window, of which there are more than are kept."""
    with tempfile.TemporaryDirectory(dir=folder) as model_dir:
        command = [sys.executable, "-m", "tfonline.train", _flagfile(flags, checkout), f"--input_files={folder}/{rows}"]
        command += [f"--dictionary_dir={folder}/dictionaries", f"--model_dir={model_dir}", "--stop_at=latest", "--batch_size=1000"]
        if publish:
            command += ["--checkpoint_every_steps=1", "--window_rows=3000", f"--export_dir={model_dir}/models", "--gate_min_auc=0"]
            command += ["--export_every_windows=1", "--gate_rows=3000", "--gate_calibration=0", "--gate_max_regression=9"]
        else:
            command += ["--checkpoint_every_steps=0", "--checkpoint_secs=3600", "--window_rows=20000"]
        began = time.perf_counter()
        process = subprocess.Popen([*command, "--report_secs=3600"], cwd=checkout, env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        secs = time.perf_counter() - began
        if status:
            raise subprocess.CalledProcessError(status, command)
        summary = json.loads((pathlib.Path(model_dir) / "summary.json").read_text())
        checkpoint = summary["checkpoint"]
        newest = sum(f.stat().st_size for f in pathlib.Path(checkpoint).parent.glob(f"{pathlib.Path(checkpoint).name}.*"))
        # A file of two names is there once.
        sizes = {f.stat().st_ino: f.stat().st_size for f in pathlib.Path(model_dir).rglob("*") if f.is_file()}
        return _Done(summary["rows_per_sec"], secs, usage.ru_maxrss / 1e3, newest / 1e6, sum(sizes.values()) / 1e6)


def _in_this_process(folder: str) -> dict[str, float]:
    """Training and features of the checkout whose modules are on the path."""
    import tensorflow as tf

    from tfonline.config import parse
    from tfonline.features.schema import load_schema

    try:
        from tfonline.model.learner import make_learner
        from tfonline.model.tables.replicas import make_strategy
    except ModuleNotFoundError:  # an older checkout
        from tfonline.model.replicas import make_strategy
        from tfonline.model.step import make_learner

    lines = pathlib.Path(folder, "rows.tsv").read_bytes().splitlines()[:8000]
    found = {}
    for flags in _FLAG_FILES:
        c = parse(["", _flagfile(flags), f"--dictionary_dir={folder}/dictionaries"])
        features = _features(c, load_schema(c.resolved()["columns"]))
        make = tf.function(features.__call__)
        messages = [tf.constant(lines[i : i + 1000]) for i in range(0, len(lines), 1000)]
        found[f"features, {flags}, rows/s"] = 1000 / _median_secs(lambda i, make=make, m=messages: make(m[i % 8]))
        about = getattr(features, "spec", None) or getattr(features, "shape", None)
        learner = _make_learner(make_learner, make_strategy(1, "cpu"), c, features, about)
        for rows in (100, 1000):
            ready = [_examples(make(m[i : i + rows]), rows) for m in messages for i in range(0, 1000, rows)]
            secs = _median_secs(lambda i, ready=ready, learner=learner: learner.train(*ready[i % len(ready)]).logits)
            found[f"training {rows}, {flags}, rows/s"] = rows / secs
    return found


def _features(config, schema):
    """By the flags; an older checkout knows no vocabulary."""
    try:
        from tfonline.features.make import load_known, make_features
    except ModuleNotFoundError:
        from tfonline.features.dictionaries import load_dictionaries
        from tfonline.features.pipeline import Features

        f = config.resolved()
        known = load_dictionaries(f["dictionary_dir"], schema)
        return Features(schema, known, f["numeric"], oov_buckets=f["oov_buckets"], cross_buckets=f["cross_buckets"])
    known = load_known(schema, config.features, config.vocabulary)
    return make_features(schema, known, config.features, config.vocabulary, vocab_size=config.model.vocab_size)


def _make_learner(make_learner, strategy, config, features, about):
    import inspect

    parameters = inspect.signature(make_learner).parameters
    if "num_ids" in parameters:  # an older checkout
        return make_learner(strategy, config, config.vocab_size or features.num_ids, about)
    more = {"vocabulary": config.vocabulary} if "vocabulary" in parameters else {}
    return make_learner(strategy, about, config.model, config.optimizers, jit_compile=config.learning.jit_compile, **more)


def _examples(row, rows: int) -> tuple:
    """What Learner.train takes."""
    import tensorflow as tf

    try:
        from tfonline.features.batch import Examples
    except ModuleNotFoundError:  # an older checkout
        return row.label, row.ids, row.values, row.numeric, row.crosses, tf.ones([rows])
    return (Examples(row.label, tf.ones([rows]), row.features),)


def _median_secs(step) -> float:
    for i in range(8):
        step(i)
    times: list[float] = []
    while sum(times) < _SECS or len(times) < 8:
        began = time.perf_counter()
        result = step(len(times))
        getattr(result, "numpy", lambda: None)()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


if __name__ == "__main__":
    print(json.dumps(_in_this_process(sys.argv[1])))
