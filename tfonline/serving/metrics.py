"""What the server tells Prometheus."""

import math
import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from tfonline.formats.reasons import REASONS
from tfonline.serving.models import Models

_SECS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
# What is refused: connections above --max_connections, or for want of descriptors; requests above --max_requests, or behind
# --max_waiting_rows; bodies above --max_request_bytes; headers that are too large; and what is no HTTP.
REFUSALS = ("connections", "descriptors", "requests", "rows", "body", "head", "invalid")
PHASES = ("head", "body", "idle", "answer")
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class Metrics:
    """Counters of one server.

    Args:
      models: what is served.
    """

    def __init__(self, models: Models):
        self._since = time.time()
        disable_created_metrics()  # a second series for each, which says when it began
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter("tfonline_requests", "Predict requests, by HTTP status.", ["code"], registry=registry)
        self._secs = Histogram("tfonline_request_seconds", "Time to answer one.", buckets=_SECS, registry=registry)
        self._rows = Counter("tfonline_rows", "Rows that were asked for, by reason; ok has a score.", ["reason"], registry=registry)
        self._refused = Counter("tfonline_refused", "Refused before they were scored, by what was too much.", ["reason"],
                                registry=registry)  # fmt: skip
        self._timeouts = Counter("tfonline_timeouts", "Connections closed, by what the client took too long for.", ["phase"],
                                 registry=registry)  # fmt: skip
        for counter, names in ((self._refused, REFUSALS), (self._timeouts, PHASES)):
            for name in names:  # from the beginning, as 0: an increase from nothing is none
                counter.labels(name)
        self.connections = Gauge("tfonline_connections", "Open connections.", registry=registry)
        self.under_way = Gauge("tfonline_requests_under_way", "Requests that have no answer yet.", registry=registry)
        self.batch_rows = Histogram("tfonline_batch_rows", "Rows of a scored batch.", buckets=_ROWS, registry=registry)
        for name, text, value in (
            ("version", "The version that is served, 0: none.", lambda m: m.current.number if m.current else 0),
            ("version_age_seconds", "Since it was published.", lambda m: time.time() - m.current.manifest["published"]),
            ("version_newest_row_age_seconds", "How old the newest row is that what is served has learned from.", _newest_row_age),
            ("delta_epoch", "Epoch of the delta that was applied last, 0: none.", lambda m: m.current.weights.at.epoch),
            ("delta_number", "Its number.", lambda m: m.current.weights.at.number),
            ("version_loads", "Versions loaded since the start.", lambda m: m.loads),
            ("version_failures", "Attempts to load a version that failed.", lambda m: m.failures),
        ):
            Gauge(f"tfonline_{name}", text, registry=registry).set_function(lambda value=value: _of(models, value))
        for name, text, value in (
            ("deltas_applied", "Deltas applied.", lambda d: {"": d.applied}),
            ("delta_seconds", "What that has taken, summed up.", lambda d: {"": d.secs}),
            ("delta_problems", "Deltas that could not be applied, by what is wrong.", lambda d: d.problems),
        ):
            registry.register(_Counted(f"tfonline_{name}", text, lambda value=value: value(models.deltas)))

    def answered(self, code: int, secs: float) -> None:
        """A request has got its answer."""
        self._requests.labels(code).inc()
        self._secs.observe(secs)

    def refused(self, reason: str) -> None:
        """Something was refused: one of REFUSALS."""
        self._refused.labels(reason).inc()

    def timed_out(self, phase: str) -> None:
        """A client was too slow: one of PHASES."""
        self._timeouts.labels(phase).inc()

    def scored(self, reasons: np.ndarray) -> None:
        """Rows have got a score or a reason, int [n], indices into formats.reasons.REASONS."""
        for reason, count in zip(*np.unique(reasons, return_counts=True), strict=True):
            # A newer trainer's model may know more reasons.
            name = REASONS[reason] if 0 <= reason < len(REASONS) else str(reason)
            self._rows.labels(name or "ok").inc(int(count))

    def so_far(self) -> dict[str, float | dict[str, int]]:
        """Since the server's start, for its page: `since` (seconds since 1970), predict `requests` by HTTP status, `rows` by
        reason, and what was `refused` before it was scored, by what was too much.
        """
        counters = {"requests": self._requests, "rows": self._rows, "refused": self._refused}
        return {"since": self._since, **{name: _by_label(counter) for name, counter in counters.items()}}

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)


class _Counted(Collector):
    """A counter that is kept elsewhere: by `problem`, or '' for one without labels."""

    def __init__(self, name: str, text: str, values: Callable[[], Mapping[str, float]]):
        self._name, self._text, self._values = name, text, values

    def describe(self) -> Iterable[Metric]:
        """The registry asks for names when it is asked for values."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        family = CounterMetricFamily(self._name, self._text)
        for label, value in self._values().items():
            family.add_sample(f"{self._name}_total", {"problem": label} if label else {}, float(value))
        return [family]


def _by_label(counter: Counter) -> dict[str, int]:
    """Of a counter with one label: what was counted, by its value."""
    [family] = counter.collect()
    return {next(iter(sample.labels.values())): int(sample.value) for sample in family.samples if sample.value}


def _newest_row_age(models: Models) -> float:
    """NaN where the rows had no time."""
    at = models.current.weights.at.newest_row_time
    return math.nan if at is None else time.time() - at


def _of(models: Models, value) -> float:
    try:
        return float(value(models))
    except AttributeError:  # no version yet
        return float("nan")
