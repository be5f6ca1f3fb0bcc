"""The peer under the kills of the plan, on a topic that is fed as the trainer's was; and what became of its rows and weights."""

import dataclasses
import math
import os
import pathlib
import sys
from collections.abc import Iterable

import numpy as np

from benchmarks.chaos.check import Place, read, reason_of
from benchmarks.chaos.plan import Kill, NewPartition, Plan
from benchmarks.chaos.run import kill_as_planned
from benchmarks.chaos.stage import Stage
from benchmarks.chaos.stream import Feeder
from benchmarks.chaos.trainer import Failed, HarnessFailed, Trainer
from benchmarks.chaos.watch import Watch
from tfonline.lifecycle import Exit

_COMMAND = [sys.executable, "-m", "benchmarks.chaos.peer"]
_WEIGHTS = "optimizer/_trainable_variables/"  # the model's, under the first name by which the checkpoint meets them


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one run.

    Attributes:
      name: who ran.
      kills: of its processes.
      broker_faults: times that the broker went away.
      rows: good ones that were to be learned from.
      lost: of these, how many are not in the weights.
      duplicated: times that a row went into the weights again.
      weights_equal: to those of an undisturbed run, every bit.
      apart: relative norm of the difference of the weights from those of an undisturbed run.
      apart_undisturbed: the same between two undisturbed runs; None where there was only one.
    """

    name: str
    kills: int
    broker_faults: int
    rows: int
    lost: int
    duplicated: int
    weights_equal: bool
    apart: float
    apart_undisturbed: float | None


class PeerRun:
    """One run of the peer with one way to commit.

    Args:
      stage: where it takes place.
      plan: whose kills and new partition it gets; the broker is left alone.
      commit: as peer.py takes it.
    """

    def __init__(self, stage: Stage, plan: Plan, commit: str):
        self._stage, self._plan, self._commit = stage, plan, commit
        self._topic = f"chaos-peer-{commit.replace('_', '-')}"
        self._phases = ("starting", "reading", "training", "saving", *(["committing"] if commit == "after_checkpoint" else []))

    def run(self) -> Outcome:
        """The kills, then the rest of the stream, then two undisturbed runs over the same topic.

        Raises:
          HarnessFailed: the peer, the feeder or the broker failed.
        """
        try:
            kills = self._strike_all()
            folders = [self._run_to_the_end(name) for name in ("disturbed", "undisturbed", "undisturbed-again")]
        except Failed as e:
            raise HarnessFailed(f"the peer failed: {e}") from e
        (weights, learned), (undisturbed, _), (again, _) = map(saved, folders)
        good = {
            (partition, offset)
            for partition, rows in enumerate(read(self._stage.bootstrap, self._topic))
            for offset, value in rows.items()
            if not reason_of(value, True)
        }
        lost, duplicated = lost_and_duplicated(learned, good)
        equal = all(np.array_equal(weights[name], undisturbed[name]) for name in undisturbed)
        distances = apart(weights, undisturbed), apart(again, undisturbed)
        return Outcome(f"peer, {self._commit}", kills, 0, len(good), lost, duplicated, equal, *distances)

    def _strike_all(self) -> int:
        """The planned kills and the new partition; returns how many kills there were."""
        kills = 0
        feeder = self._stage.feed(self._topic)
        for fault in self._plan.faults:
            if isinstance(fault, Kill):
                phase, step = self._kill(fault, feeder)
                kills += 1
                self._stage.say(f"peer, {self._commit}: kill {kills} in {phase} (step {step}); planned: {fault.phase}")
            elif isinstance(fault, NewPartition):
                self._stage.add_partition(self._topic)
        self._stage.say(f"the feeder has produced {feeder.stop()}; the peer learns the rest")
        return kills

    def _kill(self, kill: Kill, feeder: Feeder) -> tuple[str, int]:
        trainer = self._start("disturbed")
        try:
            with Watch(self._stage.bootstrap, self._topic, trainer, self._folder("disturbed"), feeder) as watch:
                if kill.phase != "starting":  # a peer that never comes to a checkpoint would tell nothing
                    watch.wait_until(lambda phase, *_: phase == "saving", "waiting for its first checkpoint")
                phase, _, step = kill_as_planned(kill, trainer, watch, self._phases)
        finally:
            trainer.kill()
        return phase, step

    def _run_to_the_end(self, name: str) -> pathlib.Path:
        trainer = self._start(name, "--stop_at_end")
        try:
            with Watch(self._stage.bootstrap, self._topic, trainer, self._folder(name), None) as watch:
                trainer.wait_for_exit(Exit.OK, math.inf, f"the peer's {name} run", watch.check)
        finally:
            trainer.kill()
        return self._folder(name)

    def _start(self, name: str, *options: str) -> Trainer:
        """A peer on the folder of this name, in the consumer group of this name."""
        flags = {
            "bootstrap_servers": self._stage.bootstrap,
            "topic": self._topic,
            "model_dir": self._folder(name),
            "group": f"{self._topic}-{name}",
            "commit": self._commit,
        }
        return Trainer([*_COMMAND, *options], flags, self._stage.folder / "peer.log")

    def _folder(self, name: str) -> pathlib.Path:
        return self._stage.folder / self._topic / name


def saved(folder: pathlib.Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(weights by name, counts int32 [partitions, offsets]) of the peer's newest checkpoint."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(folder)))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith(_WEIGHTS)]
    return {name: reader.get_tensor(name) for name in names}, reader.get_tensor("counts/.ATTRIBUTES/VARIABLE_VALUE")


def lost_and_duplicated(counts: np.ndarray, good: Iterable[Place]) -> tuple[int, int]:
    """(rows that were not learned from, times that one was learned from again).

    Args:
      counts: int32 [partitions, offsets], how often each row was learned from.
      good: (partition, offset) of each row that is to be learned from once.

    Raises:
      HarnessFailed: a row was learned from that is not among the good ones.
    """
    partitions, offsets = np.array(sorted(good)).reshape(-1, 2).T
    wanted = counts[partitions, offsets]
    if wanted.sum() != counts.sum():
        raise HarnessFailed(f"the peer has learned {counts.sum() - wanted.sum():,} times from rows that are not to be learned from")
    return int(np.sum(wanted == 0)), int(np.sum(np.maximum(wanted - 1, 0)))


def apart(weights: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> float:
    """The norm of the difference of all numbers, relative to that of `others`."""
    difference = sum(np.sum((weights[name].astype(np.float64) - others[name]) ** 2) for name in others)
    return math.sqrt(difference / sum(np.sum(other.astype(np.float64) ** 2) for other in others.values()))


def table(outcomes: list[Outcome]) -> str:
    """A line an outcome, under a head; no line end behind it."""
    head = ("", "kills", "broker faults", "rows", "lost", "duplicated", "weights equal", "apart", "two undisturbed runs apart")
    lines = [
        (o.name, o.kills, o.broker_faults, f"{o.rows:,}", f"{o.lost:,}", f"{o.duplicated:,}", _yes(o.weights_equal),
         f"{o.apart:.1e}", "" if o.apart_undisturbed is None else f"{o.apart_undisturbed:.1e}")
        for o in outcomes
    ]  # fmt: skip
    widths = [max(len(str(line[i])) for line in [head, *lines]) for i in range(len(head))]
    return "\n".join("  ".join(str(cell).rjust(width) for cell, width in zip(line, widths, strict=True)) for line in [head, *lines])


def closing_line(outcome: Outcome) -> str:
    """What a run of the peer comes to, in one line."""
    return (
        f"peer: kills={outcome.kills} lost={outcome.lost} duplicated={outcome.duplicated} "
        f"weights_equal={_yes(outcome.weights_equal)}"
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"
