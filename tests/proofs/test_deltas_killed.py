"""A trainer that is killed between a delta and a checkpoint, again and again: who follows its deltas ends where it does."""

import functools
import signal
import subprocess
import sys

import numpy as np
from checkpoint_helpers import saved
from process_helpers import wait_until
from rows import make_rows

from tfonline.deltas.file import read_header
from tfonline.deltas.folder import DeltaFolder
from tfonline.publish.versions import Versions
from tfonline.serving.models import Models

ROWS = 16_000


def test_a_server_follows_through_kills_and_ends_where_the_trainer_does(dictionary_dir, tmp_path):
    rows, model, export = tmp_path / "rows.tsv", tmp_path / "model", tmp_path / "export"
    rows.write_bytes(b"\n".join(make_rows(ROWS)))
    settings = {
        "input_files": rows, "dictionary_dir": dictionary_dir, "model_dir": model, "export_dir": export, "stop_at": "latest",
        "batch_size": 50, "window_rows": 200, "checkpoint_every_steps": 60, "checkpoint_secs": 0, "export_every_secs": 0,
        "export_every_windows": 30, "keep_exports": 100, "gate_rows": 400, "gate_min_auc": 0, "gate_calibration": 0,
        "gate_max_regression": 1, "deep_layers": "8", "embedding_dim": 4, "history": "true", "oov_buckets": 50,
        "numeric": "bucket", "delta_every_secs": 0.001,
    }  # fmt: skip
    command = [sys.executable, "-m", "tfonline.train", *(f"--{name}={value}" for name, value in settings.items())]
    said: list[str] = []
    folder, models, void = DeltaFolder(export / "deltas"), Models(Versions(export), said.append), 0

    def beyond():
        """By how many windows deltas are beyond the newest checkpoint."""
        checkpoints = [int(path.stem[5:]) for path in model.glob("ckpt-*.index")]
        if not (keys := folder.keys) or not checkpoints:
            return 0
        return read_header(folder.file(keys[-1]))[0].to_window - max(checkpoints)

    def ahead(process, epoch):
        """Whether its deltas are beyond the checkpoint by some windows; or it has ended."""
        return process.poll() is not None or (beyond() >= 3 and folder.keys[-1].epoch == epoch)

    for kills in range(1, 4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        wait_until(functools.partial(ahead, process, kills))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        models.look()
        void += beyond() > 0 and (models.current.weights.at.epoch, models.current.weights.at.number) == folder.keys[-1]
    assert void >= 2  # what was served then was of windows that the model had not kept
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    models.look()
    weights = models.current.weights
    assert weights.at.epoch == 4
    assert {kind: n for kind, n in models.deltas.problems.items() if n} == {}, said
    assert read_header(folder.file(folder.keys[-1]))[0].rows == ROWS
    tensors, _ = saved(model)
    of_model = {n.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): t for n, t in tensors.items() if n.startswith("learner/model/")}
    served = weights.values()
    assert {f"learner/{name}" for name in served} == of_model.keys()
    different = [n for n, v in served.items() if v.tobytes() != np.asarray(of_model[f"learner/{n}"]).tobytes()]
    assert different == []
