"""What is done beside learning: refuse, count, save, publish, commit, report. Each action is told of each event, in this order.

An action is called with an event and, for rows, with what the model saw in them. It does nothing at events that do not concern it.
It has its own cadence. A worker that is not the chief has fewer actions.

When it has been told `Saving`, all stands where the next run finds it: in the position, in the metrics, or in a file whose length
is noted. It tells others only of a model that is on disk, and so not before `Saved`. A second `Ended` changes nothing. A line in
tests/pure/test_action_contract.py holds an action to all this.
"""

from collections.abc import Callable, Sequence

from tfonline.events import Event, Seen

Action = Callable[[Event, Seen | None], None]


class Actions:
    """All actions of a run. The one that saves tells the others of it, through this object."""

    def __init__(self) -> None:
        self._actions: Sequence[Action] = ()

    def begin(self, actions: Sequence[Action]) -> None:
        """From here on these are told, one after the other."""
        self._actions = tuple(actions)

    def __call__(self, event: Event, seen: Seen | None = None) -> None:
        """Tells each action of the event."""
        for action in self._actions:
            action(event, seen)
