"""Saves the model, at a window's end, when it is time; tells the other actions before and after."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from tfonline.events import Dropped, Ended, Event, Saved, Saving, Seen, Tick, WindowEnd
from tfonline.lifecycle import UserError
from tfonline.report.console import Console
from tfonline.report.status import Status
from tfonline.state import Position
from tfonline.stream.journal import Journal
from tfonline.stream.offsets_in_words import short
from tfonline.stream.window import Window


class Checkpoints(Protocol):
    """Where the model is saved, see keep.checkpoints."""

    latest: str
    oldest_window: int

    def begin(self, undisturbed: AbstractContextManager) -> None:
        """Begins to save the model as it is now."""

    def finished(self, wait: bool = False) -> str | None:
        """The path of a checkpoint that has come to disk since the last call, or None."""

    def restore(self) -> list[str]:
        """Takes over everything from the newest whole checkpoint."""


class Unsaved:
    """What was learned from since the model was saved last.

    Args:
      all_finite: whether no weight is NaN or infinite.
      not_finite: makes the error for a model that is not finite.
    """

    def __init__(self, all_finite: Callable[[], bool], not_finite: Callable[[str, list[Window]], UserError]):
        self._all_finite, self._not_finite = all_finite, not_finite
        self._windows: list[Window] = []

    def __bool__(self) -> bool:
        return bool(self._windows)

    def add(self, window: Window) -> None:
        """It was learned from."""
        self._windows.append(window)

    def take(self) -> tuple[Window, ...]:
        """Its windows; it is empty afterwards.

        Raises:
          UserError: a weight is not finite (exit 70).
        """
        if self._windows and not self._all_finite():
            raise self._not_finite("a weight is NaN or infinite", self._windows)
        windows, self._windows = tuple(self._windows), []
        return windows


class Save:
    """An action: of the chief, or where there is only one process.

    Args:
      checkpoints: where to.
      unsaved: what there is to save.
      position: saved with the model.
      journal: may forget what a checkpoint holds.
      due: whether it is time.
      done: called with the step that was saved.
      tell: tells all actions.
      undisturbed: entered while files are written.
      console: where lines go.
      status: says what is done at the moment.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        unsaved: Unsaved,
        position: Position,
        journal: Journal,
        due: Callable[[], bool],
        done: Callable[[int], None],
        tell: Callable[[Event], None],
        undisturbed: AbstractContextManager,
        console: Console,
        status: Status,
        drain_secs: float,
    ):
        self._checkpoints, self._unsaved, self._position, self._journal = checkpoints, unsaved, position, journal
        self._due, self._done, self._tell, self._undisturbed = due, done, tell, undisturbed
        self._console, self._status, self._drain_secs = console, status, drain_secs
        self._writing: tuple[int, tuple[int, ...]] = (0, ())  # step and next offsets of the checkpoint that is being written

    def __call__(self, event: Event, _: Seen | None) -> None:
        """Raises UserError where the model cannot be saved: a weight is not finite (exit 70), the disk is full (73), or an action
        that was told refuses.
        """
        match event:
            case WindowEnd(window):
                self._unsaved.add(window)
                self._between_windows()
            case Tick():
                self._between_windows()
            case Ended():
                if self._unsaved:
                    self.begin()
                self.finish()
            case Dropped(number):
                self._drop(number)

    def begin(self) -> None:
        """Begins a checkpoint; the others are told once it is on disk."""
        self.finish()  # one at a time
        position = self._position
        self._status.set("saving", position.window, position.step)
        self._tell(Saving(self._unsaved.take()))
        self._status.writing = True
        self._checkpoints.begin(self._undisturbed)
        self._writing = (position.step, tuple(position.next))
        self._done(position.step)
        self._settle()
        self._status.enter("telling")

    def finish(self) -> None:
        """Waits until the checkpoint that is being written is on disk, if there is one; the others are told."""
        self._settle(wait=True)

    def _between_windows(self) -> None:
        self._settle()
        if self._unsaved and self._due():
            self.begin()

    def _settle(self, wait: bool = False) -> None:
        """Where a checkpoint has come to disk: forgets the journal of what it holds, and tells the others."""
        path = self._checkpoints.finished(wait)
        if path is None:
            return
        step, next_offsets = self._writing
        self._status.writing = False
        self._status.set("committing", self._position.window, self._position.step)
        self._journal.rotate(self._checkpoints.oldest_window)
        fields = {"checkpoint": path, "step": step, "next": next_offsets}
        self._console.say(f"saved {path}: step {step:,}, next {short(next_offsets)}", "saved", **fields)
        self._tell(Saved(path, next_offsets))
        self._status.enter("telling")

    def _drop(self, number: int) -> None:
        self.finish()
        self._console.say(
            f"window {number} did not end within --drain_secs={self._drain_secs:g}: dropped unsaved. It and what came after "
            f"{self._checkpoints.latest} will be read again by the next run.",
            "dropped", "warning", window=number,
        )  # fmt: skip
        self._checkpoints.restore()  # the summary tells of the saved model


class SaveWithChief:
    """An action of the other workers: the chief saves. What all do together before that, they do at the same time.

    Args:
      unsaved: as in Save.
      due: whether the chief saves now.
      tell: tells all actions.
    """

    def __init__(self, unsaved: Unsaved, due: Callable[[], bool], tell: Callable[[Event], None]):
        self._unsaved, self._due, self._tell = unsaved, due, tell

    def __call__(self, event: Event, _: Seen | None) -> None:
        """Raises UserError where a weight is not finite (exit 70), or an action that was told refuses."""
        if isinstance(event, WindowEnd):
            self._unsaved.add(event.window)
        between_windows = isinstance(event, WindowEnd | Tick)
        if self._unsaved and (isinstance(event, Ended) or (between_windows and self._due())):
            self._tell(Saving(self._unsaved.take()))
