"""The server's log: one line a kind and minute."""

import logging
import sys

import pytest

from tfonline.serving.logs import OncePerMinute


@pytest.fixture
def lines():
    return []


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture
def log(lines, clock):
    return OncePerMinute(lambda text: lines.append(text.split(" ", 2)[2]), lambda: clock[0])


def say(log, message, *args, level=logging.WARNING, name="x", error=False):
    log.handle(logging.LogRecord(name, level, "", 0, message, args, sys.exc_info() if error else None))


def test_the_first_is_written_and_the_others_are_counted(log, lines, clock):
    for i in range(1001):
        say(log, "no file %d", i)
    assert lines == ["WARNING: no file 0"]
    clock[0] += 59
    log.tell()
    assert lines == ["WARNING: no file 0"]
    clock[0] += 1
    log.tell()
    assert lines[1:] == ["1,000 more within a minute were left out: WARNING: no file 0"]


def test_one_line_a_minute_while_it_goes_on_and_anew_after_a_minute_without(log, lines, clock):
    for count in (3, 2, 0, 1):
        for i in range(count):
            say(log, "no file %d", i)
        clock[0] += 60
        log.tell()
    more = "more within a minute were left out: WARNING: no file 0"
    assert lines == ["WARNING: no file 0", f"2 {more}", f"2 {more}", "WARNING: no file 0"]


def test_kinds_do_not_hide_each_other(log, lines):
    say(log, "a")
    say(log, "b")
    say(log, "a", level=logging.ERROR)
    say(log, "a", name="y")
    say(log, "a")
    assert lines == ["WARNING: a", "WARNING: b", "ERROR: a", "WARNING: a"]


def test_numbers_and_addresses_do_not_make_a_kind(log, lines):
    """As asyncio writes them: into the message, with more lines after the first."""
    say(log, "<Task 3 at 0x7f03> failed\nsocket: 12")
    say(log, "<Task 4 at 0x7f04> failed\nsocket: 13")
    assert lines == ["WARNING: <Task 3 at 0x7f03> failed\nsocket: 12"]


def test_errors_from_two_places_are_two_kinds_each_with_its_traceback(log, lines):
    for _ in range(3):
        try:
            int("x")
        except ValueError:
            say(log, "failed", level=logging.ERROR, error=True)
    try:
        int("y")
    except ValueError:
        say(log, "failed", level=logging.ERROR, error=True)
    assert [(line.splitlines()[0], line.splitlines()[-1]) for line in lines] == [
        ("ERROR: failed", "ValueError: invalid literal for int() with base 10: 'x'"),
        ("ERROR: failed", "ValueError: invalid literal for int() with base 10: 'y'"),
    ]


def test_at_the_end_it_tells_what_it_left_out(log, lines):
    say(log, "a")
    say(log, "a")
    log.close()
    assert lines[1:] == ["1 more within a minute were left out: WARNING: a"]
