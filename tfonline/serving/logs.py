"""The log of what libraries and the server say: one line a kind and minute."""

import dataclasses
import datetime
import functools
import logging
import re
import time
import traceback
from collections.abc import Callable

_SECS = 60.0
# What tells two messages of one kind apart: numbers, and addresses of objects.
_VARIES = re.compile(r"0x[0-9a-f]+|\d+")


@dataclasses.dataclass
class _Kind:
    """Messages that are alike: until when no other is written, and how many were not."""

    text: str
    until: float
    left_out: int = 0


class OncePerMinute(logging.Handler):
    """Writes the first message of a kind, and after each minute how many more there were, until there is none for a minute.

    A kind: who says it, how grave it is, the message's first line without its numbers, and where the exception was raised.

    Args:
      write: takes a line, or several with a traceback.
      clock: seconds.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self._write, self._clock = write, clock
        self._kinds: dict[tuple, _Kind] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """From logging, which holds the handler's lock."""
        self._tell()
        key = (record.name, record.levelno, _alike(str(record.msg)), _place(record))
        if known := self._kinds.get(key):
            known.left_out += 1
            return
        message = record.getMessage().strip()
        self._kinds[key] = _Kind(f"{record.levelname}: {message.partition(chr(10))[0]}", self._clock() + _SECS)
        if record.exc_info and record.exc_info[0]:
            message += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
        self._line(f"{record.levelname}: {message}")

    def tell(self) -> None:
        """Says how many were left out in minutes that are over. To be called every now and then: no record may follow."""
        with self.lock:
            self._tell()

    def close(self) -> None:
        """Says how many were left out."""
        with self.lock:
            self._tell(float("inf"))
        super().close()

    def _tell(self, now: float | None = None) -> None:
        now = self._clock() if now is None else now
        for key, kind in list(self._kinds.items()):
            if now < kind.until:
                continue
            if not kind.left_out:
                del self._kinds[key]
                continue
            self._line(f"{kind.left_out:,} more within a minute were left out: {kind.text}")
            kind.left_out, kind.until = 0, now + _SECS

    def _line(self, text: str) -> None:
        self._write(f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S} {text}")


@functools.lru_cache(100)
def _alike(message: str) -> str:
    return _VARIES.sub("#", message.strip().partition("\n")[0])


def _place(record: logging.LogRecord) -> tuple | None:
    if not record.exc_info or not record.exc_info[0]:
        return None
    at = record.exc_info[2]
    while at and at.tb_next:
        at = at.tb_next
    return (record.exc_info[0], at and (at.tb_frame.f_code.co_filename, at.tb_lineno))
