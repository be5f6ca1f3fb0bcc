"""The console's lines as JSON, and what libraries say as such lines."""

import io
import json
import logging
import sys
import threading
import warnings

import pytest

from tfonline.lifecycle import Exit
from tfonline.report import libraries
from tfonline.report.console import Console


def said(out):
    """The lines without their times."""
    return [{name: value for name, value in json.loads(line).items() if name != "time"} for line in out.splitlines()]


@pytest.fixture
def out():
    return io.StringIO()


@pytest.fixture
def console(out):
    return Console(out, "json")


def test_a_line_has_a_level_an_event_a_text_and_fields(console, out):
    console.say("saved ckpt-1", "saved", step=7, loss=float("nan"), next=(3, float("inf")))
    console.say("warning: it is full\nand more", "full")
    console.say("LOST", "unread", "warning")
    console.saying("broker")("it is back")
    for _ in range(2):
        console.warn_once("once", "commit")
    assert said(out.getvalue()) == [
        {"level": "info", "event": "saved", "text": "saved ckpt-1", "fields": {"step": 7, "loss": None, "next": [3, None]}},
        {"level": "warning", "event": "full", "text": "warning: it is full\nand more"},
        {"level": "warning", "event": "unread", "text": "LOST"},
        {"level": "info", "event": "broker", "text": "it is back"},
        {"level": "warning", "event": "commit", "text": "warning: once"},
    ]


def test_there_is_no_bar(out):
    out.isatty = lambda: True
    console = Console(out, "json")
    console.expect(100, 0)
    console.progress(50)
    console.close()
    assert out.getvalue() == ""


def test_errors_go_to_standard_error(console, out, capsys):
    console.fail("the disk is full", Exit.CANNOT_WRITE)
    console.fail("no worker answers")
    console.bug(ValueError("two\nlines"), Exit.BUG)
    full, alone, bug = said(capsys.readouterr().err)
    assert full == {"level": "error", "event": "failed", "text": "the disk is full", "fields": {"exit_code": 73}}
    assert alone == {"level": "error", "event": "failed", "text": "no worker answers"}
    assert bug == {"level": "error", "event": "bug", "text": "ValueError: two\nlines", "fields": {"exit_code": 1}}
    assert out.getvalue() == ""


def test_errors_for_people_stay_as_they_are(out, capsys):
    console = Console(out)
    console.fail("the disk is full", Exit.CANNOT_WRITE)
    console.bug(ValueError("no"), Exit.BUG)
    assert capsys.readouterr().err == "tfonline: the disk is full\nValueError: no\n"


@pytest.fixture
def routed(console, monkeypatch):
    root = logging.getLogger()
    before = list(root.handlers)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    libraries.route(console)
    yield
    logging.captureWarnings(False)
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)


def test_what_libraries_say_is_lines_too(routed, capsys):
    logging.getLogger("tensorflow").warning("AutoGraph could not %s", "see it")
    try:
        raise KeyError("x")
    except KeyError:
        logging.getLogger("absl").exception("failed")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    thread = threading.Thread(target=lambda: 1 / 0, name="reader")
    thread.start()
    thread.join()
    told, failed, old, ended = said(capsys.readouterr().err)
    assert told["text"] == "AutoGraph could not see it"
    assert (told["level"], told["event"], told["fields"]) == ("warning", "library", {"logger": "tensorflow"})
    assert (failed["level"], failed["text"].splitlines()[0], failed["text"].splitlines()[-1]) == (
        "error",
        "failed",
        "KeyError: 'x'",
    )
    assert (old["level"], old["fields"]) == ("warning", {"logger": "py.warnings"})
    assert "DeprecationWarning: old" in old["text"]
    assert (ended["level"], ended["fields"]) == ("error", {"logger": "thread reader"})
    assert ended["text"].endswith("ZeroDivisionError: division by zero")
