"""Refused rows: counted by reason, recorded, passed on, and too many of them an error."""

from collections import deque
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfonline.config import Config
from tfonline.features.batch import Element
from tfonline.features.schema import load_schema
from tfonline.formats.reasons import REASONS
from tfonline.formats.recognise import guess
from tfonline.lifecycle import Exit, UserError
from tfonline.report.files import SideFile, rejected_line
from tfonline.stream.dead_letters import DeadLetters

# --max_rejected_ratio is over the rows of the last windows: a few bad rows at a stream's start are no bad stream.
_RATIO_OVER_ROWS = 10_000
_RATIO_AT_LEAST_ROWS = 1_000
# What refused rows look like is told by so many of the newest, of so many bytes.
_GUESSED_ROWS, _GUESSED_BYTES = 100, 65_536


class Rejections:
    """Keeps account of refused rows.

    Args:
      config: the flags.
      counts: by reason's name; changed here.
      file: gets a line a row.
      dead_letters: gets the rows, or None.
      warn: told once when the file is full.
    """

    def __init__(
        self,
        config: Config,
        counts: dict[str, int],
        file: SideFile,
        dead_letters: DeadLetters | None,
        warn: Callable[[str], None],
    ):
        self._config, self._counts, self._file, self._dead_letters, self._warn = config, counts, file, dead_letters, warn
        self._recent: deque[tuple[int, int]] = deque()  # (rows, rejected) of the last windows
        self._rows = self._rejected = 0  # of this window
        self._schema = load_schema(config.columns)
        self._newest: deque[bytes] = deque(maxlen=_GUESSED_ROWS)  # refused rows, to tell what they look like

    def record(self, element: Element, counts: Sequence[int], rows: int) -> None:
        """Records an element's refused rows.

        Args:
          element: whose refused rows are written and passed on.
          counts: how many were refused, by reason's index; in a cluster, by all workers.
          rows: how many were not.
        """
        for reason, count in enumerate(counts):
            if count:
                self._counts[REASONS[reason]] = self._counts.get(REASONS[reason], 0) + int(count)
        self._rows += rows
        self._rejected += int(sum(counts))
        for partition, offset, reason, message in zip(*(t.numpy() for t in tf.nest.flatten(element.rejected)), strict=True):
            name = REASONS[reason]
            self._file.write(rejected_line(int(element.window), int(partition), int(offset), name, message))
            self._newest.append(message[:_GUESSED_BYTES])
            if self._dead_letters:
                self._dead_letters.send(int(partition), int(offset), name, message)
        if self._file.full:
            self._warn("rejected.jsonl has reached --rejected_max_bytes: further refused rows are counted, not recorded")

    def end_window(self) -> None:
        """Looks at the last windows.

        Raises:
          UserError: too large a share of their rows was refused (exit 65).
        """
        self._recent.append((self._rows + self._rejected, self._rejected))
        self._rows = self._rejected = 0
        while sum(rows for rows, _ in self._recent) - self._recent[0][0] >= _RATIO_OVER_ROWS:
            self._recent.popleft()
        rows, rejected = (sum(column) for column in zip(*self._recent, strict=True))
        limit = self._config.max_rejected_ratio
        if limit < 1 and rejected > limit * max(rows, _RATIO_AT_LEAST_ROWS):
            self._file.flushed_length()
            looks = guess(list(self._newest), self._schema, self._config.message_format)
            raise UserError(
                f"{rejected:,} of the last {rows:,} rows were refused; by reason since the model's beginning: {self._counts}. At "
                f"most --max_rejected_ratio={limit:g} is accepted. {looks}{looks and ' '}See "
                f"{self._config.model_dir}/rejected.jsonl for the rows; check --columns and --message_format, mend the producer, "
                "or raise the ratio. The windows since the last checkpoint are not saved.",
                Exit.DATA,
            )
