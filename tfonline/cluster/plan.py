"""The plan of a job: the windows that the chief has planned in this run, which the other workers read, too. Imports no TensorFlow.

It is a file in the model folder, which all workers share, written before a window is handed out, as the journal is. Other than the
journal it holds only what this run has decided: an old line of the journal may still be planned anew. A worker opens it anew at
each look, so that a network file system shows what was written. It is begun anew at each start, and grows by 150 bytes a window.
"""

import json
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tfonline.lifecycle import Stop
from tfonline.stream.journal import Journal, window_of
from tfonline.stream.window import Window

_FOLDER = "cluster/plan"
_FILES = "files.json"


def begin(model_dir: str, files: Sequence[dict[str, Any]] = ()) -> "Journal":
    """On the chief, before the other workers look: an empty plan, and the list of files that are read, where files are."""
    folder = pathlib.Path(model_dir) / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    (folder / _FILES).write_text(json.dumps(list(files)))
    return Journal(folder)


def files(model_dir: str) -> list[dict[str, Any]]:
    """The list of files that the chief reads, in the order of their partitions: another worker may find others in the folder."""
    return json.loads((pathlib.Path(model_dir) / _FOLDER / _FILES).read_text())


def announced(planner: Iterable[Window | None], plan: Journal) -> Iterator[Window | None]:
    """On the chief: the planner's windows and ticks, each window written to the plan before it is handed out."""
    for window in planner:
        if window:
            plan.append(window)
        yield window


class ChiefsWindows:
    """On the other workers: the windows that the chief has planned, as it hands them out.

    Args:
      model_dir: the folder that all workers share.
      number: the next window's number.
      stop: ends it.
      clock: seconds, monotonic.
      poll_secs: how often it looks.
      tick_secs: how often it hands out a tick (None) while there is no window.
    """

    error: Exception | None = None
    ended = "the chief has ended"
    final: int | None = None  # the chief says it in a round

    def __init__(
        self,
        model_dir: str,
        number: int,
        stop: Stop,
        clock: Callable[[], float] = time.monotonic,
        poll_secs: float = 0.02,
        tick_secs: float = 0.5,
    ):
        self._path = pathlib.Path(model_dir) / _FOLDER / "windows.jsonl"
        self._number, self._stop, self._clock, self._poll_secs, self._tick_secs = number, stop, clock, poll_secs, tick_secs
        self._read = 0  # bytes
        self._planned: dict[int, Window] = {}

    def __iter__(self) -> Iterator[Window | None]:
        """Windows in order, and None for a tick. Never raises, as the planner."""
        last_tick = self._clock()
        try:
            while not self._stop.requested():
                for window in self._look():
                    self._number, last_tick = window.number + 1, self._clock()
                    self._planned[window.number] = window
                    yield window
                if self._clock() - last_tick >= self._tick_secs:
                    last_tick = self._clock()
                    yield None
                self._stop.wait(self._poll_secs)
        except Exception as e:
            self.error = e

    def _look(self) -> list[Window]:
        """The windows that were added since the last look."""
        with self._path.open("rb") as file:
            file.seek(self._read)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._read += len(whole)
        return [window for line in whole.splitlines() if (window := window_of(line)).number >= self._number]

    def planned(self, number: int) -> Window:
        """The window of this number, handed out and not taken."""
        return self._planned[number]

    def take(self, number: int) -> Window:
        """The window of this number; forgotten afterwards."""
        return self._planned.pop(number)
