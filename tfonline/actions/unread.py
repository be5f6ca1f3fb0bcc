"""Says which windows were passed over unread, and why."""

from tfonline.actions import Action
from tfonline.events import Event, Seen, WindowEnd
from tfonline.report.console import Console
from tfonline.stream.offsets_in_words import short

_BECAUSE = {
    "skip": "SKIPPED by --lag_policy=skip",
    "lost": "LOST: retention had removed them (--on_lost_rows=skip)",
    "passed": "PASSED OVER by --skip_window",
}


def make_say_unread(console: Console) -> Action:
    """An action."""

    def say_unread(event: Event, _: Seen | None) -> None:
        if isinstance(event, WindowEnd) and event.window.trigger in _BECAUSE:
            w = event.window
            offsets = f"{w.rows:,} offsets from {short(w.start)} to {short(w.stop)}"
            fields = {"window": w.number, "rows": w.rows, "why": w.trigger}
            console.say(f"window {w.number}, {offsets}: {_BECAUSE[w.trigger]}", "unread", "warning", **fields)

    return say_unread
