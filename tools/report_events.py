"""Reads what a model folder holds in TensorFlow's forms: the events for TensorBoard, and the counts of its newest checkpoint.

Both are only read, and nothing is locked: a trainer may go on with them meanwhile.
"""

import os
import pathlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from report_series import Point, Run, Series, joined

from tfonline.evaluate.progressive import Counts, ProgressiveMetrics
from tfonline.lifecycle import Exit, UserError
from tfonline.state import Position

_PATTERN = "*events.out.tfevents.*"
_MAIN = "train"  # each run of the trainer begins a file there


class Saved(NamedTuple):
    """What the newest checkpoint knows of the rows.

    Attributes:
      name: of the checkpoint; "" where none can be read.
      position: where the model was.
      running: the scores of recent rows.
      total: of all rows.
      contract: what the model is made for.
      problem: why a newer one could not be read; "": there is none.
      others: of several labels all but the first, by name: likewise the scores of recent rows and of all rows that have it.
    """

    name: str
    position: Position
    running: Counts
    total: Counts
    contract: dict[str, Any]
    problem: str = ""
    others: Mapping[str, tuple[Counts, Counts]] = MappingProxyType({})


def read_events(folder: pathlib.Path) -> tuple[dict[str, Series], list[Run]]:
    """The curves, by run of TensorBoard and tag such as "running/quality/log_loss", and the runs of the trainer in their order.

    An event that is being written, or was cut short, is left out.

    Raises:
      UserError: there are no events, or a file may not be read (exit 66).
    """
    files = sorted((folder / "tensorboard").rglob(_PATTERN))
    if not files:
        raise UserError(
            f"{folder}/tensorboard holds no events: no run has begun to learn here yet. Expected a --model_dir of the trainer, "
            "once it has said `new model` or `resumed`.",
            Exit.NO_INPUT,
        )
    runs: list[Run] = []
    points = (point for file in files for point in _read_file(file, folder / "tensorboard", runs))
    return joined(points), runs


def read_saved(folder: pathlib.Path) -> Saved:
    """What the newest checkpoint knows that can be read: a trainer may remove the oldest ones meanwhile."""
    import tensorflow as tf

    from tfonline.keep import checkpoint_files
    from tfonline.keep.checkpoints import read_contents
    from tfonline.keep.contract import labels_of

    problem = ""
    for path in checkpoint_files.paths(folder):
        position = Position(next=[], start=[])
        try:
            held = read_contents(path)
            others = labels_of(held.contract)[1:]
            counted = ProgressiveMetrics(1, others=others)
            held.give(counted)
            held.give(position)
        except (tf.errors.OpError, UserError, OSError, ValueError, IndexError, KeyError) as e:
            problem = problem or f"{path.name} cannot be read: {str(e).splitlines()[0]}"
            continue
        counts = counted.counts
        of_others = {label: (counts[f"running_{label}"], counts[f"total_{label}"]) for label in others}
        return Saved(path.name, position, counts["running"], counts["total"], held.contract, problem, of_others)
    return Saved("", Position(next=[], start=[]), Counts(), Counts(), {}, problem or "there is no checkpoint")


def _read_file(file: pathlib.Path, folder: pathlib.Path, runs: list[Run]) -> Iterator[Point]:
    """The scalars of a file. One of the trainer's own run is added to `runs`, once all of it was read."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    if not os.access(file, os.R_OK):
        raise UserError(f"{file} may not be read. Run this as the trainer's user.", Exit.NO_INPUT)
    group, began, last = file.parent.relative_to(folder).as_posix(), None, 0.0
    steps, texts = [], {}
    for event in LegacyEventFileLoader(str(file)).Load():
        began, last = began or event.wall_time, event.wall_time
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                steps = [steps[0] if steps else event.step, event.step]
                yield Point(f"{group}/{value.tag}", event.step, event.wall_time, value.simple_value)
            elif value.tag in ("run/flags", "run/stack"):
                texts[value.tag] = _table(value.tensor.string_val)
    if group == _MAIN and began:
        ends = tuple(steps) or (None, None)
        runs.append(Run(began, last, *ends, texts.get("run/stack", {}), texts.get("run/flags", {})))


def _table(cells: list[bytes]) -> dict[str, str]:
    """Names and values in turn, each as code of Markdown."""
    texts = [cell.decode().strip("`") for cell in cells]
    return dict(zip(texts[::2], texts[1::2], strict=True))
