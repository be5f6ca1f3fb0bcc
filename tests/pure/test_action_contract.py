"""Every action through the same checks. Who adds an action adds a line to ACTIONS."""

import contextlib
import os
import pathlib
import tempfile

import pytest
from contracts import actions as contract
from contracts.actions import CHECKS, check_action

from tfonline import actions
from tfonline.actions.commit import make_commit
from tfonline.actions.count import Count
from tfonline.actions.count_by_value import CountByValue
from tfonline.actions.mature import Mature
from tfonline.actions.note import make_note
from tfonline.actions.publish import Publish
from tfonline.actions.refused_rows import Refuse
from tfonline.actions.report import Report
from tfonline.actions.row_times import RowTimes
from tfonline.actions.save import Save, SaveWithChief
from tfonline.actions.tally import Tally
from tfonline.actions.unread import make_say_unread
from tfonline.actions.watch_drift import WatchDrift
from tfonline.evaluate.first_sights import FirstSights
from tfonline.events import Ended, Rows, Saved, Saving, WindowEnd
from tfonline.lifecycle import Stop
from tfonline.report.status import Status


def refuse(world, kind=Refuse):
    class DeadLetters:
        def send(self, *letter):
            world.owed.append(letter)

        def flush(self):
            world.owed.clear()

    file = world.files["rejected.jsonl"]
    return kind(world.position.rejected, file, DeadLetters(), world.console, 1.0, str, lambda rows: "", "rejected.jsonl")


def note(world):
    return make_note(world.position, world.lengths, world.files, lambda: [80])


def count(world, kind=Count):
    files = world.files
    return kind(world.position, world.metrics, None, None, None, files["loss.log"], 1, files["predictions.bin"])


def count_by_value(world):
    return CountByValue(world.by_value, key_of_c1, lambda element, row: element.message.numpy()[row].decode())


def watch_drift(world):
    return WatchDrift(world.drift, key_of_c1, world.position, world.console, world.files["drift.jsonl"])


def mature(world):
    return Mature(world.position, world.metrics, FirstSights(tempfile.mkdtemp()))


def key_of_c1(fields, rows):
    return {"C1": fields.values["C1"].numpy()[rows]}


def unread(world):
    return make_say_unread(world.console)


def row_times(world):
    return RowTimes()


def tally(world):
    return Tally()


def save(world, kind=Save):
    return kind(
        world.checkpoints, world.unsaved, world.position, world.checkpoints, lambda: True, lambda step: None, world.actions,
        contextlib.nullcontext(), world.console, Status(None), 20.0,
    )  # fmt: skip


def save_with_chief(world):
    return SaveWithChief(world.unsaved, lambda: True, world.actions)


class Publisher:
    """Stands in for publish.publisher: publishes each checkpoint."""

    def __init__(self, world):
        self._publish, self._prepared = world.publish, False

    def observe(self, element, valid, labels, logits, weights, late):
        assert len(labels) == len(logits) == valid.sum() > 0

    def between_windows(self):
        pass

    def saving(self):
        self._prepared = True

    def saved(self, path):
        assert self._prepared, "a checkpoint is published that nothing was prepared for"
        self._prepared = False
        self._publish(path)

    def finish(self):
        pass


def publish(world, kind=Publish):
    return kind(Publisher(world), Stop())


class Topic:
    def __init__(self, world):
        self._publish = world.publish

    def commit(self, offsets):
        self._publish(tuple(offsets))
        return ""


def commit(world):
    return make_commit(Topic(world), "lag", world.console)


def report(world):
    class Reports:
        rows_came = report = lambda *_: None

        def due(self):
            return True

    class Stream:
        ends, stop_at = [100], None

    return Report(Reports(), world.position, world.metrics, Stream(), world.console, "")


# An action's module; what makes it for a world; where it stands among the others.
ACTIONS = {
    "refused_rows": (refuse, "before the save"),
    "note": (note, "notes"),
    "count": (count, "before the save"),
    "count_by_value": (count_by_value, "before the save"),
    "watch_drift": (watch_drift, "before the save"),
    "mature": (mature, "before the save"),
    "unread": (unread, "before the save"),
    "tally": (tally, "before the save"),
    "row_times": (row_times, "before the save"),
    "save": (save, "saves"),
    "save, with the chief": (save_with_chief, "saves with the chief"),
    "publish": (publish, "after the save"),
    "commit": (commit, "after the save"),
    "report": (report, "after the save"),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_keeps_its_contract(name, check):
    check(*ACTIONS[name])


def test_all_actions_are_held_to_it():
    modules = {path.stem for path in pathlib.Path(actions.__file__).parent.glob("*.py")}
    assert modules - {"__init__", "make"} == {name.partition(",")[0] for name in ACTIONS}


class Unflushed(Refuse):
    """It does not wait for its dead letters."""

    def __call__(self, event, seen):
        if not isinstance(event, Saving):
            super().__call__(event, seen)


class InMemory(Count):
    """It counts where no checkpoint looks."""

    rows = 0

    def __call__(self, event, seen):
        if isinstance(event, Rows) and seen:
            self.rows += int(seen.valid.sum())
            self._position.rows = self.rows


class Late(Count):
    """It writes when the length of its file has been noted."""

    def __call__(self, event, seen):
        if isinstance(event, Saved):
            self._loss_log.write(event.path.encode())


class Guessing(Count):
    """It takes whatever it does not know for a window's end."""

    def __call__(self, event, seen):
        if not isinstance(event, Rows | Saving | Saved | Ended):
            self._position.rejected["windows"] = self._position.rejected.get("windows", 0) + 1


class Adding(Count):
    """It closes its file as often as it is told of the end."""

    def __call__(self, event, seen):
        if isinstance(event, Ended):
            self._loss_log.write(b"end")


class Answering(Count):
    def __call__(self, event, seen):
        return super().__call__(event, seen) or self


class Hasty(Save):
    """It begins a checkpoint before others are told."""

    def begin(self):
        self._checkpoints.begin(self._undisturbed)
        self._checkpoints.finished(wait=True)
        super().begin()


class Impatient(Save):
    """It tells of a checkpoint that is still being written."""

    def begin(self):
        super().begin()
        self._tell(Saved("ckpt-early", tuple(self._position.next)))


class Overlapping(Save):
    """It does not wait for a checkpoint before it begins the next one."""

    def _settle(self, wait=False):
        super()._settle(False)


class Silent(Save):
    """It does not say which windows it saves."""

    def begin(self):
        self._unsaved.take()
        super().begin()


class Endless(Save):
    """It leaves the last window unsaved."""

    def __call__(self, event, seen):
        if not isinstance(event, Ended):
            super().__call__(event, seen)


class Unprepared(Publish):
    """It publishes a checkpoint that it did not see begin."""

    def __call__(self, event, seen):
        if not isinstance(event, Saving):
            super().__call__(event, seen)


def commit_early(world):
    topic = Topic(world)

    def commit(event, _):
        if isinstance(event, WindowEnd):
            topic.commit(event.window.stop)

    return commit


def of(make, kind):
    def made(world):
        return make(world, kind)

    made.__name__ = kind.__name__  # for the test's name
    return made


@pytest.mark.parametrize(
    ("make", "place", "check", "problem"),
    [
        (of(count, Answering), "before the save", contract.it_takes_all_that_happens, "gives nothing back"),
        (of(refuse, Unflushed), "before the save", contract.it_takes_all_that_happens, "passes over what is not done yet"),
        (of(publish, Unprepared), "after the save", contract.it_takes_all_that_happens, "nothing was prepared for"),
        (of(save, Overlapping), "saves", contract.it_takes_all_that_happens, "before the last one was on disk"),
        (of(save, Hasty), "saves", contract.it_takes_all_that_happens, "nobody was told before"),
        (of(count, Guessing), "before the save", contract.what_does_not_concern_it_changes_nothing, "has changed position"),
        (commit_early, "after the save", contract.it_tells_nobody_of_what_is_not_saved, "no checkpoint is on disk"),
        (of(save, Impatient), "saves", contract.each_window_is_saved_once_and_in_order, "not Saving before and Saved after"),
        (of(save, Silent), "saves", contract.each_window_is_saved_once_and_in_order, "not each window was told of once"),
        (of(save, Endless), "saves", contract.each_window_is_saved_once_and_in_order, "at the run's end the newest"),
        (of(count, Adding), "before the save", contract.a_second_end_changes_nothing, "has changed loss.log"),
        (of(count, InMemory), "before the save", contract.a_restart_continues, "leaves another position"),
        (of(count, Late), "after the save", contract.a_restart_continues, "leaves another"),
    ],
)  # fmt: skip
def test_an_action_that_breaks_it_is_found(make, place, check, problem):
    with pytest.raises(AssertionError, match=problem):
        check(make, place)


def test_what_an_action_says_that_it_needs_it_may_import(tmp_path, monkeypatch):
    class Heavy(Count):
        __module__ = "heavy"

    (tmp_path / "heavy.py").write_text("import tensorflow")
    (tmp_path / "tensorflow.py").touch()  # stands in for it: here there may be none
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    check_action(of(count, Heavy), needs=["tensorflow"])
    with pytest.raises(AssertionError, match="heavy imports tensorflow, and does not say so"):
        check_action(of(count, Heavy))
