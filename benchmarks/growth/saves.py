"""A save of a learner as the trainer makes it, but for the copy in memory (--background_save=false)."""

import contextlib
import pathlib
import tempfile
import time

_LARGE_BYTES = 4e9


def save(learner, folder: pathlib.Path) -> dict[str, float]:
    """Bytes and seconds of a checkpoint, the look for what is not finite included.

    Of the second one, for the first one is traced; but of a large one, for which that is little.
    """
    from tfonline.evaluate.progressive import ProgressiveMetrics
    from tfonline.keep.checkpoints import Checkpoints
    from tfonline.keep.learner import KeptLearner
    from tfonline.state import Position

    with tempfile.TemporaryDirectory(dir=folder) as saved:
        position = Position(next=[], start=[])
        checkpoints = Checkpoints(saved, 2, [KeptLearner(learner), position, ProgressiveMetrics(1000)], {}, background=False)
        secs, large = 0.0, sum(v.shape.num_elements() * v.dtype.size for v in learner.variables) > _LARGE_BYTES
        for position.window in range(1 if large else 2):
            began = time.monotonic()
            learner.all_finite().numpy()
            checkpoints.begin(contextlib.nullcontext())
            path = checkpoints.finished(wait=True)
            secs = time.monotonic() - began
        checkpoints.close()
        size = sum(f.stat().st_size for f in pathlib.Path(saved).glob(f"{pathlib.Path(path).name}.*"))
    return {"checkpoint_mb": size / 1e6, "checkpoint_secs": secs}
