"""tools/models.py deltas: what is there, whether it is whole, and a version made of a version and deltas."""

import itertools
import json

import numpy as np
import pytest
import tensorflow as tf
from rows import make_dictionaries, make_rows
from test_tools_models import models

from tfonline.config import of_flags
from tfonline.deltas.folder import DeltaFolder, Key
from tfonline.publish.versions import Versions, digests
from tfonline.train import run

ROWS = make_rows(3000)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deltas")
    for rows in (1000, 2000, 3000):  # the last checkpoint of a run is published
        (folder / "rows.tsv").write_bytes(b"\n".join(ROWS[:rows]))
        run(
            of_flags(
                input_files=str(folder / "rows.tsv"), dictionary_dir=make_dictionaries(folder / "d"),
                model_dir=str(folder / "model"), export_dir=str(folder / "models"), export_every_windows=5, gate_rows=200,
                gate_min_auc=0, gate_calibration=0, gate_max_regression=1, stop_at="latest", window_rows=200, batch_size=50,
                checkpoint_every_steps=20, deep_layers="8", embedding_dim=4, delta_every_secs=1e-9,
            )
        )  # fmt: skip
    return folder


def tensors(folder):
    saved = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    return {name: np.asarray(saved.get_tensor(name)).tobytes() for name in saved.get_variable_to_shape_map()}


def test_a_version_and_deltas_are_a_later_version_to_the_bit(published, tmp_path):
    versions = Versions(published / "models")
    before, newest = versions.numbers[-2:]
    state = versions.manifest(newest)["state"]
    to = f"{state['epoch']}.{state['number']}"
    out, _ = models("deltas", "apply", versions.folder, tmp_path / "made", f"--version={before}", f"--to={to}")
    assert out == f"deltas: version={before} at={to} written={tmp_path / 'made'}\n"
    assert tensors(tmp_path / "made") == tensors(versions.path(newest)) != tensors(versions.path(before))
    found, expected = (
        tf.saved_model.load(str(path)).signatures["serving_default"](message=tf.constant(ROWS[:500]))["logit"].numpy()
        for path in (tmp_path / "made", versions.path(newest))
    )
    assert np.array_equal(found, expected)
    manifest = json.loads((tmp_path / "made" / "manifest.json").read_bytes())
    assert manifest["files"] == digests(tmp_path / "made")
    same = ("window", "step", "rows", "next", "state")
    assert {k: manifest[k] for k in same} == {k: versions.manifest(newest)[k] for k in same}


def test_deltas_are_listed_and_verified(published):
    folder, versions = DeltaFolder(published / "models" / "deltas"), Versions(published / "models")
    out, _ = models("deltas", "list", versions.folder)
    lines = out.splitlines()
    assert len(lines) == len(folder.keys) + 2
    assert f"{folder.keys[-1].epoch}.{folder.keys[-1].number} " in lines[-2]
    assert lines[-1].startswith(f"deltas: count={len(folder.keys)} unreadable=0")
    out, _ = models("deltas", "verify", versions.folder, f"--version={versions.numbers[-2]}")
    last = folder.keys[-1]
    assert out == f"deltas: version={versions.numbers[-2]} at={last.epoch}.{last.number} whole=yes problems=0\n"


def test_what_is_wrong_is_said(published, tmp_path):
    folder, versions = DeltaFolder(published / "models" / "deltas"), Versions(published / "models")
    state = versions.manifest(versions.numbers[-2])["state"]
    after = [key for key in folder.keys if key > Key(state["epoch"], state["number"])]
    damaged = next(key for key, following in itertools.pairwise(after) if key.epoch == following.epoch == after[-1].epoch)
    file = folder.file(damaged)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    try:
        assert "unreadable=1" in models("deltas", "list", versions.folder, code=65)[0]
        out, _ = models("deltas", "verify", versions.folder, f"--version={versions.numbers[-2]}", code=65)
        assert "its digest is another" in out
        assert "whole=no problems=1" in out
        _, error = models("deltas", "apply", versions.folder, tmp_path / "x", f"--version={versions.numbers[-2]}", code=65)
        assert "its digest is another" in error
    finally:
        file.write_bytes(whole)
    assert "no such delta" in models("deltas", "apply", versions.folder, tmp_path / "x", "--to=99.1", code=65)[1]
    assert "--to=x is no delta" in models("deltas", "apply", versions.folder, tmp_path / "x", "--to=x", code=64)[1]
    (tmp_path / "there").mkdir()
    assert "is there already" in models("deltas", "apply", versions.folder, tmp_path / "there", code=73)[1]
