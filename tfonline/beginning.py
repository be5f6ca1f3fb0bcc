"""Where a run begins: as the chief, or alone, from a checkpoint or as a new model; as another worker, from what the chief has."""

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

from tfonline.cluster.job import Job
from tfonline.cluster.plan import ChiefsWindows
from tfonline.evaluate.by_value import MetricsByValue
from tfonline.evaluate.drift import Drift
from tfonline.evaluate.progressive import ProgressiveMetrics
from tfonline.features.dictionaries import Dictionaries
from tfonline.features.kinds import feature_kinds
from tfonline.features.kinds.category_keys import keys_of
from tfonline.features.schema import Schema
from tfonline.keep.checkpoints import Checkpoints
from tfonline.keep.contract import check_contract
from tfonline.keep.learner import KeptLearner
from tfonline.lifecycle import Stop
from tfonline.model.learner import Learner
from tfonline.model.tables.vocabulary import rows_for
from tfonline.report.console import Console
from tfonline.settings.keeping import KeepingSettings
from tfonline.settings.reporting import ReportingSettings
from tfonline.settings.stream import WindowSettings
from tfonline.start_and_stop import add_new_partitions, make_planner
from tfonline.state import FileLengths, Position
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.journal import Journal
from tfonline.stream.labels.open import LateLabels
from tfonline.stream.offsets_in_words import short
from tfonline.stream.planner import Planner
from tfonline.stream.window import Window


class CheckpointParts(NamedTuple):
    """What a checkpoint holds.

    Attributes:
      learner: weights and slots.
      position: where the model is.
      metrics: of its rows.
      lengths: of the files beside it.
      drift: of its columns and scores.
      by_value: the metrics by a column's value.
    """

    learner: KeptLearner
    position: Position
    metrics: ProgressiveMetrics
    lengths: FileLengths
    drift: Drift
    by_value: MetricsByValue

    @classmethod
    def make(
        cls, learner: Learner, schema: Schema, settings: ReportingSettings, drift_rows: int, settled: bool = False
    ) -> "CheckpointParts":
        """Those of a new model. `drift_rows` are those of a window that is looked at for drift; `settled`: labels come later."""
        columns = [name for kind in feature_kinds() for name in schema.of_kind(kind.name)]
        others = schema.labels[1:]
        metrics = ProgressiveMetrics(settings.metric_rows, weighted=bool(schema.of_kind("weight")), settled=settled, others=others)
        return cls(
            KeptLearner(learner), Position(next=[], start=[]), metrics, FileLengths(),
            Drift(columns, drift_rows, settings.drift_psi, others),
            MetricsByValue(settings.metrics_by, settings.metric_rows, others=others),
        )  # fmt: skip


class Beginning(NamedTuple):
    """What a run begins with.

    Attributes:
      contract: what the model is made for.
      position: where the model is.
      metrics: of its rows.
      lengths: of the files beside it.
      drift: of its columns and scores.
      by_value: the metrics by a column's value.
      plan: its windows.
      windows: the plan's, as they are to be read.
      checkpoints: None on a worker that is not the chief.
      journal: likewise.
    """

    contract: dict[str, Any]
    position: Position
    metrics: ProgressiveMetrics
    lengths: FileLengths
    drift: Drift
    by_value: MetricsByValue
    plan: Planner | ChiefsWindows
    windows: Iterable[Window | None]
    checkpoints: Checkpoints | None = None
    journal: Journal | None = None


def begin(
    parts: CheckpointParts,
    keeping: KeepingSettings,
    settings: WindowSettings,
    contract: dict[str, Any],
    source: Any,
    most_partitions: int,
    start: list[int] | None,
    replay: list[Window] | None,
    local: Stop,
    job: Job | None,
    console: Console,
    labels: LateLabels | None = None,
) -> Beginning:
    """On the chief, and where there is one process only: takes over the newest checkpoint, or begins a new model.

    Args:
      parts: what a checkpoint holds.
      keeping: where checkpoints are, and how many.
      settings: of windows.
      contract: what the model is made for.
      source: the stream.
      most_partitions: so many of its partitions can be read; 0: any number.
      start: where a new model begins; None: there is a checkpoint.
      replay: windows to train; None: they are planned.
      local: asks this process to stop.
      job: of several workers.
      console: where lines go.
      labels: where they come in a topic of their own.

    Raises:
      UserError: the checkpoint cannot be read, or is of another stream (exit 66, 75, 78).
    """
    learned, position, *others = parts
    checkpoints = Checkpoints(keeping.model_dir, keeping.keep_checkpoints, parts, contract, keeping.background_save)
    if start is None:
        for damaged in checkpoints.restore():
            console.say(f"warning: {damaged}", "damaged_checkpoint")
        _carry_over(learned, console)
        _say_what_begins_anew(parts, console)
        add_new_partitions(position, source)
        at = f"window {position.window}, step {position.step}, next {short(position.next)}"
        fields = {"checkpoint": checkpoints.latest, "window": position.window, "step": position.step, "next": position.next}
        console.say(f"resumed from {checkpoints.latest}: {at}", "resumed", **fields)
    else:
        position.next = position.start = start
        console.say(f"a new model, from offsets {short(position.start)}", "new_model", next=position.next)
    of_kafka = isinstance(source, KafkaTopic)
    position.files_read = [] if of_kafka else [dataclasses.asdict(file) for file in source.files]
    journal = Journal(keeping.model_dir, files=position.files_read)
    planner = make_planner(settings, source, journal, position, replay, local, console, most_partitions, labels)
    windows = job.announce(planner, position.files_read) if job else planner
    console.expect(None if position.stop is None else sum(position.stop) - sum(position.start), position.rows)
    return Beginning(contract, position, *others, planner, windows, checkpoints, journal)


def begin_vocabulary(learner: Learner, known: Dictionaries, schema: Schema, console: Console) -> None:
    """Has the vocabulary of a new model begin with the values that the dictionaries hold."""
    keys = keys_of(known, schema.listed)
    without = learner.admission.begin_with(learner.model.vocabulary, keys)
    console.say(f"the vocabulary begins with {len(keys) - without:,} values of the dictionaries", "vocabulary")
    if without:
        console.say(
            f"warning: {without:,} values of the dictionaries found no place in it, and share buckets until they are seen. Use a "
            f"larger --vocabulary_rows: {rows_for(len(keys)):,} hold all but a few.",
            "vocabulary",
        )


def join(parts: CheckpointParts, model_dir: str, contract: dict[str, Any], source: Any, job: Job, console: Console) -> Beginning:
    """On a worker that is not the chief: takes over the model from which the chief begins.

    Raises:
      UserError: the workers have different flags (exit 64), or the model is made for others (78).
    """
    learned, position, *others = parts
    held = job.join(parts)
    windows = job.windows(position.window)
    if not isinstance(source, KafkaTopic):
        source.take_order(job.files())
    if held.format > 1:  # else the chief has looked
        check_contract(model_dir, held.contract, contract)
    _carry_over(learned, console)
    at = {"window": position.window, "step": position.step}
    console.say(f"follows the chief from window {position.window}, step {position.step}", "resumed", **at)
    return Beginning(contract, position, *others, windows, windows)


def _say_what_begins_anew(parts: CheckpointParts, console: Console) -> None:
    """An older version looked at the first label alone here."""
    for what, part in (("drift of the model", parts.drift), (f"--metrics_by={parts.by_value.column}", parts.by_value)):
        if part.anew:
            console.say(f"{what} begins anew for {', '.join(part.anew)}: the checkpoint has none", "anew", labels=part.anew)


def _carry_over(learned: KeptLearner, console: Console) -> None:
    """Has what was learned by other rates go on by those of today, and says so."""
    if learned.carry_over():
        console.say("rates of the wide side have changed: what was learned is converted to them", "rates")
