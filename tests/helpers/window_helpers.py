"""A topic that is none, and plans over it: its clock and its stop are fakes."""

from tfonline.lifecycle import UserError
from tfonline.stream.planner import Planner
from tfonline.stream.window_policy import Policy

POLL = 0.25


START = 100.0  # what the clock says when a plan begins


class Topic:
    """A topic with a clock and a stop signal: waiting moves the clock, and rows come at their times.

    Args:
      ends: end offsets at the start.
      arrivals: (seconds after the start, partition, rows).
      stop_after: seconds after the start at which a stop is asked for.
    """

    def __init__(self, ends, arrivals=(), begins=None, stop_after=1e6):
        self.first_ends, self.arrivals, self.first_offsets = list(ends), arrivals, begins or [0] * len(ends)
        self.stop_after, self.secs, self.asked = stop_after, 0.0, 0

    def clock(self) -> float:
        return START + self.secs

    def begins(self) -> list[int]:
        return self.first_offsets[: len(self.first_ends)]

    def ends(self) -> list[int]:
        self.asked += 1
        assert self.asked < 10_000, "the plan never ends"
        more = [sum(rows for t, p, rows in self.arrivals if t <= self.secs and p == q) for q in range(len(self.first_ends))]
        return [e + m for e, m in zip(self.first_ends, more, strict=True)]

    def wait_for_rows(self, ends, stop, secs) -> bool:
        """As of a source that cannot tell whether a row has come."""
        stop.wait(min(secs, POLL))
        return True

    def requested(self) -> bool:
        return self.secs >= self.stop_after

    def wait(self, secs: float) -> bool:
        self.secs += secs
        return self.requested()


def planner_of(topic, log=None, *, window_rows=100, window_secs=5.0, position=None, number=0, poll_secs=POLL, **rest):
    """A planner over the fake topic; what is a field of Policy in `rest` goes there."""
    policy = {name: rest.pop(name) for name in list(rest) if name in Policy.__dataclass_fields__}
    return Planner(
        topic,
        Policy(window_rows, window_secs, **policy),
        [] if log is None else log,
        position=position or [0] * len(topic.first_ends),
        number=number,
        stop=topic,
        clock=topic.clock,
        poll_secs=poll_secs,
        **{"tick_secs": 1e6, **rest},
    )


def windows_of(topic, **settings):
    """All windows and ticks of a plan that ends without an error, as (seconds, window)."""
    planner = planner_of(topic, **settings)
    planned = [(topic.secs, window) for window in planner]
    assert planner.error is None
    return planned


def error_of(topic, **settings):
    """The error that ends a plan."""
    planner = planner_of(topic, **settings)
    list(planner)
    assert isinstance(planner.error, UserError)
    assert planner.ended == ""
    return planner.error
