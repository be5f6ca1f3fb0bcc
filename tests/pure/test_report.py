"""What is written for people: side files, their lines, the console and the closing table."""

import io
import json
import os
import re

import numpy as np
import pytest

from tfonline.report.console import Console
from tfonline.report.files import SideFile, loss_line, rejected_line
from tfonline.report.summary import summary_table

NAN = float("nan")


# SideFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "side"


def test_a_side_file_is_made_and_grows(path):
    file = SideFile(path)
    assert file.flushed_length() == 0
    file.write(b"one\n")
    file.write(b"two\n")
    assert file.flushed_length() == 8
    assert path.read_bytes() == b"one\ntwo\n"
    file.close()


def test_what_stands_beyond_the_checkpoint_is_cut(path):
    path.write_bytes(b"one\ntwo\nhalf a li")
    file = SideFile(path, length=8)
    assert path.read_bytes() == b"one\ntwo\n"
    assert file.flushed_length() == 8
    file.write(b"three\n")
    file.close()
    assert path.read_bytes() == b"one\ntwo\nthree\n"


def test_a_new_model_begins_with_an_empty_file(path):
    path.write_bytes(b"of a run that saved nothing")
    SideFile(path).close()
    assert path.read_bytes() == b""


@pytest.mark.parametrize("length", [8, 100])
def test_nothing_is_cut_from_a_file_that_ends_at_the_checkpoint_or_before(path, length):
    path.write_bytes(b"one\ntwo\n")
    SideFile(path, length=length).close()
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_file_takes_no_more_than_its_limit(path):
    file = SideFile(path, max_bytes=8)
    file.write(b"one\n")
    file.write(b"two\n")
    assert not file.full
    file.write(b"\n")
    assert file.full
    file.close()
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_full_file_takes_nothing_more_not_even_what_would_fit(path):
    file = SideFile(path, max_bytes=8)
    file.write(b"one\n")
    file.write(b"too long\n")
    assert file.full
    file.write(b"two\n")
    file.close()
    assert path.read_bytes() == b"one\n"


def test_the_limit_counts_what_was_there_before(path):
    path.write_bytes(b"one\n")
    file = SideFile(path, length=4, max_bytes=7)
    file.write(b"two\n")
    assert file.full
    file.close()
    assert path.read_bytes() == b"one\n"


@pytest.fixture
def open_umask():
    """Whatever is made may be read and written by all."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path):
    return oct(path.stat().st_mode & 0o777)


def test_only_its_owner_reads_a_file_of_rows(path, open_umask):
    SideFile(path).close()
    assert mode(path) == "0o600"


def test_a_file_of_rows_that_all_could_read_is_its_owners_alone_once_it_is_opened(path, open_umask):
    path.write_bytes(b"one\ntwo\n")
    path.chmod(0o664)
    SideFile(path, length=4).close()
    assert (mode(path), path.read_bytes()) == ("0o600", b"one\n")


def test_a_file_without_rows_is_made_as_others_are(path, open_umask):
    SideFile(path, private=False).close()
    assert mode(path) == "0o666"


# Lines


def test_a_rejected_row_is_this_line():
    assert rejected_line(7, 1, 4200, None, "label", "click is '2'", "2\t5\té".encode()) == (
        '{"window":7,"partition":1,"offset":4200,"reason":"label","why":"click is \'2\'","message":"2\\t5\\té"}\n'.encode()
    )


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (b"", ""),
        ("é 日本".encode(), "é 日本"),
        (b"1\xff\xc3", "1\\xff\\xc3"),
        (b'a"b\\c\r\n\x00', 'a"b\\c\r\n\x00'),
        ("\u2028".encode(), "\u2028"),
        (b"x" * 5000, "x" * 1000),
    ],
)
def test_any_message_is_one_line_of_json(message, shown):
    line = rejected_line(0, 0, 0, None, "fields", "", message)
    assert line.count(b"\n") == 1
    assert json.loads(line)["message"] == shown


def test_a_loss_is_the_line_that_the_replaced_system_prints():
    line = loss_line(1, {"wide_loss": 0.66100323, "deep_loss": 0.72502613})
    assert line == b"epoch: 1, step: 1, wide_loss: 0.66100323, deep_loss: 0.72502613\n"
    # A float32 that came as a Python float has as many digits as a float32 needs.
    line = loss_line(12345, {"wide_loss": float(np.float32(0.1)), "deep_loss": 2.0})
    assert line == b"epoch: 1, step: 12345, wide_loss: 0.1, deep_loss: 2.0\n"


# Console

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "
SCALARS = {
    "rows": 1234567.0,
    "running/log_loss": 0.48449,
    "running/trivial_log_loss": 0.5623,
    "running/auc": 0.76255,
    "running/ne": 0.86163,
    "running/calibration": 1.0125,
    "rows_per_sec": 21800.4,
    "lag_rows": 1500.0,
    "rejected_rows": 3.0,
}
LINE = (
    "step 12,345  rows 1,234,567  loss 0.4845 (trivial 0.5623)  auc 0.7625  ne 0.8616  calibration 1.012  21,800 rows/s  "
    "lag 1,500  rejected 3\n"
)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def said(out: io.StringIO) -> list[str]:
    """The lines, without the time that stands before each."""
    lines = out.getvalue().splitlines(keepends=True)
    assert all(re.match(TIME, line) for line in lines)
    return [re.sub(f"^{TIME}", "", line) for line in lines]


def test_lines_have_the_time_before_them():
    out = io.StringIO()
    Console(out).say("loading TensorFlow")
    assert re.fullmatch(TIME + "loading TensorFlow\n", out.getvalue())


def test_the_operators_line():
    out = io.StringIO()
    Console(out).write(12_345, SCALARS)
    assert said(out) == [LINE]


def test_metrics_that_are_not_defined_are_nan():
    out = io.StringIO()
    Console(out).write(1, {**SCALARS, "running/auc": NAN, "running/ne": NAN, "running/calibration": NAN})
    assert "auc nan  ne nan  calibration nan" in out.getvalue()


def test_there_is_no_bar_but_on_a_terminal():
    out = io.StringIO()
    console = Console(out)
    console.expect(1000, 0)
    console.progress(500)
    console.say("half way")
    console.close()
    assert said(out) == ["half way\n"]


def test_there_is_no_bar_for_a_run_without_end():
    out = Terminal()
    console = Console(out)
    console.expect(None, 0)
    console.progress(500)
    console.close()
    assert out.getvalue() == ""


def test_a_terminal_has_a_bar_that_goes_on_where_the_last_run_stopped():
    out = Terminal()
    console = Console(out)
    console.expect(1000, 250)
    console.progress(500)
    console.say("half way")
    console.close()
    assert "25%" in out.getvalue()
    assert "500/1000" in out.getvalue()
    assert "half way\n" in out.getvalue()
    console.close()  # once more does no harm


# Summary


def metrics(**changed):
    return {"auc": 0.7626, "log_loss": 0.4824, "trivial_log_loss": 0.5623, "ne": 0.8579, "calibration": 1.0123, **changed}


SUMMARY = {
    "rows": 1234567,
    "rows_this_run": 4567,
    "rejected": 1003,
    "rejected_by_reason": {"label": 1000, "json": 3},
    "skipped": {"skip": 50, "lost": 1200},
    "steps": 12346,
    "windows": 124,
    "rows_per_sec": 21800.4,
    "timed_rows": 4467,
    "timed_secs": 0.204904,
    "secs_this_run": 1234.56,
    "lag_rows": 12,
    "checkpoint": "runs/model/ckpt-124",
    "total": metrics(),
    "running": metrics(auc=0.7701, calibration=0.99),
}


def test_the_closing_table():
    assert summary_table(SUMMARY).splitlines() == [
        "  rows trained      1,234,567 (4,567 in this run)",
        "  rows rejected     1,003 (label 1,000, json 3)",
        "  offsets unread    1,250 (skip 50, lost 1,200)",
        "  steps, windows    12,346, 124",
        "  rows/s            21,800 (4,467 rows in 0.2 s, from the first step's end to the last's)",
        "  run, s            1,234.6",
        "  lag, rows         12",
        "  checkpoint        runs/model/ckpt-124",
        "",
        "  scored before learned from    all rows    recent",
        "  auc                             0.7626    0.7701",
        "  log_loss                        0.4824    0.4824",
        "  trivial_log_loss                0.5623    0.5623",
        "  ne                              0.8579    0.8579",
        "  calibration                      1.012     0.990",
    ]


def test_metrics_that_are_not_defined_are_dashes_and_no_reasons_are_not_shown():
    nothing = dict.fromkeys(metrics(), None)
    lines = summary_table({**SUMMARY, "rejected": 0, "rejected_by_reason": {}, "total": nothing, "running": nothing}).splitlines()
    assert "  rows rejected     0" in lines
    assert "  auc                                  -         -" in lines
    assert "  calibration                          -         -" in lines


def test_the_closing_table_names_what_drifts_now():
    by_label = {"buy": {"model": "", "model_for": "C1"}, "rent": {"model": "", "model_for": ""}}
    drift = {"told": 3, "columns": ["C9"], "model": "", "model_for": "", "by_label": by_label}
    lines = summary_table({**SUMMARY, "drift": drift}).splitlines()
    assert "  drift             3 times told; now of C9, the model for buy" in lines


@pytest.mark.parametrize(
    ("rows", "secs", "rate", "shown"),
    [
        (2_000, 0.035646, 56_107.2, "56,107 (2,000 rows in 0.036 s, from the first step's end to the last's)"),
        (90_000, 9.96, 9_036.1, "9,036 (90,000 rows in 10.0 s, from the first step's end to the last's)"),
        (1_234_567, 1_234.56, 1_000.0, "1,000 (1,234,567 rows in 1,234.6 s, from the first step's end to the last's)"),
        (0, 0.0, 0.0, "- (no step after the first one, which also builds the graph)"),
    ],
)
def test_a_speed_stands_with_the_rows_and_seconds_that_it_is_of(rows, secs, rate, shown):
    lines = summary_table({**SUMMARY, "timed_rows": rows, "timed_secs": secs, "rows_per_sec": rate}).splitlines()
    assert f"  rows/s            {shown}" in lines
