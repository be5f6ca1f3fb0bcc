"""What is done to the trainer, and in which order: drawn wholly from the seed, before anything runs.

Nothing is drawn later, so whatever the machine, the trainer or the broker does, one seed gives one list of faults. A phase of the
trainer is waited for: the moment at which a fault strikes differs from run to run, its kind, its place in the order, the phase and
the waits do not.
"""

import collections
import dataclasses
import itertools
import random
from typing import NamedTuple

from benchmarks.chaos.trainer import PHASES

_KINDS = ("killed", "away for longer than --broker_timeout_secs", "stopped")
_BROKER_PHASES = ("reading", "training", "committing")


class Windows(NamedTuple):
    """When the trainer closes a window: after so many rows or so many seconds, whichever comes first."""

    rows: int
    secs: float

    def __str__(self) -> str:
        return f"windows of {self.rows} rows or {self.secs:g} s"


# A window by count, by time, and by whichever comes first.
_WINDOWS = (Windows(2000, 3600), Windows(1_000_000, 0.7), Windows(1500, 1.0))


@dataclasses.dataclass(frozen=True)
class Kill:
    """A SIGKILL of the trainer.

    Attributes:
      phase: that is waited for; one of PHASES.
      wait_secs: after the process was started (`starting`), or after its first window is waited for; then the phase is.
      late_secs: after the phase began; 0 for `starting`, whose wait alone makes the moment.
      windows: of the trainer that is killed.
    """

    phase: str
    wait_secs: float
    late_secs: float
    windows: Windows

    def __str__(self) -> str:
        return f"kill while {self.phase}, after {self.wait_secs:.3f} s, {1000 * self.late_secs:.1f} ms late; {self.windows}"


@dataclasses.dataclass(frozen=True)
class BrokerFault:
    """The broker goes away and comes back.

    Attributes:
      kind: how it goes away.
      phase: of the trainer, that is waited for.
      away_secs: until it is started again; without meaning where it is away for so long that the trainer ends.
      windows: of the trainer meanwhile.
      windows_after: of the next trainer, where that one ends.
    """

    kind: str
    phase: str
    away_secs: float
    windows: Windows
    windows_after: Windows

    @property
    def is_long(self) -> bool:
        """Whether the trainer gives up before the broker is back."""
        return self.kind == _KINDS[1]

    def __str__(self) -> str:
        away = f"; then {self.windows_after}" if self.is_long else f", for {self.away_secs:.3f} s"
        return f"broker {self.kind} while {self.phase}{away}; {self.windows}"


@dataclasses.dataclass(frozen=True)
class NewPartition:
    """The topic gets another partition."""

    def __str__(self) -> str:
        return "another partition"


Fault = Kill | BrokerFault | NewPartition


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that is done.

    Attributes:
      faults: in their order.
      reserve: a kill for each phase, in the order of PHASES; see missed.
      last_windows: of the trainer that learns the rest of the stream.
    """

    faults: tuple[Fault, ...]
    reserve: tuple[Kill, ...]
    last_windows: Windows

    def missed(self, kills: collections.Counter[str]) -> Kill | None:
        """A kill in reserve, where a phase was hit by too few of the planned ones: some came when it was over.

        Args:
          kills: how many there were in each phase.
        """
        planned = sum(isinstance(fault, Kill) for fault in self.faults)
        least = min(planned // len(PHASES), 5)
        return next((kill for kill in self.reserve if kills[kill.phase] < least), None)


def plan_of(seed: int, kills: int, broker_faults: int) -> Plan:
    """The plan of a seed.

    Args:
      seed: of all chance.
      kills: how many; each phase is waited for as often as any other, give or take one.
      broker_faults: how many; their kinds take turns, and their phases after each round of kinds.
    """
    rng = random.Random(seed)
    windows = itertools.cycle(_WINDOWS)
    whats = ["kill"] * kills + ["broker"] * broker_faults
    rng.shuffle(whats)
    phases = (phase for _ in itertools.count() for phase in rng.sample(PHASES, len(PHASES)))
    numbers = itertools.count()
    faults: list[Fault] = [
        _kill(rng, next(phases), next(windows))
        if what == "kill"
        else _broker_fault(rng, next(numbers), next(windows), next(windows))
        for what in whats
    ]
    if faults:
        faults.insert(rng.randint(len(faults) // 3, len(faults) * 2 // 3), NewPartition())
    reserve = tuple(Kill(phase, rng.uniform(0, 2), 0.0, next(windows)) for phase in PHASES)
    return Plan(tuple(faults), reserve, next(windows))


def _kill(rng: random.Random, phase: str, windows: Windows) -> Kill:
    late_secs = rng.choice([0.0, 0.0, rng.uniform(0, 0.03)])
    return (
        Kill(phase, rng.uniform(0, 8), 0.0, windows) if phase == "starting" else Kill(phase, rng.uniform(0, 4), late_secs, windows)
    )


def _broker_fault(rng: random.Random, number: int, windows: Windows, windows_after: Windows) -> BrokerFault:
    phase = _BROKER_PHASES[number // len(_KINDS) % len(_BROKER_PHASES)]
    return BrokerFault(_KINDS[number % len(_KINDS)], phase, rng.uniform(0, 3), windows, windows_after)
