"""Where a new model starts, where a run ends, and what a checkpoint's offsets mean for the topic of today."""

import time
from collections.abc import Callable
from typing import Any

from tfonline.config import Config, timestamp_ms
from tfonline.lifecycle import Exit, UserError
from tfonline.stream.broker import read_offsets_file
from tfonline.stream.windows import Window


def resolve_start(config: Config, source: Any, replay: list[Window] | None) -> list[int]:
    """The first offset of each partition for a new model.

    Raises:
      UserError: --start names a group without offsets, a file without them, or offsets that the topic has not (exit 66, 64).
    """
    if replay:
        return list(replay[0].widened(source.num_partitions).start)
    kind, _, rest = config.start.partition(":")
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
            f"--start={config.start} lies behind the end of {source.name} (partition: offset): {', '.join(ahead)}. The offsets are "
            "of another topic, or of this one before it was made anew. Use offsets of this topic, or --start=latest.",
            Exit.NO_INPUT,
        )
    return offsets


def make_resolve_stop(config: Config, source: Any) -> Callable[[], list[int] | None]:
    """Gives the offsets at which the run ends, as soon as they can be known; None until then."""
    if config.stop_at == "never":
        return lambda: None
    if config.stop_at == "latest":
        return source.ends
    ms = timestamp_ms(config.stop_at.partition(":")[2])
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
