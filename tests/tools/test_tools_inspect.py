"""tools/inspect_checkpoint.py on checkpoints of the trainer."""

import json
import shutil

import pytest
from kafka_helpers import run_tool
from rows import make_rows


@pytest.fixture
def models(topic, start, tmp_path):
    """Two model folders over one topic, alike but for the learning rate, and the topic's name."""
    name = topic([make_rows(120), make_rows(80, seed=2)])
    for folder, rate in (("one", 0.001), ("other", 0.002)):
        start(topic=name, model_dir=str(tmp_path / folder), deep_learning_rate=rate, window_rows=100)
    return tmp_path / "one", tmp_path / "other", name


def test_what_a_checkpoint_holds(models, broker, produce):
    one, _, name = models
    produce(name, make_rows(30), partition=1)
    code, out, err = run_tool("inspect_checkpoint", one, f"--bootstrap_servers={broker.bootstrap}")
    assert code == 0, err
    lines = {words[0]: words[1:] for line in out.splitlines() if (words := line.split())}
    assert out.splitlines()[0] == f"{one}/ckpt-2"
    assert (lines["step"], lines["window"], lines["next"]) == (["8"], ["2"], ["[120,", "80]"])
    assert lines["lag"] == ["30", "rows", "[0,", "30]"]
    assert lines["topic"][0] == name
    assert "  rows          200 since offsets [0, 0]" in out.splitlines()
    assert lines["learner/model/embedding/table"] == ["[1041,", "2]"]
    assert "1,040 ids" in out


def test_the_newest_checkpoint_of_a_folder_whose_name_is_a_pattern_to_tensorflow(models, tmp_path):
    one, other, _ = models
    folder = tmp_path / "lr=[0.1,0.2]"
    shutil.copytree(one, folder)
    shutil.copytree(other, tmp_path / "lr=1")
    code, out, err = run_tool("inspect_checkpoint", folder, "--diff", one)
    assert code == 0, err
    assert out.splitlines()[0] == f"- {folder}/ckpt-2"
    assert out.splitlines()[-1].endswith("are equal to the bit; 0 fields of the position differ")


def test_as_json(models):
    code, out, _ = run_tool("inspect_checkpoint", models[0], "--json")
    about = json.loads(out)
    assert (code, about["rows"], about["next"], about["window"]) == (0, 200, [120, 80], 2)
    assert about["contract"]["vocab_size"] == 1040
    assert 0 < about["metrics"]["total"]["auc"] < 1
    assert "lag" not in about  # no broker was named


def test_two_checkpoints_are_compared(models):
    one, other, _ = models
    code, out, _ = run_tool("inspect_checkpoint", one, "--diff", one)
    assert (code, out.splitlines()[-1].endswith("are equal to the bit; 0 fields of the position differ")) == (0, True)
    code, out, _ = run_tool("inspect_checkpoint", one, "--diff", other)
    assert code == 1
    assert "learner/deep_optimizer/means/0: largest difference" in out
    assert "  metrics\n" in out
    code, out, _ = run_tool("inspect_checkpoint", one, "--diff", f"{one}/ckpt-0")
    assert code == 1
    assert "  rows\n  - 200\n  + 0\n" in out


def test_what_is_no_checkpoint(models, tmp_path):
    code, _, err = run_tool("inspect_checkpoint", tmp_path / "nothing")
    assert code == 66
    assert "is no checkpoint and no folder with one" in err
    (models[0] / "ckpt-2.data-00000-of-00001").write_bytes(b"short")
    code, _, err = run_tool("inspect_checkpoint", models[0])
    assert code == 65
    assert "ckpt-2 is damaged" in err
    assert "Traceback" not in err
