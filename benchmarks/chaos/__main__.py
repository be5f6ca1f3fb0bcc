"""Kills the real trainer and its broker at random moments, then proves that the model is the one of an undisturbed run.

    python -m benchmarks.chaos                               50 kills, 12 broker faults: about half an hour
    python -m benchmarks.chaos --kills=5 --broker_faults=2   the short one
    python -m benchmarks.chaos --reader=consumer             by one of the readers
    python -m benchmarks.chaos --reader_processes=2          by several processes that read

A feeder produces synthetic rows all the while, one in a hundred poisoned, after a beginning of committed and aborted transactions.
The trainer runs with its default layers and two replicas, windows by count, by time and both in turn. It is killed in each of its
phases; the broker is stopped, killed, and away for longer than --broker_timeout_secs. A partition is added on the way. Then the
journal is replayed in one uninterrupted run, and everything is compared: see check.py. Exit code 1 if anything differs or
the trainer stands still; 75 if the feeder or the broker fails, which says nothing of the trainer (patience.py says who is blamed).
"""

import argparse
import collections
import math
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time

from benchmarks.chaos.trainer import PHASES, ROOT, Failed, HarnessFailed, Trainer, command_of

sys.path.insert(0, str(ROOT / "tools"))

import broker
import process_data
import synthetic
import topic as topic_tool
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewPartitions
from kafka_cli import Connection

from benchmarks.chaos.check import Verdict, check
from benchmarks.chaos.patience import limit_secs
from benchmarks.chaos.stream import Feeder, preload
from benchmarks.chaos.watch import Watch
from tfonline.lifecycle import Exit, UserError
from tfonline.stream.readers.choose import choose_reader

_TOPIC, _DEAD_LETTERS, _PARTITIONS = "chaos", "chaos-refused", 3
# A window by count, by time, and by whichever comes first.
_WINDOWS = (
    {"window_rows": 2000, "window_secs": 3600},
    {"window_rows": 1_000_000, "window_secs": 0.7},
    {"window_rows": 1500, "window_secs": 1.0},
)
_LONG_SECS = 60.0  # windows of more are meant to close by count
_SHORT_TIMEOUT_SECS = 5.0


class Chaos:
    """One run: a broker, a topic, a feeder, and trainers that follow each other on one model folder."""

    def __init__(self, args: argparse.Namespace, folder: pathlib.Path):
        self._args, self._folder, self._random = args, folder, random.Random(args.seed)
        self._began, self._segments = time.monotonic(), 0
        self.kills: collections.Counter[str] = collections.Counter()
        self.broker_faults = 0
        self._trainer: Trainer | None = None
        self.say(f"seed {args.seed}, folder {folder}")

    def run(self) -> Verdict:
        """All faults, then the rest of the stream, then the check.

        Raises:
          Failed: the trainer ended where it should not, or stands still.
          HarnessFailed, KafkaException, UserError: the feeder, the broker or a tool failed.
        """
        self._prepare()
        faults = ["kill"] * self._args.kills + ["broker"] * self._args.broker_faults
        self._random.shuffle(faults)
        partition_after = len(faults) // 2
        for number, fault in enumerate(faults):
            if number == partition_after:
                self._add_a_partition()
            self._kill() if fault == "kill" else self._break_the_broker()
        least = min(self._args.kills // len(PHASES), 5)
        while any(self.kills[phase] < least for phase in PHASES):
            self._kill()
        self.say(f"the feeder has produced {self._feeder.stop()}; training the rest")
        flags = {**self._flags(), "stop_at": "latest"}
        self._finish(flags, self._args.trainer, "the rest of the stream")
        self.say("replaying the journal in one uninterrupted run")
        replay = {"replay_journal": self._folder / "model" / "windows.jsonl", "model_dir": self._folder / "replayed"}
        common = {k: v for k, v in flags.items() if k not in ("stop_at", "dead_letter_topic", "window_rows", "window_secs")}
        self._finish({**common, **replay}, "", "the replay")
        self.say("comparing topic, journal, checkpoint and the replayed model")
        tells_tombstones = choose_reader(self._args.reader, {}, 1, 1, self._args.reader_processes)[0] == "consumer"
        return check(self._bootstrap, _TOPIC, _DEAD_LETTERS, self._folder / "model", self._folder / "replayed", tells_tombstones)

    def close(self) -> None:
        """Stops the trainer and the broker."""
        if self._trainer:
            self._trainer.kill()
        broker.kill(self._folder / "kafka")

    def say(self, text: str) -> None:
        """A line of progress."""
        secs = int(time.monotonic() - self._began)
        print(f"chaos: {secs // 60:02}:{secs % 60:02} {text}", flush=True)

    def _prepare(self) -> None:
        """A broker, a topic with its first rows, dictionaries, and a feeder that goes on."""
        self._bootstrap = broker.start(self._folder / "kafka").bootstrap
        link = Connection(self._bootstrap, {})
        topic_tool.create(link, _TOPIC, _PARTITIONS, 1)
        topic_tool.create(link, _DEAD_LETTERS, 1, 1)
        rows = self._folder / "rows.tsv"
        rows.write_bytes(b"".join(line + b"\n" for block in synthetic.rows(20_000, 1) for line in block.lines))
        process_data.run(process_data.parse_args([str(rows), f"--output_dir={self._folder / 'dictionaries'}"]))
        preload(self._bootstrap, _TOPIC, _PARTITIONS, 6000, seed=2)
        self._feeder = Feeder(self._bootstrap, _TOPIC, _PARTITIONS, self._args.rows_per_sec, seed=3)

    def _start_broker_again(self) -> None:
        bootstrap = broker.start(self._folder / "kafka").bootstrap
        if bootstrap != self._bootstrap:
            raise HarnessFailed(f"the broker came back at {bootstrap}: somebody took its port, {self._bootstrap}")

    def _flags(self) -> dict[str, object]:
        self._segments += 1
        return {
            "bootstrap_servers": self._bootstrap,
            "topic": _TOPIC,
            "reader": self._args.reader,
            "reader_processes": self._args.reader_processes,
            "dead_letter_topic": _DEAD_LETTERS,
            "dictionary_dir": self._folder / "dictionaries",
            "model_dir": self._folder / "model",
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
            **_WINDOWS[self._segments % len(_WINDOWS)],
        }

    def _start(self, flags: dict[str, object], script: str) -> Trainer:
        log = self._folder / ("replay.log" if "replay_journal" in flags else "trainer.log")
        self._trainer = Trainer(command_of(script), flags, log)
        return self._trainer

    def _watch(self, trainer: Trainer, flags: dict[str, object], feeder: Feeder | None) -> Watch:
        due_rows = flags["window_rows"] if flags.get("window_secs", 0) > _LONG_SECS else 1
        return Watch(self._bootstrap, _TOPIC, trainer, pathlib.Path(flags["model_dir"]), feeder, due_rows)

    def _finish(self, flags: dict[str, object], script: str, what: str) -> None:
        """Runs a trainer to its end; nothing is fed any more."""
        trainer = self._start(flags, script)
        with self._watch(trainer, flags, None) as watch:
            trainer.wait_for_exit(0, math.inf, what, watch.check)

    def _kill(self) -> None:
        """Starts a trainer and kills it, in the phase that was hit least so far."""
        wanted = min(PHASES, key=lambda phase: (self.kills[phase], self._random.random()))
        flags = self._flags()
        trainer = self._start(flags, self._args.trainer)
        with self._watch(trainer, flags, self._feeder) as watch:
            if wanted == "starting":
                time.sleep(self._random.uniform(0, 8))
            else:
                watch.wait_until(lambda phase, *_: phase not in ("starting", "saving"), "it started")
                time.sleep(self._random.uniform(0, 4))
                watch.wait_until(lambda phase, *_: phase == wanted, f"waiting for it to be {wanted}")
                time.sleep(self._random.choice([0, 0, self._random.uniform(0, 0.03)]))
            window = trainer.state()[1:]
            phase = trainer.kill()
        self.kills[phase] += 1
        self.say(f"kill {self.kills.total()} in {phase} (window {window[0]}, step {window[1]}); so far {dict(self.kills)}")

    def _break_the_broker(self) -> None:
        """Takes the broker away while the trainer is in some phase, and gives it back."""
        kind = ("killed", "away for longer than --broker_timeout_secs", "stopped")[self.broker_faults % 3]
        phase_wanted = ("reading", "training", "committing")[self.broker_faults // 3 % 3]
        flags, long = self._flags(), kind.startswith("away")
        if long:
            flags["broker_timeout_secs"] = _SHORT_TIMEOUT_SECS
        trainer = self._start(flags, self._args.trainer)
        with self._watch(trainer, flags, self._feeder) as watch:
            watch.wait_until(lambda phase, *_: phase != "starting", "it started")
            watch.wait_until(lambda phase, window, step: step > 0, "it made a step")
            patience = limit_secs(watch.sample().left)
            watch.wait_until(lambda phase, *_: phase == phase_wanted, f"waiting for it to be {phase_wanted}")
            window = trainer.state()[1]
            broker.stop(self._folder / "kafka") if kind == "stopped" else broker.kill(self._folder / "kafka")
            if not long:
                time.sleep(self._random.uniform(0, 3))
                self._start_broker_again()
                self._wait_for_window(watch, window + 3)
        if long:
            trainer.wait_for_exit(69, patience, f"the broker was away for longer than {_SHORT_TIMEOUT_SECS:g} s")
            self._start_broker_again()
            flags = self._flags()
            trainer = self._start(flags, self._args.trainer)
            with self._watch(trainer, flags, self._feeder) as watch:
                self._wait_for_window(watch, window + 3)
        trainer.kill()
        self.broker_faults += 1
        self.say(f"broker fault {self.broker_faults}: {kind} while {phase_wanted}; the trainer went on")

    def _wait_for_window(self, watch: Watch, window: int) -> None:
        watch.wait_until(lambda _, now, __: now >= window, f"window {window} is to come: the broker is back")

    def _add_a_partition(self) -> None:
        """The feeder goes on with the old ones; the new one gets some rows at once."""
        admin = AdminClient({"bootstrap.servers": self._bootstrap, "log_level": 0})
        admin.create_partitions([NewPartitions(_TOPIC, _PARTITIONS + 1)])[_TOPIC].result(30)
        producer = Producer({"bootstrap.servers": self._bootstrap})
        for line in (line for block in synthetic.rows(3000, seed=5) for line in block.lines):
            producer.produce(_TOPIC, line, partition=_PARTITIONS)
        producer.flush()
        self.say(f"the topic has {_PARTITIONS + 1} partitions now")


def main() -> int:
    """Runs the chaos; returns the exit code."""
    args = _parse()
    began = time.monotonic()
    folder = pathlib.Path(args.folder or tempfile.mkdtemp(prefix="tfonline-chaos-")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    chaos = Chaos(args, folder)
    try:
        verdict = chaos.run()
    except Failed as e:
        print(f"chaos: FAILED, seed {args.seed}: {e}\nchaos: everything is in {folder}", flush=True)
        return 1
    except (HarnessFailed, KafkaException, UserError) as e:
        print(f"chaos: NOTHING PROVEN, seed {args.seed}: not the trainer, {e}\nchaos: everything is in {folder}", flush=True)
        return Exit.TRY_AGAIN
    finally:
        chaos.close()
    for problem in verdict.problems:
        print(f"chaos: NOT AS PROMISED: {problem}", flush=True)
    print(
        f"chaos: kills={chaos.kills.total()} broker_faults={chaos.broker_faults} lost={verdict.lost} "
        f"duplicated={verdict.duplicated} weights_equal={'yes' if verdict.weights_equal else 'no'} "
        f"seconds={time.monotonic() - began:.0f}",
        flush=True,
    )
    if verdict.problems:
        print(f"chaos: everything is in {folder}")
        return 1
    if not args.folder:
        shutil.rmtree(folder)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs of the trainer (default 50)")
    parser.add_argument("--broker_faults", type=int, default=12, help="times that the broker goes away (default 12)")
    parser.add_argument("--rows_per_sec", type=int, default=800, help="what the feeder produces (default 800)")
    parser.add_argument("--reader", default="auto", help="the trainer's --reader (default auto)")
    parser.add_argument("--reader_processes", type=int, default=0, help="the trainer's --reader_processes (default 0)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of all chance (default: the time, printed)")
    parser.add_argument("--folder", default="", help="kept afterwards (default: a temporary one, kept where something differs)")
    parser.add_argument("--trainer", default="", help="a script in place of the trainer, to see the check fail")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
