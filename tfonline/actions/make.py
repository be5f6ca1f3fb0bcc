"""Makes the actions of a run: all of them on the chief or where there is one process only, and fewer on another worker."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tfonline.actions import Actions
from tfonline.actions.commit import make_commit
from tfonline.actions.count import Count
from tfonline.actions.count_by_value import CountByValue, make_text
from tfonline.actions.mature import Mature
from tfonline.actions.note import make_note
from tfonline.actions.publish import Publish
from tfonline.actions.refused_rows import Refuse
from tfonline.actions.report import Report
from tfonline.actions.row_times import RowTimes
from tfonline.actions.save import Save, SaveWithChief, Unsaved
from tfonline.actions.unread import make_say_unread
from tfonline.actions.watch_drift import WatchDrift, compared_values
from tfonline.beginning import Beginning
from tfonline.cluster.job import Job, rejected_name
from tfonline.config import Config
from tfonline.evaluate.first_sights import FirstSights
from tfonline.failures import Failures
from tfonline.features.pipeline import Features
from tfonline.features.schema import Schema
from tfonline.formats.explain import explain
from tfonline.formats.recognise import guess
from tfonline.lifecycle import Every, Stop
from tfonline.model.learner import Learner
from tfonline.monitor.facts import make_facts, runs_written
from tfonline.monitor.server import Monitor
from tfonline.publish.publisher import Publisher
from tfonline.report.columns import ColumnShares
from tfonline.report.console import Console
from tfonline.report.files import SideFile, SideFiles
from tfonline.report.reports import Reports
from tfonline.report.stack import stack
from tfonline.report.status import Status
from tfonline.report.tensorboard import TensorBoard
from tfonline.report.vocabulary import make_vocabulary_scalars
from tfonline.report.worse import WorseThanTrivial
from tfonline.report.writers import Latest, Scalars, Writer, Writers
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.dead_letters import DeadLetters


class Doing(NamedTuple):
    """What is done beside learning.

    Attributes:
      actions: told of each event.
      summarise: sums up the run, given why it has ended.
      save: makes checkpoints; only on the chief.
      save_due: whether it is time for one; only on the chief.
    """

    actions: Actions
    summarise: Callable[[str], dict[str, Any]]
    save: Save | None = None
    save_due: Callable[[], bool] | None = None


def make_all(
    config: Config,
    schema: Schema,
    features: Features,
    learner: Learner,
    source: Any,
    run: Beginning,
    failures: Failures,
    stop: Stop,
    console: Console,
    status: Status,
    job: Job | None,
    closing: contextlib.ExitStack,
    dead_letters: DeadLetters | None,
    monitor: Monitor | None = None,
) -> Doing:
    """The actions of this process.

    Args:
      config: the flags.
      schema: the columns.
      features: makes the network's inputs.
      learner: what is trained.
      source: the stream.
      run: where this run begins.
      failures: makes the errors to end with.
      stop: ends the run.
      console: where lines go.
      status: says what is done at the moment.
      job: of several workers; None: this process is the only one.
      closing: gets what is to be closed at the run's end.
      dead_letters: gets refused rows, or None.
      monitor: is told where the run's numbers are; only on the chief, None: nobody is.

    Raises:
      UserError: a folder or a file cannot be written (exit 73).
    """
    actions, position, keeping, reporting = Actions(), run.position, config.keeping, config.reporting
    unsaved = Unsaved(lambda: bool(learner.all_finite()), failures.not_finite)
    of_all_workers = job.lengths if job else None

    def refuse(file: SideFile) -> Refuse:
        form, rows_of, path = features.parse.form, features.parse.of_messages, f"{keeping.model_dir}/rejected.jsonl"
        why, looks = (lambda row: explain(row, rows_of.columns, form)), (lambda rows: guess(rows, rows_of, form))
        return Refuse(position.rejected, file, dead_letters, console, config.features.max_rejected_ratio, why, looks, path)

    if not run.checkpoints:
        name = rejected_name(job.cluster.index)
        files = closing.enter_context(
            _side_files(keeping.model_dir, run.lengths.by_name, {name: config.features.rejected_max_bytes})
        )
        actions.begin(
            [
                refuse(files[name]),
                make_note(position, run.lengths, files, of_all_workers=of_all_workers),
                Count(position, run.metrics, run.plan.planned, failures.not_finite),
                make_say_unread(console),
                SaveWithChief(unsaved, lambda: job.rounds.save, actions),
            ]
        )

        def say_ended(ended: str) -> dict[str, Any]:
            console.say(ended, "ended", ended=ended)
            return {}

        return Doing(actions, say_ended)

    closing.callback(console.close)
    restarts, latest = runs_written(keeping.model_dir), Latest()
    tables = {"flags": config.resolved(), "stack": stack(config.stream.message_format or schema.format)}
    board = TensorBoard(str(pathlib.Path(keeping.model_dir) / "tensorboard"), tables, position.step, schema.labels[1:])
    writer: Writer = Writers(board, latest)
    closing.callback(writer.close)
    closing.callback(run.journal.close)
    limits = {"rejected.jsonl": config.features.rejected_max_bytes, "loss.log": None}
    limits |= {"drift.jsonl": None} if config.drift_rows else {}
    limits |= {"predictions.bin": None} if reporting.save_predictions else {}
    others = [rejected_name(i) for i in range(1, len(job.cluster.workers))] if job else []
    files = closing.enter_context(_side_files(keeping.model_dir, run.lengths.by_name, limits, others))
    ask = source.newest_row_time if isinstance(source, KafkaTopic) else None
    publisher, times = None, RowTimes(ask)
    if config.serving.export_dir:
        publisher = Publisher(
            config.serving,
            config.model,
            keeping.model_dir,
            schema,
            features,
            learner,
            run.contract,
            position,
            console,
            ask if job else times.newest_row_time,  # the chief of several workers sees its own rows alone
            lambda: times.newest,
        )
        closing.callback(publisher.close)
    closing.callback(run.checkpoints.close)
    worse = WorseThanTrivial(config.optimizers, features.spec.num_fields)
    reports = Reports(
        reporting.report_secs, writer, console, worse, step=position.step, rows=position.rows,
        column_shares=ColumnShares(features, learner.model.vocabulary),
    )  # fmt: skip

    of_vocabulary = make_vocabulary_scalars(learner, console)

    def more() -> Scalars:
        return times.scalars() | of_vocabulary() | run.by_value.scalars() | (publisher.scalars() if publisher else {})

    def also() -> dict[str, Any]:
        of_others = {f"metrics_by_{label}": metrics.summary() for label, metrics in run.by_value.others.items()}
        return {"drift": run.drift.summary(), "metrics_by": run.by_value.summary(), **of_others}

    report = Report(reports, position, run.metrics, run.plan, console, keeping.model_dir, more, also)
    cadence = Every(steps=keeping.checkpoint_every_steps, secs=keeping.checkpoint_secs)
    cadence.done(position.step)

    def due() -> bool:
        return cadence.due(position.step)

    save = Save(
        run.checkpoints, unsaved, position, run.journal, (lambda: job.rounds.save) if job else due, cadence.done, actions,
        stop.saving, console, status, keeping.drain_secs,
    )  # fmt: skip
    drift, by_value, watching = run.drift, run.by_value, []
    if monitor:
        facts = make_facts(config, schema, run, times, latest, publisher, restarts)
        monitor.metrics.facts, monitor.health.tally = facts, facts.tally
        watching.append(facts.tally)
    mature = None
    if config.model.late_labels != "wait":
        mature = Mature(position, run.metrics, FirstSights(pathlib.Path(keeping.model_dir) / "first_sights"))
        watching.append(mature)
    if drift.rows:
        of_kept, settled = learner.negatives.logits_of_kept, (lambda: mature.settled) if mature else None
        compared = compared_values(schema)
        watching.append(WatchDrift(drift, compared, position, console, files["drift.jsonl"], writer, settled, of_kept))
    if by_value.column:
        text = make_text(features.parse, by_value.column)
        watching.append(CountByValue(by_value, compared_values(schema, (by_value.column,)), text))
    predictions, every = files.get("predictions.bin"), reporting.loss_log_every_steps
    actions.begin(
        [
            refuse(files["rejected.jsonl"]),
            make_note(position, run.lengths, files, lambda: run.plan.stop_at, of_all_workers),
            Count(position, run.metrics, run.plan.planned, failures.not_finite, writer, files["loss.log"], every, predictions),
            make_say_unread(console),
            *watching,
            times,
            save,
            *([Publish(publisher, stop)] if publisher else []),
            *([make_commit(source, config.stream.group, console)] if isinstance(source, KafkaTopic) else []),
            report,
        ]
    )
    return Doing(actions, lambda ended: report.summarise(ended, run.checkpoints.latest), save, due)


@contextlib.contextmanager
def _side_files(
    model_dir: str, lengths: dict[str, int], limits: dict[str, int | None], others: list[str] | None = None
) -> Iterator[SideFiles]:
    """The side files; those of workers that there are no more are cut back to the checkpoint, too, but none of the `others`.

    Args:
      others: files that other workers write now; None: this process is not the chief, and leaves all others as they are.
    """
    folder = pathlib.Path(model_dir)
    found = [] if others is None else [p.name for p in folder.glob("rejected.worker-*.jsonl") if p.name not in others]
    files = SideFiles(folder, lengths, limits, found)
    try:
        yield files
    finally:
        files.close()
