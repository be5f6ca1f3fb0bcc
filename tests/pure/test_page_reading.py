"""What tools/report.py reads: curves over restarts, files of a folder that is written meanwhile, versions."""

import json

import numpy as np
import pytest
from report_folder import Planned, read_folder, read_published
from report_series import ROWS, Point, Series, joined, rows_at

from tfonline.lifecycle import Exit, UserError

JOURNAL = '{"number":%d,"start":[0],"stop":[9],"trigger":"%s","rows":%d,"time":"2024-05-01T00:00:%02d.500+00:00"}\n'
FIRST_OF_MAY = 1714521600.0  # seconds since 1970, at midnight UTC


def series(steps, values):
    return Series(np.array(steps, np.int64), np.array(steps, np.float64), np.array(values, np.float64))


# Curves


def test_what_a_restart_repeats_is_there_once_as_the_newest_run_has_it():
    points = [Point("auc", step, 100 + step, value) for step, value in ((10, 0.1), (20, 0.2), (30, 0.3))]
    points += [Point("lag", 10, 110, 7.0)]
    # Killed behind step 30; goes on from a checkpoint at step 12, and tells of other steps than the first run.
    points += [Point("auc", step, 200 + step, value) for step, value in ((15, 0.15), (25, 0.25), (25, 0.26))]
    found = joined(points)
    assert found["auc"].step.tolist() == [10, 15, 25]
    assert found["auc"].value.tolist() == [0.1, 0.15, 0.26]
    assert found["auc"].time.tolist() == [110, 215, 225]
    assert (found["auc"].last, found["lag"].last) == (0.26, 7.0)
    assert joined([]) == {}


def test_rows_between_two_reports_are_as_if_the_trainer_had_gone_on_evenly():
    found = rows_at(np.array([0, 5, 10, 15, 40]), {ROWS: series([10, 20], [100, 300])})
    assert found.tolist() == [0, 50, 100, 200, 300]
    assert rows_at(np.array([3]), {}).tolist() == [3.0]


# The model folder


def test_a_line_that_is_being_written_is_left_out_and_a_damaged_one_counted(tmp_path):
    (tmp_path / "windows.jsonl").write_text(
        JOURNAL % (0, "rows", 10, 1) + "{\n" + '{"number":1}\n' + JOURNAL % (1, "secs", 7, 2) + '{"number":2,"sta'
    )
    (tmp_path / "drift.jsonl").write_text('{"rows":5,"about":"C1","begins":true,"text":"drift"}\n"no object"\n{"rows":')
    (tmp_path / "config.json").write_text('{"topic": "clic')
    found = read_folder(tmp_path)
    assert found.windows == [Planned(0, 10, "rows", FIRST_OF_MAY + 1.5), Planned(1, 7, "secs", FIRST_OF_MAY + 2.5)]
    assert [line["about"] for line in found.drift] == ["C1"]
    assert found.unreadable == {"windows.jsonl": 2, "drift.jsonl": 1}
    assert (found.flags, found.summary, found.summed_up, found.status) == ({}, {}, 0.0, "")


def test_a_window_that_was_planned_anew_is_there_once_and_older_parts_come_first(tmp_path):
    (tmp_path / "windows-000000000000.jsonl").write_text(JOURNAL % (0, "rows", 10, 1) + JOURNAL % (1, "rows", 10, 2))
    (tmp_path / "windows.jsonl").write_text(
        JOURNAL % (2, "rows", 10, 3) + JOURNAL % (1, "lost", 30, 4) + JOURNAL % (2, "end", 5, 5)
    )
    found = read_folder(tmp_path).windows
    assert [(w.number, w.rows, w.trigger, w.read) for w in found] == [
        (0, 10, "rows", True),
        (1, 30, "lost", False),
        (2, 5, "end", True),
    ]


def test_reading_writes_nothing(tmp_path):
    (tmp_path / "windows.jsonl").write_text(JOURNAL % (0, "rows", 10, 1) + '{"torn')
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    read_folder(tmp_path)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before


def test_what_is_no_model_folder(tmp_path):
    for path, text in ((tmp_path / "nothing", "is no folder"), (tmp_path, "is no model folder: it has neither config.json")):
        with pytest.raises(UserError, match=text) as error:
            read_folder(path)
        assert error.value.code == Exit.NO_INPUT


# The export folder


def test_versions_are_told_with_what_has_become_of_them(versions):
    for rows in (1, 2, 3):
        versions.publish(lambda beside: beside.mkdir(), {"rows": rows, "metrics": {"auc": 0.7}})
    versions.roll_back(2, why="too low")
    (versions.folder / "2" / "manifest.json").write_text("{")
    (versions.folder / "refused.jsonl").write_text('{"time": 1.5, "window": 2, "step": 3, "why": "its AUC is 0.4"}\n{}\n{"ti')
    found = read_published(versions.folder)
    assert [(v["version"], v.get("rows")) for v in found.versions] == [(4, 2), (3, 3), (2, None), (1, 1)]
    states = [v["state"] for v in found.versions]
    assert states[:2] == ["newest, version 2 again", "bad: too low"]
    assert states[3] == ""
    assert states[2].startswith("unreadable: version 2 has no readable manifest.json")
    assert found.refused == [json.loads('{"time": 1.5, "window": 2, "step": 3, "why": "its AUC is 0.4"}')]
    assert found.unreadable == {"refused.jsonl": 1}
    assert found.paused == "too low (version 4 is 2 again)"


def test_what_is_no_export_folder(tmp_path):
    with pytest.raises(UserError, match=r"no folder\. Expected the trainer's --export_dir") as error:
        read_published(tmp_path / "nothing")
    assert error.value.code == Exit.NO_INPUT
