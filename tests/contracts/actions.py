"""What every action has to hold to. check_action(make) is for an action of one's own, too; it needs no pytest.

    from contracts.actions import check_action
    check_action(lambda world: MyAction(world.position, world.files["loss.log"], world.console))

What an action works with is of a World (contracts/world.py); what it tells others it tells to World.publish.
"""

import itertools
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from contracts.world import TRIGGERS, Place, World, a_run
from tfonline.actions import Action
from tfonline.events import Dropped, Ended, Saved, Saving, Tick, WindowEnd
from tfonline.stream.window import Window

_WINDOWS = len(TRIGGERS)


def it_takes_all_that_happens(make: Callable[[World], Action], place: Place) -> None:
    for prompt in (True, False):
        with a_run(make, place, range(_WINDOWS), prompt=prompt) as world:
            world.window(_WINDOWS, end=False)
            if place != "saves with the chief":  # it is the chief that takes up the checkpoint again
                world.actions(Dropped(_WINDOWS))
            world.actions(Ended())
            assert make(world)(Tick(), None) is None, "an action gives nothing back"


def what_does_not_concern_it_changes_nothing(make: Callable[[World], Action], place: Place) -> None:
    class Unheard:
        """An event that is not there yet."""

    with a_run(make, place, range(2)) as world:
        before = world.left()
        world.actions(Unheard())
        _same(world.left(), before, "an event that the action cannot know has changed")


def it_tells_nobody_of_what_is_not_saved(make: Callable[[World], Action], place: Place) -> None:
    """World.publish and Checkpoints.begin look at this themselves, at each event."""
    for prompt in (True, False):
        with a_run(make, place, range(3), prompt=prompt) as world:
            if place == "after the save":
                before = list(world.published)
                for event in (Saving(()), WindowEnd(Window(3, (30,), (40,), "rows")), Tick()):
                    make(world)(event, None)
                    assert world.published == before, f"others are told at {event}, when nothing new is on disk"


def each_window_is_saved_once_and_in_order(make: Callable[[World], Action], place: Place) -> None:
    """Of the events that the action makes, or others make around it."""
    for prompt in (True, False):
        with a_run(make, place, range(_WINDOWS), prompt=prompt) as world:
            world.actions(Ended())
            ended = [event.window for event in world.heard if isinstance(event, WindowEnd)]
            saving = [event for event in world.heard if isinstance(event, Saving)]
            assert [window for event in saving for window in event.windows] == ended, "not each window was told of once, in order"
            on_disk = [(path, tuple(state["next"])) for path, state, _ in world.checkpoints.on_disk]
            assert on_disk[-1][0] == f"ckpt-{_WINDOWS}", f"at the run's end the newest checkpoint is {on_disk[-1]}"
            if place != "saves with the chief":
                order = [type(event) for event in world.heard if isinstance(event, Saving | Saved)]
                assert order == [Saving, Saved] * len(saving), f"not Saving before and Saved after each checkpoint: {order}"
                saved = [(event.path, event.next) for event in world.heard if isinstance(event, Saved)]
                assert saved == on_disk, f"told was {saved}, on disk is {on_disk}"


def a_second_end_changes_nothing(make: Callable[[World], Action], place: Place) -> None:
    with a_run(make, place, range(3)) as world:
        world.actions(Ended())
        before, checkpoints = world.left(), list(world.checkpoints.on_disk)
        world.actions(Ended())
        _same(world.left(), before, "a second Ended has changed")
        assert world.checkpoints.on_disk == checkpoints, "a second Ended has made a checkpoint"


def a_restart_continues(make: Callable[[World], Action], place: Place) -> None:
    """A run that is killed in the midst of a window, and started again, leaves what an undisturbed one leaves."""
    with a_run(make, place, range(_WINDOWS)) as world:
        world.actions(Ended())
        undisturbed = world.left()
    for killed, prompt in itertools.product((1, 3, 4), (True, False)):
        with tempfile.TemporaryDirectory() as folder:
            with a_run(make, place, range(killed), prompt=prompt, folder=folder) as first:
                first.window(killed, end=False)  # of which more stands in the files than the checkpoint knows
            _, position, saved = first.checkpoints.on_disk[-1]
            windows = range(position["window"], _WINDOWS)
            with a_run(make, place, windows, prompt=prompt, folder=folder, saved=saved) as again:
                again.actions(Ended())
                left = again.left()
        # Others may not have been told of the last checkpoint before the kill; they are told of the next one. Two logs have what
        # was said.
        left["published"], left["said"] = [*first.published, *left["published"]][-1:], undisturbed["said"]
        expected = {**undisturbed, "published": undisturbed["published"][-1:]}
        _same(left, expected, f"killed in window {killed}: a run that goes on leaves another")


def it_needs_neither_tensorflow_nor_kafka(make: Callable[[World], Action], place: Place, needs: Sequence[str] = ()) -> None:
    with a_run(make, place) as world:
        action = make(world)
    module = action.__module__ if hasattr(action, "__qualname__") else type(action).__module__
    heavy = [name for name in ("tensorflow", "confluent_kafka") if name not in needs]
    code = f"import sys, {module}; sys.exit(', '.join(name for name in {heavy} if name in sys.modules) or None)"
    found = subprocess.run([sys.executable, "-c", code], check=False, stderr=subprocess.PIPE, text=True)
    assert found.returncode == 0, f"{module} imports {found.stderr.strip()}, and does not say so"


CHECKS = (
    it_takes_all_that_happens, what_does_not_concern_it_changes_nothing, it_tells_nobody_of_what_is_not_saved,
    each_window_is_saved_once_and_in_order, a_second_end_changes_nothing, a_restart_continues,
    it_needs_neither_tensorflow_nor_kafka,
)  # fmt: skip


def check_action(make: Callable[[World], Action], place: Place = "before the save", needs: Sequence[str] = ()) -> None:
    """Holds an action to its contract.

    Args:
      make: makes it for a world.
      place: where it stands among the other actions.
      needs: which of `tensorflow` and `confluent_kafka` its module imports.

    Raises:
      AssertionError: it breaks the contract.
    """
    *others, light = CHECKS
    for check in others:
        check(make, place)
    light(make, place, needs)


def _same(found: dict[str, Any], expected: dict[str, Any], message: str) -> None:
    for name, value in found.items():
        assert value == expected[name], f"{message} {name}: {value!r:.500}, expected {expected[name]!r:.500}"
