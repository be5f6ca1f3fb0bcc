"""The console: lines for an operator, or for a program that collects them (--log_format=json), and a progress bar on a terminal.

Imports no TensorFlow: it speaks before that is there.
"""

import datetime
import functools
import json
import math
import sys
import traceback
from collections.abc import Callable
from typing import Any, TextIO

from tqdm import tqdm

from tfonline.report.backlog import in_words
from tfonline.report.writers import Scalars

FORMATS = ("text", "json")
_WARNING = "warning: "


class Console:
    """Lines with the time before them and, on a terminal and for a run with an end, a progress bar with the time left.

    In JSON, a line is an object: `time` (RFC 3339, UTC), `level` (info, warning, error), `event`, which says what kind of line it
    is, `text`, which is the line for people, and `fields`, where there are any. A number that is not finite is null.

    Args:
      out: text stream; None: standard output.
      form: one of FORMATS.

    Attributes:
      err: where errors go; None: the standard error stream.
    """

    def __init__(self, out: TextIO | None = None, form: str = "text"):
        self.err: TextIO | None = None
        self._out, self._bar, self._warned, self._json = out or sys.stdout, None, set(), form == "json"

    def expect(self, total_rows: int | None, done_rows: int) -> None:
        """The run has this many rows from the model's beginning to its end, of which some are done. None: no end."""
        if total_rows and self._out.isatty() and not self._json:
            self._bar = tqdm(total=total_rows, initial=done_rows, unit=" rows", file=self._out, dynamic_ncols=True)

    def progress(self, rows: int) -> None:
        """`rows` are done, from the model's beginning."""
        if self._bar is not None:
            self._bar.update(rows - self._bar.n)

    def say(self, text: str, event: str = "said", level: str = "", **fields: Any) -> None:
        """A line.

        Args:
          text: for people.
          event: what kind of line it is.
          level: info or warning; '' is what the text begins with.
          fields: what the text holds, for programs.
        """
        if self._json:
            level = level or ("warning" if text.startswith(_WARNING) else "info")
            print(_json_line(level, event, text, fields), file=self._out, flush=True)
            return
        line = f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S} {text}"
        if self._bar is not None:
            self._bar.write(line, file=self._out)
        else:
            print(line, file=self._out, flush=True)

    def saying(self, event: str) -> Callable[[str], None]:
        """Says lines of one kind, for what knows nothing but texts."""
        return functools.partial(self.say, event=event)

    def warn_once(self, text: str, event: str) -> None:
        """A warning that is said once, however often it is given."""
        if text not in self._warned:
            self._warned.add(text)
            self.say(f"{_WARNING}{text}", event)

    def fail(self, text: str, code: int | None = None) -> None:
        """What ends the run, on the standard error stream, with the exit code where that is known."""
        fields = {} if code is None else {"exit_code": int(code)}
        line = _json_line("error", "failed", text, fields) if self._json else f"tfonline: {text}"
        print(line, file=self.err or sys.stderr, flush=True)

    def bug(self, error: BaseException, code: int) -> None:
        """An error that is nobody's but the program's ends the run: its traceback, on the standard error stream."""
        text = "".join(traceback.format_exception(error)).rstrip()
        print(
            _json_line("error", "bug", text, {"exit_code": int(code)}) if self._json else text,
            file=self.err or sys.stderr,
            flush=True,
        )

    def library(self, level: str, name: str, text: str) -> None:
        """In JSON: what a library has said, on the standard error stream."""
        print(_json_line(level, "library", text, {"logger": name}), file=self.err or sys.stderr, flush=True)

    def write(self, step: int, scalars: Scalars) -> None:
        """The line that an operator reads: the running metrics, speed, lag, how long a backlog still takes, and rejections."""
        s = scalars
        left = f" ({in_words(s['secs_left'])} left)" if "secs_left" in s else ""
        behind = f", {in_words(s['lag_secs'])}" if "lag_secs" in s else ""
        self.say(
            f"step {step:,}  rows {s['rows']:,.0f}  loss {s['running/log_loss']:.4f} "
            f"(trivial {s['running/trivial_log_loss']:.4f})  auc {s['running/auc']:.4f}  ne {s['running/ne']:.4f}  "
            f"calibration {s['running/calibration']:.3f}  {_of_other_labels(s)}{s['rows_per_sec']:,.0f} rows/s  "
            f"lag {s['lag_rows']:,.0f}{behind}{left}  rejected {s['rejected_rows']:,.0f}",
            "report", step=step, **s,
        )  # fmt: skip

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _of_other_labels(scalars: Scalars) -> str:
    """The running metrics of all labels but the first, where there are several."""
    scopes = [name.removesuffix("/auc") for name in scalars if name.startswith("running_") and name.endswith("/auc")]
    values = ([scalars[f"{scope}/{name}"] for name in ("log_loss", "auc", "calibration")] for scope in scopes)
    return "".join(
        f"{scope.removeprefix('running_')}: loss {loss:.4f}  auc {auc:.4f}  calibration {calibration:.3f}  "
        for scope, (loss, auc, calibration) in zip(scopes, values, strict=True)
    )


def _json_line(level: str, event: str, text: str, fields: dict[str, Any]) -> str:
    now = datetime.datetime.now(datetime.UTC)
    line = {"time": f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03}Z", "level": level, "event": event, "text": text}
    if fields:
        line["fields"] = _finite(fields)
    return json.dumps(line, allow_nan=False)


def _finite(value: Any) -> Any:
    """The same, as JSON can hold it: it knows neither NaN nor infinity."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
