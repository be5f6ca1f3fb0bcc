"""The networks on made sessions (sessions.py): how near each comes to the true probabilities, and how fast."""

import json
import pathlib
import shutil
import statistics
import sys

import numpy as np

from benchmarks.commands import run
from benchmarks.networks import sessions
from benchmarks.quality.report import HEAD
from tfonline.evaluate.progressive import PREDICTION, exact_auc, log_losses, prediction_of, sigmoid

_NETWORKS = {True: ["wide_deep", "dcn_v2", "deepfm", "din"], False: ["wide_deep", "din", "esmm"]}
_FLAGS = [
    "--vocabulary_rows=16384", "--admit_after=1", "--oov_buckets=1000", "--embedding_dim=8", "--deep_layers=64,32",
    "--batch_size=200", "--deep_learning_rate=2e-3", "--window_rows=10000", "--stop_at=latest", "--save_predictions",
    "--report_secs=3600", "--checkpoint_secs=60",
]  # fmt: skip


def measure(folder: pathlib.Path, rows: int, turns: int, contract: dict[str, str]) -> list[str]:
    """Trains all networks; the lines of a table. `contract` says which networks hold it."""
    lines = [
        "| labels | network | contract | AUC of click | AUC of conversion | log loss above the truth's, click | conversion | "
        "calibration, click | conversion | rows/s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one_label, networks in _NETWORKS.items():
        truth, speeds, found = sessions.write(folder, rows, one_label), {}, {}
        for turn in range(turns):
            for network in networks:
                scored, speed = _train(folder, network, one_label)
                speeds.setdefault(network, []).append(speed)
                found[network] = scored
                print(f"sessions, turn {turn + 1}, {network}: {speed:,.0f} rows/s", flush=True)
        names = ["click"] if one_label else ["click and conversion"]
        late = slice(int(rows * HEAD), None)
        of_truth = np.log(truth) - np.log1p(-truth)
        for network in ["the truth", *networks]:
            cells: list[list[str]] = [[], [], []]
            for i, suffix in enumerate([""] if one_label else ["", "_conversion"]):
                labels = found[networks[0]][f"label{suffix}"][late]
                logits = of_truth[late, i] if network == "the truth" else found[network][f"logit{suffix}"][late]
                above = log_losses(logits, labels).mean() - log_losses(of_truth[late, i], labels).mean()
                numbers = exact_auc(logits, labels), above, sigmoid(logits).mean() / labels.mean()
                for cell, number, form in zip(cells, numbers, (".4f", ".5f", ".3f"), strict=True):
                    cell.append(format(number, form))
            cells = [[*cell, ""][:2] for cell in cells]
            speed = f"{statistics.median(speeds[network]):,.0f}" if network in speeds else ""
            lines.append(f"| {' | '.join([*names, network, contract.get(network, ''), *cells[0], *cells[1], *cells[2], speed])} |")
    return lines


def _train(folder: pathlib.Path, network: str, one_label: bool) -> tuple[np.ndarray, float]:
    """The rows' labels and scores, in their order, and rows a second."""
    model = folder / "model"
    shutil.rmtree(model, ignore_errors=True)
    files = [f"--input_files={folder}/rows.tsv", f"--columns={folder}/columns.yaml", f"--model_dir={model}"]
    run([sys.executable, "-m", "tfonline.train", f"--network={network}", *files, *_FLAGS])
    scored = np.fromfile(model / "predictions.bin", PREDICTION if one_label else prediction_of(PREDICTION, ("conversion",)))
    return scored[np.argsort(scored["offset"])], json.loads((model / "summary.json").read_text())["rows_per_sec"]
