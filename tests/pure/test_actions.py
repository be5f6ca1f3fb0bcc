"""What is done beside learning, action by action: told of events that are made up, without a stream or a model."""

import contextlib
import dataclasses
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest

from tfonline.actions import Actions
from tfonline.actions.commit import make_commit
from tfonline.actions.count import Count
from tfonline.actions.note import make_note
from tfonline.actions.publish import Publish
from tfonline.actions.save import Save, SaveWithChief, Unsaved
from tfonline.actions.unread import make_say_unread
from tfonline.evaluate.progressive import PREDICTION, ProgressiveMetrics
from tfonline.events import Dropped, Ended, Rows, Saved, Saving, Seen, Tick, WindowEnd
from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.report.console import Console
from tfonline.report.files import SideFiles
from tfonline.report.status import Status
from tfonline.state import FileLengths, Position
from tfonline.stream.window import Window


class Told:
    """An action that writes down what it is told of."""

    def __init__(self):
        self.events = []

    def __call__(self, event, _):
        self.events.append(event)


class Array:
    """What has the numbers of a tensor."""

    def __init__(self, *numbers):
        self._numbers = np.array(numbers)

    def numpy(self):
        return self._numbers

    @property
    def shape(self):
        return self._numbers.shape

    def __getitem__(self, rows):
        return Array(*self._numbers[rows])


class Element:
    window, fingerprint = 7, 2**64 - 3

    class batch:
        origin = SimpleNamespace(partition=Array(0, 0, 1, -1), offset=Array(10, 11, 20, -1))
        place = ()


def seen(deep_loss=0.5, valid=(True, False, True, False)):
    """Four places, two rows: a click that was scored 2.0, and no click that was scored -1.0."""
    of = lambda *numbers: np.array([numbers], np.float32)  # noqa: E731
    losses = {"wide_loss": np.array([0.25]), "deep_loss": np.array([deep_loss])}
    return Seen(np.array([valid]), of(1, 0, 0, 0), of(2, 9, -1, 9), np.array([0]), losses, 12.5)


def rows(element=None):
    return Rows(element or Element(), None, [0, 0])


def window(number=0, trigger="rows"):
    return Window(number, (10 * number,), (10 * number + 10,), trigger)


@pytest.fixture
def said():
    return io.StringIO()


@pytest.fixture
def console(said):
    return Console(said)


@pytest.fixture
def written():
    """A writer that keeps what it is given, in `calls`."""
    calls = []
    return SimpleNamespace(calls=calls, write=lambda step, scalars: calls.append((step, scalars)))


def not_finite(what, windows):
    return UserError(f"{what} in {[w.number for w in windows]}", Exit.NOT_FINITE)


# Count


def test_rows_are_counted_once_and_padding_never(tmp_path):
    position, metrics = Position(next=[0], start=[0], step=4, rows=100, fingerprint=5), ProgressiveMetrics(100)
    files = SideFiles(tmp_path, {}, {"loss.log": None, "predictions.bin": None})
    count = Count(position, metrics, window, not_finite, None, files["loss.log"], 5, files["predictions.bin"])
    count(rows(), seen())
    count(rows(), None)  # rows of which none was learned from
    assert (position.step, position.rows, position.fingerprint) == (5, 102, 2)  # the sum of fingerprints wraps around
    assert metrics.report("total")["rows"] == 2
    count(Rows(Element(), None, [0, 0], left_out=5), None)
    count(WindowEnd(window(), left_out=3), None)
    assert (position.rows, position.left_out, position.skipped) == (102, 8, {"negatives": 8})
    files.close()
    assert (tmp_path / "loss.log").read_text() == "epoch: 1, step: 5, wide_loss: 0.25, deep_loss: 0.5\n"
    scored = np.fromfile(tmp_path / "predictions.bin", PREDICTION)
    assert scored.tolist() == [(0, 10, 1.0, 2.0), (1, 20, 0.0, -1.0)]


def test_a_loss_that_is_not_finite_is_an_error_with_its_window_and_counts_nothing():
    position = Position(next=[0], start=[0], step=4)
    count = Count(position, ProgressiveMetrics(100), window, not_finite)
    with pytest.raises(UserError, match=r"the loss is nan at step 5 in \[7\]"):
        count(rows(), seen(deep_loss=float("nan")))
    assert (position.step, position.rows) == (4, 0)


def test_a_windows_metrics_are_written_where_it_had_rows(written):
    count = Count(Position(next=[0], start=[0]), ProgressiveMetrics(100), window, not_finite, written)
    count(WindowEnd(window()), None)
    assert written.calls == []
    count(rows(), seen())
    count(WindowEnd(window()), None)
    [(step, scalars)] = written.calls
    assert (step, scalars["window/rows"], scalars["window/auc"]) == (1, 2.0, 1.0)
    assert {name.partition("/")[0] for name in scalars} == {"window"}


def test_a_windows_metrics_are_written_of_each_label(written):
    of = lambda *numbers: np.array([numbers], np.float32)  # noqa: E731
    others = {"buy": (of(np.nan, 1, 1, 1), of(0, 0, 0, 0)), "rent": (of(0, 0, np.nan, 0), of(9, 9, 9, 9))}
    metrics = ProgressiveMetrics(100, others=("buy", "rent"))
    count = Count(Position(next=[0], start=[0]), metrics, window, not_finite, written)
    count(rows(), dataclasses.replace(seen(), others=others))
    count(WindowEnd(window()), None)
    [(_, scalars)] = written.calls
    names = ("window/rows", "window_buy/rows", "window_rent/rows", "window_buy/calibration")
    assert [scalars[name] for name in names] == [2, 1, 1, 0.5]
    count(WindowEnd(window()), None)
    assert len(written.calls) == 1


# Save


class Disk:
    """Checkpoints that come to disk when they are told to."""

    latest, oldest_window = "ckpt-0", 3

    def __init__(self):
        self.begun, self.restored, self.ready = [], 0, False

    def begin(self, undisturbed):
        with undisturbed:
            self.begun.append(self.position.window)

    def finished(self, wait=False):
        if len(self.begun) > getattr(self, "told", 0) and (wait or self.ready):
            self.told, self.latest = len(self.begun), f"ckpt-{self.begun[-1]}"
            return self.latest
        return None

    def restore(self):
        self.restored += 1
        return []


class Kept:
    """A Save, and all that it works with."""

    def __init__(self, console, finite=True):
        self.position, self.disk, self.actions, self.told = Position(next=[0], start=[0]), Disk(), Actions(), Told()
        self.disk.position, self.rotated, self.due, self.done = self.position, [], False, []
        unsaved = Unsaved(lambda: finite, not_finite)
        journal = type("Journal", (), {"rotate": lambda _, oldest: self.rotated.append(oldest)})()
        self.save = Save(
            self.disk, unsaved, self.position, journal, lambda: self.due, self.done.append, self.actions,
            contextlib.nullcontext(), console, Status(None), 20.0,
        )  # fmt: skip
        self.actions.begin([self.save, self.told])

    def end(self, number, due):
        self.due = due
        self.position.move(window(number))
        self.position.step += 1
        self.actions(WindowEnd(window(number)))


def test_it_saves_when_it_is_due_and_tells_the_others_before_and_after(console, said):
    kept = Kept(console)
    kept.end(0, due=False)
    kept.actions(Tick())
    assert kept.disk.begun == []
    kept.end(1, due=True)
    assert (kept.disk.begun, kept.done, kept.rotated) == ([2], [2], [])
    kept.position.next, kept.disk.ready = [99], True
    kept.actions(Tick())
    assert kept.rotated == [3]
    assert "saved ckpt-2: step 2, next [20]" in said.getvalue()
    saving, saved = Saving((window(0), window(1))), Saved("ckpt-2", (20,))  # as the position was when it began
    assert [e for e in kept.told.events if isinstance(e, Saving | Saved)] == [saving, saved]
    kept.actions(Tick())
    assert kept.disk.begun == [2]  # it is due, but there is nothing new


def test_one_checkpoint_is_on_disk_before_the_next_begins(console):
    kept = Kept(console)
    kept.end(0, due=True)
    kept.end(1, due=True)
    assert [type(e).__name__ for e in kept.told.events] == ["Saving", "WindowEnd", "Saved", "Saving", "WindowEnd"]


def test_the_end_saves_what_is_not_saved_and_waits_for_it(console):
    kept = Kept(console)
    kept.end(0, due=False)
    kept.actions(Ended())
    assert kept.disk.begun == [1]
    assert [type(e).__name__ for e in kept.told.events] == ["WindowEnd", "Saving", "Saved", "Ended"]  # Ended comes last
    kept.actions(Ended())
    assert kept.disk.begun == [1]


def test_a_weight_that_is_not_finite_is_never_saved_and_nobody_is_told(console):
    kept = Kept(console, finite=False)
    kept.save.begin()  # a new model has learned from nothing
    kept.save.finish()
    told = len(kept.told.events)
    kept.end(0, due=False)
    with pytest.raises(UserError, match=r"a weight is NaN or infinite in \[0, 1\]"):
        kept.end(1, due=True)
    assert kept.disk.begun == [0]
    assert not [e for e in kept.told.events[told:] if isinstance(e, Saving)]


def test_an_action_that_refuses_keeps_the_model_from_being_saved(console):
    kept = Kept(console)

    def refuse(event, _):
        if isinstance(event, Saving):
            raise UserError("a dead letter was not taken", Exit.UNAVAILABLE)

    kept.actions.begin([refuse, kept.save])
    with pytest.raises(UserError, match="a dead letter"):
        kept.end(0, due=True)
    assert kept.disk.begun == []


def test_a_window_that_is_dropped_leaves_the_saved_model(console, said):
    kept = Kept(console)
    kept.end(0, due=True)
    kept.actions(Dropped(1))
    assert kept.disk.restored == 1
    assert "window 1 did not end within --drain_secs=20: dropped unsaved. It and what came after ckpt-1" in said.getvalue()


def test_another_worker_takes_part_when_the_chief_saves():
    actions, told, due = Actions(), Told(), []
    actions.begin([SaveWithChief(Unsaved(lambda: True, not_finite), lambda: bool(due), actions), told])
    actions(WindowEnd(window(0)))
    due.append(True)
    actions(Tick())
    actions(Tick())
    actions(WindowEnd(window(1)))
    due.clear()
    actions(WindowEnd(window(2)))
    actions(Ended())
    assert [e.windows for e in told.events if isinstance(e, Saving)] == [(window(0),), (window(1),), (window(2),)]


# Note, commit, unread


def test_what_stands_beside_the_model_is_noted_when_it_is_saved(tmp_path):
    position, lengths = Position(next=[0], start=[0]), FileLengths()
    files = SideFiles(tmp_path, {"gone.bin": 9}, {"loss.log": None})
    others = lambda own: {**own, "rejected.worker-1.jsonl": 3}  # noqa: E731
    note = make_note(position, lengths, files, lambda: [40], others)
    files["loss.log"].write(b"12345")
    note(Saving(()), None)  # the chief's first checkpoint, before the others are there
    assert (lengths.by_name, position.stop) == ({"gone.bin": 9, "loss.log": 5}, [40])
    note(Saving((window(),)), None)
    assert lengths.get_state() == {"gone.bin": 9, "loss.log": 5, "rejected.worker-1.jsonl": 3}
    files.close()
    again = SideFiles(tmp_path, {"loss.log": 2}, {"loss.log": None})
    again.close()
    assert (tmp_path / "loss.log").read_bytes() == b"12"


def test_the_broker_is_told_what_is_on_disk_and_a_refusal_is_said_once(console, said):
    committed = []

    class Topic:
        def commit(self, offsets):
            committed.append(offsets)
            return "no answer"

    commit = make_commit(Topic(), "lag", console)
    for event in (Saving(()), Saved("ckpt-1", (5, 7)), Saved("ckpt-2", (6, 8)), Ended()):
        commit(event, None)
    assert committed == [[5, 7], [6, 8]]
    assert said.getvalue().count("offsets could not be committed under group lag (no answer): lag tools are behind") == 1


@pytest.mark.parametrize(
    ("trigger", "because"),
    [
        ("skip", "SKIPPED by --lag_policy=skip"),
        ("lost", "LOST: retention had removed them (--on_lost_rows=skip)"),
        ("passed", "PASSED OVER by --skip_window"),
        ("rows", None),
    ],
)
def test_windows_that_were_not_read_are_said(console, said, trigger, because):
    make_say_unread(console)(WindowEnd(window(2, trigger)), None)
    line = said.getvalue()[len("2026-01-01 00:00:00 ") :]
    assert line == (f"window 2, 10 offsets from [20] to [30]: {because}\n" if because else "")


# Publish


class Publisher:
    def __init__(self):
        self.calls = []

    def observe(self, element, good, labels, logits, weights, late):
        self.calls.append(
            ("observe", good.tolist(), labels.tolist(), logits.tolist(), weights if weights is None else weights.tolist())
        )

    def __getattr__(self, name):
        return lambda *args: self.calls.append((name, *args))


def of_rows(num_own):
    """Four rows, of which the features of so many are here."""

    class Batch:
        features, label = {"ids": np.zeros((num_own, 3))}, {"click": Array(1, 0, 0, 0)}
        weight = valid = Array(True, False, True, False)

        @classmethod
        def _replace(cls, **_):
            return cls

    class E(Element):
        batch = Batch

        def _replace(self, **_):
            return self

    return E()


def test_a_publisher_gets_the_rows_whose_features_are_here():
    publisher, stop = Publisher(), Stop()
    publish = Publish(publisher, stop)
    publish(rows(of_rows(4)), seen())
    publish(rows(of_rows(2)), seen())  # of two workers, the chief's: the first ones
    publish(rows(of_rows(2)), seen(valid=(False, False, True, False)))  # none of its own
    publish(rows(of_rows(4)), None)
    weighted = dataclasses.replace(seen(), weights=np.array([[3.0, 0, 0.5, 0]]), importance=np.array([[1.0, 0, 10, 0]]))
    publish(rows(of_rows(4)), weighted)
    publish(rows(of_rows(2)), weighted)
    assert publisher.calls == [
        ("observe", [True, False, True, False], [1.0, 0.0], [2.0, -1.0], None),
        ("observe", [True, False], [1.0], [2.0], None),
        ("observe", [True, False, True, False], [1.0, 0.0], [2.0, -1.0], [3.0, 5.0]),
        ("observe", [True, False], [1.0], [2.0], [3.0]),
    ]


def test_nothing_is_published_after_a_stop_was_asked_for():
    publisher, stop = Publisher(), Stop()
    publish = Publish(publisher, stop)
    for event in (Saving(()), Saved("ckpt-1", (1,)), Ended()):
        publish(event, None)
    assert publisher.calls == [("saving",), ("saved", "ckpt-1"), ("finish",)]
    stop.request("SIGTERM")
    for event in (Saved("ckpt-2", (2,)), Ended()):
        publish(event, None)
    assert len(publisher.calls) == 3


# Position


def test_a_position_moves_to_a_windows_end():
    position = Position(next=[10], start=[4])
    position.move(Window(3, (10, 0), (20, 5), "rows"))
    position.move(Window(4, (20, 5), (20, 9), "lost"))
    assert (position.next, position.start, position.window, position.skipped) == ([20, 9], [4, 0], 5, {"lost": 4})
    again = Position(next=[], start=[])
    again.set_state(json.loads(json.dumps(position.get_state())), 1)
    assert again == position
