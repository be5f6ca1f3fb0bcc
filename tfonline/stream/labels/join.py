"""The labels of a window's rows, by the outcomes that the window says; and rows whose outcome came after they were learned from."""

import collections
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tfonline.stream.labels import COUNTED
from tfonline.stream.labels.fields import Joined, OutcomeFields, RowFields
from tfonline.stream.labels.held import Entry, Held
from tfonline.stream.raw import Outcome
from tfonline.stream.readers import RowReader, Rows
from tfonline.stream.readers.packed import PackedRows, pack
from tfonline.stream.records import RowsGone
from tfonline.stream.window import Labels, Window

_AT_ONCE = 4096


class Times(NamedTuple):
    """Which outcomes are those of a row.

    Attributes:
      wait_ms: an outcome counts that is no older than its row, and younger by so much at most.
      first_sight_ms: where rows are learned from twice: by so much at most, for the label of first sight; -1: that is always 0.
    """

    wait_ms: int
    first_sight_ms: int

    def fate(self, age_ms: int) -> str:
        """What becomes of an outcome that is so much younger than its row, see labels.COUNTED: `joined` where it is in time."""
        if age_ms < 0:
            return "before"
        return "late" if age_ms > self.wait_ms else "joined"


class Join:
    """Follows the windows, in their order.

    Args:
      outcomes: reads the topic of outcomes, with their keys.
      earlier: reads the topic of rows, with their keys, to go on behind a checkpoint; None: no row is learned from once more.
      rows_of: takes key and time out of rows.
      outcomes_of: and out of outcomes, with what they say.
      times: which outcomes are those of a row.
      held_outcomes: outcomes that may be those of a row to come.
      held_rows: rows that an outcome may still come for; None as `earlier`.
      outcomes_gone: told what is no longer in the topic of outcomes, it ends the run, or gives where the partitions begin now.
      rows_gone: likewise of the topic of rows.
      unread: of offsets, the windows, in order, that have passed over rows behind them: of those nothing was learned.
    """

    def __init__(
        self,
        outcomes: RowReader,
        earlier: RowReader | None,
        rows_of: RowFields,
        outcomes_of: OutcomeFields,
        times: Times,
        held_outcomes: Held,
        held_rows: Held | None,
        outcomes_gone: "Gone",
        rows_gone: "Gone",
        unread: Callable[[Sequence[int]], Sequence[Window]] = lambda offsets: (),
    ):
        self._reader, self._earlier, self._rows_of, self._outcomes_of, self._times = outcomes, earlier, rows_of, outcomes_of, times
        self._outcomes, self._rows = held_outcomes, held_rows
        self._outcomes_gone, self._rows_gone, self._unread = outcomes_gone, rows_gone, unread
        self._positive: set[tuple[int, int]] = set()  # rows that are held and have had their outcome
        self._window: Window | None = None
        # Rows to be learned from once more: of windows before, of the rows handed out last, and of those before.
        self._earlier_late: collections.deque[Entry] = collections.deque()
        self._late: list[Entry] = []
        self._of_last_chunk: list[Entry] = []
        self._left = 0  # rows of the window that have not come
        self._counts: dict[int, collections.Counter[str]] = {}

    def begin(self, window: Window) -> Iterator[None]:
        """Reads the outcomes of a window; of the first one that this process sees, what windows before have read, too.

        Yields:
          now and then: it may take long.

        Raises:
          UserError: retention has removed some of them (exit 66).
          OSError: the disk is full, for example.
        """
        labels = window.labels
        assert labels is not None
        first = self._window is None
        self._window, counts, new = window, collections.Counter(dict.fromkeys(COUNTED, 0)), []
        self._counts[window.number] = counts
        if first:
            yield from self._go_on(window.start, labels)
        self._outcomes.drop_below(labels.first)
        for partition, joined, positive in self._read(self._ranges(labels.new, labels.stop)):
            counts["read"] += len(positive)
            counts["unreadable"] += positive.count(None)
            counts["negative"] += positive.count(False)
            some = _positives(partition, joined, positive)
            self._outcomes.add(partition, some)
            new += some
            yield
        if self._rows is not None:
            self._positive.difference_update(self._rows.drop_below(labels.rows))
            self._left = sum(window.stop[p] - window.start[p] for p in window.read)
            self._earlier_late = collections.deque(self._late_of_earlier_windows(new))

    def joined(self, partition: int, rows: Rows) -> tuple[np.ndarray, PackedRows]:
        """Rows of the window, the next ones of their partition, with what is known of them; and evenly among them some that are
        learned from once more. At an end of their own, those would be batches of positives alone.

        Returns:
          partition: of each, int32 [k].
          rows: with their `outcome`.
        """
        outcome = self._outcome(partition, rows)
        share = -(-len(self._earlier_late) * len(rows.offset) // max(1, self._left))
        self._left -= len(rows.offset)
        late = self._of_last_chunk + [self._earlier_late.popleft() for _ in range(min(share, len(self._earlier_late)))]
        self._of_last_chunk, self._late = self._late, []
        if not late:
            packed = pack(rows)
            packed.outcome = outcome
            return np.full(len(outcome), partition, np.int32), packed
        own = map(Entry, itertools.repeat(partition), rows.offset, rows.time_ms, rows.message)
        return _packed(
            [*own, *late], np.concatenate([outcome, np.full(len(late), Outcome.LATE, np.int8)]), _spread(len(outcome), len(late))
        )

    def rest(self) -> Iterator[tuple[np.ndarray, PackedRows]]:
        """Behind the window's rows: those that are learned from once more and are left, as `joined` has them."""
        late = [*self._of_last_chunk, *self._earlier_late]
        self._of_last_chunk, self._earlier_late = [], collections.deque()
        for some in _batched(late, _AT_ONCE):
            yield _packed(some, np.full(len(some), Outcome.LATE, np.int8), np.arange(len(some)))

    def _outcome(self, partition: int, rows: Rows) -> np.ndarray:
        """What is known of rows of the window at their first sight, an Outcome each, int8 [k]. Those of which more is known already
        are to be learned from once more."""
        joined, counts = self._rows_of(rows), self._counts[self._window.number]
        found = self._outcomes.find(joined.key)
        outcome = np.zeros(len(rows.offset), np.int8)
        if None in joined.key:
            outcome[[key is None for key in joined.key]] = Outcome.NO_KEY
        for i, entries in enumerate(found):
            if not entries or joined.key[i] is None:
                continue
            ages = [entry.time_ms - joined.time_ms[i] for entry in entries]
            fates = collections.Counter(map(self._times.fate, ages))
            if in_time := fates.pop("joined", 0):
                fates["joined"], fates["twice"] = 1, in_time - 1
                at_once = any(0 <= age <= self._times.first_sight_ms for age in ages)
                outcome[i] = Outcome.POSITIVE if at_once else Outcome.NEGATIVE
                if self._rows is not None:
                    self._positive.add((partition, rows.offset[i]))
                    if not at_once:
                        self._late.append(Entry(partition, rows.offset[i], joined.time_ms[i], rows.message[i] or b""))
            counts.update(fates)
        self._wait(partition, rows, joined)
        return outcome

    def _wait(self, partition: int, rows: Rows, joined: Joined) -> None:
        """Holds rows that an outcome may still come for."""
        if self._rows is not None:
            entries = map(Entry, itertools.repeat(partition), rows.offset, joined.time_ms, (m or b"" for m in rows.message))
            self._rows.add(partition, [(key, e) for key, e in zip(joined.key, entries, strict=True) if key is not None])

    def _late_of_earlier_windows(self, new: Sequence[tuple[bytes, Entry]]) -> list[Entry]:
        """Rows that windows before have learned from, and for which an outcome has come with this one; in the topic's order."""
        counts, start, late = self._counts[self._window.number], self._window.start, []
        for some in _batched(new, _AT_ONCE):
            for (_, outcome), entries in zip(some, self._rows.find([key for key, _ in some]), strict=True):
                for row in entries or ():
                    if row.partition >= len(start) or row.offset >= start[row.partition]:
                        continue  # the window's own are looked at when they come
                    fate, place = self._times.fate(outcome.time_ms - row.time_ms), row[:2]
                    if fate == "joined" and place in self._positive:
                        fate = "twice"
                    elif fate == "joined":
                        self._positive.add(place)
                        late.append(row)
                    counts[fate] += 1
        return sorted(late, key=lambda row: row[:2])

    def take(self, number: int) -> Mapping[str, int]:
        """What was counted of a window, by labels.COUNTED; forgotten afterwards."""
        return self._counts.pop(number, {})

    def close(self) -> None:
        """Ends a wait for outcomes, and removes what is on disk of them."""
        self._reader.close()
        if self._earlier:
            self._earlier.close()
        self._outcomes.remove()
        if self._rows is not None:
            self._rows.remove()

    def _go_on(self, start: Sequence[int], labels: Labels) -> Iterator[None]:
        """Holds what the windows before have left: it is read again, and nothing of it is counted."""
        for partition, joined, positive in self._read(self._ranges(labels.first, labels.new)):
            self._outcomes.add(partition, _positives(partition, joined, positive))
            yield
        if self._rows is None:
            return
        for ranges in _without(self._ranges(labels.rows, start), self._unread(labels.rows)):
            for partition, rows in _in_parts(self._earlier, ranges, self._rows_gone):
                self._wait(partition, rows, self._rows_of(rows))
                yield
        for partition, joined, positive in self._read(self._ranges(labels.known, labels.new)):
            some = _positives(partition, joined, positive)
            for (_, outcome), entries in zip(some, self._rows.find([key for key, _ in some]), strict=True):
                in_time = (row for row in entries or () if self._times.fate(outcome.time_ms - row.time_ms) == "joined")
                self._positive.update(row[:2] for row in in_time)
            yield

    @staticmethod
    def _ranges(start: Sequence[int], stop: Sequence[int]) -> dict[int, tuple[int, int]]:
        return {p: of for p, of in enumerate(itertools.zip_longest(start, stop, fillvalue=0)) if of[0] < of[1]}

    def _read(self, ranges: Mapping[int, tuple[int, int]]) -> Iterator[tuple[int, Joined, list[bool | None]]]:
        """Outcomes of ranges, and what each says."""
        for partition, rows in _in_parts(self._reader, ranges, self._outcomes_gone):
            yield partition, *self._outcomes_of(rows)


Gone = Callable[[str], Sequence[int]]


def _positives(partition: int, joined: Joined, positive: Sequence[bool | None]) -> list[tuple[bytes, Entry]]:
    """The positive ones of some outcomes, by key."""
    return [
        (key, Entry(partition, offset, ms))
        for key, offset, ms, is_one in zip(joined.key, joined.offset, joined.time_ms, positive, strict=True)
        if is_one
    ]


def _in_parts(reader: RowReader, ranges: Mapping[int, tuple[int, int]], gone: Gone) -> Iterator[tuple[int, Rows]]:
    """The rows of ranges that are there."""
    left = dict(ranges)
    reader.place(left)
    while left:
        partition, (_, stop) = next(iter(left.items()))
        try:
            rows = reader.take(partition, _AT_ONCE)
        except RowsGone as e:  # of any of the partitions
            begins, at = gone(str(e)), left
            left = {p: (max(start, begins[p]), stop) for p, (start, stop) in left.items()}
            if left == at:
                raise
            reader.place(left)
            continue
        if rows.offset:
            yield partition, rows
        if len(rows.offset) < _AT_ONCE:
            del left[partition]
        else:
            left[partition] = rows.offset[-1] + 1, stop


def _without(ranges: Mapping[int, tuple[int, int]], windows: Sequence[Window]) -> list[dict[int, tuple[int, int]]]:
    """The same ranges without those of the windows, which are in order; of each partition one at a time."""
    found: list[dict[int, tuple[int, int]]] = []
    for p, (start, stop) in ranges.items():
        of_windows = [(w.start[p], w.stop[p]) for w in windows if p < len(w.start)]
        begins, ends = [start, *(e for _, e in of_windows)], [*(b for b, _ in of_windows), stop]
        parts = [(max(b, start), min(e, stop)) for b, e in zip(begins, ends, strict=True)]
        for i, part in enumerate(part for part in parts if part[0] < part[1]):
            found += [{}] * (i == len(found))
            found[i] = {**found[i], p: part}
    return found


def _spread(many: int, few: int) -> np.ndarray:
    """An order in which the few, which stand behind the many, stand at equal distances among them: int [many + few]."""
    return np.argsort(np.concatenate([np.arange(many), (np.arange(few) + 0.5) * (many / few) - 0.5]), kind="stable")


def _packed(rows: Sequence[Entry], outcome: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, PackedRows]:
    """Rows of any partitions, in this order: see Join.joined."""
    rows = [rows[i] for i in order]
    packed = pack(Rows([r.message for r in rows], [r.offset for r in rows], [r.time_ms for r in rows]))
    packed.outcome = outcome[order]
    return np.array([r.partition for r in rows], np.int32), packed


def _batched(values: Sequence, most: int) -> Iterator[Sequence]:
    for start in range(0, len(values), most):
        yield values[start : start + most]
