"""Workers in processes of their own: the same model as one process, whoever starts them and whatever befalls them."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from checkpoint_helpers import saved
from kafka_helpers import ROOT
from published_deltas import bits, loaded, moved_on
from rows import make_rows

from tfonline.deltas.folder import DeltaFolder, Key
from tfonline.evaluate.progressive import PREDICTION
from tfonline.publish.versions import Versions

# Partitions of different lengths, one of them without a row, and rows that are refused.
PARTITIONS = [make_rows(700, 1), [], [*make_rows(300, 2), b"bad", *make_rows(200, 3), b""], make_rows(100, 4) + [b"bad"]]
GOOD = sum(len(rows) for rows in PARTITIONS) - 3


@pytest.fixture(scope="module")
def stream(topic):
    return topic(PARTITIONS)


@pytest.fixture
def flags_of_model(small_run):
    """Of a run to the stream's end, with all that a model can have."""
    return {
        **small_run, "stop_at": "latest", "window_rows": 250, "checkpoint_every_steps": 4, "batch_size": 24,
        "history": True, "cross_buckets": 100, "average_rows": 300, "save_predictions": True, "loss_log_every_steps": 1,
        "worker_timeout_secs": 30, "keep_checkpoints": 100, "checkpoint_secs": 0,
    }  # fmt: skip


@pytest.fixture
def flags(flags_of_model, stream):
    return {**flags_of_model, "topic": stream}


def options(flags):
    return [f"--{name}={value}" for name, value in flags.items()]


class Launch:
    """tools/launch.py with workers that learn."""

    def __init__(self, flags, tmp_path, workers=2, restarts=0):
        self._log = tmp_path / "launch.log"
        self.logs = tmp_path / "logs"
        command = [sys.executable, ROOT / "tools" / "launch.py", f"--num_workers={workers}", f"--max_restarts={restarts}"]
        with self._log.open("ab") as log:
            command = [*command, f"--log_dir={self.logs}", "--", *options(flags)]
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)

    def out(self):
        return self._log.read_text()

    def end(self):
        """Waits; the exit code."""
        try:
            return self.process.wait(120)
        finally:
            self.process.kill()

    def pids(self, start):
        """Of the workers of that start, 0 the first, once the chief has saved a model that has learned."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            starts = re.findall(r"launch: \d+ workers \(([\d ]+)\)", self.out())
            log = self.logs / "worker-0.log"
            if len(starts) > start and log.exists():
                said = log.read_text().split("loading TensorFlow")
                if len(said) > start + 1 and re.search(r"saved .*ckpt-[1-9]", said[start + 1]):
                    return [int(pid) for pid in starts[start].split()]
            assert self.process.poll() is None, self.out() + log.read_text()
            time.sleep(0.01)
        raise AssertionError(self.out())


def summary(model_dir):
    return json.loads((model_dir / "summary.json").read_text())


def weights(model_dir):
    checkpoint = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(model_dir)))
    types = checkpoint.get_variable_to_dtype_map()
    return {name: checkpoint.get_tensor(name) for name in types if types[name] == tf.float32}


def scored(model_dir):
    rows = np.fromfile(model_dir / "predictions.bin", PREDICTION)
    return sorted(zip(rows["partition"].tolist(), rows["offset"].tolist(), strict=True))


def refused(model_dir):
    lines = [line for file in model_dir.glob("rejected*.jsonl") for line in file.read_text().splitlines()]
    return sorted((r["partition"], r["offset"], r["reason"]) for r in map(json.loads, lines))


def assert_same(model_dir, expected_dir):
    ours, theirs = summary(model_dir), summary(expected_dir)
    for name in ("rows", "rejected_by_reason", "steps", "windows", "next", "fingerprint"):
        assert ours[name] == theirs[name], name
    assert ours["total"] == pytest.approx(theirs["total"], abs=1e-4)
    assert scored(model_dir) == scored(expected_dir)
    assert refused(model_dir) == refused(expected_dir)
    found, expected = weights(model_dir), weights(expected_dir)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.linalg.norm(found[name] - value) <= 1e-5 * np.linalg.norm(value), name


@pytest.fixture
def alone(flags, start, tmp_path):
    """What one process with as many groups learns; its model folder."""
    folder = tmp_path / "alone"
    found = start(**{**flags, "model_dir": str(folder), "partition_groups": 2})
    assert (found["rows"], found["rejected"]) == (GOOD, 3)
    return folder


def test_two_workers_learn_what_one_process_learns(flags, alone, tmp_path):
    launch = Launch(flags, tmp_path)
    assert launch.end() == 0, launch.out()
    assert_same(tmp_path / "model", alone)
    # The chief has written all that is written once.
    assert (tmp_path / "model" / "loss.log").read_text().count("\n") == summary(alone)["steps"]
    assert len(refused(tmp_path / "model")) == 3
    assert (tmp_path / "model" / "rejected.worker-1.jsonl").exists()
    assert "the chief has ended" in (launch.logs / "worker-1.log").read_text()


def test_all_workers_read_files_in_the_chiefs_order(flags_of_model, start, tmp_path):
    """day_7 and day_10 came after a first run: a worker that lists the folder by itself has day_7 first."""
    rows = {8: PARTITIONS[0], 9: PARTITIONS[2], 10: make_rows(150, 5), 7: make_rows(90, 6)}
    settings = {**flags_of_model, "input_files": f"{tmp_path}/day_*"}
    for days in ((8, 9), (10, 7)):
        for number in days:
            (tmp_path / f"day_{number}").write_bytes(b"".join(row + b"\n" for row in rows[number]))
        start(**{**settings, "model_dir": str(tmp_path / "alone"), "partition_groups": 2})
        launch = Launch({**settings, "model_dir": tmp_path / "model"}, tmp_path)
        assert launch.end() == 0, launch.out()
    assert summary(tmp_path / "model")["next"] == [700, 502, 90, 150]
    assert_same(tmp_path / "model", tmp_path / "alone")


def test_ids_that_come_with_the_stream_are_the_same_whoever_reads_the_rows(flags_of_model, start, tmp_path):
    """Without predictions, for which workers tell each other where their rows come from."""
    for number in (0, 2):
        (tmp_path / f"day_{number}").write_bytes(b"".join(row + b"\n" for row in PARTITIONS[number]))
    growing = {"vocabulary_rows": 256, "oov_buckets": 16, "admit_after": 2, "expire_rows": 100, "admit_counters": 4096}
    settings = {**flags_of_model, **growing, "input_files": f"{tmp_path}/day_*", "save_predictions": False}
    settings["dictionary_dir"] = tmp_path / "none"
    start(**{**settings, "model_dir": str(tmp_path / "alone"), "partition_groups": 2, "dictionary_dir": "none"})
    launch = Launch({**settings, "model_dir": tmp_path / "model"}, tmp_path)
    assert launch.end() == 0, launch.out()
    (alone, _), (together, _) = saved(tmp_path / "alone"), saved(tmp_path / "model")
    names = [name for name in alone if "admission" in name or "vocabulary" in name]
    assert len(names) == 9
    assert [name for name in names if not np.array_equal(alone[name], together[name])] == []
    (tally,) = (alone[name] for name in names if "tally" in name)
    assert tally[2] > 10  # rows have changed hands


def test_deltas_that_the_chief_makes_lead_from_one_version_to_the_next(flags, tmp_path):
    export = tmp_path / "export"
    gate = {"gate_rows": 50, "gate_min_auc": 0, "gate_calibration": 0, "gate_max_regression": 10}
    publish = {"export_dir": export, "export_every_windows": 2, "delta_every_secs": 1e-9, "window_rows": 60}
    launch = Launch({**flags, **publish, **gate}, tmp_path)
    assert launch.end() == 0, launch.out()
    versions, folder = Versions(export), DeltaFolder(export / "deltas")
    before, newest = versions.numbers[-2:]
    variables, weights = loaded(versions, before)
    at_first, state = bits(variables), versions.manifest(newest)["state"]
    moved_on(weights, folder, Key(state["epoch"], state["number"]))
    assert bits(variables) == bits(loaded(versions, newest)[0]) != at_first


def test_killed_and_hanging_workers_lose_nothing(flags, alone, tmp_path):
    launch = Launch({**flags, "worker_timeout_secs": 20}, tmp_path, restarts=2)
    os.kill(launch.pids(0)[0], signal.SIGKILL)
    os.kill(launch.pids(1)[1], signal.SIGSTOP)
    assert launch.end() == 0, launch.out()
    assert "was killed by signal 9" in launch.out()
    assert "ended with exit code 75" in launch.out()
    assert_same(tmp_path / "model", alone)


def test_another_number_of_workers_goes_on(flags, alone, tmp_path):
    launch = Launch(flags, tmp_path)
    pids = launch.pids(0)
    launch.process.send_signal(signal.SIGTERM)
    assert launch.end() == 0, launch.out()
    assert "ended=stopped" in launch.out()
    assert "stopped by SIGTERM" in (launch.logs / "worker-0.log").read_text()
    assert len(pids) == 2
    shutil.rmtree(launch.logs)
    launch = Launch(flags, tmp_path, workers=3)
    assert launch.end() == 0, launch.out()
    found, expected = summary(tmp_path / "model"), summary(alone)
    for name in ("rows", "rejected_by_reason", "windows", "next", "fingerprint"):
        assert found[name] == expected[name]
    assert scored(tmp_path / "model") == scored(alone)
    assert refused(tmp_path / "model") == refused(alone)


def test_fewer_workers_cut_back_the_files_of_those_that_are_gone(flags, alone, start, tmp_path):
    launch = Launch(flags, tmp_path, workers=3)
    os.kill(launch.pids(0)[1], signal.SIGKILL)
    assert launch.end() != 0
    with (tmp_path / "model" / "rejected.worker-2.jsonl").open("a") as file:  # of a window that was not saved
        file.write(json.dumps({"partition": 2, "offset": 300, "reason": "fields"}) + "\n")
    found = start(**flags)
    assert found["rows"] == summary(alone)["rows"]
    assert refused(tmp_path / "model") == refused(alone)


def test_what_ends_the_chief_ends_all_saved_and_with_its_code(flags, tmp_path):
    launch = Launch({**flags, "skip_window": 9}, tmp_path, restarts=3)
    assert launch.end() == 64, launch.out()
    assert launch.out().count("launch: 2 workers") == 1
    assert "the journal has no such window" in (launch.logs / "worker-0.log").read_text()
    assert "another worker's rows have failed" in (launch.logs / "worker-1.log").read_text()


def test_mpirun_starts_workers(flags, alone, tmp_path):
    assert shutil.which("mpirun"), "this test needs Open MPI's mpirun; `make test` installs Debian's where it may"
    command = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2", sys.executable, "-m", "tfonline.train"]
    done = subprocess.run([*command, "--cluster=mpi", *options(flags)], cwd=ROOT, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same(tmp_path / "model", alone)
    assert [path.name for path in (tmp_path / "model" / "cluster").iterdir()] == ["plan"]


def test_a_worker_that_never_comes_is_not_waited_for(flags):
    """TensorFlow would wait without end."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        ports = [free.getsockname()[1], 1]
    flags |= {"cluster": "hosts", "workers": ",".join(f"localhost:{p}" for p in ports), "worker_timeout_secs": 2}
    command = [sys.executable, "-m", "tfonline.train", *options(flags), "--worker_index=0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGALRM  # no other error's: exit 1 is a bug
    assert (
        f"waiting for workers {flags['workers'].replace(',', ', ')}; ended by SIGALRM where they have not come in 2 s"
        in done.stdout
    )


def test_a_wrong_flag_ends_all_and_is_not_tried_again(flags, tmp_path):
    launch = Launch({**flags, "batch_size": 25}, tmp_path, restarts=5)
    assert launch.end() == 64
    assert "--batch_size=25 does not divide over 2 workers" in launch.out()
    assert launch.out().count("launch: 2 workers") == 1
