"""The trainer under a plan of faults: killed and started again on one model folder, then held against an undisturbed run."""

import argparse
import collections
import math
import pathlib
import time

from benchmarks.chaos.check import Verdict, check
from benchmarks.chaos.patience import PATIENCE_SECS, limit_secs
from benchmarks.chaos.plan import BrokerFault, Fault, Kill, Plan, Windows
from benchmarks.chaos.stage import Stage
from benchmarks.chaos.stream import Feeder
from benchmarks.chaos.trainer import PHASES, Trainer, command_of
from benchmarks.chaos.vocabulary import GrowingVocabulary
from benchmarks.chaos.watch import Watch
from tfonline.lifecycle import Exit
from tfonline.stream.readers.choose import choose_reader

_TOPIC, _DEAD_LETTERS = "chaos", "chaos-refused"
_LONG_SECS = 60.0  # windows of more are meant to close by count
_SHORT_TIMEOUT_SECS = 5.0
# On a busy machine a broker needs half a minute to start. That is longer than the trainer waits by default, and no fault of the
# trainer. A broker that does not come back at all is found out before.
_LONG_TIMEOUT_SECS = 2 * PATIENCE_SECS


class Chaos:
    """One run: a topic, a feeder, and trainers that follow each other on one model folder.

    Args:
      args: `reader`, `reader_processes`, `vocabulary_rows` and `trainer`, as in the command.
      stage: where it takes place.
      plan: what is done.

    Attributes:
      kills: how many there were in each phase.
      broker_faults: how many there were.
      vocabulary: that grows with the stream; None: dictionaries.
    """

    def __init__(self, args: argparse.Namespace, stage: Stage, plan: Plan):
        self._args, self._stage, self._plan = args, stage, plan
        self.kills: collections.Counter[str] = collections.Counter()
        self.broker_faults = 0
        self.vocabulary: GrowingVocabulary | None = None
        self._trainer: Trainer | None = None

    def run(self) -> Verdict:
        """All faults, then the rest of the stream, then the check.

        Raises:
          Failed: the trainer ended where it should not, or stands still.
          HarnessFailed, KafkaException, UserError: the feeder, the broker or a tool failed.
        """
        say, folder = self._stage.say, self._stage.folder
        self._stage.topic(_DEAD_LETTERS, 1)
        if self._args.vocabulary_rows:
            self.vocabulary = GrowingVocabulary(self._args.vocabulary_rows, folder / "model")
            self._ids = self.vocabulary.flags
        else:
            self._ids = {"dictionary_dir": self._stage.dictionaries()}
        self._feeder = self._stage.feed(_TOPIC)
        try:
            if self.vocabulary:
                self._fill(self.vocabulary)
            self._strike_all()
            say(f"the feeder has produced {self._feeder.stop()}; training the rest")
            flags = {**self._flags(self._plan.last_windows), "stop_at": "latest"}
            self._finish(flags, self._args.trainer, "the rest of the stream")
            say("replaying the journal in one uninterrupted run")
            replay = {"replay_journal": folder / "model" / "windows.jsonl", "model_dir": folder / "replayed"}
            common = {k: v for k, v in flags.items() if k not in ("stop_at", "dead_letter_topic", "window_rows", "window_secs")}
            self._finish({**common, **replay}, "", "the replay")
        finally:
            if self._trainer:
                self._trainer.kill()
        say("comparing topic, journal, checkpoint and the replayed model")
        tells_tombstones = choose_reader(self._args.reader, {}, 1, 1, self._args.reader_processes)[0] == "consumer"
        verdict = check(self._stage.bootstrap, _TOPIC, _DEAD_LETTERS, folder / "model", folder / "replayed", tells_tombstones)
        if self.vocabulary:
            said, problems = self.vocabulary.outcome(verdict.compared)
            say(said)
            verdict.problems += problems
        return verdict

    def _fill(self, vocabulary: GrowingVocabulary) -> None:
        """Trains until the vocabulary is nearly full, and ends that trainer as anybody would: what is killed begins there."""
        self._stage.say("training until the vocabulary is nearly full")
        flags = self._flags(self._plan.last_windows)
        trainer = self._start(flags, self._args.trainer)
        with self._watch(trainer, flags, self._feeder) as watch:
            watch.wait_until(lambda *_: vocabulary.is_full(), "its vocabulary is to fill")
        trainer.terminate()
        trainer.wait_for_exit(Exit.OK, PATIENCE_SECS, "SIGTERM")

    def _strike_all(self) -> None:
        """The planned faults, and then those in reserve that are needed."""
        for number, fault in enumerate(self._plan.faults, 1):
            self._stage.say(f"fault {number} of {len(self._plan.faults)}: {fault}")
            self._strike(fault)
        while fault := self._plan.missed(self.kills):
            self._stage.say(f"one in reserve: {fault}")
            self._strike(fault)

    def _strike(self, fault: Fault) -> None:
        if isinstance(fault, Kill):
            self._kill(fault)
        elif isinstance(fault, BrokerFault):
            self._break_the_broker(fault)
        else:
            self._stage.add_partition(_TOPIC)

    def _flags(self, windows: Windows) -> dict[str, object]:
        return {
            "bootstrap_servers": self._stage.bootstrap,
            "topic": _TOPIC,
            "reader": self._args.reader,
            "reader_processes": self._args.reader_processes,
            "dead_letter_topic": _DEAD_LETTERS,
            **self._ids,
            "model_dir": self._stage.folder / "model",
            "num_replicas": 2,
            "history": "true",  # what is counted must be exact, too
            "oov_buckets": 1000,
            "cross_buckets": 10_000,
            "average_rows": 2000,
            "steps_per_call": 2,
            "checkpoint_every_steps": 5,
            "checkpoint_secs": 3,
            "save_predictions": "true",
            "rejected_max_bytes": 10**9,
            "loss_log_every_steps": 1,
            "report_secs": 2,
            "window_rows": windows.rows,
            "window_secs": windows.secs,
        }

    def _start(self, flags: dict[str, object], script: str) -> Trainer:
        log = self._stage.folder / ("replay.log" if "replay_journal" in flags else "trainer.log")
        self._trainer = Trainer(command_of(script), flags, log)
        return self._trainer

    def _watch(self, trainer: Trainer, flags: dict[str, object], feeder: Feeder | None) -> Watch:
        due_rows = flags["window_rows"] if flags.get("window_secs", 0) > _LONG_SECS else 1
        return Watch(self._stage.bootstrap, _TOPIC, trainer, pathlib.Path(flags["model_dir"]), feeder, due_rows)

    def _finish(self, flags: dict[str, object], script: str, what: str) -> None:
        """Runs a trainer to its end; nothing is fed any more."""
        trainer = self._start(flags, script)
        with self._watch(trainer, flags, None) as watch:
            trainer.wait_for_exit(Exit.OK, math.inf, what, watch.check)

    def _kill(self, kill: Kill) -> None:
        """Starts a trainer and kills it."""
        flags = self._flags(kill.windows)
        trainer = self._start(flags, self._args.trainer)
        with self._watch(trainer, flags, self._feeder) as watch:
            phase, window, step = kill_as_planned(kill, trainer, watch)
        self.kills[phase] += 1
        if self.vocabulary:
            self.vocabulary.note_kill()
        self._stage.say(f"kill {self.kills.total()} in {phase} (window {window}, step {step}); so far {dict(self.kills)}")

    def _break_the_broker(self, fault: BrokerFault) -> None:
        """Takes the broker away while the trainer is in some phase, and gives it back."""
        timeout_secs = _SHORT_TIMEOUT_SECS if fault.is_long else _LONG_TIMEOUT_SECS
        flags = {**self._flags(fault.windows), "broker_timeout_secs": timeout_secs}
        trainer = self._start(flags, self._args.trainer)
        with self._watch(trainer, flags, self._feeder) as watch:
            watch.wait_until(lambda phase, *_: phase != "starting", "it started")
            watch.wait_until(lambda phase, window, step: step > 0, "it made a step")
            patience = limit_secs(watch.sample().left)
            watch.wait_until(lambda phase, *_: phase == fault.phase, f"waiting for it to be {fault.phase}")
            window = trainer.state()[1]
            self._stage.take_broker(gently=fault.kind == "stopped")
            if not fault.is_long:
                time.sleep(fault.away_secs)
                self._stage.return_broker()
                self._wait_for_window(watch, window + 3)
        if fault.is_long:
            trainer.wait_for_exit(Exit.UNAVAILABLE, patience, f"the broker was away for longer than {_SHORT_TIMEOUT_SECS:g} s")
            self._stage.return_broker()
            flags = self._flags(fault.windows_after)
            trainer = self._start(flags, self._args.trainer)
            with self._watch(trainer, flags, self._feeder) as watch:
                self._wait_for_window(watch, window + 3)
        trainer.kill()
        self.broker_faults += 1
        self._stage.say(f"broker fault {self.broker_faults}: {fault.kind} while {fault.phase}; the trainer went on")

    def _wait_for_window(self, watch: Watch, window: int) -> None:
        watch.wait_until(lambda _, now, __: now >= window, f"window {window} is to come: the broker is back")


def kill_as_planned(kill: Kill, trainer: Trainer, watch: Watch, phases: tuple[str, ...] = PHASES) -> tuple[str, int, int]:
    """Waits for the moment and kills; returns the (phase, window, step) that was hit.

    Args:
      kill: as planned.
      trainer: just started.
      watch: over it.
      phases: that it has; where it has not the planned one, the wait alone makes the moment.
    """
    if kill.phase == "starting":
        time.sleep(kill.wait_secs)
    else:
        watch.wait_until(lambda phase, *_: phase not in ("starting", "saving"), "it started")
        time.sleep(kill.wait_secs)
        if kill.phase in phases:
            watch.wait_until(lambda phase, *_: phase == kill.phase, f"waiting for it to be {kill.phase}")
            time.sleep(kill.late_secs)
    trainer.kill()
    return trainer.state()
