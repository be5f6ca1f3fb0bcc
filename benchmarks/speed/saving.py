"""How long training stands still for a save of a model of 1 GB, and by how much it is late when the save is done."""

import contextlib
import shutil
import tempfile
import time

import numpy as np

from benchmarks.speed.training import make_learner, tensors

_VOCAB, _ROWS = 5_000_000, 1000  # with slots, 1.02 GB at embedding 16


def measure(context: dict) -> dict[str, float]:
    """Seconds of a save, of training that stands still, and by how much the steps were late: in the background, and without.

    In the background, training stands still for the copy in memory. It is late by more: the writing thread takes a core from it.
    """
    from tfonline.evaluate.progressive import ProgressiveMetrics
    from tfonline.keep.checkpoints import Checkpoints
    from tfonline.keep.learner import KeptLearner
    from tfonline.state import Position

    learner = make_learner(embedding_dim=16, vocab_size=_VOCAB, deep_layers="256,128")
    ready = tensors(_ROWS, _VOCAB)
    found = {}

    def train(i: int) -> None:
        learner.train(ready[i % 8]).logits.numpy()

    for background in (True, False):
        folder = tempfile.mkdtemp(dir=context["folder"])
        position = Position(next=[], start=[])
        checkpoints = Checkpoints(folder, 2, [KeptLearner(learner), position, ProgressiveMetrics(1000)], {}, background)
        stands, late, saves = [], [], []
        for position.window in range(4):
            times = []
            for i in range(20):
                began = time.perf_counter()
                train(i)
                times.append(time.perf_counter() - began)
            began = time.perf_counter()
            checkpoints.begin(contextlib.nullcontext())
            stands.append(time.perf_counter() - began)
            steps = 0
            while not checkpoints.finished() and steps < 10_000:
                train(steps)
                steps += 1
            saves.append(time.perf_counter() - began)
            late.append(saves[-1] - steps * float(np.median(times)))
        name = "background save" if background else "save that waits"
        found[f"{name} of 1 GB, s"] = float(np.median(saves[1:]))  # the first makes room
        found[f"{name} of 1 GB, training stands, s"] = float(np.median(stands[1:]))
        found[f"{name} of 1 GB, training late by, s"] = float(np.median(late[1:]))
        checkpoints.close()
        shutil.rmtree(folder)
    return found
