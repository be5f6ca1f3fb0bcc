"""Where a run begins: as the chief, or alone, from a checkpoint or as a new model; as another worker, from what the chief has."""

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

from tfonline.cluster.job import Job
from tfonline.cluster.plan import ChiefsWindows
from tfonline.config import Config
from tfonline.evaluate.progressive import ProgressiveMetrics
from tfonline.keep.checkpoints import Checkpoints
from tfonline.keep.contract import check_contract
from tfonline.keep.learner import KeptLearner
from tfonline.lifecycle import Stop
from tfonline.model.learner import Learner
from tfonline.positions import add_new_partitions, make_planner
from tfonline.report.console import Console
from tfonline.state import FileLengths, Position
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.journal import Journal
from tfonline.stream.offsets import short
from tfonline.stream.windows import Planner, Window


class Beginning(NamedTuple):
    """What a run begins with.

    Attributes:
      contract: what the model is made for.
      position: where the model is.
      metrics: of its rows.
      lengths: of the files beside it.
      plan: its windows.
      windows: the plan's, as they are to be read.
      checkpoints: None on a worker that is not the chief.
      journal: likewise.
    """

    contract: dict[str, Any]
    position: Position
    metrics: ProgressiveMetrics
    lengths: FileLengths
    plan: Planner | ChiefsWindows
    windows: Iterable[Window | None]
    checkpoints: Checkpoints | None = None
    journal: Journal | None = None


def begin(
    config: Config,
    learner: Learner,
    contract: dict[str, Any],
    source: Any,
    start: list[int] | None,
    replay: list[Window] | None,
    local: Stop,
    job: Job | None,
    console: Console,
    most_partitions: int = 0,
) -> Beginning:
    """On the chief, and where there is one process only: takes over the newest checkpoint, or begins a new model.

    Args:
      config: the flags.
      learner: gets the weights.
      contract: what the model is made for.
      source: the stream.
      start: where a new model begins; None: there is a checkpoint.
      replay: windows to train; None: they are planned.
      local: asks this process to stop.
      job: of several workers.
      console: where lines go.
      most_partitions: that a process can read; 0: any number.

    Raises:
      UserError: the checkpoint cannot be read, or is of another stream (exit 66, 75, 78).
    """
    learned, position, metrics, lengths = parts = _parts(config, learner)
    checkpoints = Checkpoints(config.model_dir, config.keep_checkpoints, parts, contract, config.background_save)
    if start is None:
        for damaged in checkpoints.restore():
            console.say(f"warning: {damaged}")
        _carry_over(learned, console)
        add_new_partitions(position, source)
        at = f"window {position.window}, step {position.step}, next {short(position.next)}"
        console.say(f"resumed from {checkpoints.latest}: {at}")
    else:
        position.next = position.start = start
        console.say(f"a new model, from offsets {short(position.start)}")
    of_kafka = isinstance(source, KafkaTopic)
    position.files_read = [] if of_kafka else [dataclasses.asdict(file) for file in source.files]
    journal = Journal(config.model_dir, files=position.files_read)
    most = most_partitions * (len(job.cluster.workers) if job else 1)
    planner = make_planner(config, source, journal, position, replay, local, console, most)
    windows = job.announce(planner, position.files_read) if job else planner
    console.expect(None if position.stop is None else sum(position.stop) - sum(position.start), position.rows)
    return Beginning(contract, position, metrics, lengths, planner, windows, checkpoints, journal)


def join(config: Config, learner: Learner, contract: dict[str, Any], source: Any, job: Job, console: Console) -> Beginning:
    """On a worker that is not the chief: takes over the model from which the chief begins.

    Raises:
      UserError: the workers have different flags (exit 64), or the model is made for others (78).
    """
    learned, position, metrics, lengths = parts = _parts(config, learner)
    held = job.join(parts)
    windows = job.windows(position.window)
    if not isinstance(source, KafkaTopic):
        source.take_order(job.files())
    if held.format > 1:  # else the chief has looked
        check_contract(config.model_dir, held.contract, contract)
    _carry_over(learned, console)
    console.say(f"follows the chief from window {position.window}, step {position.step}")
    return Beginning(contract, position, metrics, lengths, windows, windows)


def _parts(config: Config, learner: Learner) -> tuple[KeptLearner, Position, ProgressiveMetrics, FileLengths]:
    """What a checkpoint holds."""
    return KeptLearner(learner), Position(next=[], start=[]), ProgressiveMetrics(config.metric_rows), FileLengths()


def _carry_over(learned: KeptLearner, console: Console) -> None:
    """Has what was learned by other rates go on by those of today, and says so."""
    if learned.carry_over():
        console.say("rates of the wide side have changed: what was learned is converted to them")
