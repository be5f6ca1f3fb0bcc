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
from tfonline.positions import add_new_partitions, make_planner, resolve_start
from tfonline.report.before_run import check_machine, say_what_a_run_would_do, say_what_changed
from tfonline.report.console import Console
from tfonline.report.status import Status
from tfonline.stream.broker import KafkaTopic
from tfonline.stream.dead_letters import DeadLetters
from tfonline.stream.journal import Journal, read_journal
from tfonline.stream.offsets import short
from tfonline.stream.windows import Window
from tfonline.waits import all_come, alone, leave, stuck

_CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG, errno.ENOTDIR}

if TYPE_CHECKING:
    from tfonline.features.dictionaries import Dictionaries
    from tfonline.features.schema import Schema
    from tfonline.model.learner import Learner
    from tfonline.publish.checkpoints import Position


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

    from tfonline.cluster.job import Job
    from tfonline.cluster.loop import ClusterLoop, Silent
    from tfonline.evaluate.progressive import ProgressiveMetrics
    from tfonline.features.pipeline import Features, make_batches
    from tfonline.loop import Loop, Parts
    from tfonline.model.learner import make_learner
    from tfonline.model.sizes import reckon
    from tfonline.model.tables.replicas import make_strategy
    from tfonline.publish import checkpoint_files
    from tfonline.publish.checkpoints import FORMAT, Checkpoints, Position, saved_position
    from tfonline.publish.contract import check_contract, make_contract, of_format_1
    from tfonline.publish.publisher import Publisher
    from tfonline.report.columns import ColumnShares
    from tfonline.report.first_rows import check as check_first_rows
    from tfonline.report.first_rows import describe, read_first_rows
    from tfonline.report.tensorboard import TensorBoard
    from tfonline.stream.file_source import FileSource, open_files
    from tfonline.stream.readers import MOST_PARTITIONS, KafkaReader, make_raw_batches

    with all_come(cluster, config.worker_timeout_secs, console):
        strategy = make_strategy(config.num_replicas, config.devices, cluster)  # first of all: it makes logical devices
    job, local = Job(config, cluster, strategy, stop) if cluster else None, stop
    stop = job.stop if job else stop
    limit_secs = max(config.broker_timeout_secs, 1.0)
    chief, num_workers = not cluster or cluster.chief, len(cluster.workers) if cluster else 1
    model_dir = pathlib.Path(config.model_dir)
    saved = saved_position(config.model_dir, config.new_model) if chief else None
    if chief and not saved and not config.dry_run and checkpoint_files.traces(model_dir):
        console.say(f"--new_model: what another model left is in {checkpoint_files.put_aside(model_dir)} now")
    liveness = Liveness(limit_secs, lambda secs: stuck(secs, limit_secs, topic, None, stop, console))
    if topic:
        source, reader = topic, KafkaReader(topic, config.bootstrap_servers, config.group, flags.kafka_properties(config))
        with liveness, liveness.waiting():
            reader.check(num_workers)
    elif not chief:
        source = reader = FileSource(config.input_files)  # in the chief's order once that is known
    else:
        source = reader = open_files(config.input_files, config.model_dir, saved, config.replay_journal, console.say)

    c = config
    features = Features(schema, dictionaries, c.numeric, c.message_format, c.oov_buckets, c.cross_buckets, c.vocab_size)
    vocab_size = features.spec.num_ids
    if vocab_size < features.num_ids:
        raise UserError(
            f"--vocab_size={vocab_size} is too small: dictionaries and --numeric={config.numeric} need {features.num_ids} ids. "
            f"Use 0, or at least {features.num_ids}.",
            Exit.FLAGS,
        )
    contract = make_contract(config, schema, dictionaries, vocab_size, source)

    if saved:
        made_for = saved.contract
        if saved.format == 1:
            made_for = of_format_1(model_dir, made_for, contract, config.resolved())
        check_contract(config.model_dir, made_for, contract)
        add_new_partitions(saved, source)
    needs = check_machine(config, reckon(config, features.spec), strategy, cluster)
    start, first = None if saved or not chief else resolve_start(config, source, replay), None
    if start or config.dry_run:
        with liveness, liveness.waiting():
            first = read_first_rows(source, reader, start or saved.next, features.parse)
    if config.dry_run:
        position = saved or Position(next=start, start=[])
        about = [needs, describe(first, schema, config.message_format)]
        say_what_a_run_would_do(config, console, source, position, features, vocab_size, about)
    if start:
        check_first_rows(config, first, schema)
    if config.dry_run:
        return RunResult("dry run", {})
    console.say(needs)
    if first and first.refused:
        console.say(f"warning: {describe(first, schema, config.message_format)}")

    if chief:
        say_what_changed(model_dir / "config.json", config, console)
        (model_dir / "config.json").write_text(json.dumps(config.resolved(), indent=2) + "\n")
    publishes = config.export_dir and chief
    if publishes:
        features.lookup.keep_in(model_dir)  # what is published takes the lookup table along, as a file

    console.say(f"making the model: {vocab_size:,} ids, {strategy.num_replicas_in_sync} replica(s)")
    learner = make_learner(strategy, config, features.spec, cluster)
    metrics = ProgressiveMetrics(config.metric_rows)
    position = Position(next=[], start=[], contract=contract)
    journal = publisher = None
    if chief:
        checkpoints = Checkpoints(config.model_dir, config.keep_checkpoints, learner, position, metrics, config.background_save)
        if saved:
            for damaged in checkpoints.restore():
                console.say(f"warning: {damaged}")
            _carry_over(learner, position, contract, console)
            add_new_partitions(position, source)
            at = f"window {position.window}, step {position.step}, next {short(position.next)}"
            console.say(f"resumed from {checkpoints.latest}: {at}")
        else:
            position.next = position.start = start
            position.rates = learner.rates
            console.say(f"a new model, from offsets {short(position.start)}")
        position.files_read = [] if topic else [dataclasses.asdict(file) for file in source.files]
        journal = Journal(config.model_dir, files=position.files_read)
        most = MOST_PARTITIONS * num_workers if topic else 0
        planner = make_planner(config, source, journal, position, replay, local, console, most)
        windows, writer = (
            job.announce(planner, position.files_read) if job else planner,
            TensorBoard(str(model_dir / "tensorboard")),
        )
    else:
        checkpoints, planner = job.follow(learner, position, metrics)
        if not topic:
            source.take_order(job.files())
        if position.format == FORMAT:  # else the chief has looked
            check_contract(config.model_dir, position.contract, contract)
        _carry_over(learner, position, contract, console)
        windows, writer = planner, Silent()
        console.say(f"follows the chief from window {position.window}, step {position.step}")
    groups, own = (len(cluster.workers), cluster.index) if cluster else (config.partition_groups, None)
    rows_a_call = config.batch_size * config.steps_per_call
    raw = make_raw_batches(windows, reader, rows_a_call, groups, own)
    elements = make_batches(raw, features, rows_a_call // (groups if cluster else 1))
    if chief:
        console.expect(None if position.stop is None else sum(position.stop) - sum(position.start), position.rows)
    dead_letters = _open_dead_letters(config, stop, console) if config.dead_letter_topic else None
    if publishes:
        newest_row_time = topic.newest_row_time if topic else None
        publisher = Publisher(config, schema, features, learner, position, console, newest_row_time)
    parts = Parts(
        config=config, source=source, reader=reader, planner=planner, journal=journal, dead_letters=dead_letters,
        learner=learner, checkpoints=checkpoints, publisher=publisher, position=position, metrics=metrics, writer=writer,
        console=console, status=status, stop=stop,
        column_shares=ColumnShares(schema, dictionaries, features, config.oov_buckets) if chief else None,
    )  # fmt: skip
    loop = ClusterLoop(parts, cluster, job.rounds) if job else Loop(parts)
    # What is there now stays. No later collection looks at it: one in the middle of an export would stop training for 0.3 s.
    gc.collect()
    gc.freeze()
    try:
        if chief and not saved:
            loop.save(wait=True)  # checkpoint 0: a crash before the first ordinary save starts from the same weights and offsets
        with Liveness(limit_secs, lambda secs: stuck(secs, limit_secs, topic, loop, stop, console)) as liveness:
            followed = liveness.follow(elements)  # named, so that it closes its reads when all is saved and said
            if chief and job:
                job.begin(checkpoints)
            if job:
                job.watch(lambda secs: alone(secs, stop))
            ended = loop.train(job.rounds.follow(followed) if job else followed)
        alone_asked = stop.requested() and not local.requested()
        summary = loop.summarise(ended)
        status.set("ended", position.window, position.step)
    finally:
        gc.unfreeze()
        for each in (stop, local):
            each.request("the run has ended")  # whatever still reads ahead ends, too
        loop.close()
        source.close()
        if job:
            job.close()
    if planner.error:
        raise planner.error
    if job and job.rounds.peer_failed:
        raise UserError("another worker's rows have failed, see its log; all that was learned is saved", Exit.TRY_AGAIN)
    if job and alone_asked:
        raise UserError("another worker was asked to stop, and this one was not: all is saved, start all again", Exit.TRY_AGAIN)
    return RunResult(ended, summary)


def _carry_over(learner: "Learner", position: "Position", contract: dict[str, Any], console: Console) -> None:
    """Has what was learned by other rates go on by those of today, and says so."""
    if learner.carry_over(position.rates):
        console.say("rates of the wide side have changed: what was learned is converted to them")
    position.rates, position.contract = learner.rates, contract


def _open_dead_letters(config: flags.Config, stop: Stop, console: Console) -> DeadLetters:
    """Raises UserError where the topic is missing (exit 66): better now than at the first refused row."""
    servers, properties, secs = config.bootstrap_servers, flags.kafka_properties(config), config.broker_timeout_secs
    KafkaTopic(servers, config.dead_letter_topic, config.group, properties, secs, stop, console.say)
    return DeadLetters(servers, config.dead_letter_topic, config.topic, properties, secs)


if __name__ == "__main__":
    main(sys.argv)
