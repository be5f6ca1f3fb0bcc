"""What stands in a model folder: which checkpoint a run takes up, what it removes, and when it begins a new model."""

import contextlib
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from checkpoint_helpers import as_format_1, as_format_2, checkpoints_of, contents, parts_of, save, saved
from learner_helpers import FOUR_ROWS, make_learner
from rows import make_rows

from tfonline.evaluate.progressive import ProgressiveMetrics
from tfonline.keep.checkpoint_contents import FORMAT
from tfonline.keep.checkpoints import Checkpoints, saved_contents
from tfonline.keep.learner import KeptLearner
from tfonline.lifecycle import UserError
from tfonline.state import Position

ROWS = make_rows(400)
# TensorFlow takes each for a pattern, which fits the neighbour's name and not its own.
NAMES = {"lr=[0.1,0.2]": "lr=1", "run*[x]": "run1x", "v?[!2]": "v12", "a b [ab]": "a b a", "back\\slash": "backslash"}


@pytest.fixture(scope="module")
def learner():
    learner = make_learner(average_rows=100)
    learner.train(FOUR_ROWS)
    return learner


@pytest.mark.parametrize(("name", "neighbour"), NAMES.items())
def test_a_folder_of_any_name_keeps_its_own_and_touches_no_neighbour(tmp_path, learner, name, neighbour):
    own, other = Position(next=[0], start=[0]), Position(next=[0], start=[7])
    theirs = checkpoints_of(tmp_path / neighbour, learner, other, keep=9)
    for window in range(4):
        save(theirs, window, other)
    before = contents(tmp_path / neighbour)
    ours = checkpoints_of(tmp_path / name, learner, own)
    for window in range(4):
        assert save(ours, window, own) == str(tmp_path / name / f"ckpt-{window}")
    assert sorted(p.name for p in (tmp_path / name).glob("*.index")) == ["ckpt-2.index", "ckpt-3.index"]
    assert sorted(p.name for p in (tmp_path / name).glob("*.data-*")) == [f"ckpt-{n}.data-00000-of-00001" for n in (2, 3)]
    assert ours.oldest_window == 2
    assert contents(tmp_path / neighbour) == before
    assert saved_contents(str(tmp_path / name)).position.start == [0]  # the neighbour's is [7]
    found = Position(next=[], start=[])
    again = checkpoints_of(tmp_path / name, make_learner(average_rows=100), found)
    assert again.restore() == []
    assert (again.latest, found.next, found.start) == (str(tmp_path / name / "ckpt-3"), [30], [0])


def test_a_run_in_such_a_folder_resumes(topic, start, tmp_path, produce):
    name, folder = topic([ROWS[:100]]), str(tmp_path / "lr=[0.1,0.2]")
    shutil.copytree(tmp_path, tmp_path / "lr=1", dirs_exist_ok=True)
    assert start(topic=name, model_dir=folder, window_rows=20, checkpoint_every_steps=1, keep_checkpoints=2)["rows"] == 100
    produce(name, ROWS[100:150])
    summary = start(topic=name, model_dir=folder)
    assert (summary["rows"], summary["rows_this_run"]) == (150, 50)
    assert summary["checkpoint"] == f"{folder}/ckpt-6"


def test_other_programs_find_the_newest_checkpoint(tmp_path, learner):
    position = Position(next=[0], start=[0])
    checkpoints = checkpoints_of(tmp_path, learner, position)
    for window in range(11):
        save(checkpoints, window, position)
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "ckpt-10")


# What is no damage


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"),
            75,
            "OOM when allocating. Memory or open files ran out",
        ),
        (
            tf.errors.OpError(None, None, "ckpt-2.index; Too many open files", 2),
            75,
            "Too many open files. Memory or open files ran",
        ),
        (tf.errors.OpError(None, None, "ckpt-2.index; Permission denied", 2), 66, "Permission denied. Nothing was changed. Mend"),
        (
            tf.errors.UnknownError(None, None, "Input/output error"),
            66,
            "Input/output error. Nothing was changed. Mend what hinders",
        ),
        (ValueError("shapes (3,) and (4,) are incompatible"), 78, "ValueError: shapes .* are incompatible. Nothing was changed"),
        (TypeError("an argument too many"), 78, "TypeError: an argument too many. Nothing was changed"),
    ],
)
def test_what_is_no_damage_touches_nothing(tmp_path, learner, monkeypatch, error, code, said):
    position = Position(next=[0], start=[0])
    checkpoints = checkpoints_of(tmp_path, learner, position)
    save(checkpoints, 1, position)
    save(checkpoints, 2, position)
    before = contents(tmp_path)

    def fail(*_):
        raise error

    for name, read in {"read": checkpoints.restore, "load_checkpoint": lambda: saved_contents(str(tmp_path))}.items():
        with monkeypatch.context() as patched:
            patched.setattr(tf.train.Checkpoint if name == "read" else tf.train, name, fail)
            with pytest.raises(UserError, match=rf"ckpt-2 .*{said}") as e:
                read()
        assert e.value.code == code
        assert contents(tmp_path) == before
    assert checkpoints.restore() == []


def test_weights_of_another_shape_are_no_damage(tmp_path):
    position = Position(next=[0], start=[0])
    save(checkpoints_of(tmp_path, make_learner(num_ids=6), position), 1, position)
    before = contents(tmp_path)
    with pytest.raises(UserError, match="ckpt-1 is whole, but it does not hold what this version of tfonline expects") as e:
        checkpoints_of(tmp_path, make_learner(num_ids=7)).restore()
    assert e.value.code == 78
    assert contents(tmp_path) == before


def damage(file: pathlib.Path, how: str):
    content = file.read_bytes()
    if how == "gone":
        file.unlink()
    else:
        half = len(content) // 2
        flipped = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
        file.write_bytes({"flipped": flipped, "cut": content[:half], "empty": b"", "zeros": bytes(len(content))}[how])


@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "zeros", "gone"])
def test_damage_is_put_aside_once_an_older_one_is_taken_up(tmp_path, learner, how):
    position = Position(next=[0], start=[0])
    checkpoints = checkpoints_of(tmp_path, learner, position, keep=3)
    for window in (1, 2, 3):
        save(checkpoints, window, position)
    for window in (2, 3):
        damage(tmp_path / f"ckpt-{window}.data-00000-of-00001", how)
    [newest, second] = checkpoints.restore()
    assert newest.startswith(f"{tmp_path}/ckpt-3 is damaged and was put aside as damaged-ckpt-3 (")
    assert second.startswith(f"{tmp_path}/ckpt-2 is damaged and was put aside as damaged-ckpt-2 (")
    assert position.window == 1
    assert sorted(p.name for p in tmp_path.glob("*ckpt-*.index")) == [
        "ckpt-1.index",
        "damaged-ckpt-2.index",
        "damaged-ckpt-3.index",
    ]


def test_the_last_one_is_never_renamed(tmp_path, learner):
    position = Position(next=[0], start=[0])
    checkpoints = checkpoints_of(tmp_path, learner, position)
    for window in (1, 2):
        save(checkpoints, window, position)
        damage(tmp_path / f"ckpt-{window}.data-00000-of-00001", "cut")
    before = contents(tmp_path)
    with pytest.raises(UserError, match=r"no checkpoint in .* is whole") as e:
        checkpoints.restore()
    assert e.value.code == 78
    assert contents(tmp_path) == before


# A new model


@pytest.mark.parametrize("trace", ["windows.jsonl", "windows-000000000003.jsonl", "published/ckpt-3.index", "damaged-ckpt-3.index"])
def test_a_folder_where_another_model_has_learned_begins_none(tmp_path, trace):
    (tmp_path / trace).parent.mkdir(exist_ok=True)
    (tmp_path / trace).write_text("something")
    with pytest.raises(UserError, match=rf"has no checkpoint, but {trace.split('/')[0]}: another model has learned there") as e:
        saved_contents(str(tmp_path))
    assert e.value.code == 78
    assert saved_contents(str(tmp_path), new_model=True) is None


def test_what_a_kill_before_checkpoint_0_leaves_is_no_trace(tmp_path):
    (tmp_path / "published").mkdir()
    (tmp_path / "ckpt-0_temp").mkdir()
    (tmp_path / "ckpt-0_temp" / "part").write_bytes(b"half")
    for name in ("windows.jsonl", "rejected.jsonl", "config.json", "status", "ckpt-0.data-00000-of-00001"):
        (tmp_path / name).write_bytes(b"x" if name in ("config.json", "status") else b"")
    assert saved_contents(str(tmp_path)) is None
    assert saved_contents(str(tmp_path / "missing")) is None


def test_a_new_model_is_begun_beside_what_another_left_only_where_it_is_asked_for(topic, start, produce, tmp_path, capfd):
    name, model = topic([[b"no row", *ROWS[:100]]]), tmp_path / "model"
    start(topic=name, window_rows=50, save_predictions=True)
    for file in model.glob("ckpt-*"):
        file.unlink()
    left = {name: (model / name).read_bytes() for name in ("windows.jsonl", "rejected.jsonl", "predictions.bin")}
    assert all(left.values())
    for dry_run in (True, False):
        with pytest.raises(UserError, match=r"has no checkpoint, but windows\.jsonl") as e:
            start(topic=name, dry_run=dry_run)
        assert e.value.code == 78
    assert {name: (model / name).read_bytes() for name in left} == left
    assert start(topic=name, window_rows=50, new_model=True)["rows_this_run"] == 100
    assert "--new_model: what another model left is in" in capfd.readouterr().out
    [aside] = model.glob("before-*")
    assert {name: (aside / name).read_bytes() for name in left} == left
    produce(name, ROWS[100:150])
    # A supervisor starts the same command again: then there is a checkpoint, and it is resumed from.
    summary = start(topic=name, window_rows=50, new_model=True)
    assert (summary["rows"], summary["rows_this_run"]) == (150, 50)


# Formats


FIELDS = {
    "next": [7, 9], "start": [1, 2], "stop": None, "stop_at": "", "window": 3, "step": 11, "rows": 40, "rejected": {"json": 2},
    "skipped": {}, "fingerprint": 5, "contract": {"topic": "t"}, "files": {"loss.log": 5}, "files_read": [],
}  # fmt: skip


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("form", [1, 2])
def test_the_forms_before_are_read(tmp_path, learner, form, background):
    state = ProgressiveMetrics(100)
    state.add(np.zeros(4, np.float32), np.array([1, 0, 0, 1], np.float32))
    if form == 1:
        as_format_1(tmp_path, learner, FIELDS, state)
    else:
        as_format_2(tmp_path, learner, {**FIELDS, "rates": learner.rates}, state)
    other = make_learner(average_rows=100)
    learned, position, metrics, lengths = parts = parts_of(other)
    checkpoints = Checkpoints(str(tmp_path), 2, parts, {"topic": "t"}, background)
    assert checkpoints.restore() == []
    newer = {"late": 0, "outcomes": {}, "settled": [], "labels": []}
    assert {**position.get_state(), "contract": {"topic": "t"}, "files": lengths.by_name} == FIELDS | newer
    assert learned.rates == ({} if form == 1 else learner.rates)
    assert metrics.report("total")["rows"] == 4
    assert [v.numpy().tobytes() for v in other.variables] == [v.numpy().tobytes() for v in learner.variables]
    held = saved_contents(str(tmp_path))
    assert (held.format, held.contract, held.position) == (form, {"topic": "t"}, position)
    position.window = 4
    checkpoints.begin(contextlib.nullcontext())
    checkpoints.finished(wait=True)
    assert saved_contents(str(tmp_path)).format == FORMAT == 4


def test_an_older_version_finds_a_form_above_its_own_where_it_looks(tmp_path, learner):
    path = save(checkpoints_of(tmp_path, learner, position := Position(next=[0], start=[0])), 1, position)
    assert json.loads(tf.train.load_checkpoint(path).get_tensor("position/.ATTRIBUTES/py_state"))["format"] == 4


def test_a_variable_that_a_checkpoint_would_leave_out_is_an_error():
    """Keras 3 hides layers that stand in a list from TensorFlow's checkpoints."""

    class InAList(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = [keras.layers.Dense(2)]

        def build(self, _):
            self.dense[0].build((None, 3))

    class OfAList(tf.Module):
        def __init__(self):
            super().__init__()
            self.rates, self.model = {}, InAList()
            self.model.build(None)

        @property
        def variables(self):
            return [w.value for w in self.model.weights]

    with pytest.raises(ValueError, match=r"checkpoints would leave them out: .*kernel.*bias.* Make each layer an attribute"):
        KeptLearner(OfAList())


def test_a_newer_form_is_refused_with_both_numbers(tmp_path, learner, monkeypatch):
    position = Position(next=[0], start=[0])
    checkpoints = checkpoints_of(tmp_path, learner, position)
    monkeypatch.setattr("tfonline.keep.checkpoint_contents.FORMAT", 9)
    save(checkpoints, 1, position)
    monkeypatch.undo()
    before = contents(tmp_path)
    for read in (checkpoints.restore, lambda: saved_contents(str(tmp_path))):
        with pytest.raises(UserError, match="ckpt-1 has format 9; this version of tfonline reads formats 1 to 4") as e:
            read()
        assert e.value.code == 78
        assert contents(tmp_path) == before


# Flags that have changed


def wide_weights(model):
    return tf.train.load_checkpoint(tf.train.latest_checkpoint(str(model))).get_tensor(
        "learner/model/wide/table/.ATTRIBUTES/VARIABLE_VALUE"
    )


def test_a_changed_rate_leaves_what_was_learned(topic, start, produce, tmp_path, capfd):
    """At next to no rate the same rows come again: the old slots' weights would be next to nothing after their first update."""
    name = topic([ROWS[:200]])
    start(topic=name, wide_learning_rate=0.05)
    learned = wide_weights(tmp_path / "model")
    produce(name, ROWS[:200])
    start(topic=name, wide_learning_rate=1e-9)
    assert "what was learned is converted" in capfd.readouterr().out
    assert np.abs(learned).max() > 0.05
    np.testing.assert_allclose(
        wide_weights(tmp_path / "model")[np.abs(learned[:, 0]) > 0.05], learned[np.abs(learned[:, 0]) > 0.05], atol=1e-6
    )


def test_what_only_a_new_model_sees_is_said(topic, start, capfd):
    name = topic([ROWS[:50]])
    start(topic=name)
    start(topic=name, seed=7, batch_size=25)
    said = "--batch_size: 32 -> 25"
    assert f"changed since the last run: --seed: 1 -> 7 (only a new model sees it), {said}\n" in capfd.readouterr().out


def test_what_cannot_be_carried_over_is_refused(topic, start):
    name = topic([ROWS[:50]])
    start(topic=name)
    with pytest.raises(UserError, match="wide_reduction: the checkpoint has 'sum', this run 'mean'") as e:
        start(topic=name, wide_reduction="mean")
    assert e.value.code == 78


def test_a_checkpoint_of_the_first_form_resumes_by_its_own_rates_only(topic, start, produce, tmp_path):
    name, model = topic([ROWS[:100]]), tmp_path / "model"
    start(topic=name, wide_learning_rate=0.04)
    _, state = saved(model)
    assert state.pop("rates")["wide_learning_rate"] == 0.04
    for name_of_later_forms in ("kinds", "wide_reduction"):
        del state["contract"][name_of_later_forms]
    rewrite_as_format_1(model, state)
    before = contents(model)
    with pytest.raises(
        UserError, match=r"--wide_learning_rate was 0.04 and is 0.4 now. Resume it once with the flags as they were"
    ) as e:
        start(topic=name, wide_learning_rate=0.4)
    assert e.value.code == 78
    assert contents(model) == before
    produce(name, ROWS[100:150])
    assert start(topic=name, wide_learning_rate=0.04)["rows"] == 150
    assert start(topic=name, wide_learning_rate=0.4)["rows"] == 150


def rewrite_as_format_1(model: pathlib.Path, fields):
    """Writes the newest checkpoint again in the first form, with the same numbers."""
    path = tf.train.latest_checkpoint(str(model))
    reader = tf.train.load_checkpoint(path)
    tensors = {n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map()}
    state = json.loads(tensors.pop("state/.ATTRIBUTES/py_state"))
    tensors["position/.ATTRIBUTES/py_state"] = json.dumps(fields).encode()
    tensors["metrics/.ATTRIBUTES/py_state"] = state["parts"]["metrics"]["state"].encode()
    names = sorted(tensors)
    for file in model.glob(f"{pathlib.Path(path).name}.*"):
        file.unlink()
    tf.raw_ops.SaveV2(prefix=path, tensor_names=names, shape_and_slices=[""] * len(names), tensors=[tensors[n] for n in names])
