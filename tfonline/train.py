"""The trainer: `python -m tfonline.train --flagfile=configs/criteo.flags ...`.

`main` parses the flags and maps errors to exit codes; `run` is the whole story, in order:

1. Check all that can be wrong without TensorFlow: columns, dictionaries, broker, topic, and who else uses the model folder.
2. Make strategy and features; see whether there is room for the model and, for a new one, what the first rows are; make the model.
3. Take the position from the checkpoint; where there is none, resolve --start and --stop_at and save checkpoint 0.
4. Plan windows, read them, make batches of them.
5. Learn: score each row, then learn from it; at a window's end move the position, and save if it is time.
6. Sum up.

What resumes how: weights, slots, next offsets, counters and metrics come from the newest checkpoint; the windows after it from
the journal, as they were; rejected.jsonl, loss.log and predictions.bin are cut back to their length at the checkpoint.
"""

import contextlib
import dataclasses
import errno
import json
import os
import pathlib
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from tfonline import config as flags
from tfonline import folders, garbage
from tfonline.cluster.members import Cluster, find
from tfonline.hangs import all_come, alone, leave, stuck
from tfonline.lifecycle import Exit, FolderLock, Liveness, Stop, UserError, block_signals, stop_on_signals
from tfonline.monitor import monitored
from tfonline.opening import open_dead_letters, open_format, open_stream, open_topic
from tfonline.report import libraries
from tfonline.report.before_run import check_labels, check_machine, check_metrics_by, say_what_a_run_would_do, say_what_changed
from tfonline.report.console import Console
from tfonline.report.status import Status
from tfonline.settings.keeping import KeepingSettings
from tfonline.settings.model import OptimizerSettings
from tfonline.start_and_stop import add_new_partitions, resolve_start
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.journal import read_journal
from tfonline.stream.window import Window

# Who waits for Python's lock gets it after so long. By itself Python takes 5 ms, longer than a GPU for a step, and the GPU waits.
_SWITCH_SECS = 0.0002
_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG, errno.ENOTDIR}

if TYPE_CHECKING:
    from tfonline.features.dictionaries import Dictionaries
    from tfonline.features.schema import Schema
    from tfonline.keep.checkpoint_contents import Contents
    from tfonline.monitor.server import Monitor


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run did.

    Attributes:
      ended: why it ended.
      summary: what `<model_dir>/summary.json` holds; empty for a dry run.
    """

    ended: str
    summary: dict[str, Any]


def main(argv: list[str]) -> NoReturn:
    """Runs the trainer with the flags of `argv` and ends the process with the exit code.

    It never returns, and no error leaves it: to take apart what a run has used would wait for a read that hangs inside C++.
    """
    console = Console(form="json" if "--log_format=json" in argv else "text")  # for what is wrong with the flags themselves
    try:
        config = flags.parse(argv)
        if config is not None:
            block_signals()
            garbage.few_shares()
            stop, console = Stop(), Console(form=config.reporting.log_format)
            stop.fail = console.fail
            if config.reporting.log_format == "json":
                libraries.route(console)
                wrapping = libraries.wrap_raw_lines(console)  # noqa: F841 - held: it is warned of a process that nobody holds
            stop_on_signals(stop, config.keeping.drain_secs, console.saying("stop"))
            run(config, stop, console)
    except UserError as e:
        console.fail(str(e), e.code)
        leave(e.code)
    except BaseException as e:
        console.bug(e, Exit.BUG)
        leave(Exit.BUG)
    leave(Exit.OK)


@garbage.not_at_first()
def run(config: flags.Config, stop: Stop | None = None, console: Console | None = None) -> RunResult:
    """Trains until the stream ends, it is asked to stop, or something is wrong.

    Args:
      config: the flags.
      stop: ends the run at a window's end.
      console: where lines go.

    Raises:
      UserError: something that a person can mend; its code is the exit code.
    """
    # Here and not above: numpy and TensorFlow start threads, and a thread from before `block_signals` would die of a SIGTERM and
    # take the process with it.
    from tfonline.features.make import load_known
    from tfonline.features.schema import load_schema

    stop, console = stop or Stop(), console or Console()
    model_dir, workers, replay = config.keeping.model_dir, config.workers, config.windows.replay_journal

    console.say("checking columns, dictionaries and stream", "start")
    schema = load_schema(config.features.columns)
    check_metrics_by(schema, config.reporting.metrics_by)
    check_labels(schema, config)
    dictionaries = load_known(schema, config.features, config.vocabulary)
    topic = None if config.stream.input_files else open_topic(config.stream, config.stream.topic, stop, console)
    outcomes = open_topic(config.stream, config.labels.label_topic, stop, console) if config.labels.label_topic else None
    replay = read_journal(replay) if replay else None
    if config.reporting.dry_run:
        folders.check(model_dir, "--model_dir")
        return _train(config, schema, dictionaries, topic, outcomes, replay, stop, console, Status(None))
    folders.make(model_dir, "--model_dir")
    try:
        cluster = find(workers.cluster, workers.workers, workers.worker_index, model_dir, workers.worker_timeout_secs)
        chief = not cluster or cluster.chief
        lock = FolderLock(model_dir) if chief else None
        status = Status(os.path.join(model_dir, "status") if chief else None)
        status.set("starting")
        try:
            with monitored(config.reporting, chief, status, stop, console) as monitor:
                return _train(config, schema, dictionaries, topic, outcomes, replay, stop, console, status, cluster, monitor)
        finally:
            status.close()
            if lock:
                lock.release()
    except OSError as e:
        if e.errno not in _CANNOT_WRITE:
            raise
        raise UserError(
            f"{e.filename or f'a file of --model_dir={model_dir}'} cannot be written ({e.strerror}). The checkpoints are "
            "whole; what came after the newest will be read again. Make space or mend the disk, then run the same command again.",
            Exit.CANNOT_WRITE,
        ) from e


def _train(
    config: flags.Config,
    schema: "Schema",
    dictionaries: "Dictionaries",
    topic: KafkaTopic | None,
    outcomes: KafkaTopic | None,
    replay: list[Window] | None,
    stop: Stop,
    console: Console,
    status: Status,
    cluster: Cluster | None = None,
    monitor: "Monitor | None" = None,
) -> RunResult:
    """Steps 2 to 6, with TensorFlow."""
    console.say("loading TensorFlow", "start")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0":  # at 0 the reader logs every Kafka property, passwords included
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "1"

    from tfonline.actions.make import make_all
    from tfonline.beginning import CheckpointParts, begin, begin_vocabulary, join
    from tfonline.cluster.job import Job
    from tfonline.failures import Failures
    from tfonline.features.make import make_features, of_features
    from tfonline.features.many_rows import MESSAGES_AT_ONCE
    from tfonline.features.pipeline import make_batches
    from tfonline.keep.contract import make_contract
    from tfonline.loop import Drain, train
    from tfonline.model.learner import make_learner
    from tfonline.model.sizes import reckon
    from tfonline.model.tables.replicas import make_strategy
    from tfonline.report.first_rows import check as check_first_rows
    from tfonline.report.first_rows import describe, read_first_rows
    from tfonline.state import Position
    from tfonline.stream.labels.fields import check_label_columns
    from tfonline.stream.labels.open import make_late_labels
    from tfonline.stream.order import make_raw_batches

    garbage.keep()
    learning, keeping, local, worker_secs = config.learning, config.keeping, stop, config.workers.worker_timeout_secs
    with all_come(cluster, worker_secs, console):
        strategy = make_strategy(learning.num_replicas, learning.devices, cluster)  # first of all: it makes logical devices
    job = None
    if cluster:
        save_predictions = config.reporting.save_predictions
        job = Job(config.resolved(), learning, keeping.model_dir, worker_secs, save_predictions, cluster, strategy, local)
    stop = job.stop if job else local
    chief = not cluster or cluster.chief
    limit_secs = max(config.stream.broker_timeout_secs, 1.0)
    failures: Failures | None = None  # until there is something to fail

    def watch(secs: float) -> None:
        stuck(secs, limit_secs, topic, lambda: failures and failures.rows_lost(), stop, console)

    liveness = Liveness(limit_secs, watch)
    if monitor:
        monitor.health.liveness = liveness
    saved = _what_is_saved(keeping, config.reporting.dry_run, console) if chief else None
    num_workers = len(cluster.workers) if cluster else 1
    source, reader = open_stream(config, schema, topic, saved, chief, num_workers, liveness, console)

    f, form, vocabulary = config.features, open_format(config, schema, stop, console), config.vocabulary
    if outcomes:
        check_label_columns(schema, form, config.labels)
    features = make_features(schema, dictionaries, f, vocabulary, form, config.model.vocab_size, labelled=not outcomes)
    made_by = of_features(schema, dictionaries, vocabulary)
    contract = make_contract(
        f, config.model, config.optimizers, schema, made_by, features.spec.num_ids, source, vocabulary, outcomes
    )
    if saved:
        _check_saved(keeping.model_dir, saved, contract, config.optimizers)
        position = saved.position
        add_new_partitions(position, source)
    needs = check_machine(keeping, config.serving, reckon(features.spec, config.model, vocabulary), strategy, cluster)
    of_messages = features.parse.of_messages
    start, first = None if saved or not chief else resolve_start(config.windows.start, source, replay), None
    if start:
        position = Position(next=start, start=[])
    if start or config.reporting.dry_run:
        first = read_first_rows(source, position.next, features.parse)
    if config.reporting.dry_run:
        about = [needs, describe(first, of_messages, form)]
        say_what_a_run_would_do(learning, config.model.embedding_dim, console, source, position, features, about)
    # Not where a stream of refused rows is accepted, nor where --lag_policy=skip may pass over the first ones.
    if start and f.max_rejected_ratio < 1 and config.windows.lag_policy != "skip":
        check_first_rows(first, of_messages, form, "--input_files" if config.stream.input_files else "--topic")
    if config.reporting.dry_run:
        return RunResult("dry run", {})
    console.say(needs, "needs")
    if first and first.refused:
        console.say(f"warning: {describe(first, of_messages, form)}", "first_rows")
    model_dir = pathlib.Path(keeping.model_dir)
    if chief:
        say_what_changed(model_dir / "config.json", config.resolved(), console)
        (model_dir / "config.json").write_text(json.dumps(config.resolved(), indent=2) + "\n")
    if config.serving.export_dir and chief:
        features.keep_in(model_dir)  # what is published takes the lookup table along, as a file

    labels = make_late_labels(config, topic, outcomes, schema, form, console)
    dead_letters = open_dead_letters(config.stream, f.dead_letter_topic, stop, console) if f.dead_letter_topic else None
    console.say(f"making the model: {features.spec.num_ids:,} ids, {strategy.num_replicas_in_sync} replica(s)", "start")
    learner = make_learner(
        strategy, features.spec, config.model, config.optimizers, cluster, learning.jit_compile, vocabulary, f.keep_negatives
    )
    if learner.on_gpu:
        sys.setswitchinterval(_SWITCH_SECS)
    if chief and not saved and vocabulary.vocabulary_from == "dictionaries":
        begin_vocabulary(learner, dictionaries, schema, console)
    parts = CheckpointParts.make(learner, schema, config.reporting, config.drift_rows, config.model.late_labels != "wait")
    if chief:
        most_partitions = getattr(reader, "most_partitions", 0) * num_workers
        begun = begin(parts, keeping, config.windows, contract, source, most_partitions, start, replay, local, job, console, labels)
    else:
        begun = join(parts, keeping.model_dir, contract, source, job, console)
    plan, checkpoints = begun.plan, begun.checkpoints

    def newest_checkpoint() -> str:
        checkpoints.wait()
        return checkpoints.latest

    lost = plan.rows_lost_since_planned if chief else str
    known = lambda: plan.error or reader.error or form.error  # noqa: E731
    last_saved, on_lost_rows = newest_checkpoint if chief else None, config.windows.on_lost_rows
    failures = Failures(keeping.model_dir, on_lost_rows, learning, begun.position, known, lost, last_saved, with_others=bool(job))

    drain = Drain(stop, keeping.drain_secs)
    with contextlib.ExitStack() as closing:
        closing.callback(source.close)
        if job:
            closing.callback(job.close)
        doing = make_all(
            config, schema, features, learner, source, begun, failures, stop, console, status, job, closing,
            dead_letters, monitor,
        )  # fmt: skip
        for each in (stop, local):
            closing.callback(each.request, "the run has ended")  # whatever still reads ahead ends, too
        closing.callback(reader.close)
        if form.decoders:
            closing.callback(form.decoders.close)
        if labels:
            closing.callback(labels.join.close)
        new_model = chief and not saved
        if new_model:
            doing.save.begin()  # checkpoint 0: a crash before the first ordinary save starts from the same weights and offsets
        rows_a_call = learning.batch_size * learning.steps_per_call
        groups, own = (len(cluster.workers), cluster.index) if cluster else (config.workers.partition_groups, None)
        to_read = groups * MESSAGES_AT_ONCE if form.many else learner.negatives.rows_to_read(rows_a_call)
        raw = make_raw_batches(begun.windows, reader, to_read, groups, own, labels.join if labels else None)
        elements = make_batches(raw, features, rows_a_call // (groups if cluster else 1), learner.negatives)
        garbage.collect_from_now_on()
        if new_model:
            doing.save.finish()  # it is on disk before a window is planned: a journal without a checkpoint is no model's
        with liveness:
            watched = liveness.watch(elements)  # named, so that it closes its reads when all is saved and said
            if job:
                if chief:
                    job.begin(checkpoints)
                    job.rounds.leave_due, job.rounds.save_due = drain.over, doing.save_due
                    job.rounds.final = lambda: plan.final
                job.rounds.failed = lambda: bool(known())
                job.watch(lambda secs: alone(secs, stop))
            dropped = train(
                job.rounds.join(watched) if job else watched,
                learner, plan, begun.position, doing.actions, failures, stop, status,
                batch_size=learning.batch_size,
                overdue=(lambda: job.rounds.leave) if job else drain.over,
                refused=(lambda _: job.rounds.rejected) if job else None,
                outcomes=labels.join.take if labels else lambda number: {},
            )  # fmt: skip
        alone_asked = stop.requested() and not local.requested()
        if stop.requested():
            ended = f"stopped by {stop.reason}" + ("" if dropped is None else f", window {dropped} dropped")
        else:
            ended = plan.ended or "the stream failed"
        summary = doing.summarise(ended)
        status.set("ended", begun.position.window, begun.position.step)
    if plan.error:
        raise plan.error
    if job and job.rounds.peer_failed:
        raise UserError("another worker's rows have failed, see its log; all that was learned is saved", Exit.TRY_AGAIN)
    if job and alone_asked:
        raise UserError("another worker was asked to stop, and this one was not: all is saved, start all again", Exit.TRY_AGAIN)
    return RunResult(ended, summary)


def _what_is_saved(keeping: KeepingSettings, dry_run: bool, console: Console) -> "Contents | None":
    """What the newest checkpoint holds; None where a new model begins, for which another one's files are put aside."""
    from tfonline.keep import checkpoint_files
    from tfonline.keep.checkpoints import saved_contents

    model_dir = pathlib.Path(keeping.model_dir)
    saved = saved_contents(keeping.model_dir, keeping.new_model)
    if not saved and not dry_run and checkpoint_files.traces(model_dir):
        console.say(f"--new_model: what another model left is in {checkpoint_files.put_aside(model_dir)} now", "new_model")
    return saved


def _check_saved(model_dir: str, saved: "Contents", contract: dict[str, Any], optimizers: OptimizerSettings) -> None:
    """Raises UserError where the checkpoint was made for another configuration (exit 78)."""
    from tfonline.keep.contract import check_contract, of_format_1

    made_for = saved.contract
    if saved.format == 1:
        made_for = of_format_1(pathlib.Path(model_dir), made_for, contract, dataclasses.asdict(optimizers))
    check_contract(model_dir, made_for, contract)


if __name__ == "__main__":
    main(sys.argv)
