"""Runs that find a checkpoint damaged, half written or gone, and when a save counts."""

import threading

import numpy as np
import pytest
from checkpoint_helpers import contents, saved
from rows import make_rows

from tfonline import train
from tfonline.keep import checkpoint_files as keep_files
from tfonline.lifecycle import UserError
from tfonline.stream import broker as admin_side
from tfonline.stream.journal import Journal

ROWS = make_rows(600)


def checkpoint_files(folder):
    return sorted(p.name for p in folder.iterdir() if p.name.startswith("ckpt-"))


@pytest.mark.parametrize("damage", ["a flipped bit", "cut short", "index gone bad"])
def test_a_damaged_checkpoint_is_found_before_it_is_trained_on(topic, start, produce, tmp_path, capfd, damage):
    name = topic([ROWS[:300]])
    start(topic=name, window_rows=50, checkpoint_every_steps=1)
    undamaged = saved(tmp_path / "model")
    data = tmp_path / "model" / "ckpt-6.data-00000-of-00001"
    file = tmp_path / "model" / "ckpt-6.index" if damage == "index gone bad" else data
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes({"a flipped bit": content, "cut short": content[: len(content) // 2], "index gone bad": bytes(100)}[damage])
    start(topic=name)
    output = capfd.readouterr().out
    assert "ckpt-6 is damaged and was put aside as damaged-ckpt-6" in output
    assert f"resumed from {tmp_path}/model/ckpt-5: window 5" in output
    tensors, position = saved(tmp_path / "model")
    assert position == {**undamaged[1], "files": position["files"]}
    assert [n for n in tensors if np.asarray(tensors[n]).tobytes() != np.asarray(undamaged[0][n]).tobytes()] == []
    assert any(p.name.startswith("damaged-ckpt-6") for p in (tmp_path / "model").iterdir())


def test_a_folder_without_a_whole_checkpoint_is_refused(topic, start, tmp_path):
    name = topic([ROWS[:20]])
    start(topic=name)
    for file in (tmp_path / "model").glob("ckpt-*.index"):
        file.write_bytes(b"")
    before = contents(tmp_path / "model")
    for _ in range(2):  # a supervisor tries again: the second start must not begin a new model
        with pytest.raises(UserError, match=r"(?s)no checkpoint in .* is whole:.*ckpt-1: .*ckpt-0: .*--new_model") as e:
            start(topic=name)
        assert e.value.code == 78
        assert contents(tmp_path / "model") == before


def test_what_a_kill_in_a_save_leaves_is_removed(topic, start, tmp_path):
    name, model = topic([ROWS[:20]]), tmp_path / "model"
    start(topic=name)
    before = checkpoint_files(model)
    (model / "ckpt-9_temp").mkdir()
    (model / "ckpt-9_temp" / "part-00000-of-00001.data-00000-of-00001").write_bytes(b"half")
    (model / "ckpt-7.data-00000-of-00001").write_bytes(b"without an index")
    start(topic=name)
    assert checkpoint_files(model) == before


@pytest.mark.parametrize("background_save", [True, False])
def test_checkpoint_0_is_on_disk_before_a_window_is_planned(topic, start, monkeypatch, background_save):
    """A journal without a checkpoint is what a model leaves whose checkpoints are gone: the next start would refuse it."""
    order, planned = [], threading.Event()
    flush, append = keep_files.flush, Journal.append

    def slowly(path):
        flush(path)
        planned.wait(1.0)
        order.append(path.name)

    def told(self, window):
        order.append(f"window {window.number}")
        planned.set()
        append(self, window)

    monkeypatch.setattr(keep_files, "flush", slowly)
    monkeypatch.setattr(Journal, "append", told)
    start(topic=topic([ROWS[:20]]), background_save=background_save)
    assert order[:2] == ["ckpt-0", "window 0"]


def test_a_save_is_on_disk_before_the_broker_is_told(topic, start, monkeypatch):
    order = []
    sync, commit = train.os.fsync, admin_side.KafkaTopic.commit
    monkeypatch.setattr("tfonline.lifecycle.os.fsync", lambda fd: order.append("sync") or sync(fd))
    monkeypatch.setattr(admin_side.KafkaTopic, "commit", lambda self, o: order.append("commit") or commit(self, o))
    start(topic=topic([ROWS[:20]]))
    assert order[-4:] == ["sync", "sync", "sync", "commit"]  # data, index and folder
