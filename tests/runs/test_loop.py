"""The training loop's order: what is begun, what is told, and when a run ends; without a stream or a model."""

import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf

from tfonline import loop
from tfonline.events import Dropped, Rows, Tick, WindowEnd
from tfonline.features.negatives import Negatives
from tfonline.lifecycle import Stop
from tfonline.report.status import Status
from tfonline.state import Position
from tfonline.stream.window import Window


@dataclasses.dataclass
class Element:
    window: tf.Tensor
    last: tf.Tensor = dataclasses.field(default_factory=lambda: tf.constant(False))
    left_out: int = 0


def element(window, last=False):
    return Element(tf.constant(window, tf.int64), tf.constant(last))


class Plan:
    final = None

    def take(self, number):
        return Window(number, (0,), (1,), "rows")


def events_of(elements, plan=None, stop=None):
    pairs = [(e, f"examples of {i}") for i, e in enumerate(elements)]
    return list(loop._events(pairs, plan or Plan(), stop or Stop(), lambda e: [int(e.window)], lambda number: {"read": number}))


def test_elements_become_events():
    events = events_of([element(-1), element(5), element(5, last=True), element(6)])
    assert [type(e) for e in events] == [Tick, Rows, WindowEnd, Rows]
    assert (events[1].examples, events[1].refused) == ("examples of 1", [5])
    assert (events[2].window.number, events[2].outcomes) == (5, {"read": 5})


@pytest.mark.parametrize("by", ["the last window", "a stop"])
def test_a_run_ends_at_a_windows_end(by):
    plan, stop = Plan(), Stop()
    if by == "a stop":
        stop.request("SIGTERM")
    else:
        plan.final = 6
    elements = [element(5, last=True), element(6), element(6, last=True), element(7)]
    assert len(events_of(elements, plan, stop)) == (1 if by == "a stop" else 3)


@pytest.mark.parametrize("overlaps", [False, True])
def test_rows_are_told_of_before_their_windows_end_however_late_they_are_read(overlaps):
    happened = []

    def learn(rows):
        happened.append(f"begin {rows.element}")
        return None if rows.element == "c" else lambda: happened.append(f"read {rows.element}") or f"seen in {rows.element}"

    events = [*(Rows(name, None, []) for name in "abc"), WindowEnd(Window(0, (0,), (1,), "rows")), Rows("d", None, [])]
    for event, seen in loop._with_what_was_seen(events, learn, overlaps):
        happened.append((event.element if isinstance(event, Rows) else "end", seen))
    of = lambda name: [f"read {name}", (name, f"seen in {name}")]  # noqa: E731
    if overlaps:
        wanted = ["begin a", "begin b", *of("a"), "begin c", *of("b"), ("c", None), ("end", None), "begin d", *of("d")]
    else:
        wanted = ["begin a", *of("a"), "begin b", *of("b"), "begin c", ("c", None), ("end", None), "begin d", *of("d")]
    assert happened == wanted


def test_a_window_may_go_on_for_a_share_of_the_time_after_a_stop():
    now, stop = [100.0], Stop()
    drain = loop.Drain(stop, 10.0, lambda: now[0])
    now[0] = 200.0
    assert not drain.over()
    stop.request("SIGTERM")
    assert not drain.over()  # the time begins here
    now[0] = 208.0
    assert not drain.over()
    now[0] = 208.1
    assert drain.over()


def test_steps_are_those_of_batches_that_hold_a_row():
    asked = []

    class Learner:
        negatives, model = Negatives(0.5), types.SimpleNamespace(spec=types.SimpleNamespace(heads=("label",)))

        def train_steps(self, num_steps, which, examples):
            asked.append((int(num_steps), which.numpy().tolist(), examples))
            nothing = tf.zeros([3])
            return type("R", (), {"logits": tf.range(6.0), "losses": {"loss": nothing, "loss_with_l2": nothing + 1}})

    class Batch:
        valid, label = tf.constant([False, False, True, False, True, True]), {"label": tf.constant([0.0, 0, 0, 0, 0, 1])}
        weight, late = tf.constant([0.0, 0, 1, 0, 1, 3]), ()

    rows = Rows(type("E", (), {"batch": Batch}), "examples", [])
    seen = loop._learn(rows, Learner(), batch_size=2)()
    assert asked == [(2, [1, 2, 0], "examples")]
    assert seen.steps.tolist() == [1, 2]
    np.testing.assert_array_equal(seen.logits, [[0, 1], [2, 3], [4, 5]])
    assert {name: losses.tolist() for name, losses in seen.losses.items()} == {"loss": [0] * 3, "loss_with_l2": [1] * 3}
    Batch.valid = tf.zeros([6], tf.bool)
    assert loop._learn(rows, Learner(), batch_size=2) is None
    assert len(asked) == 1


def test_a_window_that_is_dropped_is_named_though_the_saved_model_is_taken_up_again():
    position, told = Position(next=[0], start=[0], window=8), []

    def actions(event, _=None):
        told.append(type(event))
        if isinstance(event, Dropped):
            position.window = 5  # the checkpoint is of three windows before

    class Learner:
        on_gpu = False

        def inputs(self, examples):
            return examples

    class Nothing:
        valid, examples = tf.zeros([2], tf.bool), None

    rows = element(8)
    rows.batch = Nothing
    dropped = loop.train(
        [rows], Learner(), Plan(), position, actions, None, Stop(), Status(None),
        batch_size=2, overdue=lambda: True, refused=lambda _: [0],
    )  # fmt: skip
    assert dropped == 8
    assert told == [Rows, Dropped]
