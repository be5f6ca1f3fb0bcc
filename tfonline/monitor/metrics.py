"""What the trainer tells Prometheus. docs/operations.md has the table of it."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tfonline.actions.tally import Tally
from tfonline.monitor.health import Health
from tfonline.publish.exports import Exports
from tfonline.report.status import Status
from tfonline.report.writers import Scalars
from tfonline.state import Position

_PREFIX = "tfonline_trainer_"
# Of the scalars that are reported: the metric and its text. Each has a value a scope of rows.
_QUALITY = {
    "log_loss": ("log_loss", "Mean log loss, nats, of rows scored before they were learned from."),
    "trivial_log_loss": ("trivial_log_loss", "That of the rows' own share of clicks."),
    "ne": ("normalised_entropy", "log_loss / trivial_log_loss; below 1 beats the share of clicks."),
    "calibration": ("calibration_ratio", "Mean prediction / mean label."),
    "auc": ("auc", "Area under the ROC curve."),
}
_SCOPES = ("running", "window", "total", "weighted", "settled", "served")
# Of several labels, those of all but the first one, whose name follows.
_OF_OTHER_LABELS = ("running_", "window_", "total_")
_VOCABULARY = {
    "rows_in_use": ("vocabulary_used_rows", "Rows of the vocabulary that a value has."),
    "load": ("vocabulary_load_ratio", "Their share of all rows."),
    "admitted": ("vocabulary_admitted_values", "Values that got a row, since the model's beginning."),
    "reused": ("vocabulary_reused_rows", "Of these, that got another value's row."),
    "refused": ("vocabulary_refused_values", "How often a value was due for a row, and none was to be had."),
}
# Likewise, with a value a column, or a chart: how the scalars' names begin, the metric, its label and its text.
_BY_NAME = {
    "values/missing_": ("missing_values_ratio", "column", "Share of a column's values that are missing, in a sample."),
    "values/unknown_": ("unknown_values_ratio", "column", "Share that no dictionary holds or, with a vocabulary, that has no row."),
    "drift/psi_": ("drift_psi", "column", "Population stability index of a column in the last window of --drift_rows."),
    "drift/model_": ("drift_chart", "chart", "CUSUM charts of the scores of all rows; 8 is an alarm."),
}


class Deltas(Protocol):
    """See publish.delta_publisher, which needs TensorFlow."""

    counts: Mapping[str, int]
    bytes: int
    secs: float
    stall_secs: float


@dataclasses.dataclass(frozen=True)
class Facts:
    """Where a run's numbers are. What is called is called from another thread, and must not wait.

    Attributes:
      build: labels of build_info.
      tally: what this process has done.
      position: where the model is.
      ends: the stream's end offsets, as last seen.
      row_times: see actions.row_times.RowTimes.scalars.
      reported: scalars as they were reported last.
      exports: None where nothing is published.
      newest: the newest version and when it was published, see publish.publisher.
      deltas: what has become of deltas; None where none are made.
      restarts: runs of this model folder before this one; None: not known yet. A counter that began at 0 would have been reset.
      damaged: checkpoints of it that were put aside; None: not known yet.
      drift: the episodes that go on now, see evaluate.drift.Drift.episodes.
      waiting: rows of each partition that wait for their outcomes; empty where rows have their labels.
    """

    build: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tally: Tally = dataclasses.field(default_factory=Tally)
    position: Position = dataclasses.field(default_factory=lambda: Position(next=[], start=[]))
    ends: Callable[[], list[int]] = list
    row_times: Callable[[], Scalars] = dict
    reported: Callable[[], Scalars] = dict
    exports: Exports | None = None
    newest: Callable[[], tuple[int, float | None]] = lambda: (0, None)
    deltas: Deltas | None = None
    restarts: int | None = None
    damaged: int | None = None
    drift: Callable[[], Mapping[str, int]] = dict
    waiting: Callable[[], list[int]] = list


class Metrics(Collector):
    """All metrics of a trainer. All names are there from the beginning; values come with what they are of.

    Args:
      status: what the trainer does.
      clock: seconds, monotonic; that of the status.
      wall_clock: seconds since 1970.
      health: what the probes answer; None: nobody asks.

    Attributes:
      facts: of the run, once there is one.
    """

    def __init__(
        self,
        status: Status,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        health: Health | None = None,
    ):
        self._status, self._clock, self._wall_clock, self._health = status, clock, wall_clock, health
        self.facts = Facts()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry asks for names when they are asked for."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        facts = self.facts
        yield _gauge("build_info", "Always 1; the labels say what runs.", [(facts.build, 1.0)] if facts.build else [])
        health = self._health
        yield _gauge("healthy", "Whether /healthz is 200.", _one(float(not health.hangs()) if health else None))
        yield _gauge("ready", "Whether /readyz is 200.", _one(float(not health.not_ready()) if health else None))
        yield from self._of_stream(facts)
        yield from self._of_work(facts)
        yield from self._of_keeping(facts)
        yield from _of_quality(facts.reported())
        yield _gauge("drift_episodes", "Episodes of drift that go on now, by what they are of.", _by("of", facts.drift()))

    def _of_stream(self, facts: Facts) -> Iterator[Metric]:
        ends, times = facts.ends(), facts.row_times()
        lag = {str(p): float(max(0, end - at)) for p, (end, at) in enumerate(zip(ends, facts.position.next, strict=False))}
        yield _gauge("lag_rows", "Rows behind the position, by partition; falls at a window's end.", _by("partition", lag))
        waiting = {str(p): float(rows) for p, rows in enumerate(facts.waiting())}
        yield _gauge("waiting_rows", "Rows that wait for their outcomes, by partition.", _by("partition", waiting))
        text = "How old the newest row of the last step was when it was learned from."
        yield _gauge("lag_seconds", text, _one(times.get("lag_secs")))
        text = "How old the newest row is now that was learned from."
        yield _gauge("newest_row_age_seconds", text, _one(times.get("newest_row_age_secs")))

    def _of_work(self, facts: Facts) -> Iterator[Metric]:
        tally, position = facts.tally, facts.position
        yield _counter("rows", "Rows learned from by this process.", _one(tally.rows))
        yield _counter("steps", "Train steps of this process.", _one(tally.steps))
        yield _counter("windows", "Windows that have ended, by what closed them.", _by("trigger", tally.windows))
        yield _counter("rejected_rows", "Rows refused, by reason.", _by("reason", tally.rejected))
        yield _counter("unread_rows", "Offsets passed over unread, by why.", _by("why", tally.unread))
        yield _counter("late_rows", "Rows learned from once more, as their outcome came.", _one(tally.late))
        yield _counter("outcomes", "Outcomes of --label_topic, by what became of them.", _by("what", tally.outcomes))
        yield _gauge("model_rows", "Rows that the model has learned from in its life.", _one(position.rows))
        yield _gauge("model_steps", "Train steps of its life.", _one(position.step))
        yield _gauge("model_windows", "Windows of its life.", _one(position.window))
        secs = self._status.stage.secs_until(self._clock())
        yield _counter("stage_seconds", "Where the time of the training thread went.", _by("stage", secs))

    def _of_keeping(self, facts: Facts) -> Iterator[Metric]:
        tally, exports, now = facts.tally, facts.exports, self._wall_clock()
        yield _counter("checkpoints", "Checkpoints that have come to disk.", _one(tally.checkpoints))
        yield _counter("checkpoint_seconds", "Time until they were on disk, summed up.", _one(tally.checkpoint_secs))
        age = None if tally.saved_at is None else max(0.0, now - tally.saved_at)
        yield _gauge("checkpoint_age_seconds", "How long ago the model was as the newest checkpoint has it.", _one(age))
        yield _gauge("damaged_checkpoints", "Checkpoints of this folder that were put aside, at the start.", _one(facts.damaged))
        yield _counter("restarts", "Runs of this model folder before this one.", _one(facts.restarts))
        number, published_at = facts.newest()
        age = None if published_at is None else max(0.0, now - published_at)
        yield _gauge("published_version", "The newest version, 0: none.", _one(number if exports else None))
        yield _gauge("published_version_age_seconds", "Since it was published.", _one(age))
        paused = float(exports.paused) if exports else None
        yield _gauge("publishing_paused", "Whether a rollback has paused it, as seen when a model was due last.", _one(paused))
        counts, secs = (exports.counts, exports.secs) if exports else ({}, {})
        yield _counter("exports", "Models published, refused by the gate, or failed.", _by("outcome", counts))
        yield _counter("export_seconds", "From the save of the model to that, summed up.", _by("outcome", secs))
        stall = exports.stall_secs if exports else None
        yield _counter("export_stall_seconds", "How long training has stood still for exports.", _one(stall))
        deltas = facts.deltas
        yield _counter("deltas", "Deltas made, held back, or failed.", _by("outcome", deltas.counts if deltas else {}))
        yield _counter("delta_bytes", "Of those made.", _one(deltas.bytes if deltas else None))
        yield _counter("delta_seconds", "That a thread has worked for them.", _one(deltas.secs if deltas else None))
        stall = deltas.stall_secs if deltas else None
        yield _counter("delta_stall_seconds", "How long training has stood still for them.", _one(stall))


def _of_quality(reported: Scalars) -> Iterator[Metric]:
    for name, (metric, text) in _QUALITY.items():
        others = (key.partition("/")[0] for key in reported if key.startswith(_OF_OTHER_LABELS))
        scopes = dict.fromkeys([*_SCOPES, *others])
        values = {scope: reported[f"{scope}/{name}"] for scope in scopes if f"{scope}/{name}" in reported}
        yield _gauge(metric, text, _by("scope", values))
    for name, (metric, text) in _VOCABULARY.items():
        yield _gauge(metric, text, _one(reported.get(f"vocabulary/{name}")))
    for head, (metric, label, text) in _BY_NAME.items():
        values = {key.removeprefix(head): value for key, value in reported.items() if key.startswith(head)}
        yield _gauge(metric, text, _by(label, values))


_Samples = list[tuple[Mapping[str, str], float]]


def _one(value: float | None) -> _Samples:
    """The sample of a metric without labels; none where it is not known."""
    return [] if value is None else [({}, float(value))]


def _by(label: str, values: Mapping[str, float]) -> _Samples:
    """A sample for each value of a label."""
    return [({label: name}, float(value)) for name, value in values.items()]


def _gauge(name: str, text: str, samples: _Samples) -> Metric:
    return _filled(GaugeMetricFamily(_PREFIX + name, text), "", samples)


def _counter(name: str, text: str, samples: _Samples) -> Metric:
    return _filled(CounterMetricFamily(_PREFIX + name, text), "_total", samples)


def _filled(metric: Metric, suffix: str, samples: _Samples) -> Metric:
    for labels, value in samples:
        metric.add_sample(metric.name + suffix, labels, value)
    return metric
