"""A window as data: ranges of offsets, and of the outcomes that its rows are joined with."""

import dataclasses
from typing import Any, NamedTuple

# Windows that move the position over offsets without reading them.
UNREAD = ("skip", "lost", "passed")


class Labels(NamedTuple):
    """The outcomes that a window is joined with, where labels come in a topic of their own. All but `rows` are offsets of that one,
    one a partition.

    Attributes:
      first: outcomes from here on may be those of the window's rows.
      new: those from here on no window before has read.
      stop: the end of what the window reads.
      rows: from here on, of each partition of the topic of rows, rows of windows before may be learned from once more.
      known: outcomes from here on may be those of such rows.
    """

    first: tuple[int, ...]
    new: tuple[int, ...]
    stop: tuple[int, ...]
    rows: tuple[int, ...]
    known: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Window:
    """A half-open range of offsets per partition, `[start[p], stop[p])`.

    Attributes:
      number: counted from 0 over the model's life.
      start: offsets, one a partition in the topic's order.
      stop: offsets, likewise; `stop[p] == start[p]` where nothing is read.
      trigger: what closed it. `rows`: enough rows were there; `secs`: time had passed; `end`: the rest before --stop_at. Three
        kinds pass over offsets unread: `skip` by --lag_policy=skip, `lost` by --on_lost_rows=skip, `passed` by --skip_window.
      labels: the outcomes of its rows; None where rows have their labels.
    """

    number: int
    start: tuple[int, ...]
    stop: tuple[int, ...]
    trigger: str
    labels: Labels | None = None

    @property
    def rows(self) -> int:
        """Offsets in the window: the rows, or more where a transactional topic has gaps."""
        return sum(self.stop) - sum(self.start)

    @property
    def data(self) -> dict[str, Any]:
        """As JSON can hold it."""
        about = {"number": self.number, "start": self.start, "stop": self.stop, "trigger": self.trigger}
        return about | ({"labels": self.labels._asdict()} if self.labels else {})

    @property
    def read(self) -> list[int]:
        """The partitions that rows are read from."""
        if self.trigger in UNREAD:
            return []
        return [p for p, (start, stop) in enumerate(zip(self.start, self.stop, strict=True)) if start < stop]

    def widened(self, num_partitions: int) -> "Window":
        """The window over a topic that has got more partitions since; it reads nothing of them."""
        more = (0,) * (num_partitions - len(self.start))
        return dataclasses.replace(self, start=self.start + more, stop=self.stop + more)
