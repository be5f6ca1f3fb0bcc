"""Signals in every phase, and a disk that is full or cannot be written: processes of their own, for both end the process."""

import pathlib
import re
import subprocess
import time

import pytest
from checkpoint_helpers import saved
from disk_helpers import command_line, on_a_disk
from rows import make_rows

from benchmarks.chaos.trainer import Trainer, command_of

ROWS = make_rows(3000)


@pytest.fixture(scope="module")
def stream(kafka_reader, topic):
    return topic([ROWS[:1500], ROWS[1500:]])


@pytest.fixture
def trainer(stream, small_run, tmp_path):
    """A trainer that makes windows of 50 rows and saves after each."""
    flags = {**small_run, "topic": stream, "window_rows": 50, "checkpoint_every_steps": 1, "drain_secs": 10}
    trainer = Trainer(command_of(""), flags, tmp_path / "log")
    yield trainer
    trainer.kill()


def wait_for(trainer, phase, log):
    if phase == "starting":  # from the first line on the signals are heard
        trainer.wait_until(lambda *_: "checking columns" in log.read_text(), 30, phase)
    elif phase == "idle":
        trainer.wait_until(lambda found, window, _: (found, window) == ("reading", 60), 60, "all is trained")
    else:
        # The first save comes before the loop; the first step is the longest, and so the one that is seen to go on.
        trainer.wait_until(lambda found, window, _: found == phase and (window > 0 or phase in ("training", "reading")), 60, phase)


@pytest.mark.parametrize("phase", ["starting", "idle", "reading", "training", "saving", "committing"])
def test_sigterm_ends_the_run_in_time_in_every_phase(trainer, tmp_path, phase):
    wait_for(trainer, phase, tmp_path / "log")
    began = time.monotonic()
    trainer.terminate()
    trainer.wait_for_exit(0, 30, f"SIGTERM while {phase}")
    assert time.monotonic() - began < 10 + 1
    output = (tmp_path / "log").read_text()
    if phase == "starting":
        assert "SIGTERM: no window has begun yet; leaving at once" in output
        assert not list((tmp_path / "model").glob("ckpt-*"))
        return
    said = "no window is open, ending" if phase == "idle" else "(finishing the window|no window is open, ending)"
    assert re.search(rf"SIGTERM: {said}, 10 s at most", output)
    # tensorflow-io's reader may take seconds to close a window's consumers: then the run does not wait for it.
    assert "stopped by SIGTERM" in output or "no window is open, and the next rows do not come: leaving" in output
    _, position = saved(tmp_path / "model")  # whole, and at a window's end
    assert position["rows"] == sum(position["next"]) == 50 * position["window"]


def test_a_second_signal_leaves_at_once_and_tears_nothing(trainer, tmp_path):
    # Not the very first: until it is there, a second signal may leave a folder without any.
    trainer.wait_until(lambda phase, window, _: phase == "saving" and window > 0, 60, "saving")
    trainer.terminate()
    time.sleep(0.02)
    trainer.terminate()
    began = time.monotonic()
    assert trainer.exit_code(10) in (143, 0)  # 0: the run had ended before the second one came
    assert time.monotonic() - began < 5
    _, position = saved(tmp_path / "model")
    assert position["rows"] == sum(position["next"])


def test_a_full_disk_ends_the_run_and_more_space_lets_it_go_on(stream, small_run, tmp_path):
    flags = {**small_run, "topic": stream, "stop_at": "latest", "window_rows": 100, "checkpoint_every_steps": 1, "report_secs": 60}
    flags["model_dir"] = "$DISK/model"
    output = on_a_disk(
        tmp_path,
        "2m",
        f"head -c 1750000 /dev/zero > $DISK/ballast; {command_line(flags)}; echo first=$?; ls $DISK/model; rm $DISK/ballast; "
        f"{command_line(flags)}; echo second=$?; cat $DISK/model/summary.json",
    )
    assert "first=73" in output, output
    assert re.search(r"tfonline: .*(could not be written|cannot be written)", output), output
    assert "Make space or mend the disk, then run the same command again" in output
    assert "second=0" in output, output
    assert '"rows": 3000' in output
    assert '"fingerprint"' in output


def test_a_model_folder_that_cannot_be_written(stream, small_run, tmp_path):
    flags = {**small_run, "topic": stream, "stop_at": "latest", "model_dir": "$DISK/model"}
    output = on_a_disk(tmp_path, "4m", f"mkdir $DISK/model; mount -o remount,ro $DISK; {command_line(flags)}; echo code=$?")
    assert "code=73" in output, output
    assert "disk/model/.lock cannot be written (Read-only file system)" in output
    assert "Traceback" not in output


def test_a_model_folder_that_is_a_file(stream, small_run, tmp_path):
    (tmp_path / "file").write_text("")
    flags = {**small_run, "topic": stream, "model_dir": tmp_path / "file" / "model"}
    done = subprocess.run([*command_of(""), *(f"--{k}={v}" for k, v in flags.items())], capture_output=True, text=True, timeout=60)
    assert done.returncode == 73, done.stderr
    assert f"{pathlib.Path(tmp_path) / 'file'}" in done.stderr
