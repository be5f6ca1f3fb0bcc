"""The chief's plan reaches the others, window by window."""

import pytest

from tfonline.cluster import plan
from tfonline.lifecycle import Stop
from tfonline.stream.window import Window

WINDOWS = [Window(n, (n, 0), (n + 1, 0), "rows") for n in range(4)]


@pytest.fixture
def stop():
    stop = Stop()
    yield stop
    stop.request("the test has ended")


def follow(tmp_path, stop, number=0, **options):
    follower = plan.ChiefsWindows(str(tmp_path), number, stop, poll_secs=0.001, **options)
    return follower, iter(follower)


def test_windows_come_as_they_are_announced_and_ticks_between(tmp_path, stop):
    journal = plan.begin(str(tmp_path))
    follower, followed = follow(tmp_path, stop, tick_secs=0.01)
    assert next(followed) is None
    announced = plan.announced([WINDOWS[0], None, WINDOWS[1]], journal)
    assert next(announced) == WINDOWS[0]
    assert next(followed) == WINDOWS[0]
    assert next(announced) is None
    assert next(followed) is None
    assert next(announced) == WINDOWS[1]
    assert next(followed) == WINDOWS[1]
    assert follower.planned(1) == follower.take(1) == WINDOWS[1]
    journal.close()


def test_a_window_is_written_before_it_is_handed_out(tmp_path, stop):
    journal = plan.begin(str(tmp_path))
    _, followed = follow(tmp_path, stop, tick_secs=60)
    for window in plan.announced(WINDOWS, journal):
        assert next(followed) == window
    journal.close()


def test_a_half_written_line_is_read_when_it_is_whole(tmp_path, stop):
    journal = plan.begin(str(tmp_path))
    journal.append(WINDOWS[0])
    path = tmp_path / "cluster" / "plan" / "windows.jsonl"
    line = path.read_bytes()
    path.write_bytes(line[:20])
    _, followed = follow(tmp_path, stop, tick_secs=0.05)
    assert next(followed) is None
    path.write_bytes(line)
    assert next(followed) == WINDOWS[0]
    journal.close()


def test_a_new_run_begins_a_new_plan_and_what_is_saved_is_passed_over(tmp_path, stop):
    old = plan.begin(str(tmp_path))
    for window in WINDOWS:
        old.append(window)
    old.close()
    journal = plan.begin(str(tmp_path))
    _, followed = follow(tmp_path, stop, number=1, tick_secs=0.01)
    assert next(followed) is None
    changed = Window(1, (1, 0), (9, 0), "secs")
    for window in (WINDOWS[0], changed):
        journal.append(window)
    assert next(followed) == changed
    journal.close()


def test_a_stop_and_a_damaged_plan_end_it(tmp_path, stop):
    plan.begin(str(tmp_path)).close()
    (tmp_path / "cluster" / "plan" / "windows.jsonl").write_text("{}\n")
    follower, followed = follow(tmp_path, stop)
    assert list(followed) == []
    assert isinstance(follower.error, KeyError)
    plan.begin(str(tmp_path)).close()
    _, followed = follow(tmp_path, stop)
    stop.request("enough")
    assert list(followed) == []
