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
        """A kill in reserve, where the planned ones did not hit a phase at all: each came when it was over.

        That is rare: the first kill of each phase is planned so that it hits. Only a machine that stands still for a moment misses.

        Args:
          kills: how many there were in each phase.
        """
        planned = sum(isinstance(fault, Kill) for fault in self.faults)
        return next((kill for kill in self.reserve if planned >= len(PHASES) and not kills[kill.phase]), None)


def plan_of(seed: int, kills: int, broker_faults: int) -> Plan:
    """The plan of a seed.

    Args:
      seed: of all chance.
      kills: how many; each phase is waited for as often as any other, give or take one.
      broker_faults: how many; their kinds take turns, and their phases after each round of kinds.
    """
    rng = random.Random(seed)
    windows = itertools.cycle(_WINDOWS)
    phases = [phase for _ in range(0, kills, len(PHASES)) for phase in rng.sample(PHASES, len(PHASES))]
    whats = ["kill"] * kills + ["broker"] * broker_faults
    rng.shuffle(whats)
    faults: list[Fault] = []
    for i, what in enumerate(whats):
        number = whats[:i].count(what)
        if what == "kill":
            faults.append(_kill(rng, phases[number], number < len(PHASES), next(windows)))
        else:
            faults.append(_broker_fault(rng, number, next(windows), next(windows)))
    if faults:
        faults.insert(rng.randint(len(faults) // 3, len(faults) * 2 // 3), NewPartition())
    reserve = tuple(_kill(rng, phase, True, next(windows)) for phase in PHASES)
    return Plan(tuple(faults), reserve, next(windows))


def _kill(rng: random.Random, phase: str, is_sure: bool, windows: Windows) -> Kill:
    """A sure kill hits its phase: it comes long before a start is over, or at once where the phase begins."""
    if phase == "starting":
        return Kill(phase, rng.uniform(0, 2 if is_sure else 6), 0.0, windows)
    return Kill(phase, rng.uniform(0, 4), 0.0 if is_sure else rng.choice([0.0, 0.0, rng.uniform(0, 0.03)]), windows)


def _broker_fault(rng: random.Random, number: int, windows: Windows, windows_after: Windows) -> BrokerFault:
    phase = _BROKER_PHASES[number // len(_KINDS) % len(_BROKER_PHASES)]
    return BrokerFault(_KINDS[number % len(_KINDS)], phase, rng.uniform(0, 3), windows, windows_after)
