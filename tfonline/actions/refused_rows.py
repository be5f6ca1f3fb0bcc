"""Refused rows: counted by reason, recorded, passed on, and too many of them an error."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tfonline.events import Event, Rows, Saving, Seen, WindowEnd
from tfonline.formats.reasons import REASONS
from tfonline.lifecycle import Exit, UserError
from tfonline.report.console import Console
from tfonline.report.files import SideFile, rejected_line

if TYPE_CHECKING:
    from tfonline.features.batch import Element
    from tfonline.stream.dead_letters import DeadLetters

# --max_rejected_ratio is over the rows of the last windows: a few bad rows at a stream's start are no bad stream.
_RATIO_OVER_ROWS = 10_000
_RATIO_AT_LEAST_ROWS = 1_000
# What refused rows look like is told by so many of the newest, of so many bytes.
_GUESSED_ROWS, _GUESSED_BYTES = 100, 65_536


class Refuse:
    """An action: keeps account of refused rows.

    Args:
      counts: by reason's name; changed here.
      file: gets a line a row.
      dead_letters: gets the rows, or None.
      console: told once when the file is full.
      max_ratio: --max_rejected_ratio.
      explain: what is wrong with a refused row, in words; '' where its reason says all.
      describe: what refused rows look like, in words; '' where nothing is recognised.
      path: of the file, for the error.
    """

    def __init__(
        self,
        counts: dict[str, int],
        file: SideFile,
        dead_letters: "DeadLetters | None",
        console: Console,
        max_ratio: float,
        explain: Callable[[bytes], str],
        describe: Callable[[list[bytes]], str],
        path: str,
    ):
        self._counts, self._file, self._dead_letters, self._console = counts, file, dead_letters, console
        self._max_ratio, self._explain, self._describe, self._path = max_ratio, explain, describe, path
        self._recent: deque[tuple[int, int]] = deque()  # (rows, rejected) of the last windows
        self._rows = self._rejected = 0  # of this window
        self._newest: deque[bytes] = deque(maxlen=_GUESSED_ROWS)  # refused rows, to tell what they look like

    def __call__(self, event: Event, seen: Seen | None) -> None:
        """Raises UserError where too many of the last windows' rows were refused (exit 65), or where the topic of dead letters does
        not take one (69, 77, 64): then nothing is saved that passes over its row.
        """
        if isinstance(event, Rows):
            self._record(event.element, event.refused, int(seen.valid.sum()) if seen else 0)
        elif isinstance(event, WindowEnd):
            self._end_window()
        elif isinstance(event, Saving) and self._dead_letters:
            self._dead_letters.flush()

    def _record(self, element: "Element", counts: Sequence[int], rows: int) -> None:
        """Records an element's refused rows.

        Args:
          element: whose refused rows are written and passed on.
          counts: how many were refused, by reason's index; with several workers, by all of them.
          rows: how many were not.
        """
        for reason, count in enumerate(counts):
            if count:
                self._counts[REASONS[reason]] = self._counts.get(REASONS[reason], 0) + int(count)
        self._rows += rows
        self._rejected += int(sum(counts))
        origin, reasons, messages, inside = element.rejected
        columns = [column.numpy().tolist() for column in (origin.partition, origin.offset, reasons, messages)]
        rows_inside = [None] * len(columns[0]) if isinstance(inside, tuple) else inside.numpy().tolist()
        for partition, offset, reason, message, row in zip(*columns, rows_inside, strict=True):
            name = REASONS[reason]
            self._file.write(rejected_line(int(element.window), partition, offset, row, name, self._explain(message), message))
            self._newest.append(message[:_GUESSED_BYTES])
            if self._dead_letters:
                self._dead_letters.send(partition, offset, name, message, row)
        if self._file.full:
            full = "rejected.jsonl has reached --rejected_max_bytes: further refused rows are counted, not recorded"
            self._console.warn_once(full, "rejected")

    def _end_window(self) -> None:
        self._recent.append((self._rows + self._rejected, self._rejected))
        self._rows = self._rejected = 0
        while sum(rows for rows, _ in self._recent) - self._recent[0][0] >= _RATIO_OVER_ROWS:
            self._recent.popleft()
        rows, rejected = (sum(column) for column in zip(*self._recent, strict=True))
        limit = self._max_ratio
        if limit < 1 and rejected > limit * max(rows, _RATIO_AT_LEAST_ROWS):
            self._file.flushed_length()
            looks = self._describe(list(self._newest))
            raise UserError(
                f"{rejected:,} of the last {rows:,} rows were refused; by reason since the model's beginning: {self._counts}. At "
                f"most --max_rejected_ratio={limit:g} is accepted. {looks}{looks and ' '}See "
                f"{self._path} for the rows; check --columns and --message_format, mend the producer, "
                "or raise the ratio. The windows since the last checkpoint are not saved.",
                Exit.DATA,
            )
