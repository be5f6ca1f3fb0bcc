"""The peer of the chaos: it learns, goes on where its group's offsets are, and what it counts is what went into its weights."""

import subprocess
import sys

import numpy as np
import pytest
import synthetic
from kafka_helpers import ROOT

from benchmarks.chaos.peer_run import Outcome, apart, closing_line, lost_and_duplicated, saved, table
from benchmarks.chaos.trainer import HarnessFailed


def test_lost_and_duplicated_rows_are_counted_from_how_often_each_was_learned():
    counts = np.array([[1, 0, 3, 0], [0, 2, 1, 0]], np.int32)
    good = {(0, 0), (0, 1), (0, 2), (1, 1), (1, 2)}
    assert lost_and_duplicated(counts, good) == (1, 3)
    assert lost_and_duplicated(np.minimum(counts, 1), good - {(0, 1)}) == (0, 0)
    with pytest.raises(HarnessFailed, match="2 times from rows that are not to be learned from"):
        lost_and_duplicated(counts, good - {(1, 1)})


def test_how_far_weights_are_apart_is_relative_to_the_undisturbed_ones():
    undisturbed = {"a": np.array([3.0, 0.0], np.float32), "b": np.array([4.0], np.float32)}
    assert apart(undisturbed, undisturbed) == 0.0
    assert apart({**undisturbed, "b": np.array([4.5], np.float32)}, undisturbed) == pytest.approx(0.1)


def test_the_table_has_a_line_a_run_and_the_closing_line_is_the_peers():
    peer = Outcome("peer, auto", 6, 0, 90_000, 1200, 34, False, 0.25, 0.125)
    lines = table([Outcome("tfonline", 6, 2, 80_000, 0, 0, True, 0.0, None), peer]).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["tfonline", "6", "2", "80,000", "0", "0", "yes", "0.0e+00"],
        ["peer,", "auto", "6", "0", "90,000", "1,200", "34", "no", "2.5e-01", "1.2e-01"],
    ]
    assert closing_line(peer) == "peer: kills=6 lost=1200 duplicated=34 weights_equal=no"


@pytest.mark.parametrize("commit", ["auto", "after_checkpoint"])
def test_the_counts_are_kept_with_the_weights_and_a_group_goes_on_where_it_was(broker, topic, tmp_path, commit):
    rows = [line for block in synthetic.rows(600, seed=1) for line in block.lines]
    name = topic([[*rows[:400], b"no row"], rows[400:]])
    good = {(0, offset) for offset in range(400)} | {(1, offset) for offset in range(200)}

    def learn(folder, group):
        command = [sys.executable, "-m", "benchmarks.chaos.peer", f"--bootstrap_servers={broker.bootstrap}", f"--topic={name}"]
        options = [f"--model_dir={tmp_path / folder}", f"--group={name}-{group}", f"--commit={commit}", "--stop_at_end"]
        done = subprocess.run(
            [*command, *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout
        return saved(tmp_path / folder)

    once, counts = learn("model", "first")
    assert lost_and_duplicated(counts, good) == (0, 0)
    # Another start of the same group: nothing is left to learn, and the model is the same.
    again, counts = learn("model", "first")
    assert lost_and_duplicated(counts, good) == (0, 0)
    assert apart(again, once) == 0.0
    # A group without offsets on the same model: each row a second time.
    twice, counts = learn("model", "second")
    assert lost_and_duplicated(counts, good) == (0, 600)
    assert apart(twice, once) > 0.0
