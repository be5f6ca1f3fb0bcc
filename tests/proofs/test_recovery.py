"""A trainer that is killed, stopped and started again, against one that never was: the same rows, the same weights, to the bit."""

import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from checkpoint_helpers import saved
from kafka_helpers import read_all
from rows import make_dictionaries, make_rows

from tfonline import config as flags
from tfonline.train import run

PARTITIONS = 3
ROWS = 10_007  # over 3 partitions in batches of 96: nothing divides evenly
GARBAGE = {40: b"", 1000: b"not a row", 5003: b"2" + b"\t" * 39, ROWS - 1: b"1\tx" + b"\t" * 38}


@pytest.fixture(scope="module")
def stream(topic, tmp_path_factory):
    """Flags of a run over 10,007 rows on real Kafka, four of which are garbage."""
    rows = make_rows(ROWS)
    for place, garbage in GARBAGE.items():
        rows[place] = garbage
    return {
        "topic": topic([rows[p::PARTITIONS] for p in range(PARTITIONS)]),
        "dictionary_dir": make_dictionaries(tmp_path_factory.mktemp("dictionaries")),
        "stop_at": "latest",
        "batch_size": 96,
        "num_replicas": 2,
        "embedding_dim": 4,
        "deep_layers": "8",
        "window_rows": 700,
        "loss_log_every_steps": 1,
    }


def start_process(broker, model_dir, settings):
    settings = {**settings, "bootstrap_servers": broker.bootstrap, "model_dir": model_dir}
    command = [sys.executable, "-m", "tfonline.train", *(f"--{k}={v}" for k, v in settings.items())]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_windows(process, model_dir, number):
    """Waits until that many windows have been planned, or the process has ended."""
    journal = pathlib.Path(model_dir) / "windows.jsonl"
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if journal.exists() and journal.read_bytes().count(b"\n") >= number:
            return
        time.sleep(0.005)


def assert_same_model(one, other):
    (tensors, position), (other_tensors, other_position) = saved(one), saved(other)
    assert tensors.keys() == other_tensors.keys()
    assert len(tensors) > 20
    different = [n for n in tensors if np.asarray(tensors[n]).tobytes() != np.asarray(other_tensors[n]).tobytes()]
    assert different == []
    assert position == other_position


def fingerprint_of(records):
    """Sum of the documented row fingerprints over {partition: [(offset, message)]}, in plain Python and the hash op alone."""
    total = 0
    for partition, rows in records.items():
        hashes = tf.strings.to_hash_bucket_fast([m for _, m in rows], 2**63 - 1).numpy()
        for (offset, _), h in zip(rows, hashes, strict=True):
            x = (int(h) ^ (offset * 0x9E3779B97F4A7C15 + partition * 0xBF58476D1CE4E5B9)) * 0xBF58476D1CE4E5B9 % 2**64
            signed = x - 2**64 if x >= 2**63 else x
            total += x ^ (signed >> 32) % 2**64
    return total % 2**64


@pytest.fixture(scope="module")
def uninterrupted(broker, stream, tmp_path_factory):
    """The model folder of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    run(flags.of_flags(**stream, bootstrap_servers=broker.bootstrap, model_dir=str(folder)))
    return folder


def test_every_row_is_trained_once_or_recorded_as_rejected(broker, stream, uninterrupted):
    _, position = saved(uninterrupted)
    records = read_all(broker.bootstrap, stream["topic"])
    assert sum(len(rows) for rows in records.values()) == ROWS
    bad = {(place % PARTITIONS, place // PARTITIONS) for place in GARBAGE}
    assert position["rows"] == ROWS - len(bad)
    assert position["next"] == [len(records[p]) for p in range(PARTITIONS)]
    assert position["rejected"] == {"empty": 1, "fields": 1, "label": 1, "number": 1}
    lines = [json.loads(line) for line in (uninterrupted / "rejected.jsonl").read_text().splitlines()]
    assert {(line["partition"], line["offset"]) for line in lines} == bad
    assert len(lines) == len(bad)
    good = {p: [(o, m) for o, m in enumerate(rows) if (p, o) not in bad] for p, rows in records.items()}
    assert position["fingerprint"] == fingerprint_of(good)


def test_stopped_half_way_and_started_again_is_as_if_never_stopped(broker, stream, uninterrupted, tmp_path):
    first = start_process(broker, tmp_path, stream)
    wait_for_windows(first, tmp_path, 5)
    first.send_signal(signal.SIGTERM)
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 0, output
    assert "stopped by SIGTERM" in output
    _, half_way = saved(tmp_path)
    assert 0 < half_way["rows"] < ROWS - len(GARBAGE)
    second = start_process(broker, tmp_path, stream)
    output, _ = second.communicate(timeout=120)
    assert second.returncode == 0, output
    assert f"resumed from {tmp_path}/ckpt-{half_way['window']}" in output
    lines = [line for line in output.splitlines() if "before absl::InitializeLog()" not in line]  # TensorFlow 2.21's own
    assert [line for line in lines if "warning" in line.lower()] == []
    assert_same_model(tmp_path, uninterrupted)
    assert (tmp_path / "loss.log").read_text() == (uninterrupted / "loss.log").read_text()
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (tmp_path, uninterrupted)]
    assert summaries[0]["total"] == summaries[1]["total"]


def test_killed_again_and_again_is_as_if_never_killed(broker, stream, tmp_path):
    """Windows by time as well: after a kill they come from the journal, not from a new plan. Three steps a call."""
    settings = {**stream, "window_secs": 0.05, "checkpoint_every_steps": 10, "checkpoint_secs": 0, "steps_per_call": 3}
    killed = tmp_path / "killed"
    for windows in (1, 6, 11):
        process = start_process(broker, killed, settings)
        wait_for_windows(process, killed, windows)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    with (killed / "windows.jsonl").open("a") as f:
        f.write('{"number":999,"sta')  # torn by the last kill
    process = start_process(broker, killed, settings)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    _, position = saved(killed)
    assert position["rows"] == ROWS - len(GARBAGE)
    assert len((killed / "rejected.jsonl").read_text().splitlines()) == len(GARBAGE)
    replayed = tmp_path / "replayed"
    replay = {**stream, "stop_at": "never", "replay_journal": str(killed / "windows.jsonl")}
    run(flags.of_flags(**replay, bootstrap_servers=broker.bootstrap, model_dir=str(replayed)))
    (tensors, _), (other, _) = saved(killed), saved(replayed)
    assert [n for n in tensors if np.asarray(tensors[n]).tobytes() != np.asarray(other[n]).tobytes()] == []


def test_a_window_that_does_not_end_in_time_is_dropped_and_read_again(broker, stream, tmp_path):
    settings = {**stream, "window_rows": ROWS, "window_secs": 60, "drain_secs": 0}
    first = start_process(broker, tmp_path, settings)
    wait_for_windows(first, tmp_path, 1)
    first.send_signal(signal.SIGTERM)
    output, _ = first.communicate(timeout=60)
    assert first.returncode == 0, output
    assert "will be read again" in output
    _, position = saved(tmp_path)
    assert (position["rows"], position["next"], position["window"]) == (0, [0, 0, 0], 0)
    result = run(flags.of_flags(**settings, bootstrap_servers=broker.bootstrap, model_dir=str(tmp_path)))
    assert result.summary["rows"] == ROWS - len(GARBAGE)
