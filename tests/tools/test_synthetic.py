"""tools/synthetic.py: the same bytes for the same seed, rows like Criteo's, and a signal of known strength."""

import gzip
import math
import subprocess
import sys

import numpy as np
import pytest
import synthetic
from kafka_helpers import ROOT, run_tool

NUM_ROWS = 60_000


@pytest.fixture(scope="module")
def made():
    """(fields as an array [rows, 40], probability, label) of the first rows of seed 1."""
    blocks = list(synthetic.rows(NUM_ROWS))
    fields = np.array([line.split(b"\t") for block in blocks for line in block.lines])
    return fields, np.concatenate([b.probability for b in blocks]), np.concatenate([b.label for b in blocks])


def lines(*args, **kwargs):
    return [line for block in synthetic.rows(*args, **kwargs) for line in block.lines]


def test_a_row_depends_on_the_seed_and_its_number_alone():
    ten_thousand = lines(10_000)
    assert lines(500) == ten_thousand[:500]
    assert lines(300, start=8_100) == ten_thousand[8_100:8_400]  # across the end of a block
    assert lines(1) == ten_thousand[:1]
    assert lines(500, seed=2) != ten_thousand[:500]


def test_ids_are_renewed_and_the_signal_stays():
    forever, renewed = (list(synthetic.rows(40_000, lifetime=lifetime)) for lifetime in (0, 65_536))
    for one, other in zip(forever, renewed, strict=True):
        assert np.array_equal(one.probability, other.probability)
        assert np.array_equal(one.label, other.label)
    ids = [{line.split(b"\t")[15] for line in block.lines} for block in renewed]  # C2
    before = [{line.split(b"\t")[15] for line in block.lines} for block in forever]
    left = [len(of & ids[0]) / len(of) for of in ids]
    assert ids[0] == before[0]
    assert left[4] == pytest.approx(1 - 4 * 8192 / 65_536, abs=0.1)  # at half a lifetime half of them
    assert len(before[4] & before[0]) / len(before[4]) > 0.8
    assert left == sorted(left, reverse=True)
    # A row depends on its number alone, wherever the rows begin.
    lines_of = [line for block in renewed for line in block.lines]
    assert lines(200, start=33_000, lifetime=65_536) == lines_of[33_000:33_200]
    assert {len(line.split(b"\t")[15]) for line in lines_of} == {8}


def test_the_rows_have_criteos_form(made):
    fields, _, label = made
    assert fields.shape == (NUM_ROWS, 40)
    assert np.array_equal(fields[:, 0].astype(int), label)
    integers = [fields[:, i][fields[:, i] != b""].astype(int) for i in range(1, 14)]
    assert [i.min() for i in integers] == [0, -3] + [0] * 11
    assert np.median(integers[4]) > 1000  # I5
    assert np.percentile(integers[4], 99) > 100_000
    assert {len(c) for c in np.unique(fields[:, 14:])} == {0, 8}
    assert int(max(np.unique(fields[:, 14:])), 16) < 2**32


@pytest.mark.parametrize(("column", "rate"), [(1, 0.45), (2, 0.0), (12, 0.76), (14, 0.0), (16, 0.03), (35, 0.76), (39, 0.44)])
def test_missing_rates(made, column, rate):
    assert np.mean(made[0][:, column] == b"") == pytest.approx(rate, abs=0.01)


def test_categories_have_popular_and_rare_ids(made):
    _, counts = np.unique(made[0][:, 15], return_counts=True)  # C2
    assert len(counts) == pytest.approx(500, abs=5)
    assert counts.max() / NUM_ROWS == pytest.approx(0.12, abs=0.03)
    assert len(np.unique(made[0][:, 22])) == 3  # C9
    assert len(np.unique(made[0][:, 16])) > 10_000  # C3


def test_ids_of_two_columns_never_meet(made):
    assert not set(made[0][:, 16]) & set(made[0][:, 17]) - {b""}


def test_later_rows_hold_ids_never_seen_before(made):
    stable, drifting = made[0][:, 15], made[0][:, 39]  # C2, C26
    half = NUM_ROWS // 2
    new = ~np.isin(drifting[half:], drifting[:half])
    assert 0.02 < new.mean() < 0.2
    assert np.isin(stable[half:], stable[:half]).all()
    # They come back: ids first seen in the second half have many uses there.
    assert np.unique(drifting[half:][new], return_counts=True)[1].max() > 3


def test_the_labels_follow_the_probabilities(made):
    _, probability, label = made
    assert 0.24 < probability.mean() < 0.28
    assert label.mean() == pytest.approx(probability.mean(), abs=0.007)  # four standard errors
    likely = probability > 0.6
    assert label[likely].mean() == pytest.approx(probability[likely].mean(), abs=0.03)


def test_the_signal(made):
    _, probability, label = made
    auc = synthetic.bayes_auc(probability)
    assert 0.78 < auc < 0.80
    # What the true probabilities score on the labels drawn: pairs in the right order, by ranks (no two are equal).
    rank = np.argsort(np.argsort(probability)) + 1
    positives = label.sum()
    scored = (rank[label == 1].sum() - positives * (positives + 1) / 2) / (positives * (NUM_ROWS - positives))
    assert scored == pytest.approx(auc, abs=0.01)
    likelihood = np.where(label == 1, probability, 1 - probability)
    assert synthetic.bayes_log_loss(probability) == pytest.approx(-np.log(likelihood).mean(), abs=0.01)


def test_bayes_auc_by_hand():
    # One pair of rows, 0.8 above 0.4. Right order: 0.8 x 0.6 = 0.48; wrong order: 0.4 x 0.2 = 0.08.
    assert synthetic.bayes_auc(np.array([0.4, 0.8])) == pytest.approx(0.48 / 0.56)
    assert synthetic.bayes_auc(np.array([0.3, 0.3, 0.3])) == pytest.approx(0.5)
    assert synthetic.bayes_auc(np.array([1.0, 0.0])) == 1.0


def test_bayes_log_loss_by_hand():
    assert synthetic.bayes_log_loss(np.array([0.5, 0.5])) == pytest.approx(math.log(2))
    assert synthetic.bayes_log_loss(np.array([0.0, 1.0])) == pytest.approx(0.0, abs=1e-9)


def test_files(tmp_path):
    code, out, err = run_tool("synthetic", "--rows=9000", f"--output={tmp_path}/a.tsv")
    assert (code, out) == (0, "")
    assert err.startswith("synthetic: bayes_auc=0.")
    assert (tmp_path / "a.tsv").read_bytes().splitlines() == lines(9000)
    assert run_tool("synthetic", "--rows=9000", f"--output={tmp_path}/a.tsv.gz")[0] == 0
    assert gzip.decompress((tmp_path / "a.tsv.gz").read_bytes()) == (tmp_path / "a.tsv").read_bytes()


def test_a_reader_that_has_had_enough():
    command = [sys.executable, str(ROOT / "tools" / "synthetic.py"), "--rows=100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout.readline() == lines(1)[0] + b"\n"
        run.stdout.close()
        assert (run.wait(60), run.stderr.read()) == (0, b"")


def test_wrong_options(tmp_path):
    assert run_tool("synthetic")[0] == 64
    assert run_tool("synthetic", "--rows=many")[0] == 64
    code, _, err = run_tool("synthetic", "--rows=10", f"--output={tmp_path}/no/such/folder")
    assert code == 66
    assert "cannot be written (No such file or directory)" in err
