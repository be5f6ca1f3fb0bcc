"""Where a new model starts, where a run ends, what a checkpoint's offsets mean for the topic of today; the planner."""

import json
import pathlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.report.console import Console
from tfonline.settings.stream import WindowSettings, timestamp_ms
from tfonline.stream.journal import Journal
from tfonline.stream.planner import Planner, no_labels
from tfonline.stream.window import Labels, Window
from tfonline.stream.window_policy import Policy

if TYPE_CHECKING:
    from tfonline.stream.labels.open import LateLabels


def resolve_start(start: str, source: Any, replay: list[Window] | None) -> list[int]:
    """The first offset of each partition for a new model.

    Raises:
      UserError: --start names a group without offsets, a file without them, or offsets that the topic has not (exit 66, 64).
    """
    if replay:
        return list(replay[0].widened(source.num_partitions).start)
    kind, _, rest = start.partition(":")
    if kind == "earliest":
        return source.begins()
    if kind == "latest":
        return source.ends()
    if kind == "timestamp":
        return source.at_timestamp(timestamp_ms(rest))
    offsets = source.committed(rest) if kind == "committed" else read_offsets_file(rest, source.num_partitions)
    ahead = [f"{p}: {o}, end {e}" for p, (o, e) in enumerate(zip(offsets, source.ends(), strict=True)) if o > e]
    if ahead:
        raise UserError(
            f"--start={start} lies behind the end of {source.name} (partition: offset): {', '.join(ahead)}. The offsets are "
            "of another topic, or of this one before it was made anew. Use offsets of this topic, or --start=latest.",
            Exit.NO_INPUT,
        )
    return offsets


def read_offsets_file(path: str, num_partitions: int) -> list[int]:
    """The offsets of --start=offsets:<file>: a JSON object such as {"0": 1200, "1": 1180}.

    Raises:
      UserError: the file is missing (exit 66), or does not give each partition a whole number from 0 on (64).
    """
    expected = f'Expected a JSON object with partitions 0 to {num_partitions - 1}, such as {{"0": 1200}}.'
    try:
        found = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        offsets = [found[str(p)] for p in range(num_partitions)]
    except OSError as e:
        raise UserError(f"--start=offsets:{path} cannot be read ({e.strerror}). {expected}", Exit.NO_INPUT) from e
    except (ValueError, KeyError, TypeError) as e:
        raise UserError(f"--start=offsets:{path} is not understood ({e!r}). {expected}", Exit.FLAGS) from e
    if len(found) != num_partitions or not all(type(o) is int and o >= 0 for o in offsets):  # true is no offset
        raise UserError(f"--start=offsets:{path} holds {found}. {expected}", Exit.FLAGS)
    return offsets


def make_resolve_stop(stop_at: str, source: Any) -> Callable[[], list[int] | None]:
    """Gives the offsets at which the run ends, as soon as they can be known; None until then."""
    if stop_at == "never":
        return lambda: None
    if stop_at == "latest":
        return source.ends
    ms = timestamp_ms(stop_at.partition(":")[2])
    # Before that time, rows older than it may still come.
    return lambda: source.at_timestamp(ms) if time.time() * 1000 >= ms else None


def add_new_partitions(position: Any, source: Any) -> None:
    """Partitions that the topic has got since the checkpoint start at 0."""
    if source.num_partitions < len(position.next):
        raise UserError(
            f"the checkpoint knows {len(position.next)} partitions, {source.name} has {source.num_partitions}. "
            "Use the stream that the model was trained on, or a new --model_dir.",
            Exit.CONFIG,
        )
    # Each by itself: the plan, and with it the end, may have known of a partition that no saved window has.
    for field in ("next", "start", "stop"):
        offsets = getattr(position, field)
        if offsets is not None:
            setattr(position, field, offsets + [0] * (source.num_partitions - len(offsets)))


def make_planner(
    settings: WindowSettings,
    source: Any,
    journal: Journal,
    position: Any,
    replay: list[Window] | None,
    stop: Stop,
    console: Console,
    most_partitions: int,
    labels: "LateLabels | None" = None,
) -> Planner:
    """Resolves where the run ends, and plans from the position on."""
    resolve_stop = make_resolve_stop(settings.stop_at, source)
    # Resolved once, so that a crash does not move the end; anew for another flag, or once the end has been reached.
    reached = position.stop is None or all(n >= s for n, s in zip(position.next, position.stop, strict=True))
    if reached or position.stop_at != settings.stop_at:
        position.stop, position.stop_at = resolve_stop(), settings.stop_at
    if 0 <= settings.skip_window < position.window:
        console.say(
            f"--skip_window={settings.skip_window} lies behind the checkpoint, window {position.window} is next: not passed over",
            "skip_window",
        )
    policy = Policy(
        window_rows=settings.window_rows,
        window_secs=settings.window_secs,
        max_idle_secs=settings.max_idle_secs,
        max_lag_rows=settings.max_lag_rows,
        lag_policy=settings.lag_policy,
        on_lost_rows=settings.on_lost_rows,
        stop_at=None if position.stop is None else tuple(position.stop),
        most_partitions=most_partitions,
    )
    ready = labels.ready(position.next) if labels else None
    before = Labels(*map(tuple, position.labels)) if position.labels else None
    return Planner(
        ready or source, policy, journal,
        position=position.next, number=position.window, journalled=journal.since(position.window), replay=replay,
        pass_over=settings.skip_window, resolve_stop=resolve_stop,
        labels=ready.labels if ready else no_labels, labels_before=before, stop=stop,
    )  # fmt: skip
