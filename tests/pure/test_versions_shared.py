"""A folder of versions that others write, copy, lock or leave in the middle: none hinders another, and none is lost."""

import errno
import fcntl
import itertools
import multiprocessing
import os
import pathlib
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from version_helpers import files_of, model, text_of

from tfonline.lifecycle import Exit, UserError
from tfonline.publish import links, staging
from tfonline.publish import versions as versions_module
from tfonline.publish.versions import MANIFEST, Paused, Versions


class Held:
    """Something that waits in the middle, in a thread, until it is let go."""

    def __init__(self, work):
        self.reached, self._go_on = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._thread_work = self._pool.submit(work, self)

    def wait(self):
        """Called in the middle."""
        self.reached.set()
        assert self._go_on.wait(60)

    def until_reached(self):
        assert self.reached.wait(60) or self._thread_work.result(0)
        return self

    def finish(self):
        """Lets it go; what it returns."""
        self._go_on.set()
        return self._thread_work.result(60)


def publishing(versions, monkeypatch, where, **arguments):
    """A publication of "new" that is held where it takes long."""

    def work(held):
        def write(folder):
            model("new")(folder)
            if where == "write":
                held.wait()

        if where != "write":
            whole, publisher = getattr(versions_module, where), threading.get_ident()

            def long(*arguments):
                if threading.get_ident() == publisher:
                    held.wait()
                return whole(*arguments)

            monkeypatch.setattr(versions_module, where, long)
        return versions.publish(write, {}, **arguments)

    return Held(work).until_reached()


@pytest.mark.parametrize("where", ["write", "digests", "_flush"])
def test_the_way_back_waits_for_no_one_who_writes(versions, monkeypatch, where):
    for text in "ab":
        versions.publish(model(text), {})
    held = publishing(versions, monkeypatch, where)
    # It would end at once with an error if anybody held the folder's lock.
    assert Versions(versions.folder, lock_secs=0).roll_back(why="clicks fell") == 3
    assert text_of(versions, 3) == "a"
    assert versions.numbers == [1, 2, 3]
    with pytest.raises(Paused, match=r"publishing is paused: clicks fell \(version 3 is 1 again\)"):
        held.finish()
    assert versions.numbers == [1, 2, 3]
    assert versions.bad == {2: "clicks fell"}
    assert not list(versions.folder.glob(".*.tmp"))
    versions.resume()
    assert versions.publish(model("c"), {}) == 4


def test_nothing_is_published_over_a_version_that_was_not_judged(versions, monkeypatch):
    seen = []

    def judge(newest):
        seen.append(newest)
        if newest == 2:  # while it judges that one, too
            Versions(versions.folder, lock_secs=0).publish(model("c"), {})
        if newest > 3:
            raise ValueError("not over this one")
        return {"over": newest}

    assert versions.publish(model("a"), {"step": 7}, judge) == 1
    assert (versions.manifest(1)["step"], versions.manifest(1)["over"]) == (7, 0)
    held = publishing(versions, monkeypatch, "write", judge=judge)
    assert Versions(versions.folder, lock_secs=0).publish(model("b"), {}) == 2
    assert held.finish() == 4
    assert seen == [0, 2, 3]
    assert versions.manifest(4)["over"] == 3
    with pytest.raises(ValueError, match="not over this one"):
        versions.publish(model("e"), {}, judge)
    assert versions.numbers == [2, 3, 4]
    assert not list(versions.folder.glob(".*.tmp"))


def test_publishing_that_is_paused_while_it_is_judged(versions):
    for text in "ab":
        versions.publish(model(text), {})

    def judge(newest):
        versions.roll_back(why="clicks fell")
        return {}

    with pytest.raises(Paused, match="clicks fell"):
        versions.publish(model("c"), {}, judge)
    assert versions.numbers == [1, 2, 3]


def test_what_is_being_written_is_not_removed_by_another(versions, monkeypatch):
    held = publishing(versions, monkeypatch, "write")
    for text in "abcd":
        Versions(versions.folder, keep=2).publish(model(text), {})
    assert len(list(versions.folder.glob(".*.tmp/version/saved_model.pb"))) == 1
    assert held.finish() == 5
    assert text_of(versions, 5) == "new"
    assert versions.problems(5) == []


def _write_for_ever(folder, begun):
    def write(beside):
        model("new")(beside)
        begun.set()
        time.sleep(600)

    Versions(folder).publish(write, {})


def test_a_process_that_writes_and_is_killed_hinders_nobody(versions):
    for text in "ab":
        versions.publish(model(text), {})
    spawn = multiprocessing.get_context("spawn")
    begun = spawn.Event()
    writer = spawn.Process(target=_write_for_ever, args=(versions.folder, begun))
    writer.start()
    try:
        assert begun.wait(60)
        assert Versions(versions.folder, lock_secs=0).roll_back() == 3
        assert len(list(versions.folder.glob(".*.tmp/version/saved_model.pb"))) == 1
    finally:
        writer.kill()
        writer.join()
    versions.resume()
    assert versions.publish(model("c"), {}) == 4
    assert not list(versions.folder.glob(".*.tmp"))


def test_a_version_is_not_removed_while_it_is_copied(versions, monkeypatch):
    for text in "abc":
        versions.publish(model(text), {})

    def rolls_back(held):
        def slow(source, target):
            held.wait()
            return shutil.copyfile(source, target)

        monkeypatch.setattr(links, "link_or_copy", slow)
        return Versions(versions.folder).roll_back(to=1)

    held = Held(rolls_back).until_reached()
    with pytest.raises(UserError, match="another process has been changing"):
        Versions(versions.folder, keep=2, lock_secs=0).publish(model("d"), {})
    assert held.finish() == 4
    assert versions.problems(4) == []
    assert text_of(versions, 4) == "a"


@pytest.mark.parametrize("to", [None, 1])
def test_a_version_that_is_removed_while_it_is_looked_at_is_not_gone_back_to(versions, monkeypatch, to):
    for text in "ab":
        versions.publish(model(text), {})
    whole = versions_module.digests

    def rolls_back(held):
        def digests(folder):
            if folder == versions.path(1):
                held.wait()
            return whole(folder)

        monkeypatch.setattr(versions_module, "digests", digests)
        return Versions(versions.folder).roll_back(to)

    held = Held(rolls_back).until_reached()
    Versions(versions.folder, keep=2).publish(model("c"), {})
    assert versions.numbers == [2, 3]
    if to:
        with pytest.raises(UserError, match=r"has no version 1. There are \[2, 3\]"):
            held.finish()
        assert versions.numbers == [2, 3]
    else:
        assert held.finish() == 4
        assert text_of(versions, 4) == "b"
    assert versions.bad == ({} if to else {3: "rolled back"})


def test_an_old_model_gets_second_names_and_is_not_copied(versions):
    for text in "ab":
        versions.publish(model(text), {})
    assert versions.roll_back() == 3
    assert {n: s.st_ino for n, s in files_of(versions, 3).items()} == {n: s.st_ino for n, s in files_of(versions, 1).items()}
    assert (versions.path(3) / MANIFEST).stat().st_ino != (versions.path(1) / MANIFEST).stat().st_ino


@pytest.mark.parametrize("error", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK])
def test_without_hard_links_it_is_copied(versions, monkeypatch, error):
    def no_link(source, target):
        raise OSError(error, os.strerror(error))

    for text in "ab":
        versions.publish(model(text), {})
    monkeypatch.setattr(links.os, "link", no_link)
    assert versions.roll_back() == 3
    assert versions.problems(3) == []
    assert text_of(versions, 3) == "a"
    assert {s.st_nlink for s in files_of(versions, 3).values()} == {1}


def test_any_other_error_of_a_link_is_told_and_changes_nothing(versions, monkeypatch):
    def fails(source, target):
        raise OSError(errno.EIO, "Input/output error", source)

    for text in "ab":
        versions.publish(model(text), {})
    monkeypatch.setattr(links.os, "link", fails)
    with pytest.raises(OSError, match="Input/output error"):
        versions.roll_back()
    assert (versions.numbers, versions.bad, versions.paused) == ([1, 2], {}, "")
    assert not list(versions.folder.glob(".*.tmp"))


def _killed_at_each_step(folder, action):
    """In a process of its own: does the action in the folders `1`, `2`, ..., in folder n by a process that is killed at its step n.

    A step is a wait until a file is on disk, or a rename. Ends with the first folder in which nothing was killed.
    """
    steps = 0
    flush, rename = versions_module.flush_to_disk, pathlib.Path.rename
    while True:
        steps += 1
        versions = Versions(folder / str(steps), keep=3)
        for text in "abc":
            versions.publish(model(text), {})
        child = os.fork()
        if not child:
            left = itertools.count(steps, -1)

            def counted(work, left=left):
                def do(*arguments):
                    if next(left) == 1:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return work(*arguments)

                return do

            versions_module.flush_to_disk, pathlib.Path.rename = counted(flush), counted(rename)
            versions.publish(model("new"), {}) if action == "publish" else versions.roll_back(why="killed")
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            os._exit(0)


@pytest.mark.parametrize(("action", "steps"), [("publish", 12), ("roll_back", 11)])
def test_killed_at_each_step(tmp_path, action, steps):
    child = multiprocessing.get_context("spawn").Process(target=_killed_at_each_step, args=(tmp_path, action))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    # All steps, and a folder where nothing was killed.
    assert len(list(tmp_path.iterdir())) == steps + 1
    assert text_of(Versions(tmp_path / str(steps + 1)), 4) == ("new" if action == "publish" else "b")
    for step in range(1, steps + 1):
        versions = Versions(tmp_path / str(step), keep=3)
        seen = versions.numbers
        assert all(versions.problems(number) == [] for number in seen)
        assert seen[-1] in (3, 4)
        if action == "roll_back":
            # Whoever is not sure does it again: then a good model is served, and nothing else is published.
            versions.roll_back(to=2)
            assert text_of(versions, versions.numbers[-1]) == "b"
            assert 3 in versions.bad
            assert versions.paused
            versions.resume()
        last = versions.numbers[-1]
        assert versions.publish(model("d"), {}) > last
        assert text_of(versions, versions.numbers[-1]) == "d"
        assert len(versions.numbers) == 3
        assert not list(versions.folder.glob(".*.tmp"))


# Locks


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_at_once(versions, monkeypatch, error):
    def no_lock(file, how):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(fcntl, "flock", no_lock)
    for action in (versions.make, versions.resume, versions.roll_back, lambda: versions.publish(model("a"), {})):
        with pytest.raises(UserError, match="its file system has no locks") as e:
            action()
        assert e.value.code == Exit.CANNOT_WRITE
        assert os.strerror(error) in str(e.value)


def test_any_other_error_of_a_lock_keeps_its_text(versions, monkeypatch):
    versions.publish(model("a"), {})

    def fails(file, how):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", fails)
    for action in (versions.make, versions.resume, lambda: versions.publish(model("b"), {})):
        with pytest.raises((UserError, OSError), match="Input/output error"):
            action()
    with pytest.raises(OSError, match="Input/output error"):
        staging.make(versions.folder)
    assert versions.numbers == [1]
    assert not list(versions.folder.glob(".*.tmp"))
