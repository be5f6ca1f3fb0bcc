"""Publishes deltas between the versions of a run, in a thread beside training."""

import contextlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NamedTuple

from tfonline import garbage
from tfonline.deltas.folder import DeltaFolder, Key
from tfonline.deltas.maker import Chain, Cut, Early, NotMade, Served, make
from tfonline.lifecycle import Every, UserError
from tfonline.model.learner import Learner
from tfonline.publish.by_label import DeltaGateByLabel
from tfonline.publish.delta_gate import DeltaGate
from tfonline.publish.newest import Newest
from tfonline.publish.versions import Versions
from tfonline.report.console import Console
from tfonline.report.writers import Scalars
from tfonline.state import Position


class _Made(NamedTuple):
    """What the thread has made.

    Attributes:
      size: of the delta in bytes; None: nothing had changed.
      state: of the chain, then.
    """

    size: int | None
    state: dict[str, Any]


class DeltaPublisher:
    """What `--delta_every_secs` asks for. What goes wrong is said and counted, and never ends the training.

    Args:
      folder: of the deltas; held from here on.
      secs: between two of them.
      learner: what is trained.
      position: where it is.
      newest: the newest version.
      versions: of the export folder.
      gate: judges the model between two versions.
      newest_row_time: of a position, asked for in the thread, see Publisher.
      newest_row: the time of the newest row learned from, None where it is not known.
      console: where lines go.

    Attributes:
      gate: told of each row that was scored.
      counts: deltas by outcome: made, held (by the gate, or because they are not finite), failed.
      bytes: of those made.
      secs: that the thread has worked for them.
      stall_secs: how long training has stood still for them.

    Raises:
      UserError: the folder cannot be written (exit 73), or another trainer holds it (75).
    """

    def __init__(
        self,
        folder: DeltaFolder,
        secs: float,
        learner: Learner,
        position: Position,
        newest: Newest,
        versions: Versions,
        gate: DeltaGate | DeltaGateByLabel,
        newest_row_time: Callable[[list[int], list[int]], float | None],
        newest_row: Callable[[], float | None],
        console: Console,
    ):
        folder.hold()
        self._folder, self._position, self._newest, self._versions = folder, position, newest, versions
        self._newest_row_time, self._newest_row, self._console = newest_row_time, newest_row, console
        self.gate = gate
        self._served = Served(learner)
        self._cadence = Every(secs=secs)
        self._thread = ThreadPoolExecutor(1, "deltas")
        self._tasks: deque[tuple[Future[_Made], Cut]] = deque()
        self._early: Future[Early] | None = None  # of the next cut
        self._looked = time.monotonic()  # whether it is time
        self._failed = False  # since the tasks were empty last: those behind have not all that has changed
        self._chain: Chain | None = None
        self._begun: Chain | None = None  # of a version that is being exported, where there is no chain
        self._cut_at = -1  # step
        self._said = ""
        self.counts = dict.fromkeys(("made", "held", "failed"), 0)
        self.bytes, self.secs, self.stall_secs = 0, 0.0, 0.0

    def begin(self) -> None:
        """Where the newest version is of this model: makes deltas void that were made of what comes after the checkpoint."""
        if self._may_make():
            self._begin()

    def between_windows(self) -> None:
        """Makes a delta where it is time, and nothing keeps it from being published."""
        self._collect()
        now = time.monotonic()
        since, self._looked = now - self._looked, now
        if self._tasks:
            return
        if self._cadence.due(0):
            if not self._early or self._early.done():
                self._next()
        elif self._chain and not self._early and self._cadence.left <= since:
            # It is likely to be due at the next call. What was touched by then is found and copied meanwhile.
            self._early = self._thread.submit(self._timed(self._served.early()))

    def _next(self) -> None:
        self._cadence.done(0)
        if self._position.step == self._cut_at:
            return
        if not self._may_make():
            return
        if self._chain is None:
            self._begin()
        elif why := self.gate.refusal():
            self.counts["held"] += 1
            self._say_once(f"delta held back: {why}")
        else:
            self._submit(self._cut(), self._chain)

    def exporting(self) -> Callable[[], dict[str, Any]]:
        """The model is about to be exported as it is now; gives what waits for what the manifest says of it."""
        self._collect()
        self._begun = None
        if self._chain and (not self._may_make() or self.gate.refusal()):
            return dict
        if self._chain:
            self._cadence.done(0)
            made = self._submit(self._cut(), self._chain)
        else:
            groups, window, cut = self._served.groups, self._position.window, self._cut(whole=True)

            def begin() -> _Made:
                self._begun = Chain.of(groups, {name: t.numpy() for name, t in cut.values.items()}, 0, window)
                return _Made(None, self._begun.state)

            made = self._thread.submit(begin)
        return lambda: _state_after(made)

    def published(self, number: int) -> None:
        """The model that was exported is the newest version now."""
        self._collect()
        self.gate.other_version()
        if self._chain is None and self._begun:
            self._chain, self._begun = self._begun, None
            self._chain.root_version = number
        elif self._chain and "state" not in self._versions.manifest(number):
            self._chain = None  # begun anew, from this version
        with contextlib.suppress(UserError, IndexError, OSError):  # none before it, or removed just now
            state = self._versions.manifest(self._versions.numbers[-2]).get("state") or {}
            self._folder.remove_up_to(Key(state.get("epoch", 0), state.get("number", 0)))

    def other_version(self) -> None:
        """Another version is the newest one, and not by this trainer: deltas do not go on from what it left."""
        self._chain = self._begun = None
        self.gate.other_version()

    def finish(self) -> None:
        """Makes a delta of what has come since the last one, and waits for it."""
        self._collect(wait_for_all=True)
        self._next()
        self._collect(wait_for_all=True)

    def close(self) -> None:
        """Begins nothing more. What is being written may be cut off: nobody sees half of it."""
        self._thread.shutdown(wait=False)
        self._folder.release()

    def scalars(self) -> Scalars:
        """For TensorBoard."""
        more = {"bytes": float(self.bytes), "secs": self.secs, "stall_secs": self.stall_secs}
        return {f"deltas/{name}": float(value) for name, value in (self.counts | more).items()}

    def _may_make(self) -> bool:
        newest = self._newest
        of_this_model = newest.number and newest.scored and max(self._versions.numbers, default=0) == newest.number
        return bool(of_this_model) and not self._versions.paused

    def _begin(self) -> None:
        """Begins an epoch, from the newest version: the thread compares the two."""
        version, window = self._newest.number, self._versions.manifest(self._newest.number)["window"]
        weights, cut = self._newest.weights(), self._cut(whole=True)
        self._chain = chain = Chain(self._served.groups, {}, 0, version, 0, window)

        def take_in() -> None:
            of_version = Chain.of(chain.groups, {name: t.numpy() for name, t in weights.items()}, version, window)
            chain.hashes, chain.checksum, chain.root_checksum = of_version.hashes, of_version.checksum, of_version.checksum

        self._submit(cut, chain, before=take_in)

    def _cut(self, whole: bool = False) -> Cut:
        began = time.monotonic()
        early = None
        if self._early and self._early.done() and not self._early.exception():
            early = self._early.result()
        self._early = None
        cut = self._served.cut(self._position, whole, early)._replace(newest_row_time=self._newest_row())
        self._cut_at = self._position.step
        self.stall_secs += time.monotonic() - began
        return cut

    def _submit(self, cut: Cut, chain: Chain, before: Callable[[], None] = lambda: None) -> Future[_Made]:
        def work() -> _Made:
            if self._failed:
                raise NotMade("the one before it was not made")
            try:
                before()
                return _Made(make(chain, cut, self._folder, self._time_of(cut)), chain.state)
            except BaseException:
                self._failed = True
                raise
            finally:
                if cut.touched is None:  # of all rows
                    garbage.give_back()

        made = self._thread.submit(self._timed(work))
        self._tasks.append((made, cut))
        return made

    def _timed(self, work: Callable[[], Any]) -> Callable[[], Any]:
        """The same, whose time counts as the thread's."""

        def timed() -> Any:
            began = time.monotonic()
            try:
                return work()
            finally:
                self.secs += time.monotonic() - began

        return timed

    def _time_of(self, cut: Cut) -> float | None:
        """In the thread. None where it cannot be asked for, too: a delta is none the worse."""
        if cut.newest_row_time is not None:
            return cut.newest_row_time
        with contextlib.suppress(Exception):
            return self._newest_row_time(list(cut.position["start"]), list(cut.position["next"]))

    def _collect(self, wait_for_all: bool = False) -> None:
        """Takes up what the thread has done."""
        if wait_for_all:
            wait([made for made, _ in self._tasks])
        while self._tasks and self._tasks[0][0].done():
            made, cut = self._tasks.popleft()
            try:
                size = made.result().size
            except Exception as e:  # whatever it is: the model that is trained is whole
                self._not_made(cut, e)
            else:
                self.counts["made"] += size is not None
                self.bytes += size or 0
        if not self._tasks:
            self._failed = False

    def _not_made(self, cut: Cut, error: Exception) -> None:
        held = isinstance(error, NotMade)
        self.counts["held" if held else "failed"] += 1
        failed = f"warning: a delta could not be made, training goes on: {error if isinstance(error, OSError) else repr(error)}"
        self._say_once(f"delta held back: {error}" if held else failed)
        self._served.give_back(cut)
        if cut.touched is None:
            self._chain = None  # begun anew, from a version

    def _say_once(self, text: str) -> None:
        if text != self._said:
            self._console.say(text, "deltas", "warning")
        self._said = text


def _state_after(made: Future[_Made]) -> dict[str, Any]:
    """What a manifest says of the state; {} where its delta was not made."""
    wait([made])
    return {} if made.exception() else {"state": made.result().state}
