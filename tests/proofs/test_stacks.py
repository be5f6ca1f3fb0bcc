"""A model changes stacks: what one TensorFlow saved, the other goes on with, in both directions.

It needs the environments of both stacks (make stacks-test makes them). Each step is a trainer of one of them.
"""

import json
import shutil
import subprocess

import numpy as np
import pytest
from checkpoint_helpers import saved
from kafka_helpers import ROOT
from rows import make_rows

from tfonline.evaluate.progressive import PREDICTION

PYTHONS = {"tf216": ROOT / ".venv" / "bin" / "python", "tf221": ROOT / ".venv-tf221" / "bin" / "python"}
ROWS = make_rows(4000)

pytestmark = pytest.mark.skipif(
    not all(python.exists() for python in PYTHONS.values()), reason="it takes both environments: make stacks-test makes them"
)


@pytest.fixture
def train(dictionary_dir, tmp_path):
    """Goes on with a model on a stack, from the first `rows` of the stream and what else is given; returns the summary."""

    def train(stack, model, rows, **more):
        file = tmp_path / "rows.tsv"
        file.write_bytes(b"".join(row + b"\n" for row in rows))
        flags = {
            "input_files": file, "dictionary_dir": dictionary_dir, "model_dir": model, "stop_at": "latest", "batch_size": 96,
            "num_replicas": 2, "devices": "cpu", "embedding_dim": 4, "deep_layers": "16,8", "window_rows": 500, "history": True,
            "cross_buckets": 500, "average_rows": 1000, "oov_buckets": 50, "save_predictions": True, "max_rejected_ratio": 1,
        } | more  # fmt: skip
        command = [PYTHONS[stack], "-m", "tfonline.train", *(f"--{name}={value}" for name, value in flags.items())]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
        assert done.returncode == 0, done.stdout
        return json.loads((model / "summary.json").read_text())

    return train


def logits_of(model):
    return np.fromfile(model / "predictions.bin", PREDICTION)["logit"]


GROWING = {"vocabulary_rows": 512, "admit_after": 2, "admit_counters": 4096}


@pytest.mark.parametrize(("one", "other", "more"), [("tf216", "tf221", {}), ("tf221", "tf216", GROWING)])
def test_a_checkpoint_of_one_stack_resumes_on_the_other(one, other, more, train, tmp_path):
    stays, moves = tmp_path / "stays", tmp_path / "moves"
    train(one, stays, ROWS[:2000], **more)
    before, _ = saved(stays)
    shutil.copytree(stays, moves)

    # Rows that are refused teach nothing: what a stack saves behind a window of them is what it restored.
    refused = [b"not a row"] * 10
    for stack, model in ((one, stays), (other, moves)):
        assert train(stack, model, ROWS[:2000] + refused, **more)["rejected"] == 10
    restored, _ = saved(moves)
    assert set(restored) == set(before)
    different = [n for n in before if n != "metrics" and np.asarray(before[n]).tobytes() != np.asarray(restored[n]).tobytes()]
    assert different == []

    for stack, model in ((one, stays), (other, moves)):
        assert train(stack, model, ROWS[:2000] + refused + ROWS[2000:], **more)["rows"] == 4000
    stayed, moved = logits_of(stays), logits_of(moves)
    assert len(stayed) == len(moved) == 4000
    np.testing.assert_array_equal(moved[:2000], stayed[:2000])
    print(f"{one} to {other}: later logits differ by {np.abs(moved - stayed).max():.1e} at most")
    np.testing.assert_allclose(moved, stayed, rtol=0, atol=1e-5)
    (of_stays, _), (of_moves, _) = saved(stays), saved(moves)
    of_vocabulary = [name for name in of_stays if "vocabulary" in name or "admission" in name]
    assert len(of_vocabulary) == 9 * bool(more)
    assert [name for name in of_vocabulary if not np.array_equal(of_stays[name], of_moves[name])] == []
