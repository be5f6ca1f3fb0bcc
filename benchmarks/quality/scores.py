"""The scores that a learner gives to each row before it learns from it, kept in a folder so that they are made once."""

import gzip
import json
import pathlib
import shutil
import sys

import numpy as np

from benchmarks.commands import PEERS_PYTHON, ROOT, run, tool
from benchmarks.quality.orders import in_order
from benchmarks.quality.report import HEAD
from tfonline.evaluate.progressive import PREDICTION


def scores(
    folder: pathlib.Path, rows: pathlib.Path, name: str, kind: str, options: list[str], seed: int
) -> tuple[np.ndarray, float]:
    """Logits float32 [rows] in the rows' order, and rows per second; from the folder where they are there.

    Of tfonline, the run's summary is kept beside them: see `summary`.

    Args:
      folder: of scores.
      rows: a plain TSV file.
      name: of the learner; its scores are kept under it.
      kind: tfonline, or a learner of peers.py.
      options: of the learner's command. tfonline's dictionaries are <folder>/dictionaries where they name no others.
      seed: of chance.
    """
    path, speed_path = pathlib.Path(f"{stem(folder, name, seed)}.npy"), pathlib.Path(f"{stem(folder, name, seed)}.json")
    if not speed_path.exists():
        if kind == "tfonline":
            speed = _train(folder, rows, name, options, seed, path)
        else:
            said = run([PEERS_PYTHON, ROOT / "benchmarks" / "quality" / "peers.py", kind, rows, path, *options, f"--seed={seed}"])
            speed = float(said.split()[-1])
        speed_path.write_text(json.dumps(speed))
    return np.load(path), json.loads(speed_path.read_text())


def stem(folder: pathlib.Path, name: str, seed: int) -> str:
    """Path of a learner's files, without the suffix."""
    return str(folder / f"{name.replace('/', '-').replace(' ', '_').replace(',', '')}-{seed}")


def summary(folder: pathlib.Path, name: str, seed: int) -> dict:
    """The summary.json of the run that made tfonline's scores."""
    return json.loads(_summary_path(folder, name, seed).read_text())


def scored(model_dir: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels, float32 [rows], of the rows of one file in their order, from the trainer's predictions.bin."""
    found = np.fromfile(model_dir / "predictions.bin", PREDICTION)
    logits, labels = np.zeros((2, int(found["offset"].max()) + 1), np.float32)
    logits[found["offset"]], labels[found["offset"]] = found["logit"], found["label"]
    return logits, labels


def plain_rows(name: str, folder: pathlib.Path, order: str = "forward") -> pathlib.Path:
    """The rows of a file, plain or .gz, as a plain TSV file in the folder, in one of orders.ORDERS."""
    path = folder / "rows.tsv"
    if not path.exists():
        open_rows = gzip.open if name.endswith(".gz") else open
        with open_rows(name, "rb") as source, path.open("wb") as target:
            if order == "forward":
                shutil.copyfileobj(source, target)
            else:
                lines = source.read().splitlines()
                target.writelines(lines[i] + b"\n" for i in in_order(len(lines), order))
    return path


def labels_of(rows: pathlib.Path) -> np.ndarray:
    """float32 [rows], 0 or 1, of a plain TSV file."""
    return np.array([line[:1] == b"1" for line in rows.read_bytes().splitlines()], np.float32)


def dictionaries_of_head(rows: pathlib.Path, num_rows: int, folder: pathlib.Path) -> pathlib.Path:
    """<folder>/dictionaries: of the first 5/7 of the rows; made where they are not there."""
    path = folder / "dictionaries"
    if not path.exists():
        tool("process_data.py", rows, f"--head_rows={int(num_rows * HEAD)}", f"--output_dir={path}")
    return path


def _train(folder: pathlib.Path, rows: pathlib.Path, name: str, options: list[str], seed: int, path: pathlib.Path) -> float:
    model_dir = folder / "model"
    shutil.rmtree(model_dir, ignore_errors=True)
    flags = [f"--input_files={rows}", f"--model_dir={model_dir}", f"--seed={seed}"]
    fixed = ["--stop_at=latest", "--save_predictions", "--checkpoint_every_steps=0", "--checkpoint_secs=60", "--report_secs=3600"]
    run([sys.executable, "-m", "tfonline.train", f"--dictionary_dir={folder / 'dictionaries'}", *options, *flags, *fixed])
    np.save(path, scored(model_dir)[0])
    shutil.copy(model_dir / "summary.json", _summary_path(folder, name, seed))
    return summary(folder, name, seed)["rows_per_sec"]


def _summary_path(folder: pathlib.Path, name: str, seed: int) -> pathlib.Path:
    return pathlib.Path(f"{stem(folder, name, seed)}-summary.json")
