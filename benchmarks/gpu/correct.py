"""Whether a GPU learns what a CPU learns, and whether a run that was killed there goes on as if it had not been."""

import json
import pathlib
import subprocess
import sys
import time

import numpy as np

from benchmarks.commands import ROOT
from benchmarks.gpu.rows import make_dictionaries, make_rows

_ROWS = 200_000


def measure(context: dict) -> dict[str, float]:
    """AUCs of the same rows on GPU and CPU; then two runs on the GPU and a third that is killed half-way, compared.

    Raises:
      RuntimeError: rows, next offsets or fingerprint of the killed run are not those of the others.
    """
    import tensorflow as tf

    rows = make_rows(context, max(20_000, _ROWS // context["shrink"]))
    folder = pathlib.Path(context["folder"])
    flags = ["--flagfile=configs/criteo.flags", f"--input_files={rows}", "--stop_at=latest", "--steps_per_call=20"]
    flags += [f"--dictionary_dir={make_dictionaries(context, rows)}", "--window_rows=2000", "--cross_buckets=1000000"]
    flags += ["--checkpoint_every_steps=20", "--checkpoint_secs=0"]
    first, again, killed, on_cpu = (folder / name for name in ("first", "again", "killed", "on_cpu"))
    interrupted = {"GPU, killed": (killed, [])}
    if not context["without_xla"]:
        interrupted["GPU, compiled and killed"] = (folder / "compiled", ["--jit_compile"])
        if len(tf.config.list_physical_devices("GPU")) > 1:
            two = ["--jit_compile", "--num_replicas=2"]
            interrupted["two GPUs, compiled and killed"] = (folder / "two", two)
            interrupted["two GPUs, bfloat16, compiled and killed"] = (folder / "rough", [*two, "--precision=bfloat16"])
    _run([*flags, f"--model_dir={on_cpu}", "--devices=cpu"])
    for model in (first, again):
        _run([*flags, f"--model_dir={model}"])
    for model, more in interrupted.values():
        _run([*flags, f"--model_dir={model}", *more], kill_at_window=7)
        _run([*flags, f"--model_dir={model}", *more])
    models = {"GPU": first, "CPU": on_cpu, **{name: model for name, (model, _) in interrupted.items()}}
    summaries = {model: json.loads((model / "summary.json").read_text()) for model in (again, *models.values())}
    for what in ("rows", "next", "fingerprint", "steps"):
        if len(found := {str(s[what]) for s in summaries.values()}) > 1:
            raise RuntimeError(f"{what} differ: {found}")
    resumed = [summaries[model]["rows_this_run"] for model, _ in interrupted.values()]
    if not 0 < min(resumed) <= max(resumed) < summaries[first]["rows"]:
        raise RuntimeError(f"a killed run was not resumed half-way: {resumed} rows")
    aucs = {name: summaries[model]["total"]["auc"] for name, model in models.items()}
    return {
        **{f"progressive AUC: {name}": auc for name, auc in aucs.items()},
        "progressive AUC: GPU less CPU, the furthest": max((auc - aucs["CPU"] for auc in aucs.values()), key=abs),
        "rows": float(summaries[first]["rows"]),
        "rows after the kill": float(resumed[0]),
        "weights: furthest of two undisturbed runs": _apart(first, again),
        "weights: furthest of the killed from an undisturbed run": _apart(first, killed),
    }


def _run(flags: list[str], kill_at_window: int | None = None) -> None:
    """The trainer to its end, or until SIGKILL in that window."""
    status = pathlib.Path(next(f for f in flags if f.startswith("--model_dir=")).partition("=")[2]) / "status"
    process = subprocess.Popen([sys.executable, "-m", "tfonline.train", *flags], cwd=ROOT, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        words = status.read_text().split() if kill_at_window and status.exists() else []
        if "window" in words and int(words[words.index("window") + 1]) >= kill_at_window:
            process.kill()
            process.wait()
            return
        time.sleep(0.005)
    if process.returncode:
        raise RuntimeError(f"the trainer ended with exit code {process.returncode}: {flags}")


def _apart(one: pathlib.Path, other: pathlib.Path) -> float:
    """The largest difference between two models' weights."""
    import tensorflow as tf

    readers = [tf.train.load_checkpoint(tf.train.latest_checkpoint(str(folder))) for folder in (one, other)]
    names = [n for n in readers[0].get_variable_to_shape_map() if n.startswith("learner/model/")]
    return max(float(np.abs(np.subtract(*(r.get_tensor(n) for r in readers))).max()) for n in names)
