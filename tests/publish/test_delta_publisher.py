"""Deltas beside training: on from a version they lead to the next one to the bit; what is void, held back or failed is said."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
from published_deltas import bits, loaded, moved_on
from publisher_helpers import ROWS, AtOnce, trainer
from rows import make_rows

from tfonline.deltas import maker
from tfonline.deltas.file import read
from tfonline.deltas.folder import DeltaFolder, Key
from tfonline.deltas.weights import of_manifest
from tfonline.lifecycle import Every, UserError
from tfonline.publish import delta_publisher
from tfonline.publish.versions import Versions

MODELS = {
    "dictionaries": {"history": True, "cross_buckets": 5000, "average_rows": 500, "oov_buckets": 50, "numeric": "bucket"},
    "growing": {
        "vocabulary_rows": 256, "admit_after": 2, "expire_rows": 100, "oov_buckets": 50, "numeric": "bucket", "history": True,
        "steps_per_call": 2, "num_replicas": 2,
    },
    "compiled": {"vocabulary_rows": 256, "admit_after": 2, "oov_buckets": 50, "numeric": "bucket", "jit_compile": True},
}  # fmt: skip


@pytest.fixture
def train(dictionary_dir, tmp_path, capsys, monkeypatch):
    """Trains with a delta at each window's end; returns the flags, what was said, the versions and the deltas."""
    monkeypatch.setattr(delta_publisher, "ThreadPoolExecutor", AtOnce)
    run = trainer(dictionary_dir, tmp_path, capsys, monkeypatch)

    def train(**changed):
        config, said, versions = run(**{"delta_every_secs": 1e-9, **changed})
        return config, said, versions, DeltaFolder(config.serving.deltas)

    return train


@pytest.mark.parametrize("model", ["growing", "compiled"])
def test_from_a_version_on_they_lead_to_the_next_one_to_the_bit(train, model):
    _, _, versions, folder = train(**MODELS[model])
    before, newest = versions.numbers[-2:]
    variables, weights = loaded(versions, before)
    at_first = bits(variables)
    assert weights.computed() == weights.checksum
    state = versions.manifest(newest)["state"]
    moved_on(weights, folder, Key(state["epoch"], state["number"]))
    assert bits(variables) == bits(loaded(versions, newest)[0]) != at_first
    assert weights.computed() == weights.checksum == int(state["checksum"], 16)
    assert weights.at.number > versions.manifest(before)["state"]["number"] + 2
    moved_on(weights, folder)  # what came after the newest version, up to the end of the stream
    assert read(folder.file(folder.keys[-1])).header.rows == len(ROWS)
    assert weights.computed() == int(read(folder.file(folder.keys[-1])).header.checksum, 16)


class EachSecondTime(Every):
    """Due at each second window: at the others it is soon."""

    left = 0.0

    def due(self, step):
        self.asked = getattr(self, "asked", 0) + 1
        return self.asked % 2 == 0


def test_rows_that_are_copied_before_it_is_time_are_as_they_are_then(train, monkeypatch):
    early, cut = [], maker.Served.cut

    def with_early(self, position, whole=False, early_part=None):
        found = cut(self, position, whole, early_part)
        if found.early:
            pairs = [(before, found.touched[group]) for group, before in found.early.rows.items()]
            alone, both = (sum(len(f(*pair)) for pair in pairs) for f in (np.setdiff1d, np.intersect1d))
            early.append((alone, both))
        return found

    monkeypatch.setattr(maker.Served, "cut", with_early)
    monkeypatch.setattr(delta_publisher, "Every", EachSecondTime)
    _, _, versions, folder = train(**MODELS["dictionaries"])
    assert len(early) > 5
    assert sum(alone for alone, _ in early) > 0  # rows that only the early part has
    assert sum(both for _, both in early) > 0  # and rows that were touched again since
    variables, weights = loaded(versions, versions.numbers[-2])
    state = versions.manifest(versions.numbers[-1])["state"]
    moved_on(weights, folder, Key(state["epoch"], state["number"]))
    assert bits(variables) == bits(loaded(versions, versions.numbers[-1])[0])
    moved_on(weights, folder)
    assert weights.computed() == int(read(folder.file(folder.keys[-1])).header.checksum, 16)


def test_headers_say_what_a_delta_leads_from_and_to(train):
    _, _, versions, folder = train()
    headers = [read(folder.file(key)).header for key in folder.keys]
    digests = [read(folder.file(key)).digest for key in folder.keys]
    assert [h.to_window for h in headers[:-1]] == [h.from_window for h in headers[1:]]
    assert [h.previous for h in headers[1:]] == digests[:-1]
    assert [h.number for h in headers] == [key.number for key in folder.keys]
    assert {h.root_version for h in headers} == {1}
    assert {h.root_checksum for h in headers} == {versions.manifest(1)["state"]["checksum"]}
    assert [h.rows for h in headers] == [h.next[0] for h in headers] == [h.to_window * 200 for h in headers]
    assert headers[-1].step == 80


def test_only_rows_that_have_changed_are_in_it(train):
    _, _, _, folder = train(oov_buckets=20_000, numeric="bucket")
    change = read(folder.file(folder.keys[-1])).changes["model/embedding/table"]
    assert change.shape[0] > 20_000
    assert 0 < len(change.rows) < 2000
    assert np.all(np.diff(change.rows) > 0)
    kernel = read(folder.file(folder.keys[-1])).changes["model/tower/dense_0/kernel"]
    assert kernel.rows is None


def test_after_a_crash_what_came_after_the_checkpoint_is_void_in_one_step(train, tmp_path):
    """Killed between a delta and the checkpoint: the folder of deltas knows of windows that the model does not."""
    _, _, versions, folder = train(checkpoint_every_steps=20, export_every_windows=1)
    lost = folder.keys[-1]
    # As it is where the process was killed before its last checkpoint, and the windows since were planned anew.
    for file in (tmp_path / "model").glob("ckpt-20.*"):
        file.unlink()
    journal = (tmp_path / "model" / "windows.jsonl").read_text().splitlines()
    (tmp_path / "model" / "windows.jsonl").write_text("\n".join(journal[:-4]) + "\n")
    shutil.rmtree(versions.path(versions.numbers[-1]))
    variables, weights = loaded(versions, versions.numbers[-1])
    moved_on(weights, folder)
    assert (weights.at.epoch, weights.at.number) == lost
    _, _, versions, folder = train(rows=[*ROWS[:3300], *make_rows(900, seed=7)], checkpoint_every_steps=1)
    again = min(key for key in folder.keys if key.epoch > lost.epoch)
    assert again == Key(lost.epoch + 1, 1)
    header = read(folder.file(again)).header
    assert (header.root_version, header.to_window) == (weights.at.version, 15)
    # One that has applied what is void, and one that has not: both are right.
    for of_server in (weights, loaded(versions, header.root_version)[1]):
        of_server.apply(read(folder.file(again)), of_server.at._replace(epoch=again.epoch, number=1))
        assert of_server.computed() == int(header.checksum, 16)
    state = versions.manifest(versions.numbers[-1])["state"]
    moved_on(weights, folder, Key(state["epoch"], state["number"]))
    assert bits(variables) == bits(loaded(versions, versions.numbers[-1])[0])


def test_a_restart_without_new_rows_declares_an_epoch_all_the_same(train):
    _, _, versions, folder = train()
    before = folder.keys[-1]
    train()
    assert folder.keys[-1] == Key(before.epoch + 1, 1)
    header = read(folder.file(folder.keys[-1])).header
    assert header.rows == len(ROWS)
    _, weights = loaded(versions, versions.numbers[-1])
    weights.apply(read(folder.file(folder.keys[-1])), weights.at)
    assert weights.computed() == int(header.checksum, 16)


def test_a_version_from_before_there_were_deltas_can_be_built_on(train):
    _, _, versions, folder = train(delta_every_secs=0)
    assert folder.keys == []
    assert "state" not in versions.manifest(versions.numbers[-1])
    _, _, _, folder = train(rows=[*ROWS, *make_rows(600, seed=2)])
    assert read(folder.file(folder.keys[0])).header.root_version == versions.numbers[-1]
    _, weights = loaded(versions, versions.numbers[-1])
    weights.checksum = weights.computed()
    moved_on(weights, folder)
    assert read(folder.file(folder.keys[-1])).header.rows == len(ROWS) + 600


def test_a_rollback_stops_deltas_and_they_go_on_from_the_version_that_was_gone_back_to(train):
    _, _, versions, folder = train()
    again, before = versions.roll_back(why="clicks fell"), folder.keys[-1]
    train(rows=[*ROWS, *make_rows(1000, seed=2)])
    assert folder.keys[-1] == before  # publishing is paused
    versions.resume()
    train(rows=[*ROWS, *make_rows(2000, seed=2)], export_every_windows=100)
    first = next(key for key in folder.keys if key > before)
    assert read(folder.file(first)).header.root_version == again
    at, checksum = of_manifest(versions.manifest(again))
    assert at.epoch == 0  # deltas that were made of what was left do not fit it
    assert read(folder.file(first)).header.root_checksum == f"{checksum:016x}"
    _, weights = loaded(versions, again)
    weights.apply(read(folder.file(first)), at)


def test_a_delta_that_cannot_be_written_is_said_once_and_the_next_one_has_its_rows(train, monkeypatch):
    whole, failures = maker.write, []

    def write(path, header, changes):
        if len(failures) < 3 and header.number > 2:
            failures.append(path)
            raise OSError(28, "No space left on device")
        return whole(path, header, changes)

    monkeypatch.setattr(maker, "write", write)
    _, said, versions, folder = train()
    assert len(failures) == 3
    assert said.count("a delta could not be made, training goes on: [Errno 28] No space left on device") == 1
    _, weights = loaded(versions, versions.numbers[-2])
    moved_on(weights, folder)
    assert weights.computed() == weights.checksum
    assert read(folder.file(folder.keys[-1])).header.rows == len(ROWS)
    assert [key.number for key in folder.keys] == list(range(folder.keys[0].number, folder.keys[-1].number + 1))


def test_without_a_version_there_are_none_and_old_ones_are_removed(train):
    _, _, versions, folder = train(gate_rows=100_000)
    assert (versions.numbers, folder.keys) == ([], [])
    _, _, versions, folder = train(rows=[*ROWS, *make_rows(4000, seed=4)], export_every_windows=2)
    state = versions.manifest(versions.numbers[-2])["state"]
    assert folder.keys[0] == Key(state["epoch"], state["number"] + 1)


def test_two_trainers_do_not_share_a_folder(train, tmp_path):
    folder = DeltaFolder(tmp_path / "deltas")
    folder.hold()
    try:
        with pytest.raises(UserError, match="another trainer makes deltas"):
            train(delta_dir=str(tmp_path / "deltas"))
    finally:
        folder.release()
    assert Versions(tmp_path / "export").numbers == []


def test_what_the_gate_holds_back_is_counted_and_the_next_one_has_its_rows(train, monkeypatch):
    looks = iter([""] * 3 + ["its calibration is 3"] * 4 + [""] * 100)
    monkeypatch.setattr(delta_publisher.DeltaGate, "refusal", lambda _: next(looks))
    _, said, versions, folder = train(export_every_windows=9)
    assert said.count("delta held back: its calibration is 3") == 1
    headers = [read(folder.file(key)).header for key in folder.keys]
    assert [h.number for h in headers] == list(range(1, len(headers) + 1))
    assert max(h.to_window - h.from_window for h in headers) == 5
    variables, weights = loaded(versions, 1)
    newest = versions.manifest(2)["state"]
    moved_on(weights, folder, Key(newest["epoch"], newest["number"]))
    assert bits(variables) == bits(loaded(versions, 2)[0])


def test_after_a_version_that_no_delta_leads_to_an_epoch_begins(train, monkeypatch):
    looks = iter([""] * 3 + ["its calibration is 3"] * 4 + [""] * 100)
    monkeypatch.setattr(delta_publisher.DeltaGate, "refusal", lambda _: next(looks))
    _, _, versions, folder = train(export_every_windows=6)
    without = [n for n in versions.numbers if "state" not in versions.manifest(n)]
    assert without == [2]  # the gate of versions has let it pass, that of deltas would not
    first = read(folder.file(Key(2, 1))).header
    assert first.root_version == 2
    _, weights = loaded(versions, versions.numbers[-1])
    moved_on(weights, folder)
    assert weights.computed() == int(read(folder.file(folder.keys[-1])).header.checksum, 16)


def test_numbers_that_are_not_finite_are_held_back(train, monkeypatch):
    whole, spoiled = maker.Served.cut, []

    def cut(self, position, *args):
        found = whole(self, position, *args)
        if position.window == 8:
            spoiled.append(position.window)
            bias = tf.fill(found.values["model/tower/dense_1/bias"].shape, np.nan)
            return found._replace(values={**found.values, "model/tower/dense_1/bias": bias})
        return found

    monkeypatch.setattr(maker.Served, "cut", cut)
    _, said, versions, folder = train()
    assert spoiled == [8]
    assert "delta held back: model/tower/dense_1/bias: not finite" in said
    _, weights = loaded(versions, versions.numbers[-2])
    moved_on(weights, folder)
    assert weights.computed() == weights.checksum


def test_a_version_of_what_the_last_delta_holds_says_so(train):
    train()
    rows = [*ROWS, *make_rows(600, seed=2)]
    _, said, versions, folder = train(rows=rows, checkpoint_every_steps=10_000, export_every_windows=1)
    assert "could not be made" not in said
    last = folder.keys[-1]
    assert versions.manifest(versions.numbers[-1])["state"] == {
        "checksum": read(folder.file(last)).header.checksum, "epoch": last.epoch, "number": last.number,
    }  # fmt: skip
    _, weights = loaded(versions, versions.numbers[-1])
    assert weights.computed() == weights.checksum
