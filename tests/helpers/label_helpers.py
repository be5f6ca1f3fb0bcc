"""Two topics that are none, a clock, and the windows that are planned over them where labels come later. Needs no Kafka."""

from tfonline.settings.labels import LabelSettings
from tfonline.stream.labels.ready import Ready

NOW = 1_000_000.0  # seconds
WAIT = 100


class Topic:
    """Messages by their times, milliseconds, of each partition in the order of offsets; retention has removed the first ones."""

    def __init__(self, name, *partitions):
        self.name, self.times, self.first = name, [list(times) for times in partitions], [0] * len(partitions)
        self.seen = len(partitions)

    def begins(self):
        self.seen = len(self.times)  # new partitions are found here alone
        return (self.first + [0] * len(self.times))[: self.seen]

    def ends(self):
        return [len(times) for times in self.times[: self.seen]]

    def at_timestamp(self, ms):
        firsts = (self.first + [0] * len(self.times))[: self.seen]
        return [
            next((o for o in range(first, len(times)) if times[o] >= ms), len(times))
            for first, times in zip(firsts, self.times, strict=False)
        ]

    def wait_for_rows(self, ends, stop, secs):
        if list(ends) == self.ends():
            stop.wait(secs)
        return list(ends) != self.ends()

    def newest_row_time(self, start, stop):
        assert len(start) == len(stop)
        newest = [t for times, s, e in zip(self.times, start, stop, strict=True) for t in times[s:e]]
        return max(newest) / 1000 if newest else None


class At:
    """A topic of rows and one of outcomes, and a clock."""

    def __init__(self, rows, outcomes, policy="wait", position=None, on_lost="fail", **settings):
        self.rows, self.outcomes, self.now, self.said = rows, outcomes, NOW, []
        settings = {"label_topic": "o", "label_wait_secs": WAIT, "label_elapsed_secs": 10, "label_idle_secs": 1e9, **settings}
        position = position or [0] * len(rows.times)
        clock = lambda: self.now  # noqa: E731
        self.ready = Ready(rows, outcomes, LabelSettings(**settings), policy, position, on_lost, self.said.append, clock)


def secs(*ago):
    return [round(1000 * (NOW - s)) for s in ago]


def windows(at, draw, number):
    """Windows of random sizes as a planner makes them, with their labels; the clock goes on, and messages come."""
    position, before = list(at.ready._ready), None
    for _ in range(10 * number):
        at.now += draw.choice([0.5, 5, 40])
        ends = at.ready.ends()
        position += [0] * (len(ends) - len(position))
        stop = [draw.randint(p, max(p, e)) for p, e in zip(position, ends, strict=True)]
        if stop == position:
            continue
        before = at.ready.labels(position, stop, before)
        yield list(position), stop, before
        position = stop
