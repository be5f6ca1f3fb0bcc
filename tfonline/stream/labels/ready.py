"""Which rows are ready to be learned from, where their labels come later, and which outcomes a window is joined with."""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from tfonline.lifecycle import Exit, Stop, UserError
from tfonline.settings.labels import LabelSettings
from tfonline.stream.labels.time_index import TimeIndex
from tfonline.stream.planner import Source
from tfonline.stream.window import Labels

# Messages of the two topics may be so much out of order, and rows so much older than those before them in their partition.
_MOST_SLACK_MS = 600_000
# A window's times are asked for until they are known so well, as a share of the wait: it reads outcomes of so much time more than
# its rows need. Where rows are learned from before their outcomes come, what it reads is also what it knows.
_PRECISION, _LATE_PRECISION = 1 / 16, 1 / 256
_LEAST_PRECISION_MS = 10
# How often rows are looked at that get ready by the clock: a look asks the broker for some eight things.
_LEAST_POLL_SECS, _MOST_POLL_SECS, _POLLS_A_WAIT = 0.2, 1.0, 100
_LOOK_SECS = 5.0


class Topic(Source, Protocol):
    """What is asked of the two topics."""

    name: str

    def at_timestamp(self, ms: int) -> list[int]:
        """The first offset of each partition whose message is not older; the end where there is none."""

    def newest_row_time(self, start: list[int], stop: list[int]) -> float | None:
        """The time of the newest message of these ranges, seconds since 1970; None where it is not known."""


class Ready:
    """A Source of the rows that are old enough; see Source; `labels` see planner.no_labels.

    Args:
      rows: the topic of rows.
      outcomes: that of their outcomes.
      settings: how long rows wait, and for what.
      policy: --late_labels.
      position: the next offsets: what is ready never goes back behind them.
      on_lost: `fail`, or `skip` outcomes that retention has removed before they were read.
      say: told why rows wait.
      clock: seconds since 1970.

    Attributes:
      waiting: rows that are there and are not ready, of each partition, as seen last.
    """

    def __init__(
        self,
        rows: Topic,
        outcomes: Topic,
        settings: LabelSettings,
        policy: str,
        position: Sequence[int],
        on_lost: str,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ):
        self._rows, self._outcomes, self._on_lost, self._say, self._clock = rows, outcomes, on_lost, say, clock
        self._late = policy != "wait"
        self._wait, self._delay = (round(1000 * secs) for secs in (settings.label_wait_secs, settings.delay_secs(policy)))
        self._idle = round(1000 * settings.label_idle_secs)
        self._slack = min(self._wait, _MOST_SLACK_MS)
        self._within = max(round(self._wait * (_LATE_PRECISION if self._late else _PRECISION)), _LEAST_PRECISION_MS)
        polls = self._delay / 1000 / _POLLS_A_WAIT if self._delay else _MOST_POLL_SECS
        self._poll_secs = min(max(polls, _LEAST_POLL_SECS), _MOST_POLL_SECS)
        self._index = TimeIndex(rows.at_timestamp)
        self._ready, self._ends = list(position), list(position)
        self.waiting: list[int] = []
        self._latest = 0  # the time before which all rows are ready
        self._asked = False  # for a window's outcomes
        self._looked, self._newest = float("-inf"), 0  # at the newest outcome, and its time
        self._behind = False

    def begins(self) -> list[int]:
        """See Source."""
        return self._rows.begins()

    def ends(self) -> list[int]:
        """See Source: the ends of what is ready."""
        now = round(1000 * self._clock())
        latest = now - self._delay
        if not self._late:
            latest = self._not_behind(latest)
        ends = self._ends = self._rows.ends()
        self._ready += [0] * (len(ends) - len(self._ready))
        if latest > self._latest:
            self._latest = latest
            found = self._index.offsets(latest)
            self._ready = [max(r, f) for r, f in zip(self._ready, found, strict=True)]
        ready = [min(end, ready) for end, ready in zip(ends, self._ready, strict=True)]
        self.waiting = [end - r for end, r in zip(ends, ready, strict=True)]
        return ready

    def wait_for_rows(self, ends: Sequence[int], stop: Stop, secs: float) -> bool:
        """See Source. Rows get ready by the clock; where they are as soon as they come, it is they that are waited for."""
        if self._delay:
            stop.wait(min(secs, self._poll_secs))
        else:
            stop.wait(min(secs, _LEAST_POLL_SECS))
            self._rows.wait_for_rows(self._ends, stop, min(secs, self._poll_secs))
        return True

    def labels(self, start: Sequence[int], stop: Sequence[int], before: Labels | None) -> Labels:
        """See planner.no_labels.

        Raises:
          UserError: retention has removed outcomes or rows that are to be read, again or for the first time (exit 66), and they are
            not to be passed over.
        """
        outcomes, late = self._outcomes, self._late
        begins = outcomes.begins()  # it may find new partitions, of which the others are then asked, too
        first_row = self._index.before(start, self._latest, self._within)
        last_row = self._index.behind(stop, self._latest, self._within)
        self._index.forget(first_row - self._wait - self._slack)
        first = outcomes.at_timestamp(first_row - self._slack)
        # Rows that have waited get outcomes, too, that stand behind younger ones.
        until = outcomes.at_timestamp(last_row + self._delay + (0 if late else self._slack))
        new = list(before.stop) if before else first
        rows, known = list(start), new  # a new model has learned from no row before
        if late and before:
            oldest_row = first_row + self._delay - self._wait - self._slack
            rows, known = self._index.offsets(oldest_row)[: len(start)], outcomes.at_timestamp(oldest_row - self._slack)
        if before:
            # They never go back: what a run holds is then what one that is resumed reads again.
            first, rows, known = _larger(first, before.first), _larger(rows, before.rows), _larger(known, before.known)
            self._lost(outcomes.name, "outcomes that no window has read", _ranges(new, begins))
        if not self._asked:
            self._asked = True
            self._look_back(first_row, _smaller(first, known), rows, begins, before)
        new = _larger(new, begins)
        until = _larger(new, until)
        rows, known = (_smaller(rows, start), _smaller(known, new)) if late else (start, new)
        return Labels(*map(tuple, (_smaller(first, until), new, until, rows, known)))

    def _look_back(self, first_row: int, outcomes: list[int], rows: list[int], begins: list[int], before: Labels | None) -> None:
        """Looks whether what a run reads again, or a new model for the first time, is still there.

        Where a topic begins behind what is needed, Kafka gives its beginning for the time of it.
        """
        name = self._outcomes.name
        if before is None:
            found, ends = self._outcomes.at_timestamp(first_row), self._outcomes.ends()
            if late := [p for p, (f, b, e) in enumerate(zip(found, begins, ends, strict=True)) if 0 < b == f < e]:
                self._say(
                    f"warning: retention has removed outcomes of {name}, and what is left in its partitions {late} is younger than "
                    "the first rows: where an outcome is missing, a row counts as a negative. Begin with younger rows (--start)."
                )
            return
        since = _smaller(before.first, before.known)
        self._lost(name, "outcomes of rows that are to be learned from", _ranges(since, begins, outcomes))
        if self._late:
            found = _ranges(before.rows, self._rows.begins(), rows)
            self._lost(self._rows.name, "rows that an outcome may still come for", found)

    def _not_behind(self, latest: int) -> int:
        """The same time, or an earlier one where outcomes have not come so far that its rows' labels could be settled."""
        needed = latest + self._wait - self._idle
        if self._newest < needed:
            begins = self._outcomes.begins()  # it may find new partitions
            found, ends = self._outcomes.at_timestamp(needed), self._outcomes.ends()
            if any(f < e for f, e in zip(found, ends, strict=False)):
                self._newest = needed
            elif self._clock() >= self._looked + _LOOK_SECS:
                newest = self._outcomes.newest_row_time(begins, ends)
                self._looked, self._newest = self._clock(), max(self._newest, round(1000 * (newest or 0)))
        behind = self._newest < needed
        if behind != self._behind:
            self._behind = behind
            if behind:
                newest = (
                    f"the newest is {(latest + self._wait - self._newest) / 1000:,.0f} s old" if self._newest else "none has come"
                )
                self._say(
                    f"rows wait for the outcomes of {self._outcomes.name}: {newest}. Labels without them would be wrong. "
                    f"Mend what writes them; where outcomes may be so rare, use a larger --label_idle_secs."
                )
            else:
                self._say(f"outcomes of {self._outcomes.name} have come, rows are learned from again")
        return min(latest, self._newest + self._idle - self._wait)

    def _lost(self, topic: str, what: str, ranges: str) -> None:
        if ranges:
            lost(self._on_lost, self._say, topic, what, ranges)


def lost(on_lost: str, say: Callable[[str], None], topic: str, what: str, ranges: str) -> None:
    """Says what is no longer there, of which labels are made.

    Raises:
      UserError: it is not to be passed over (--on_lost_rows=fail, exit 66).
    """
    text = f"{what} are no longer in {topic} (partition: offsets): {ranges}. Retention removed them"
    if on_lost == "fail":
        raise UserError(
            f"{text}. Keep the topic's retention above the longest pause and --label_wait_secs; --on_lost_rows=skip goes on "
            "without them: where an outcome is missing, a row counts as a negative.",
            Exit.NO_INPUT,
        )
    say(f"warning: {text}: where an outcome is missing, a row counts as a negative")


def _ranges(wanted: Sequence[int], begins: Sequence[int], needed: Sequence[int] = ()) -> str:
    """The ranges from wanted offsets to where partitions begin, as `partition: [wanted, begin)`: of those partitions of which all
    before an offset behind that is not needed any more, none; '' for none.
    """
    of = itertools.zip_longest(wanted, begins, needed, fillvalue=0)
    return ", ".join(f"{p}: [{w}, {b})" for p, (w, b, n) in enumerate(of) if w < b and n <= b)


def _larger(offsets: Sequence[int], others: Sequence[int]) -> list[int]:
    """A partition that one of the two does not know is at 0."""
    return [max(of) for of in itertools.zip_longest(offsets, others, fillvalue=0)]


def _smaller(offsets: Sequence[int], others: Sequence[int]) -> list[int]:
    return [min(of) for of in itertools.zip_longest(offsets, others, fillvalue=0)]
