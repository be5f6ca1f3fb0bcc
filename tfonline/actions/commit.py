"""Tells the broker, once a checkpoint is on disk, how far the model is: for lag tools. The offsets are never read back."""

from typing import Protocol

from tfonline.actions import Action
from tfonline.events import Event, Saved, Seen
from tfonline.report.console import Console


class Topic(Protocol):
    """The broker's side of a topic, see stream.broker."""

    def commit(self, offsets: list[int]) -> str:
        """Commits next offsets under the group; returns why it failed, or ''."""


def make_commit(topic: Topic, group: str, console: Console) -> Action:
    """An action; where the broker does not take the offsets, that is said once."""

    def commit(event: Event, _: Seen | None) -> None:
        if isinstance(event, Saved):
            failed = topic.commit(list(event.next))
            if failed:
                text = f"offsets could not be committed under group {group} ({failed}): lag tools are behind"
                console.warn_once(text, "commit")

    return commit
