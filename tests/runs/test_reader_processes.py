"""A trainer with --reader_processes, on real Kafka: killed, stopped and with one of its processes killed. None of them is left."""

import os
import pathlib
import signal
import time

import numpy as np
import pytest
from checkpoint_helpers import saved
from process_helpers import gone, wait_until
from rows import make_rows

from benchmarks.chaos.trainer import Trainer, command_of

ROWS = make_rows(3000)
SECS = 120


@pytest.fixture
def settings(small_run, topic):
    """Flags of a run over 3,000 rows in 3 partitions by two processes, which saves after each window of 100."""
    windows = {"window_rows": 100, "window_secs": 60, "checkpoint_every_steps": 1}
    return {**small_run, **windows, "topic": topic([ROWS[p::3] for p in range(3)]), "reader_processes": 2}


@pytest.fixture
def begin(settings, tmp_path):
    """Starts the trainer as a process of its own."""
    begun = []

    def begin(**more):
        begun.append(Trainer(command_of(""), {**settings, **more}, tmp_path / "log"))
        return begun[-1]

    yield begin
    for trainer in begun:
        trainer.kill()


def readers_of(trainer):
    """The pids of its processes that read."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if parent == trainer.pid and b"tfonline.stream.readers.worker" in (stat.parent / "cmdline").read_bytes():
                found.append(int(stat.parent.name))
        except OSError:  # it has ended
            continue
    return found


def wait_until_gone(pids):
    wait_until(lambda: all(map(gone, pids)))


def wait_for_window(trainer, number):
    trainer.wait_until(lambda phase, window, step: window >= number, SECS, f"window {number}")


def test_killed_and_resumed_it_is_the_model_of_one_process_and_no_process_is_left(begin, start, settings, tmp_path):
    trainer = begin()
    wait_for_window(trainer, 5)
    readers = readers_of(trainer)
    assert len(readers) == 2
    trainer.kill()
    wait_until_gone(readers)
    assert begin(stop_at="latest").exit_code(SECS) == 0, (tmp_path / "log").read_text()
    other = {"model_dir": str(tmp_path / "other"), "reader_processes": 0, "reader": "consumer"}
    assert start(**{**settings, **other})["rows"] == 3000
    (tensors, state), (other_tensors, other_state) = saved(tmp_path / "model"), saved(tmp_path / "other")
    assert {n: np.asarray(t).tobytes() for n, t in tensors.items()} == {
        n: np.asarray(t).tobytes() for n, t in other_tensors.items()
    }
    assert state == other_state
    log = (tmp_path / "log").read_text()
    assert "--reader=auto takes consumer: --reader_processes=2 is for that reader alone" in log


def test_a_stop_during_a_wait_ends_it_in_time_also_where_all_processes_are_told(begin, tmp_path):
    trainer = begin(drain_secs=10)
    wait_for_window(trainer, 30)  # all is trained
    readers = readers_of(trainer)
    for pid in readers:
        os.kill(pid, signal.SIGTERM)
    trainer.terminate()
    began = time.monotonic()
    trainer.wait_for_exit(0, SECS, "SIGTERM")
    assert time.monotonic() - began < 10 + 1
    assert "SIGTERM: no window is open, ending" in (tmp_path / "log").read_text()
    wait_until_gone(readers)
    assert saved(tmp_path / "model")[1]["rows"] == 3000


def test_a_process_that_is_killed_ends_the_run_to_be_tried_again(begin, produce, settings, tmp_path):
    trainer = begin()
    wait_for_window(trainer, 30)
    first, second = sorted(readers_of(trainer))
    os.kill(first, signal.SIGKILL)
    for partition in range(3):
        produce(settings["topic"], ROWS[:100], partition)
    trainer.wait_for_exit(75, SECS, "a process that reads was killed")
    said = f"tfonline: a process of --reader_processes=2 was ended by SIGKILL (process {first})"
    assert said in (tmp_path / "log").read_text()
    wait_until_gone([second])
    assert begin(stop_at="latest").exit_code(SECS) == 0
    assert saved(tmp_path / "model")[1]["rows"] == 3300
