"""Reads the files of a model folder and of an export folder that are plain text. Writes and locks nothing. No TensorFlow.

A trainer may be writing them: a last line that is not whole is left out, and so is one that cannot be understood, which is counted.
"""

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from tfonline.lifecycle import Exit, UserError
from tfonline.publish.versions import Versions
from tfonline.stream.journal import latest
from tfonline.stream.window import UNREAD

T = TypeVar("T")


class Planned(NamedTuple):
    """A window, as the journal has it.

    Attributes:
      number: counted from 0.
      rows: offsets in it.
      trigger: what closed it, see stream.window.Window.
      time: when it was planned, seconds since 1970.
    """

    number: int
    rows: int
    trigger: str
    time: float

    @property
    def read(self) -> bool:
        """Whether it was read, and not passed over."""
        return self.trigger not in UNREAD


@dataclasses.dataclass(frozen=True)
class Folder:
    """A model folder.

    Attributes:
      path: as it was given.
      flags: of the last run.
      summary: how the last run that came to its end has ended; {}: none has.
      summed_up: when that was, seconds since 1970.
      status: the line of the file `status`.
      windows: in their order, each as it was planned last.
      drift: lines of drift.jsonl.
      unreadable: lines that could not be understood, by file.
    """

    path: pathlib.Path
    flags: Mapping[str, Any]
    summary: Mapping[str, Any]
    summed_up: float
    status: str
    windows: list[Planned]
    drift: list[dict[str, Any]]
    unreadable: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Published:
    """An export folder.

    Attributes:
      path: of the folder.
      versions: newest first: `version`, `state` in words, and what its manifest says (nothing, where it cannot be read).
      refused: lines of refused.jsonl: `time`, `window`, `step`, `why`.
      paused: why nothing is published; "": it is.
      unreadable: lines that could not be understood, by file.
    """

    path: pathlib.Path
    versions: list[dict[str, Any]]
    refused: list[dict[str, Any]]
    paused: str
    unreadable: Mapping[str, int]


def read_folder(path: pathlib.Path) -> Folder:
    """The files of a model folder.

    Raises:
      UserError: it is not there, or is no model folder (exit 66).
    """
    if not path.is_dir():
        raise UserError(f"{path} is no folder. Expected a --model_dir of the trainer.", Exit.NO_INPUT)
    if not any((path / name).exists() for name in ("config.json", "windows.jsonl", "tensorboard")):
        raise UserError(
            f"{path} is no model folder: it has neither config.json, windows.jsonl nor tensorboard. Expected a --model_dir of the "
            "trainer.",
            Exit.NO_INPUT,
        )
    unreadable: dict[str, int] = {}
    parts = [*sorted(path.glob("windows-*.jsonl")), path / "windows.jsonl"]
    windows = latest(window for part in parts for window in json_lines(part, unreadable, _window))
    drift = list(json_lines(path / "drift.jsonl", unreadable, _with("rows", "about", "begins", "text")))
    summary, status = path / "summary.json", path / "status"
    return Folder(
        path=path,
        flags=_json(path / "config.json"),
        summary=_json(summary),
        summed_up=summary.stat().st_mtime if summary.exists() else 0.0,
        status=status.read_text(errors="replace").strip() if status.exists() else "",
        windows=windows,
        drift=drift,
        unreadable=unreadable,
    )


def read_published(path: pathlib.Path) -> Published:
    """The versions of an export folder.

    Raises:
      UserError: it is not there (exit 66), or its state cannot be understood (65).
    """
    if not path.is_dir():
        raise UserError(f"--export_dir={path} is no folder. Expected the trainer's --export_dir.", Exit.NO_INPUT)
    versions, found = Versions(path), []
    numbers, bad = versions.numbers, versions.bad
    for number in reversed(numbers):
        state = "newest" if number == numbers[-1] else ""
        try:
            manifest = versions.manifest(number)
        except UserError as e:  # damaged, or removed meanwhile
            manifest, state = {}, f"unreadable: {e}"
        state = f"bad: {bad[number]}" if number in bad else state
        if "rolled_back_to" in manifest:
            state = f"{state}, version {manifest['rolled_back_to']} again".removeprefix(", ")
        found.append({**manifest, "version": number, "state": state})
    unreadable: dict[str, int] = {}
    refused = list(json_lines(path / "refused.jsonl", unreadable, _with("time", "window", "step", "why")))
    return Published(path, found, refused, versions.paused, unreadable)


def json_lines(path: pathlib.Path, unreadable: dict[str, int], make: Callable[[Any], T]) -> Iterator[T]:
    """What the lines of a file say, of which each is JSON; nothing of a file that is not there.

    Args:
      path: of the file.
      unreadable: gets how many whole lines could not be understood, by the file's name.
      make: of what a line holds; ValueError, KeyError, TypeError and AttributeError say that it is something else.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return  # it is being written, or a crash has cut it short
            try:
                made = make(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                unreadable[path.name] = unreadable.get(path.name, 0) + 1
            else:
                yield made


def _window(line: dict[str, Any]) -> Planned:
    time = datetime.datetime.fromisoformat(line["time"]).timestamp()
    return Planned(int(line["number"]), int(line["rows"]), str(line["trigger"]), time)


def _with(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def make(line: dict[str, Any]) -> dict[str, Any]:
        return {**line, **{name: line[name] for name in names}}

    return make


def _json(path: pathlib.Path) -> dict[str, Any]:
    """The object in a file; {} where it is not there, or is just being written."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
