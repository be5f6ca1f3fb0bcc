"""The folder that serving reads: whole at every moment, numbers that only rise, and a way back."""

import json
import multiprocessing
import os
import shutil
import signal
import time

import pytest
from version_helpers import model, text_of

from tfonline.lifecycle import Exit, UserError
from tfonline.publish.versions import MANIFEST, Versions


def test_a_version_is_whole_and_says_what_it_is(versions):
    before = time.time()
    assert versions.publish(model("a"), {"step": 7}) == 1
    manifest = versions.manifest(1)
    assert (manifest["version"], manifest["step"]) == (1, 7)
    assert before <= manifest["published"] <= time.time()
    assert set(manifest["files"]) == {"saved_model.pb", "variables/variables.index"}
    assert versions.problems(1) == []
    assert [p.name for p in versions.folder.iterdir() if not p.name.startswith(".")] == ["1"]


def test_numbers_rise_for_good_and_only_some_are_kept(versions):
    assert [versions.publish(model(str(i)), {}) for i in range(5)] == [1, 2, 3, 4, 5]
    assert versions.numbers == [3, 4, 5]
    for number in versions.numbers:
        shutil.rmtree(versions.path(number))
    assert Versions(versions.folder).publish(model("x"), {}) == 6


def test_what_fails_leaves_the_set_as_it_was(versions):
    versions.publish(model("a"), {})

    def fails(folder):
        model("b")(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        versions.publish(fails, {})
    assert versions.numbers == [1]
    assert not list(versions.folder.glob(".*.tmp"))
    assert versions.publish(model("c"), {}) == 2


def test_each_change_of_a_file_is_found(versions):
    versions.publish(model("a"), {})
    (versions.path(1) / "saved_model.pb").write_text("b")
    (versions.path(1) / "variables" / "variables.index").unlink()
    (versions.path(1) / "more").write_text("")
    expected = ["saved_model.pb has changed", "variables/variables.index is missing", "more was added"]
    assert versions.problems(1) == expected


def test_back_to_the_version_before(versions):
    for text in "abc":
        versions.publish(model(text), {"step": ord(text)})
    assert versions.roll_back(why="clicks fell") == 4
    assert text_of(versions, 4) == "b"
    assert versions.manifest(4)["step"] == ord("b")
    assert versions.problems(4) == []
    assert versions.bad == {3: "clicks fell"}
    assert versions.paused == "clicks fell (version 4 is 2 again)"
    # The same again condemns nothing more.
    assert versions.roll_back(to=2, why="again") == 5
    assert text_of(versions, 5) == "b"
    assert versions.bad == {3: "clicks fell"}
    versions.resume()
    assert versions.paused == ""
    assert versions.publish(model("d"), {}) == 6


def test_back_twice_goes_back_two_models(versions):
    versions = Versions(versions.folder, keep=9)
    for text in "abc":
        versions.publish(model(text), {})
    assert [text_of(versions, versions.roll_back()) for _ in range(2)] == ["b", "a"]
    assert sorted(versions.bad) == [2, 3, 4]
    with pytest.raises(UserError, match="no good version"):
        versions.roll_back()


def test_there_must_be_a_way_back(versions):
    with pytest.raises(UserError, match="no good version to go back to") as e:
        versions.roll_back()
    assert e.value.code == Exit.NO_INPUT
    versions.publish(model("a"), {})
    with pytest.raises(UserError, match="no good version"):
        versions.roll_back()
    with pytest.raises(UserError, match=r"has no version 9. There are \[1\]"):
        versions.roll_back(to=9)
    versions.publish(model("b"), {})
    (versions.path(1) / "saved_model.pb").write_text("torn")
    with pytest.raises(UserError, match=r"version 1 is damaged: saved_model.pb has changed") as e:
        versions.roll_back()
    assert e.value.code == Exit.DATA
    assert versions.numbers == [1, 2]
    assert not versions.paused


def test_a_version_without_its_manifest_is_told(versions):
    versions.publish(model("a"), {})
    (versions.path(1) / MANIFEST).write_text("{")
    with pytest.raises(UserError, match=r"version 1 has no readable manifest.json"):
        versions.problems(1)


@pytest.mark.parametrize("torn", [1, 3])
def test_a_version_without_its_manifest_bars_no_way_back(versions, torn):
    for text in "abc":
        versions.publish(model(text), {})
    (versions.path(torn) / MANIFEST).write_text("[]")
    assert versions.roll_back(why="clicks fell") == 4
    assert text_of(versions, 4) == "b"
    assert versions.bad == {3: "clicks fell"}


def _publish_for_ever(folder, name):
    versions, i = Versions(folder, keep=3), 0
    while True:
        i += 1
        versions.publish(model(f"{name}{i}"), {"by": name})


def test_two_publishers_and_kills_leave_only_whole_versions(tmp_path):
    versions, spawn, seen = Versions(tmp_path, keep=3), multiprocessing.get_context("spawn"), 0
    for _ in range(3):
        publishers = [spawn.Process(target=_publish_for_ever, args=(tmp_path, name)) for name in "ab"]
        for p in publishers:
            p.start()
        deadline = time.monotonic() + 60
        while max(versions.numbers, default=0) < seen + 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        for p in publishers:
            os.kill(p.pid, signal.SIGKILL)
            p.join()
        numbers = versions.numbers
        assert numbers[-1] >= seen + 20, "numbers did not rise"
        seen = numbers[-1]
        # A kill between a rename and the removal of the oldest leaves one more at most.
        assert len(numbers) in (3, 4)
        assert all(versions.problems(n) == [] for n in numbers)
    assert versions.publish(model("c"), {}) > seen
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_folder_that_another_changes_is_waited_for(versions):
    with versions._locked(), pytest.raises(UserError, match="another process has been changing") as e:
        Versions(versions.folder, lock_secs=0.1).publish(model("a"), {})
    assert e.value.code == Exit.TRY_AGAIN


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--export_dir=.*cannot be written") as e:
        Versions(tmp_path / "file" / "export").make()
    assert e.value.code == Exit.CANNOT_WRITE


def test_the_state_is_plain_json(versions):
    versions.publish(model("a"), {})
    assert json.loads((versions.folder / ".state.json").read_text()) == {"last": 1, "paused": "", "bad": {}}
