"""The table at a run's end."""

from typing import Any


def summary_table(summary: dict[str, Any]) -> str:
    """What `summary.json` holds, for people: counts, then the metrics of all rows and of the last ones."""

    def number(value: Any, form: str) -> str:
        return "-" if value is None else format(value, form)

    reasons = ", ".join(f"{reason} {n:,}" for reason, n in summary["rejected_by_reason"].items())
    triggers = ", ".join(f"{trigger} {n:,}" for trigger, n in summary["skipped"].items())
    counts = [
        ("rows trained", f"{summary['rows']:,} ({summary['rows_this_run']:,} in this run)"),
        ("rows rejected", f"{summary['rejected']:,}" + (f" ({reasons})" if reasons else "")),
        ("offsets unread", f"{sum(summary['skipped'].values()):,}" + (f" ({triggers})" if triggers else "")),
        ("steps, windows", f"{summary['steps']:,}, {summary['windows']:,}"),
        ("rows/s", _speed(summary)),
        ("run, s", f"{summary['secs_this_run']:,.1f}"),
        ("lag, rows", f"{summary['lag_rows']:,}"),
        ("checkpoint", summary["checkpoint"]),
    ]
    metrics = [
        ("auc", ".4f"),
        ("log_loss", ".4f"),
        ("trivial_log_loss", ".4f"),
        ("ne", ".4f"),
        ("calibration", ".3f"),
    ]
    lines = [f"  {name:<18}{value}" for name, value in counts]
    lines += ["", f"  {'scored before learned from':<28}{'all rows':>10}{'recent':>10}"]
    lines += [
        f"  {name:<28}{number(summary['total'][name], form):>10}{number(summary['running'][name], form):>10}"
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
