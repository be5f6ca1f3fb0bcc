"""tools/models.py, as the on-call engineer uses it: on a folder that a trainer has published into."""

import gzip
import shutil
import subprocess
import sys

import numpy as np
import pytest
from rows import make_dictionaries, make_rows

from tfonline.config import of_flags
from tfonline.evaluate.progressive import exact_auc
from tfonline.publish.versions import Versions
from tfonline.train import run

ROWS = make_rows(2000)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    for rows in (700, 1400, 2000):  # a run's last checkpoint is published before it ends
        (folder / "rows.tsv").write_bytes(b"\n".join(ROWS[:rows]))
        run(
            of_flags(
                input_files=str(folder / "rows.tsv"), dictionary_dir=make_dictionaries(folder / "d"),
                model_dir=str(folder / "model"), export_dir=str(folder / "models"), export_every_windows=1, gate_rows=200,
                gate_min_auc=0, gate_calibration=0, gate_max_regression=1, stop_at="latest", window_rows=200, batch_size=50,
                checkpoint_every_steps=12, deep_layers="8", embedding_dim=4,
            )
        )  # fmt: skip
    return folder


def models(*arguments, code=0):
    """What it printed, and its own lines of stderr: TensorFlow 2.21 writes others at its start."""
    done = subprocess.run([sys.executable, "tools/models.py", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout, "".join(line for line in done.stderr.splitlines(keepends=True) if line.startswith(("models: ", "error: ")))


def test_from_a_list_to_a_roll_back_and_on(published):
    folder, versions = published / "models", Versions(published / "models")
    newest, before = versions.numbers[-1], versions.numbers[-2]
    out, _ = models("list", folder)
    assert [int(line.split()[0]) for line in out.splitlines()[1:-1]] == versions.numbers
    assert f"{versions.manifest(newest)['step']:,}" in out.splitlines()[-2]
    assert out.splitlines()[-1] == f"models: versions={len(versions.numbers)} served={newest} paused=no"
    assert models("verify", folder)[0].splitlines()[-1] == f"models: version={newest} whole=yes problems=0"

    out, _ = models("rollback", folder, "--why=clicks fell")
    assert out == f"models: version={newest + 1} again={before} paused=yes\n"
    out, _ = models("list", folder)
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert lines[str(newest)].endswith("bad: clicks fell")
    assert lines[str(newest + 1)].endswith(f"served (again {before})")
    assert out.splitlines()[-2].startswith("publishing is paused: clicks fell")
    assert models("resume", folder)[0] == "models: paused=no\n"
    assert versions.paused == ""

    file = next((folder / str(before) / "variables").glob("*.data*"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    out, _ = models("verify", folder, before, code=65)
    assert out.splitlines()[0].endswith("has changed")
    file.write_bytes(whole)


def test_scores_of_a_file(published):
    unlabelled, bad = ROWS[0].split(b"\t", 1)[1], b"no row"  # both lack fields
    (published / "some.tsv").write_bytes(b"\n".join([*ROWS[:300], unlabelled, bad]) + b"\n")
    out, about = models("score", published / "models", published / "some.tsv")
    scores = np.array([float(line) for line in out.splitlines()])
    assert len(scores) == 302
    assert np.isnan(scores[300:]).all()
    auc = exact_auc(scores[:300], np.array([row[:1] == b"1" for row in ROWS[:300]]))
    assert about.startswith(f"models: rows=302 bad=2 labelled=300 auc={auc:.4f} log_loss=0.")
    assert "2 rows have no score: their numbers are nan. Expected rows with the label's field (--labels)." in about


def test_rows_without_labels_are_said_to_be_such(published):
    """A row with the label's field among them is none: what has another width is not guessed at."""
    unlabelled = [row.split(b"\t", 1)[1] for row in ROWS[:50]]
    (published / "bare.tsv").write_bytes(b"\n".join([*unlabelled, ROWS[50]]) + b"\n")
    (published / "whole.tsv").write_bytes(b"\n".join(ROWS[:50]) + b"\n")
    out, about = models("score", published / "models", published / "bare.tsv", "--labels=no")
    *scores, last = out.splitlines()
    assert scores == models("score", published / "models", published / "whole.tsv")[0].splitlines()
    assert last == "nan"
    assert about.startswith("models: rows=51 bad=1 labelled=0\n")


@pytest.mark.parametrize("data", [gzip.compress(b"\n".join(ROWS[:50]), mtime=0)[:-9], b"no gzip"])
def test_a_gzip_file_that_is_not_whole_is_told(published, tmp_path, data):
    (tmp_path / "rows.tsv.gz").write_bytes(data)
    assert "rows.tsv.gz" in models("score", published / "models", tmp_path / "rows.tsv.gz", code=65)[1]


def test_a_folder_whose_name_is_a_pattern_to_tensorflow(published, tmp_path):
    folder = tmp_path / "lr=[0.1,0.2]"
    shutil.copytree(published / "models", folder)
    newest = Versions(folder).numbers[-1]
    assert models("verify", folder)[0] == f"models: version={newest} whole=yes problems=0\n"
    (tmp_path / "rows.tsv").write_bytes(b"\n".join(ROWS[:50]))
    assert models("score", folder, tmp_path / "rows.tsv") == models("score", published / "models", tmp_path / "rows.tsv")


def test_what_is_wrong_is_told(published, tmp_path):
    assert "is no folder. Give the trainer's --export_dir" in models("list", tmp_path / "x", code=66)[1]
    assert "holds no version yet" in models("verify", tmp_path, code=66)[1]
    assert "has no version 99" in models("rollback", published / "models", "99", code=66)[1]
    assert "a whole number of at least 1 expected" in models("verify", published / "models", "0", code=64)[1]
    assert "cannot be read (No such file" in models("score", published / "models", tmp_path / "x.tsv", code=66)[1]
