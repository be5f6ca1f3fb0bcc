"""With --log_format=json: what libraries say becomes lines of the console, or at least lines like them.

Imports no TensorFlow: what it and others would print otherwise is decided before they are imported.
"""

import logging
import os
import subprocess
import sys
import threading
import traceback
from typing import Any

from tfonline.report.console import Console


class _ToConsole(logging.Handler):
    def __init__(self, console: Console):
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().strip()
        if record.exc_info and record.exc_info[0]:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
        level = "error" if record.levelno >= logging.ERROR else "warning" if record.levelno >= logging.WARNING else "info"
        self._console.library(level, record.name, text)


def route(console: Console) -> None:
    """Has the console tell what loggers say (TensorFlow's, absl's and all others), warnings, and errors that nobody catches.

    To be called before TensorFlow is imported: it and absl give their loggers no handlers where the root logger has one.
    """
    logging.getLogger().addHandler(_ToConsole(console))
    logging.captureWarnings(True)

    def of_thread(args: Any) -> None:
        _error(console, f"thread {args.thread.name if args.thread else '?'}", args.exc_value or args.exc_type())

    def unraisable(args: Any) -> None:
        _error(console, str(args.err_msg or "while something was taken apart"), args.exc_value or args.exc_type())

    threading.excepthook, sys.unraisablehook = of_thread, unraisable


def wrap_raw_lines(console: Console) -> subprocess.Popen:
    """Has a process make lines like the console's of all else that is written to standard error: C++, and children of this process.

    A process, for C++ may end this one, and a thread would be gone with what it was to tell. The console's own errors do not pass
    through it. Returns it; it ends after this one.
    """
    real = os.dup(sys.stderr.fileno())
    command = [sys.executable, "-m", "tfonline.report.raw_lines"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=real)
    os.dup2(process.stdin.fileno(), sys.stderr.fileno())
    process.stdin.close()  # the other name of the pipe: it ends when the last one who has it ends
    console.err = os.fdopen(real, "w")
    return process


def _error(console: Console, where: str, error: BaseException) -> None:
    console.library("error", where, "".join(traceback.format_exception(error)).rstrip())
