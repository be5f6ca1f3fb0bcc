"""Runs whose ids come with the stream: a topic and a YAML of columns are all that they need."""

import json
import re
import shutil

import numpy as np
import pytest
from checkpoint_helpers import saved
from kafka_helpers import run_tool
from rows import make_rows

from tfonline.lifecycle import UserError
from tfonline.publish.versions import Versions

GROWING = {"vocabulary_rows": 256, "oov_buckets": 16, "admit_after": 2, "expire_rows": 100, "admit_counters": 1024}
# Values repeat within a part, and are others in the next one.
ROWS = [row for part in range(4) for row in make_rows(150, seed=part)]


@pytest.fixture
def small_run(small_run, tmp_path):
    """No dictionaries are there."""
    return {**small_run, **GROWING, "dictionary_dir": str(tmp_path / "none"), "history": True, "average_rows": 100}


def learned(folder):
    """Each tensor of the newest checkpoint to the bit, and its position."""
    tensors, state = saved(folder)
    return {name: np.asarray(tensor).tobytes() for name, tensor in tensors.items()}, {**state, "contract": None}


def tally(folder):
    tensors, _ = saved(folder)
    [found] = [tensor for name, tensor in tensors.items() if "admission/tally" in name]
    return found.tolist()


def test_a_topic_and_columns_are_enough_and_a_resume_and_a_replay_are_equal_to_the_bit(topic, start, produce, tmp_path, capfd):
    name = topic([ROWS[:200], ROWS[200:300]])
    first, whole, again = (str(tmp_path / folder) for folder in ("first", "whole", "again"))
    window = {"topic": name, "window_rows": 60, "metric_rows": 10_000}
    summary = start(**window, model_dir=first)
    assert summary["rows"] == 300
    assert summary["vocabulary"]["rows_in_use"] == tally(first)[0] > 20
    assert "rows in use" in capfd.readouterr().out
    produce(name, ROWS[300:], 1)
    start(**window, model_dir=first)  # resumed
    in_use, admitted, reused, _ = tally(first)
    assert admitted - reused == in_use
    assert reused > 5
    replay = {**window, "replay_journal": f"{first}/windows.jsonl", "stop_at": "never"}
    assert start(**replay, model_dir=whole)["rows"] == 600
    assert learned(first)[0] == learned(whole)[0]
    start(**replay, model_dir=again, num_replicas=2)
    one, two = learned(first)[0], learned(again)[0]
    of_vocabulary = [n for n in one if ("vocabulary" in n or "admission" in n)]
    assert len(of_vocabulary) == 9
    assert [n for n in of_vocabulary if one[n] != two[n]] == []


def test_several_steps_a_call_and_a_save_in_the_foreground_change_nothing(topic, start, tmp_path):
    name = topic([ROWS])
    window = {"topic": name, "window_rows": 96}
    plain, other = str(tmp_path / "plain"), str(tmp_path / "other")
    start(**window, model_dir=plain)
    start(**window, model_dir=other, steps_per_call=3, background_save=False)
    assert learned(plain)[0] == learned(other)[0]


def test_a_compiled_run_has_the_same_vocabulary(topic, start, tmp_path):
    name = topic([ROWS])
    plain, compiled = str(tmp_path / "plain"), str(tmp_path / "compiled")
    start(topic=name, model_dir=plain)
    start(topic=name, model_dir=compiled, jit_compile=True)
    one, other = learned(plain)[0], learned(compiled)[0]
    assert [n for n in one if ("vocabulary" in n or "admission" in n) and one[n] != other[n]] == []


def test_another_capacity_is_refused_and_resizing_lets_it_go_on(topic, start, produce, tmp_path):
    name, folder = topic([ROWS[:300]]), str(tmp_path / "model")
    publish = {"export_dir": str(tmp_path / "export"), "gate_rows": 100, "gate_min_auc": 0, "gate_calibration": 0}
    publish |= {"gate_max_regression": 1, "export_every_windows": 1, "checkpoint_every_steps": 1}
    start(topic=name, **publish)
    with pytest.raises(UserError, match=f"resize_vocabulary.py {folder} --rows=512") as e:
        start(topic=name, vocabulary_rows=512)
    assert e.value.code == 78
    with pytest.raises(UserError, match="admit_counters: the checkpoint has 1024, this run 2048") as e:
        start(topic=name, admit_counters=2048)
    assert e.value.code == 78
    before, in_use = saved(folder), tally(folder)[0]
    code, out, err = run_tool("resize_vocabulary", folder, "--rows=512")
    assert code == 0, err  # TensorFlow 2.21 writes lines of its own at its start
    assert f"256 rows became 512; {in_use} values have theirs" in out
    tensors, state = saved(folder)
    assert (state["rows"], state["next"]) == (300, [300])
    keys = [tensors[n] for n in tensors if n.endswith("vocabulary/keys/.ATTRIBUTES/VARIABLE_VALUE")]
    assert [k.shape for k in keys] == [(64, 8)]
    # Each value's row of the embeddings went with it.
    old_rows, new_rows = (rows_by_key(t) for t in (before[0], tensors))
    assert old_rows.keys() == new_rows.keys()
    assert all(np.array_equal(old_rows[key], new_rows[key]) for key in old_rows)
    assert sorted(p.name for p in (tmp_path / "model/before-resize-ckpt-1").glob("*.index")) == ["ckpt-0.index", "ckpt-1.index"]
    produce(name, ROWS[300:], 0)
    assert start(topic=name, vocabulary_rows=512, **publish)["rows"] == 600
    assert len(Versions(str(tmp_path / "export")).numbers) == 2


def rows_by_key(tensors):
    """The embedding of each key that has a row."""
    at = lambda name: next(t for n, t in tensors.items() if n.endswith(f"{name}/.ATTRIBUTES/VARIABLE_VALUE"))  # noqa: E731
    keys, table = at("vocabulary/keys").ravel(), at("embedding/table")
    first = len(table) - 1 - len(keys)
    return {int(key): table[first + place] for place, key in enumerate(keys) if key}


def test_a_vocabulary_may_shrink_and_who_was_seen_least_loses_the_row(topic, start, tmp_path):
    folder = str(tmp_path / "model")
    start(topic=topic([ROWS]))
    in_use = tally(folder)[0]
    assert in_use > 32
    code, out, _ = run_tool("resize_vocabulary", folder, "--rows=32")
    kept = tally(folder)[0]
    assert (code, kept <= 32) == (0, True)
    assert f"{kept} values have theirs, {in_use - kept} that were seen least" in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--rows=48"], 64, "--vocabulary_rows=48 is no power of 2"),
        (["--rows=8"], 64, "--rows"),
        ([], 64, "--rows"),
        (["--rows=256"], 0, "the vocabulary has 256 rows already"),
    ],
)
def test_what_resizing_refuses(topic, start, tmp_path, arguments, code, said):
    start(topic=topic([ROWS[:60]]))
    found, out, err = run_tool("resize_vocabulary", tmp_path / "model", *arguments)
    assert (found, said in out + err) == (code, True)
    found, out, err = run_tool("resize_vocabulary", tmp_path, "--rows=512")
    assert (found, "is no model folder of the trainer" in err) == (66, True)


def test_resizing_that_was_ended_in_its_middle_is_finished(topic, start, tmp_path):
    folder = tmp_path / "model"
    start(topic=topic([ROWS[:60]]))
    shutil.copytree(folder, tmp_path / "copy")
    assert run_tool("resize_vocabulary", folder, "--rows=512")[0] == 0
    # As it is once the old ones are away and before the new one is there.
    (folder / ".resized").mkdir()
    for file in folder.glob("ckpt-*"):
        file.rename(folder / ".resized" / file.name)
    code, out, err = run_tool("resize_vocabulary", folder, "--rows=512")
    assert code == 0, err  # TensorFlow 2.21 writes lines of its own at its start
    assert out.splitlines()[0].startswith("an earlier call is finished")
    assert out.splitlines()[1] == "the vocabulary has 512 rows already"


def test_a_model_without_a_vocabulary_is_not_resized(topic, start, tmp_path, dictionary_dir):
    start(topic=topic([ROWS[:60]]), vocabulary_rows=0, dictionary_dir=dictionary_dir)
    code, _, err = run_tool("resize_vocabulary", tmp_path / "model", "--rows=512")
    assert (code, "has no vocabulary that grows" in err) == (64, True)
    code, _, err = run_tool("inspect_checkpoint", tmp_path / "model", "--id=C1=x")
    assert (code, "this model has no vocabulary that grows" in err) == (64, True)


def test_a_vocabulary_begins_with_the_dictionaries(topic, start, tmp_path, dictionary_dir, capfd):
    name = topic([ROWS[:60]])
    flags = {"vocabulary_rows": 4096, "vocabulary_from": "dictionaries", "dictionary_dir": dictionary_dir, "numeric": "log"}
    start(topic=name, **flags)
    in_use, admitted, reused, _ = tally(tmp_path / "model")
    [begun] = re.findall(r"the vocabulary begins with (\d+) values of the dictionaries", capfd.readouterr().out)
    assert int(begun) == in_use - (admitted - reused) > 500
    start(topic=name, **flags)  # resumed
    assert "begins with" not in capfd.readouterr().out
    (tmp_path / "model").rename(tmp_path / "large")
    start(topic=name, **{**flags, "vocabulary_rows": 64})
    said = capfd.readouterr().out
    assert "found no place in it, and share buckets until they are seen. Use a larger --vocabulary_rows: 2,048 hold" in said
    assert "rows of the vocabulary are in use" in said


def test_what_a_checkpoint_knows_of_a_value(topic, start, tmp_path):
    start(topic=topic([ROWS]), vocabulary_rows=4096, expire_rows=10**6, admit_counters=2**16)
    column = 14
    values = [row.decode().split("\t")[column] for row in ROWS]
    often = max({*values} - {""}, key=values.count)
    code, out, err = run_tool("inspect_checkpoint", tmp_path / "model", f"--id=C1={often}", "--json")
    assert code == 0, err  # TensorFlow 2.21 writes lines of its own at its start
    about = json.loads(out)
    assert (about["row"], about["times"]) == (True, values.count(often))
    last = len(values) - values[::-1].index(often)
    assert about["last"] == -(-last // 32) * 32 or about["last"] == len(values)  # to the batch
    assert 0 < about["since"] < about["last"]
    _, out, _ = run_tool("inspect_checkpoint", tmp_path / "model", "--id=C1=never-seen")
    assert "C1=never-seen has no row of its own, and shares one of 16 ids with others" in out
    code, _, err = run_tool("inspect_checkpoint", tmp_path / "model", "--id=I1=7")
    assert (code, "is no value with a row" in err) == (64, True)
    _, out, _ = run_tool("inspect_checkpoint", tmp_path / "model")
    assert "of 4,096 rows in use" in out
