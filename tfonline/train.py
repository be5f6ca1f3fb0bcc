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
import gc
import json
import os
import pathlib
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from tfonline import config as flags
from tfonline import folders
from tfonline.cluster.members import Cluster, find
from tfonline.lifecycle import Exit, FolderLock, Liveness, Stop, UserError, block_signals, stop_on_signals
from tfonline.positions import add_new_partitions, resolve_start
from tfonline.report.before_run import check_machine, say_what_a_run_would_do, say_what_changed
from tfonline.report.console import Console
from tfonline.report.status import Status
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.dead_letters import DeadLetters
from tfonline.stream.journal import read_journal
from tfonline.stream.windows import Window
from tfonline.waits import all_come, alone, leave, stuck

_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG, errno.ENOTDIR}

if TYPE_CHECKING:
    from tfonline.features.dictionaries import Dictionaries
    from tfonline.features.schema import Schema
    from tfonline.keep.contents import Contents
    from tfonline.stream.readers import Reader


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
    try:
        config = flags.parse(argv)
        if config is not None:
            block_signals()
            stop = Stop()
            console = Console()
            stop_on_signals(stop, config.drain_secs, console.say)
            run(config, stop, console)
    except UserError as e:
        print(f"tfonline: {e}", file=sys.stderr)
        leave(e.code)
    except BaseException:
        traceback.print_exc()
        leave(Exit.BUG)
    leave(Exit.OK)


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
    from tfonline.features.dictionaries import load_dictionaries
    from tfonline.features.schema import load_schema

    stop, console = stop or Stop(), console or Console()

    console.say("checking columns, dictionaries and stream")
    schema = load_schema(config.columns)
    dictionaries = load_dictionaries(config.dictionary_dir, schema)
    properties = flags.kafka_properties(config)
    topic = None
    if not config.input_files:
        servers, group = config.bootstrap_servers, config.group
        topic = KafkaTopic(servers, config.topic, group, properties, config.broker_timeout_secs, stop, console.say)
    replay = read_journal(config.replay_journal) if config.replay_journal else None
    if config.dry_run:
        folders.check(config.model_dir, "--model_dir")
        return _train(config, schema, dictionaries, topic, replay, stop, console, Status(None))
    folders.make(config.model_dir, "--model_dir")
    try:
        c = config
        cluster = find(c.cluster, c.workers, c.worker_index, c.model_dir, c.worker_timeout_secs)
        chief = not cluster or cluster.chief
        lock = FolderLock(config.model_dir) if chief else None
        status = Status(os.path.join(config.model_dir, "status") if chief else None)
        status.set("starting")
        try:
            return _train(config, schema, dictionaries, topic, replay, stop, console, status, cluster)
        finally:
            status.close()
            if lock:
                lock.release()
    except OSError as e:
        if e.errno not in _CANNOT_WRITE:
            raise
        raise UserError(
            f"{e.filename or f'a file of --model_dir={config.model_dir}'} cannot be written ({e.strerror}). The checkpoints are "
            "whole; what came after the newest will be read again. Make space or mend the disk, then run the same command again.",
            Exit.CANNOT_WRITE,
        ) from e


def _train(
    config: flags.Config,
    schema: "Schema",
    dictionaries: "Dictionaries",
    topic: KafkaTopic | None,
    replay: list[Window] | None,
    stop: Stop,
    console: Console,
    status: Status,
    cluster: Cluster | None = None,
) -> RunResult:
    """Steps 2 to 6, with TensorFlow."""
    console.say("loading TensorFlow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0":  # at 0 the reader logs every Kafka property, passwords included
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "1"

    from tfonline.actions.make import make_all
    from tfonline.beginning import begin, join
    from tfonline.cluster.job import Job
    from tfonline.failures import Failures
    from tfonline.features.pipeline import Features, make_batches
    from tfonline.keep.contract import make_contract
    from tfonline.loop import Drain, train
    from tfonline.model.learner import make_learner
    from tfonline.model.sizes import reckon
    from tfonline.model.tables.replicas import make_strategy
    from tfonline.report.first_rows import check as check_first_rows
    from tfonline.report.first_rows import describe, read_first_rows
    from tfonline.state import Position
    from tfonline.stream.order import make_raw_batches

    c, local = config, stop
    with all_come(cluster, c.worker_timeout_secs, console):
        strategy = make_strategy(c.num_replicas, c.devices, cluster)  # first of all: it makes logical devices
    job = Job(c, cluster, strategy, local) if cluster else None
    stop = job.stop if job else local
    chief = not cluster or cluster.chief
    limit_secs = max(c.broker_timeout_secs, 1.0)
    failures: Failures | None = None  # until there is something to fail

    def watch(secs: float) -> None:
        stuck(secs, limit_secs, topic, lambda: failures and failures.rows_lost(), reported, stop, console)

    def reported() -> str:
        return reader.events.last if hasattr(reader, "events") else ""

    liveness, reader = Liveness(limit_secs, watch), None
    saved = _what_is_saved(c, console) if chief else None
    source, reader = _open_stream(c, topic, saved, chief, len(cluster.workers) if cluster else 1, liveness, console)

    features = Features(schema, dictionaries, c.numeric, c.message_format, c.oov_buckets, c.cross_buckets, c.vocab_size)
    if features.spec.num_ids < features.num_ids:
        raise UserError(
            f"--vocab_size={c.vocab_size} is too small: dictionaries and --numeric={c.numeric} need {features.num_ids} ids. "
            f"Use 0, or at least {features.num_ids}.",
            Exit.FLAGS,
        )
    contract = make_contract(c, schema, dictionaries, features.spec.num_ids, source)
    if saved:
        _check_saved(c, saved, contract)
        position = saved.position
        add_new_partitions(position, source)
    needs = check_machine(c, reckon(c, features.spec), strategy, cluster)
    start, first = None if saved or not chief else resolve_start(c, source, replay), None
    if start:
        position = Position(next=start, start=[])
    if start or c.dry_run:
        with liveness, liveness.waiting():
            first = read_first_rows(source, reader, position.next, features.parse)
    if c.dry_run:
        about = [needs, describe(first, schema, c.message_format)]
        say_what_a_run_would_do(c, console, source, position, features, about)
    if start:
        check_first_rows(c, first, schema)
    if c.dry_run:
        return RunResult("dry run", {})
    console.say(needs)
    if first and first.refused:
        console.say(f"warning: {describe(first, schema, c.message_format)}")
    model_dir = pathlib.Path(c.model_dir)
    if chief:
        say_what_changed(model_dir / "config.json", c, console)
        (model_dir / "config.json").write_text(json.dumps(c.resolved(), indent=2) + "\n")
    if c.export_dir and chief:
        features.lookup.keep_in(model_dir)  # what is published takes the lookup table along, as a file

    console.say(f"making the model: {features.spec.num_ids:,} ids, {strategy.num_replicas_in_sync} replica(s)")
    learner = make_learner(strategy, c, features.spec, cluster)
    if chief:
        most = getattr(reader, "most_partitions", 0)
        begun = begin(c, learner, contract, source, start, replay, local, job, console, most)
    else:
        begun = join(c, learner, contract, source, job, console)
    plan, checkpoints = begun.plan, begun.checkpoints

    def newest_checkpoint() -> str:
        checkpoints.wait()
        return checkpoints.latest

    lost = plan.rows_lost_since_planned if chief else str
    known = lambda: plan.error or reader.error  # noqa: E731
    failures = Failures(c, begun.position, known, lost, newest_checkpoint if chief else None, with_others=bool(job))

    rows_a_call = c.batch_size * c.steps_per_call
    groups, own = (len(cluster.workers), cluster.index) if cluster else (c.partition_groups, None)
    # A worker must not end by itself: the others may have begun with the window.
    raw = make_raw_batches(begun.windows, reader, rows_a_call, groups, own, stop.requested if not job else lambda: False)
    elements = make_batches(raw, features, rows_a_call // (groups if cluster else 1))
    drain = Drain(stop, c.drain_secs)
    with contextlib.ExitStack() as closing:
        closing.callback(source.close)
        if job:
            closing.callback(job.close)
        doing = make_all(
            c, schema, dictionaries, features, learner, source, begun, failures, stop, console, status, job, closing,
            dead_letters=_open_dead_letters(c, stop, console) if c.dead_letter_topic else None,
        )  # fmt: skip
        # What is there now stays. No later collection looks at it: one in the middle of an export would stop training for 0.3 s.
        gc.collect()
        gc.freeze()
        closing.callback(gc.unfreeze)
        for each in (stop, local):
            closing.callback(each.request, "the run has ended")  # whatever still reads ahead ends, too
        if chief and not saved:
            doing.save(wait=True)  # checkpoint 0: a crash before the first ordinary save starts from the same weights and offsets
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
                batch_size=c.batch_size,
                overdue=(lambda: job.rounds.leave) if job else drain.over,
                refused=(lambda _: job.rounds.rejected) if job else None,
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


def _what_is_saved(config: flags.Config, console: Console) -> "Contents | None":
    """What the newest checkpoint holds; None where a new model begins, for which another one's files are put aside."""
    from tfonline.keep import checkpoint_files
    from tfonline.keep.checkpoints import saved_contents

    model_dir = pathlib.Path(config.model_dir)
    saved = saved_contents(config.model_dir, config.new_model)
    if not saved and not config.dry_run and checkpoint_files.traces(model_dir):
        console.say(f"--new_model: what another model left is in {checkpoint_files.put_aside(model_dir)} now")
    return saved


def _check_saved(config: flags.Config, saved: "Contents", contract: dict[str, Any]) -> None:
    """Raises UserError where the checkpoint was made for another configuration (exit 78)."""
    from tfonline.keep.contract import check_contract, of_format_1

    made_for = saved.contract
    if saved.format == 1:
        made_for = of_format_1(pathlib.Path(config.model_dir), made_for, contract, config.resolved())
    check_contract(config.model_dir, made_for, contract)


def _open_stream(
    config: flags.Config,
    topic: KafkaTopic | None,
    saved: "Contents | None",
    chief: bool,
    num_workers: int,
    liveness: Liveness,
    console: Console,
) -> tuple[Any, "Reader"]:
    """The admin side of the stream, and what reads its rows."""
    from tfonline.stream.file_source import FileSource, open_files
    from tfonline.stream.readers.choose import open_reader

    if topic:
        c, properties = config, flags.kafka_properties(config)
        with liveness, liveness.waiting():
            return topic, open_reader(c.reader, topic, c.bootstrap_servers, c.group, properties, num_workers, console.say)
    if chief:
        source = open_files(config.input_files, config.model_dir, saved, config.replay_journal, console.say)
    else:
        source = FileSource(config.input_files)  # in the chief's order once that is known
    return source, source.reader


def _open_dead_letters(config: flags.Config, stop: Stop, console: Console) -> DeadLetters:
    """Raises UserError where the topic is missing (exit 66): better now than at the first refused row."""
    servers, properties, secs = config.bootstrap_servers, flags.kafka_properties(config), config.broker_timeout_secs
    KafkaTopic(servers, config.dead_letter_topic, config.group, properties, secs, stop, console.say)
    return DeadLetters(servers, config.dead_letter_topic, config.topic, properties, secs)


if __name__ == "__main__":
    main(sys.argv)
