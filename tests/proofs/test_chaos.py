"""The proof of exactly once, in its short form, and that it can fail."""

import re
import subprocess
import sys

from kafka_helpers import ROOT


def chaos(*options):
    """Runs the chaos; returns its exit code and what it printed."""
    command = [sys.executable, "-m", "benchmarks.chaos", *options]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=580)
    return done.returncode, done.stdout


def test_kills_and_broker_faults_leave_no_trace_in_the_model():
    code, output = chaos("--kills=5", "--broker_faults=2")
    assert code == 0, output
    last = re.fullmatch(
        r"chaos: kills=(\d+) broker_faults=2 lost=0 duplicated=0 weights_equal=yes seconds=\d+", output.splitlines()[-1]
    )
    assert last, output
    assert int(last[1]) >= 5  # more where a phase was missed
    for phase in ("starting", "reading", "training", "saving", "committing"):
        assert f"'{phase}': " in output  # killed at least once in each
    assert "broker fault 1: killed while reading" in output
    assert "broker fault 2: away for longer than --broker_timeout_secs while reading" in output


def test_a_trainer_that_does_not_save_the_next_offsets_is_found_out(tmp_path):
    code, output = chaos("--kills=2", "--broker_faults=0", f"--folder={tmp_path}", "--trainer=tests/helpers/forgetful_trainer.py")
    assert code == 1, output
    assert "NOT AS PROMISED: the checkpoint's next offsets: " in output
    assert re.search(r"\nchaos: the same faults again: make chaos CHAOS='--seed=\d+ --kills=2 --broker_faults=0 .*'\n$", output)
    result = next(line for line in output.splitlines() if line.startswith("chaos: kills="))
    numbers = dict(part.split("=") for part in result.split()[1:])
    # Where chance killed it only before its first checkpoint beyond 0, no row was trained twice yet.
    if twice := int(numbers["lost"]) + int(numbers["duplicated"]):
        assert twice > 1000, output
        assert numbers["weights_equal"] == "no", output
        assert "NOT AS PROMISED: rows trained: " in output


def test_kills_leave_no_trace_in_a_full_vocabulary_whose_rows_change_hands():
    code, output = chaos("--kills=2", "--broker_faults=0", "--vocabulary_rows=512")
    assert code == 0, output
    told = re.search(
        r"vocabulary: (\d+) of 512 rows in use at the first kill \(.*\), ([\d,]+) changed hands afterwards; compared to the bit: "
        r"keys, seen, since, hits, misses, counted, claims, now, tally\n",
        output,
    )
    assert told, output
    assert int(told[1]) >= 0.95 * 512
    assert int(told[2].replace(",", "")) > 100
    assert "weights_equal=yes vocabulary_load=" in output.splitlines()[-1]


def test_a_trainer_that_forgets_how_often_values_were_seen_is_found_out(tmp_path):
    script = "--trainer=tests/helpers/forgetful_vocabulary.py"
    code, output = chaos("--kills=1", "--broker_faults=0", "--vocabulary_rows=512", f"--folder={tmp_path}", script)
    assert code == 1, output
    assert "NOT AS PROMISED: tensors that differ from the uninterrupted run's: ['learner/admission/" in output
    assert " lost=0 duplicated=0 weights_equal=no " in output
