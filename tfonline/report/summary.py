"""The table at a run's end."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tfonline.evaluate.progressive import ProgressiveMetrics, without_nan


class Run(NamedTuple):
    """A run, as against the model's life.

    Attributes:
      ended: why it ended.
      rows: trained in it.
      secs: how long the loop was there.
      timed: when its first and its last step ended, time.monotonic, and the rows that the model had by then. Between the two,
        rows and seconds belong to each other: tracing the graph, opening the first window and the last save are no speed.
      lag_rows: rows that are still to be read.
    """

    ended: str
    rows: int
    secs: float
    timed: tuple[tuple[float, int], tuple[float, int]]
    lag_rows: int


def make_summary(
    run: Run, position: Any, metrics: ProgressiveMetrics, checkpoint: str, also: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What `summary.json` holds.

    Args:
      run: the run that has ended.
      position: where the model is (state.Position).
      metrics: of its rows.
      checkpoint: the path of the newest one.
      also: what else there is to tell, by name, such as how full the vocabulary is; what is empty is left out.
    """
    (since, rows_then), (until, rows_by_then) = run.timed
    timed_rows, timed_secs = rows_by_then - rows_then, until - since
    return {
        "ended": run.ended,
        "rows": position.rows,
        "rejected": sum(position.rejected.values()),
        "rejected_by_reason": position.rejected,
        "skipped": position.skipped,
        **({"late_rows": position.late, "outcomes": position.outcomes} if position.outcomes else {}),
        "steps": position.step,
        "windows": position.window,
        "rows_this_run": run.rows,
        "secs_this_run": round(run.secs, 3),
        "rows_per_sec": round(timed_rows / max(timed_secs, 1e-9), 1),
        "timed_rows": timed_rows,
        "timed_secs": round(timed_secs, 6),
        "lag_rows": run.lag_rows,
        "next": position.next,
        "fingerprint": f"{position.fingerprint:016x}",
        "checkpoint": checkpoint,
        **{name: of for name, of in (also or {}).items() if of},
        **{scope: without_nan(metrics.report(scope)) for scope in metrics.kept},
    }


def summary_table(summary: dict[str, Any]) -> str:
    """What `summary.json` holds, for people: counts, then the metrics of all rows and of the last ones."""

    def number(value: Any, form: str) -> str:
        return "-" if value is None else format(value, form)

    reasons = ", ".join(f"{reason} {n:,}" for reason, n in summary["rejected_by_reason"].items())
    triggers = ", ".join(f"{trigger} {n:,}" for trigger, n in summary["skipped"].items())
    counts = [
        ("rows trained", f"{summary['rows']:,} ({summary['rows_this_run']:,} in this run)"),
        ("rows rejected", f"{summary['rejected']:,}" + (f" ({reasons})" if reasons else "")),
        *(
            [("outcomes", ", ".join(f"{what} {n:,}" for what, n in summary["outcomes"].items() if n))]
            if "outcomes" in summary
            else []
        ),
        ("offsets unread", f"{sum(summary['skipped'].values()):,}" + (f" ({triggers})" if triggers else "")),
        ("steps, windows", f"{summary['steps']:,}, {summary['windows']:,}"),
        ("rows/s", _speed(summary)),
        ("run, s", f"{summary['secs_this_run']:,.1f}"),
        ("lag, rows", f"{summary['lag_rows']:,}"),
        ("checkpoint", summary["checkpoint"]),
    ]
    if of := summary.get("vocabulary"):
        changes = f"{of['admitted']:,.0f} admitted, {of['reused']:,.0f} to another's row; {of['refused']:,.0f} times none was free"
        counts.insert(-1, ("vocabulary", f"{of['rows_in_use']:,.0f} rows in use, {of['load']:.1%}; {changes}"))
    if of := summary.get("drift"):
        now = [*of["columns"], *(["the model"] if of["model"] or of["model_for"] else [])]
        now += [f"the model for {label}" for label, of_label in of.get("by_label", {}).items() if any(of_label.values())]
        told = f"{of['told']:,} times told; now of " + (", ".join(now) if now else "nothing")
        counts.insert(-1, ("drift", told))
    metrics = [
        ("auc", ".4f"),
        ("log_loss", ".4f"),
        ("trivial_log_loss", ".4f"),
        ("ne", ".4f"),
        ("calibration", ".3f"),
    ]
    lines = [f"  {name:<18}{value}" for name, value in counts]
    lines += ["", f"  {'scored before learned from':<28}{'all rows':>10}{'recent':>10}"]
    for total in (scope for scope in summary if scope == "total" or scope.startswith("total_")):
        label = total.removeprefix("total")  # of several labels, all but the first stand behind it under their names
        lines += [f"  {label[1:]}"] if label else []
        lines += [
            f"  {name:<28}{number(summary[total][name], form):>10}{number(summary[f'running{label}'][name], form):>10}"
            for name, form in metrics
        ]
    return "\n".join(lines)


def _speed(summary: dict[str, Any]) -> str:
    """Rows a second, with the rows and the seconds that they were reckoned from."""
    if not summary["timed_rows"]:
        return "- (no step after the first one, which also builds the graph)"
    secs = summary["timed_secs"]
    shown = f"{secs:,.1f}" if secs >= 9.5 else f"{secs:.2g}"
    return f"{summary['rows_per_sec']:,.0f} ({summary['timed_rows']:,} rows in {shown} s, from the first step's end to the last's)"
