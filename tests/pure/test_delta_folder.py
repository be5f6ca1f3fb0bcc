"""The folder of deltas: which are there, who writes, and which epoch comes next."""

import contextlib

import pytest

from tfonline.deltas.folder import DeltaFolder, Key
from tfonline.lifecycle import Exit, UserError


@pytest.fixture
def hold():
    """Holds a folder until the test ends."""
    with contextlib.ExitStack() as closing:

        def hold(folder):
            folder.hold()
            closing.callback(folder.release)

        yield hold


def test_deltas_are_told_by_their_names_in_order(tmp_path, hold):
    folder = DeltaFolder(tmp_path / "deltas")
    assert folder.keys == []  # and who reads makes nothing
    hold(folder)
    for key in (Key(2, 1), Key(1, 12), Key(1, 3), Key(1, 1_000_000)):
        folder.file(key).touch()
    (folder.path / "000001-000004.delta.part").touch()
    (folder.path / ".000001-000005.delta.tmp").touch()
    assert folder.keys == [(1, 3), (1, 12), (1, 1_000_000), (2, 1)]
    folder.remove_up_to(Key(1, 12))
    assert folder.keys == [(1, 1_000_000), (2, 1)]


def test_one_trainer_writes_and_what_a_killed_one_has_left_is_removed(tmp_path, hold):
    first, second = DeltaFolder(tmp_path), DeltaFolder(tmp_path)
    left = tmp_path / ".000001-000005.delta.tmp"
    left.touch()
    first.hold()
    assert not left.exists()
    with pytest.raises(UserError, match="another trainer makes deltas") as error:
        second.hold()
    assert error.value.code == Exit.TRY_AGAIN
    first.release()
    hold(second)


def test_an_epoch_is_never_given_twice(tmp_path, hold):
    folder = DeltaFolder(tmp_path)
    hold(folder)
    assert [folder.next_epoch(), folder.next_epoch()] == [1, 2]
    folder.file(Key(7, 3)).touch()
    assert folder.next_epoch() == 8
    folder.remove_up_to(Key(8, 0))
    assert DeltaFolder(tmp_path).next_epoch() == 9
    (tmp_path / ".epoch").write_text("cut")
    folder.file(Key(11, 3)).touch()
    assert folder.next_epoch() == 12


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--delta_dir=.* cannot be written") as error:
        DeltaFolder(tmp_path / "file" / "deltas").hold()
    assert error.value.code == Exit.CANNOT_WRITE
