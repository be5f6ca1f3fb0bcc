"""--log_format=json, as a program that collects lines sees it: each line of both streams is an object."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import logistic
import pytest
from rows import make_rows

# A network whose libraries speak as libraries do.
_NOISY = """
import warnings
import tensorflow as tf
from absl import logging
from logistic import make
warnings.warn("an old name")
tf.get_logger().warning("TensorFlow's logger")
logging.error("absl's logger")
import os
os.write(2, b"W0000 00:00:1.5 7 x.cc:1] as C++ does\\nno level\\n")
"""
DOCS = (pathlib.Path(__file__).parents[2] / "docs/operations.md").read_text()


@pytest.fixture
def train(dictionary_dir, tmp_path):
    """Runs the trainer over these rows, as people start it; returns its exit code and the lines of each stream."""

    def train(rows, *more):
        (tmp_path / "rows.tsv").write_bytes(b"\n".join(rows) + b"\n")
        flags = [f"--input_files={tmp_path}/rows.tsv", f"--dictionary_dir={dictionary_dir}", f"--model_dir={tmp_path}/model"]
        flags += ["--batch_size=20", "--embedding_dim=2", "--deep_layers=4", "--stop_at=latest", "--report_secs=0"]
        command = [sys.executable, "-m", "tfonline.train", *flags, "--log_format=json", *more]
        paths = [str(tmp_path), str(pathlib.Path(logistic.__file__).parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        return done.returncode, *([json.loads(line) for line in text.splitlines()] for text in (done.stdout, done.stderr))

    return train


def test_each_line_of_a_run_is_an_object(train, tmp_path):
    (tmp_path / "noisy.py").write_text(_NOISY)
    more = ["--window_rows=50", f"--export_dir={tmp_path}/export", "--gate_rows=20", "--network=noisy:make"]
    code, out, err = train([b"not a row", *make_rows(99)], *more)
    assert code == 0
    for line in [*out, *err]:
        assert set(line) - {"fields"} == {"time", "level", "event", "text"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    by_event = {line["event"]: line for line in out}
    documented = set(re.findall(r"`(\w+)`", re.search(r"^Events are (.*?)\n\n", DOCS, re.MULTILINE | re.DOTALL)[1]))
    assert set(by_event) - documented == set()
    assert by_event["new_model"]["fields"] == {"next": [0]}
    assert by_event["first_rows"]["level"] == "warning"
    assert by_event["saved"]["fields"] == {"checkpoint": f"{tmp_path}/model/ckpt-2", "step": 6, "next": [100]}
    report = by_event["report"]
    assert (report["level"], report["fields"]["step"], report["fields"]["rejected_rows"]) == ("info", 6, 1.0)
    assert report["text"].startswith("step 6  rows 99  loss ")
    assert by_event["ended"]["fields"]["rows"] == 99
    said = {(line["event"], line["level"], line["fields"]["logger"], line["text"].rpartition("Warning: ")[2]) for line in err}
    assert said >= {("library", "warning", "tensorflow", "TensorFlow's logger"), ("library", "error", "absl", "absl's logger")}
    raw = {(level, text) for _, level, logger, text in said if logger == "stderr"}
    assert raw >= {("warning", "W0000 00:00:1.5 7 x.cc:1] as C++ does"), ("warning", "no level")}
    assert [text.splitlines()[0] for *_, logger, text in said if logger == "py.warnings"] == ["an old name"]


def test_what_ends_a_run_is_an_error(train):
    code, out, err = train([b"no row"] * 200)
    assert code == 65
    assert "saved" not in {line["event"] for line in out}
    *_, last = err
    assert (last["level"], last["event"], last["fields"]) == ("error", "failed", {"exit_code": 65})
    assert "no row" in last["text"]


def test_the_last_words_of_a_trainer_that_is_ended_by_cpp_are_told(train, tmp_path):
    end = 'import os\nos.write(2, b"F0000 00:00:1.5 7 x.cc:1] Check failed\\n")\nos.abort()\n'
    (tmp_path / "ending.py").write_text(end)
    code, _, err = train(make_rows(20), "--network=ending:make")
    assert code == -signal.SIGABRT
    assert (err[-1]["level"], err[-1]["text"]) == ("error", "F0000 00:00:1.5 7 x.cc:1] Check failed")


def test_a_wrong_flag_is_an_error(train):
    code, out, err = train([], "--batch_size=0")
    assert (code, out) == (64, [])
    (line,) = err
    assert (line["level"], line["fields"]) == ("error", {"exit_code": 64})
    assert line["text"] == "--batch_size=0 is too small. Expected at least 1."
