"""Where the numbers of a run are, for its metrics."""

import os
import pathlib

from tfonline.actions.row_times import RowTimes
from tfonline.actions.tally import Tally
from tfonline.beginning import Beginning
from tfonline.config import Config
from tfonline.features.schema import Schema
from tfonline.monitor.metrics import Facts
from tfonline.publish.publisher import Publisher
from tfonline.report.stack import stack
from tfonline.report.writers import Latest
from tfonline.stream.labels.ready import Ready


def runs_written(model_dir: str) -> int:
    """How many runs of a model folder have written for TensorBoard: each begins a file of its own."""
    return len(list(pathlib.Path(model_dir, "tensorboard", "train").glob("events.out.tfevents.*")))


def make_facts(
    config: Config, schema: Schema, run: Beginning, times: RowTimes, latest: Latest, publisher: Publisher | None, restarts: int
) -> Facts:
    """What the metrics of a run are made from.

    Args:
      config: the flags.
      schema: the columns.
      run: where it begins.
      times: of its rows.
      latest: what is reported of it.
      publisher: None where nothing is published.
      restarts: runs of the model folder before it.
    """
    build = stack(config.stream.message_format or schema.format)
    damaged = len(list(pathlib.Path(config.keeping.model_dir).glob("damaged-ckpt-*.index")))
    saved = f"{run.checkpoints.latest}.index"
    tally = Tally(os.path.getmtime(saved) if os.path.exists(saved) else None)
    source = getattr(run.plan, "source", None)  # of several workers the chief's, as all of this
    waiting = (lambda: source.waiting) if isinstance(source, Ready) else list
    more = {"exports": publisher.exports, "newest": lambda: publisher.newest, "deltas": publisher.deltas} if publisher else {}
    return Facts(
        build, tally, run.position, lambda: run.plan.ends, times.scalars, lambda: latest.scalars,
        restarts=restarts, damaged=damaged, drift=run.drift.episodes, waiting=waiting, **more,
    )  # fmt: skip
