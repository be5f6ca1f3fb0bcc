"""The training loop: learn from rows, move the position at a window's end, and tell each action of it."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from tfonline.actions import Actions
from tfonline.ahead import ahead
from tfonline.events import Dropped, Ended, Event, Rows, Seen, Tick, WindowEnd
from tfonline.failures import Failures
from tfonline.features.batch import Element, Examples
from tfonline.formats.reasons import REASONS
from tfonline.lifecycle import DRAIN_SHARE, Stop
from tfonline.model.learner import Learner
from tfonline.report.status import Status
from tfonline.state import Position
from tfonline.stream.window import Window


class Plan(Protocol):
    """The windows that are read: the planner's or, on a worker, the chief's.

    Attributes:
      final: the last window's number, once it is known; None before that.
    """

    final: int | None

    def take(self, number: int) -> Window:
        """The window of this number; forgotten afterwards."""


def train(
    elements: Iterable[Element],
    learner: Learner,
    plan: Plan,
    position: Position,
    actions: Actions,
    failures: Failures,
    stop: Stop,
    status: Status,
    *,
    batch_size: int,
    overdue: Callable[[], bool],
    refused: Callable[[Element], Sequence[int]] | None = None,
    outcomes: Callable[[int], Mapping[str, int]] = lambda number: {},
) -> int | None:
    """Learns from elements until they end, a stop is asked for, or something is wrong.

    Args:
      elements: of the windows, in order.
      learner: scores rows, then learns from them.
      plan: whose windows they are.
      position: moved at a window's end.
      actions: told each event.
      failures: makes the error to end with.
      stop: ends the run at a window's end.
      status: says what is done at the moment.
      batch_size: B, rows a step.
      overdue: whether a window is not to be ended any more, see Drain.
      refused: how many rows of an element all workers have refused, by reason. None: this process is the only one. Else nothing is
        read before the rows before it are told of, as what workers agree on is agreed on in the order of the elements.
      outcomes: what became of the outcomes of a window, asked for once.

    Returns:
      The number of the window that was dropped; None: the last one ended.

    Raises:
      UserError: the loss is not finite (exit 70), too many rows are refused (65), a step failed (71), or the stream did.
    """
    activity, alone = stop.activity, refused is None
    activity.began = True
    status.enter("reading")
    # Copies to a GPU, and reads of scores from it, overlap with its work on other rows.
    overlaps = learner.on_gpu and alone
    # A worker does not leave by itself while it waits for rows: the others would wait for it.
    elements = _read(elements, failures, lambda at: setattr(activity, "waiting_since", at if alone else None))
    events = _events(
        ahead(elements, lambda e: learner.inputs(e.batch.examples), overlaps), plan, stop, refused or refused_here, outcomes
    )

    def learn(rows: Rows) -> Seen | Callable[[], Seen] | None:
        activity.window_open = True
        status.set("training", position.window, position.step)
        return _learn(rows, learner, batch_size)

    try:
        for event, seen in _with_what_was_seen(events, learn, overlaps):
            if isinstance(event, WindowEnd):
                activity.window_open = False
                position.move(event.window)
            status.enter("telling")
            actions(event, seen)
            if isinstance(event, Rows) and overdue():
                dropped = int(event.element.window)
                actions(Dropped(dropped))
                return dropped
            status.set("reading", position.window, position.step)
        actions(Ended())
    except tf.errors.OpError as e:
        raise failures.step(e) from e
    return None


def refused_here(element: Element) -> np.ndarray:
    """How many of an element's rows this process has refused, int [number of reasons]."""
    return np.bincount(element.rejected.reason.numpy(), minlength=len(REASONS))


class Drain:
    """How long a window may go on after a stop was asked for; the rest of --drain_secs is for the save that follows it.

    Args:
      stop: asked for.
      secs: --drain_secs.
      clock: seconds, monotonic.
    """

    def __init__(self, stop: Stop, secs: float, clock: Callable[[], float] = time.monotonic):
        self._stop, self._secs, self._clock = stop, DRAIN_SHARE * secs, clock
        self._until: float | None = None

    def over(self) -> bool:
        """Whether that time is over; it begins with the first call after a stop was asked for."""
        if not self._stop.requested():
            return False
        if self._until is None:
            self._until = self._clock() + self._secs
        return self._clock() > self._until


def _read(elements: Iterable[Element], failures: Failures, waiting: Callable[[float | None], None]) -> Iterator[Element]:
    """The same elements. What TensorFlow raises in here is of reading or preparing rows; elsewhere it is of the step."""
    iterator = iter(elements)
    while True:
        waiting(time.monotonic())
        try:
            element = next(iterator, None)
        except tf.errors.OpError as e:
            raise failures.reading(e) from e
        waiting(None)
        if element is None:
            return
        yield element


def _events(
    elements: Iterable[tuple[Element, Examples]],
    plan: Plan,
    stop: Stop,
    refused: Callable[[Element], Sequence[int]],
    outcomes: Callable[[int], Mapping[str, int]],
) -> Iterator[Event]:
    """The elements as events, up to the window with which the run ends."""
    for element, examples in elements:
        number = int(element.window)
        if number < 0:
            yield Tick()
        elif not element.last.numpy():
            yield Rows(element, examples, refused(element), int(element.left_out))
        else:
            yield WindowEnd(plan.take(number), int(element.left_out), outcomes(number))
            # Not waiting for the elements to end by themselves: the last reads may take seconds to close.
            if stop.requested() or number == plan.final:
                return


def _with_what_was_seen(
    events: Iterable[Event], learn: Callable[[Rows], Callable[[], Seen] | None], overlaps: bool
) -> Iterator[tuple[Event, Seen | None]]:
    """Each event with what the model saw in its rows: None where there are no rows, or none to learn from.

    Args:
      events: in order.
      learn: begins to learn from rows; gives what waits for the end of that.
      overlaps: whether rows are told of when the model has begun to learn from the next ones.
    """
    begun: tuple[Rows, Callable[[], Seen] | None] | None = None
    for event in events:
        following = (event, learn(event)) if isinstance(event, Rows) else None
        if begun:
            yield _ended(*begun)
        begun = following
        if begun and not overlaps:
            yield _ended(*begun)
            begun = None
        if not following:
            yield event, None
    if begun:
        yield _ended(*begun)


def _ended(rows: Rows, seen: Callable[[], Seen] | None) -> tuple[Rows, Seen | None]:
    return rows, seen and seen()


def _learn(rows: Rows, learner: Learner, batch_size: int) -> Callable[[], Seen] | None:
    """Begins the steps on an element's batches; gives what waits for them and reads what they saw. None: there is no step."""
    batch = rows.element.batch
    valid = batch.valid.numpy().reshape(-1, batch_size)
    has_rows = valid.any(axis=1)
    num_steps, which = np.int32(has_rows.sum()), np.argsort(~has_rows, kind="stable").astype(np.int32)
    if not num_steps:
        return None  # no step at all: neither momentum nor l2 without a row
    result, when = learner.train_steps(tf.constant(num_steps), tf.constant(which), rows.examples), time.monotonic()

    def seen() -> Seen:
        head, *others = learner.model.spec.heads
        scored = result.logits.numpy().reshape(*valid.shape, -1)
        labels, weights = (t.numpy().reshape(valid.shape) for t in (batch.label[head], batch.weight))
        logits = scored[..., 0]
        of_others = {name: (batch.label[name].numpy().reshape(valid.shape), scored[..., i]) for i, name in enumerate(others, 1)}
        losses = {name: values.numpy() for name, values in result.losses.items()}
        late = None if isinstance(batch.late, tuple) else valid & batch.late.numpy().reshape(valid.shape)
        first = valid if late is None else valid & ~late
        weights = None if (weights[valid] == 1).all() else weights
        importance = learner.negatives.importance(labels)
        return Seen(first, labels, logits, which[:num_steps], losses, when, weights, importance, late, of_others)

    return seen
