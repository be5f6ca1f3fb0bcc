"""A run in which actions can be tried: the position, the metrics and the files are real, rows and checkpoints are in memory."""

import contextlib
import io
import json
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from tfonline.actions import Action, Actions
from tfonline.actions.note import make_note
from tfonline.actions.save import Save, Unsaved
from tfonline.evaluate.by_value import MetricsByValue
from tfonline.evaluate.drift import Drift
from tfonline.evaluate.progressive import ProgressiveMetrics
from tfonline.events import Event, Rows, Saving, Seen, Tick, WindowEnd
from tfonline.formats.reasons import REASONS
from tfonline.report.console import Console
from tfonline.report.files import SideFiles
from tfonline.report.status import Status
from tfonline.state import FileLengths, Position
from tfonline.stream.window import Window

# Where an action stands among the others, as in actions/make.py; it may also be the one that notes, or the one that saves, there
# where all are saved or as a worker does that is not the chief.
Place = Literal["before the save", "after the save", "notes", "saves", "saves with the chief"]

_FILES = ("rejected.jsonl", "loss.log", "predictions.bin", "drift.jsonl")
# What the windows of a run are closed by, in order.
TRIGGERS = ("rows", "secs", "skip", "rows", "lost", "rows", "passed", "end")
WINDOW_ROWS = 10


class World:
    """What an action can work with in a run.

    Args:
      folder: of the model, for files.
      saved: what the checkpoint holds that the run begins with; None: it begins a new model.
      prompt: whether a checkpoint is on disk as soon as it is begun; else it is when somebody waits for it.

    Attributes:
      position: where the model is; the loop moves it at a window's end, before actions are told.
      lengths: of the files; noted when the model is saved.
      metrics: of the rows' scores.
      drift: of rows and scores.
      by_value: metrics of the scores by a column's value.
      files: beside the checkpoint, by name.
      said: the console's lines.
      console: where lines go.
      actions: tells all actions, for one that makes events.
      checkpoints: in memory.
      unsaved: what was learned from since the model was saved, for an action that saves.
      owed: what has to be done before a checkpoint passes over it; stand-ins put it here and take it away.
      published: what others were told of the model; see `publish`.
      heard: all events, in order.
    """

    def __init__(self, folder: str, saved: dict[str, str] | None = None, prompt: bool = True):
        self.position, self.lengths, self.metrics = Position(next=[0], start=[0]), FileLengths(), ProgressiveMetrics(100)
        self.drift, self.by_value = Drift(("C1",), 8, 0.25), MetricsByValue("C1", 100)
        self.parts = (self.position, self.lengths, self.metrics, self.drift, self.by_value)
        self.checkpoints = Checkpoints(self, prompt)
        if saved:
            self.take_over(saved)
        self.files = SideFiles(pathlib.Path(folder), self.lengths.by_name, dict.fromkeys(_FILES))
        self.said = io.StringIO()
        self.console, self.actions = Console(self.said), Actions()
        self.unsaved = Unsaved(lambda: True, lambda what, windows: AssertionError(what))
        self.owed: list[Any] = []
        self.published: list[Any] = []
        self.heard: list[Event] = []
        self._folder = pathlib.Path(folder)

    def begin(self, make: "Callable[[World], Action]", place: Place, resumed: bool = False) -> None:
        """Begins a run with this action among the others; a new model is saved first."""
        action = make(self)
        note = make_note(self.position, self.lengths, self.files)
        save = action
        if place != "saves":
            save = Save(
                self.checkpoints, self.unsaved, self.position, self.checkpoints, lambda: True, lambda step: None, self.actions,
                contextlib.nullcontext(), self.console, Status(None), 20.0,
            )  # fmt: skip
        order = {
            "before the save": [action, note, save], "after the save": [note, save, action], "notes": [action, save],
            "saves": [note, action], "saves with the chief": [note, action, self._chief],
        }[place]  # fmt: skip
        self.actions.begin([self._hear, *order])
        if not resumed and place != "saves with the chief":
            save.begin()
            save.finish()

    def window(self, number: int, end: bool = True) -> None:
        """A window's rows and its end, and then nothing for a while: what the loop does and tells."""
        trigger = TRIGGERS[number % len(TRIGGERS)]
        window = Window(number, (WINDOW_ROWS * number,), (WINDOW_ROWS * (number + 1),), trigger)
        if trigger in ("rows", "secs", "end"):
            for element, seen in (rows_of(window, 0, 4), rows_of(window, 4, 2), rows_of(window, 6, 0)):
                self.actions(Rows(element, None, element.refused), seen)
        if end:
            self.position.move(window)
            self.actions(WindowEnd(window))
            self.actions(Tick())

    def publish(self, what: Any) -> None:
        """For stand-ins: others are told of the model, by the path of a checkpoint or by next offsets.

        Raises:
          AssertionError: no such checkpoint is on disk.
        """
        on_disk = [saved for path, state, _ in self.checkpoints.on_disk for saved in (path, tuple(state["next"]))]
        assert what in on_disk, f"others are told of {what}, of which no checkpoint is on disk: there are {on_disk}"
        self.published.append(what)

    def kept(self) -> dict[str, str]:
        """What a checkpoint would hold now, as JSON by the part's name."""
        return {part.name: json.dumps(part.get_state()) for part in self.parts}

    def take_over(self, saved: dict[str, str]) -> None:
        """As from a checkpoint."""
        for part in self.parts:
            part.set_state(json.loads(saved[part.name]), part.version)

    def left(self) -> dict[str, Any]:
        """What stands at this moment: what a checkpoint would hold, the files, what was published and said."""
        for name in _FILES:
            self.files[name].flushed_length()
        contents = {name: (self._folder / name).read_bytes() for name in _FILES}
        return {**self.kept(), **contents, "published": list(self.published), "said": self.said.getvalue()}

    def _hear(self, event: Event, _: Seen | None) -> None:
        self.heard.append(event)

    def _chief(self, event: Event, _: Seen | None) -> None:
        if isinstance(event, Saving):
            self.checkpoints.begin(contextlib.nullcontext())
            self.checkpoints.finished(wait=True)


class Checkpoints:
    """As keep.checkpoints, in memory, and the journal that forgets what a checkpoint holds.

    Attributes:
      on_disk: path, the position's state and all that was saved, of each, in order.
    """

    latest, oldest_window = "", 0

    def __init__(self, world: World, prompt: bool):
        self._world, self._prompt = world, prompt
        self.on_disk: list[tuple[str, dict, dict[str, str]]] = []
        self._written: tuple[str, dict, dict[str, str]] | None = None

    def begin(self, undisturbed: contextlib.AbstractContextManager) -> None:
        """See actions.save.Checkpoints."""
        assert self._written is None, "a checkpoint was begun before the last one was on disk"
        assert not self._world.owed, f"a checkpoint passes over what is not done yet: {self._world.owed}"
        assert any(isinstance(event, Saving) for event in self._world.heard), "a checkpoint was begun, and nobody was told before"
        self._written = f"ckpt-{self._world.position.window}", self._world.position.get_state(), self._world.kept()

    def finished(self, wait: bool = False) -> str | None:
        """See actions.save.Checkpoints."""
        if self._written is None or not (wait or self._prompt):
            return None
        self.on_disk.append(self._written)
        self.latest, self._written = self._written[0], None
        return self.latest

    def restore(self) -> list[str]:
        """See actions.save.Checkpoints."""
        self._world.take_over(self.on_disk[-1][2])
        return []

    def rotate(self, oldest_window: int) -> None:
        """See stream.journal.Journal."""


class Array:
    """What has the numbers of a tensor."""

    def __init__(self, numbers: Any):
        self._numbers = np.asarray(numbers)
        self.shape = self._numbers.shape

    def numpy(self) -> np.ndarray:
        return self._numbers

    def __getitem__(self, rows: Any) -> "Array":
        return Array(self._numbers[rows])


class Element:
    """As features.batch.Element, with `Array` in place of tensors; and how many rows were refused, by reason's index."""

    def __init__(self, **parts: Any):
        self.__dict__.update(parts)

    def _replace(self, **parts: Any) -> "Element":
        return Element(**{**self.__dict__, **parts})


def rows_of(window: Window, first: int, good: int) -> tuple[Element, Seen | None]:
    """Four rows of a window from its row `first` on, of which so many are good; the others are refused."""
    offsets = np.arange(4) + window.start[0] + first
    valid = np.arange(4) < good
    labels, logits = (offsets % 2).astype(np.float32), np.where(valid, (offsets % 5 - 2) / 4, 0).astype(np.float32)
    reason = np.full(4 - good, REASONS.index("label"))
    messages = np.array([b"row %d" % offset for offset in offsets], object)
    of_rows = {"partition": Array(np.zeros(4, int)), "offset": Array(offsets), "time_ms": Array(1000 * offsets)}
    keys = offsets % 2 + 2 * (window.number % 2)  # each window has other values than the one before
    origin = SimpleNamespace(**of_rows)
    refused = SimpleNamespace(partition=Array(np.zeros(4 - good, int)), offset=Array(offsets[good:]))
    element = Element(
        batch=Element(
            label={"click": Array(labels)}, weight=Array(valid.astype(np.float32)), valid=Array(valid),
            features={"ids": Array(np.zeros([4, 3]))}, origin=origin, place=(),
        ),
        rejected=(refused, Array(reason), Array(messages[good:]), ()),
        fingerprint=2**62 + int(offsets[:good].sum()), message=Array(messages), window=window.number, last=False,
        fields=SimpleNamespace(values={"C1": Array(keys)}, reason=Array(np.where(valid, 0, REASONS.index("label")))),
        refused=np.bincount(reason, minlength=len(REASONS)),
    )  # fmt: skip
    losses = {"wide_loss": np.array([0.25]), "loss": np.array([0.5])}
    return element, Seen(valid[None], labels[None], logits[None], np.array([0]), losses, 12.5) if good else None


@contextlib.contextmanager
def a_run(
    make: Callable[[World], Action],
    place: Place,
    windows: Sequence[int] = (),
    prompt: bool = True,
    folder: str | None = None,
    saved: dict[str, str] | None = None,
) -> Iterator[World]:
    """A run with this action, after these windows.

    Args:
      make: makes the action.
      place: where it stands.
      windows: by their numbers.
      prompt: see World.
      folder: of the model; None: one that is gone afterwards.
      saved: what the run resumes from; None: a new model.
    """
    with contextlib.ExitStack() as closing:
        world = World(folder or closing.enter_context(tempfile.TemporaryDirectory()), saved, prompt)
        closing.callback(world.files.close)
        world.begin(make, place, resumed=bool(saved))
        for number in windows:
            world.window(number)
        yield world
