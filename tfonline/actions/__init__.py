"""What is done beside learning: refuse, count, save, publish, commit, report. Each action is told of each event, in this order.

An action is called with an event and, for rows, with what the model saw in them. It does nothing at events that do not concern it.
It has its own cadence. A worker that is not the chief has fewer actions.
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
