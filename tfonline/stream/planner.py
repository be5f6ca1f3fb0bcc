"""Plans windows, by count or by time, before a row of them is read."""

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.stream.window import Labels, Window
from tfonline.stream.window_policy import Policy

_REACHED, _REPLAYED = "reached --stop_at", "the replayed journal ended"


class Source(Protocol):
    """The admin side of a stream: what the planner asks."""

    def begins(self) -> list[int]:
        """The oldest offset of each partition that can still be read. Partitions may be more than the last time."""

    def ends(self) -> list[int]:
        """The offset behind the newest row that a read_committed reader sees; of the partitions that `begins` gave last."""

    def wait_for_rows(self, ends: Sequence[int], stop: Stop, secs: float) -> bool:
        """Waits until a row may have come behind `ends`, a stop is asked for, or `secs` are over; whether a row may have come.

        A source that cannot tell waits for as long as its rows may wait, and says that one may have come.
        """


def no_labels(start: Sequence[int], stop: Sequence[int], before: Labels | None) -> Labels | None:
    """Says which outcomes a window is joined with: of rows that have their labels, none. `labels.Ready` is another one.

    Args:
      start: the window's.
      stop: likewise.
      before: of the window before; None: it is the first one.
    """
    return None


class WindowLog(Protocol):
    """Where a window is written down before it is read."""

    def append(self, window: Window) -> None:
        """Writes and flushes one window."""


class Planner:
    """Plans window after window, ahead of training, from the offsets that it has planned itself.

    Args:
      source: asked for begin and end offsets.
      policy: when a window closes and when the stream ends.
      log: where each new window is written before it is handed out.
      position: next offset of each partition, from the checkpoint.
      number: the next window's number.
      journalled: windows that an earlier run has planned after that checkpoint; handed out first, as they are.
      replay: windows of another run's journal, handed out (and logged) next; nothing is planned after them.
      pass_over: the number of a journalled window that is not read (--skip_window); one below `number` is none.
      resolve_stop: asked while `policy.stop_at` is None: the stop offsets, once they can be known (--stop_at=timestamp:).
      labels: says which outcomes a window is joined with.
      labels_before: of the window before `number`; None: there is none, or it has none.
      stop: ends the plan.
      clock: seconds, monotonic.
      poll_secs: so long at least between two looks at the broker's offsets, except behind a window.
      look_secs: so long at most: retention and new partitions are noticed without a new row, too.
      compare_secs: how often the end offsets alone are asked for meanwhile.
      tick_secs: how often an idle stream hands out a tick (None), so that saves, reports and stops still happen.

    Attributes:
      source: as above.
      ends: the end offsets as last seen.
      error: what ended the plan, where it was an error.
      ended: why the plan ended, where it was none.
      final: the last window's number, once it is handed out, where the plan has such an end.
    """

    def __init__(
        self,
        source: Source,
        policy: Policy,
        log: WindowLog,
        *,
        position: Sequence[int],
        number: int,
        journalled: Sequence[Window] = (),
        replay: Sequence[Window] | None = None,
        pass_over: int = -1,
        resolve_stop: Callable[[], Sequence[int] | None] = lambda: None,
        labels: Callable[[Sequence[int], Sequence[int], Labels | None], Labels | None] = no_labels,
        labels_before: Labels | None = None,
        stop: Stop,
        clock: Callable[[], float] = time.monotonic,
        poll_secs: float = 0.05,
        look_secs: float = 5.0,
        compare_secs: float = 1.0,
        tick_secs: float = 0.5,
    ):
        self.source, self._policy, self._log, self._stop, self._clock = source, policy, log, stop, clock
        self._position, self._number = list(position), number
        self._journalled, self._replay, self._resolve_stop = journalled, replay, resolve_stop
        self._pass_over, self._labels, self._labels_before = pass_over, labels, labels_before
        self._poll_secs, self._look_secs, self._compare_secs = poll_secs, look_secs, compare_secs
        self._tick_secs = tick_secs
        self._planned: dict[int, Window] = {}
        # `begins` may find new partitions, of which `ends` is then asked, too. Another thread asks for `rows_lost_since_planned`:
        # between the two it would make the lists of unlike length.
        self._asking = threading.Lock()
        self.ends = list(position)
        self.error: Exception | None = None
        self.ended = ""
        self.final: int | None = None

    def __iter__(self) -> Iterator[Window | None]:
        """Windows in order, and None for a tick. Never raises: `error` says what ended it, `ended` why it ended well."""
        try:
            for window in self._windows():
                if window:
                    window = window.widened(len(self._position))
                    self._planned[window.number] = window
                yield window
        except Exception as e:  # inside tf.data an exception would lose its type; train.py raises this one
            if not self._stop.requested():  # a stop ends the wait for a broker: that is no error
                self.error = e

    def planned(self, number: int) -> Window:
        """The window of this number, handed out and not taken."""
        return self._planned[number]

    def take(self, number: int) -> Window:
        """The window of this number; forgotten afterwards."""
        return self._planned.pop(number)

    @property
    def stop_at(self) -> list[int] | None:
        """The offsets at which the run ends, where they are known."""
        return None if self._policy.stop_at is None else list(self._policy.stop_at)

    def rows_lost_since_planned(self) -> str:
        """What retention removed of the windows that are handed out and not taken: `partition: [start, stop)`, or ''."""
        with self._asking:
            begins = self.source.begins()
        return ", ".join(lost for window in list(self._planned.values()) if (lost := _lost(window.start, begins, window.read)))

    def _windows(self) -> Iterator[Window | None]:
        yield from self._from_the_journal()
        if self._replay is not None:
            yield from self._replayed()
            return
        last_plan = last_row = last_tick = self._clock()
        looked = compared = -math.inf  # at begin and end offsets, and at the end offsets
        woken = True
        while not self._stop.requested():
            if self._policy.stop_at is None:
                with self._asking:
                    resolved = self._resolve_stop()
                if resolved:
                    self._widen(len(resolved))  # another thread may have found partitions that no look has seen yet
                    self._policy, woken = dataclasses.replace(self._policy, stop_at=tuple(resolved)), True
            if self._policy.ended(self._position):
                self.ended = _REACHED
                return
            due = looked if woken else self._look_due(looked, last_plan, last_row)
            if self._clock() < due and self._clock() >= compared + self._compare_secs:
                # A topic that was made anew has other ends, and one that is deleted none.
                with self._asking:
                    woken, compared = self.source.ends() != self.ends, self._clock()
                continue
            if self._clock() >= due:
                if self._stop.wait(max(0.0, looked + self._poll_secs - self._clock())):
                    return
                begins, self.ends = self._watermarks()
                looked = compared = now = self._clock()
                planned = self._over_what_is_lost(begins) or self._policy.plan(
                    self._position, self.ends, now - last_plan >= self._policy.window_secs
                )
                if planned:
                    with self._asking:
                        labels = self._labels(self._position, planned[0], self._labels_before)
                    window = Window(self._number, tuple(self._position), tuple(planned[0]), planned[1], labels)
                    self._log.append(window)
                    last_plan = last_row = last_tick = now
                    self._advance(window)
                    if self._policy.ended(self._position):
                        self.final, self.ended = window.number, _REACHED
                    yield window
                    looked, woken = -math.inf, True  # the next one may be there already
                    continue
                if self.ends != self._position:
                    last_row = now
                if self._policy.max_idle_secs and now - last_row >= self._policy.max_idle_secs:
                    self.ended = f"no row came for --max_idle_secs={self._policy.max_idle_secs:g}"
                    return
                woken = False
                continue
            now = self._clock()
            if now - last_tick >= self._tick_secs:
                last_tick = now
                yield None
            secs = min(due, compared + self._compare_secs, last_tick + self._tick_secs) - self._clock()
            woken = self.source.wait_for_rows(self.ends, self._stop, max(secs, 0.001))

    def _look_due(self, looked: float, last_plan: float, last_row: float) -> float:
        """When the broker is looked at though no row comes: now and then, and where a window or the end of the stream is due."""
        times = [looked + self._look_secs]
        if any(self._policy.backlog(self._position, self.ends)):
            times.append(last_plan + self._policy.window_secs)
        if self._policy.max_idle_secs:
            times.append(last_row + self._policy.max_idle_secs)
        return min(times)

    def _from_the_journal(self) -> Iterator[Window]:
        """The windows that an earlier run planned, as they were; from the first on that cannot be read any more, none."""
        numbers = [w.number for w in self._journalled]
        if self._pass_over >= self._number and self._pass_over not in numbers:
            there = f"windows {numbers[0]} to {numbers[-1]}" if numbers else "none"
            raise UserError(
                f"--skip_window={self._pass_over}: the journal has no such window after the checkpoint, it has {there}. "
                "failed_windows.json names the windows of a loss that was not finite.",
                Exit.FLAGS,
            )
        begins = self.source.begins() if self._journalled else []
        logged = True
        for window in self._journalled:
            if lost := _lost(window.start, begins, window.read):
                if self._policy.on_lost_rows == "fail" or self._replay is not None:
                    raise _rows_lost(lost)
                return  # no saved model knows them: they are planned anew, and the new lines take their place in the journal
            if window.number == self._pass_over:
                window, logged = dataclasses.replace(window, trigger="passed"), False
            self._advance(window)
            if not logged:  # the changed line takes the place of those behind it as well
                self._log.append(window)
            yield window

    def _replayed(self) -> Iterator[Window]:
        begins = self.source.begins()
        for window in (w for w in self._replay if w.number >= self._number):
            if lost := _lost(window.start, begins, window.read):
                raise _rows_lost(lost)
            self._advance(window)
            self._log.append(window)
            if window.number == self._replay[-1].number:
                self.final, self.ended = window.number, _REPLAYED
            yield window
        self.ended = _REPLAYED

    def _over_what_is_lost(self, begins: Sequence[int]) -> tuple[list[int], str] | None:
        """The stop offsets of a window over the rows that retention removed; None where there are none.

        Raises:
          UserError: there are, and --on_lost_rows=fail (exit 66).
        """
        lost = _lost(self._position, begins, range(len(begins)))
        if lost and self._policy.on_lost_rows == "fail":
            raise _rows_lost(lost)
        return ([max(n, b) for n, b in zip(self._position, begins, strict=True)], "lost") if lost else None

    def _advance(self, window: Window) -> None:
        """Takes over a window's end as the new position; a gap in the chain is an error."""
        self._widen(len(window.start))
        window = window.widened(len(self._position))
        if window.number != self._number or list(window.start) != self._position:
            raise UserError(
                f"the journal's window {window.number} starts at {list(window.start)}, but window {self._number} must start at "
                f"{self._position}. The journal does not belong to this checkpoint: use the model folder it came from.",
                Exit.CONFIG,
            )
        self._position, self._number = list(window.stop), window.number + 1
        if (window.labels is None) != (self._labels is no_labels):
            differs = (
                "outcomes, and this run has no --label_topic" if window.labels else "no outcomes, and this run has a --label_topic"
            )
            raise UserError(
                f"the journal's window {window.number} has {differs}. Use the flags by which its windows were planned.",
                Exit.CONFIG,
            )
        self._labels_before = window.labels

    def _widen(self, num_partitions: int) -> None:
        """Partitions that the topic has got since start at 0; a run that ends has its end before them."""
        more = [0] * (num_partitions - len(self._position))
        self._position += more
        if self._policy.stop_at is not None:
            more = (0,) * (num_partitions - len(self._policy.stop_at))
            self._policy = dataclasses.replace(self._policy, stop_at=self._policy.stop_at + more)

    def _watermarks(self) -> tuple[list[int], list[int]]:
        """The broker's begin and end offsets, after a check that they belong to the topic that was trained on."""
        with self._asking:
            begins, ends = self.source.begins(), self.source.ends()
        check_partitions(len(ends), self._policy.most_partitions)
        self._widen(len(ends))
        ahead = [f"{p}: next {n}, end {e}" for p, (n, e) in enumerate(zip(self._position, ends, strict=False)) if n > e]
        ahead += [f"{p}: gone" for p in range(len(ends), len(self._position))]
        if ahead:
            raise UserError(
                f"the checkpoint is ahead of the topic (partition: offsets): {', '.join(ahead)}. The topic was deleted and made "
                "anew, or it is another one. Use the topic that the model was trained on, or start a new --model_dir.",
                Exit.CONFIG,
            )
        return begins, ends


def check_partitions(num_partitions: int, most: int) -> None:
    """Refuses a topic with more partitions than the reader can hold; `most` is 0 where it holds any number.

    Raises:
      UserError: it has more (exit 64).
    """
    if most and num_partitions > most:
        raise UserError(
            f"the topic has {num_partitions:,} partitions, and this run can read {most:,} of them at most: the tensorflow-io "
            "reader takes some seven threads and six open files a partition. Use --reader=consumer, or share them "
            "among several workers (--cluster, docs/workers.md).",
            Exit.FLAGS,
        )


def _lost(position: Sequence[int], begins: Sequence[int], partitions: Sequence[int]) -> str:
    """The ranges before the begin offsets, as `partition: [next, begin)`; '' for none."""
    return ", ".join(f"{p}: [{position[p]}, {begins[p]})" for p in partitions if position[p] < begins[p])


def _rows_lost(ranges: str) -> UserError:
    return UserError(
        f"rows that were to be trained next are no longer in the log (partition: offsets): {ranges}. Retention removed them. Keep "
        "the topic's retention above the longest pause; --on_lost_rows=skip goes on behind them, journalled and counted.",
        Exit.NO_INPUT,
    )
