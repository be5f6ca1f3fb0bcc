"""The page's sections on the stream: whether it is fed, windows, columns and drift, refused rows."""

import collections

import numpy as np
from report_charts import Line, line_chart, sparkline
from report_html import Markup, bars, count, grid, hidden, number, section, share, table, text, when
from report_quality import ROWS_AXIS, TIME_AXIS, for_label, named, over_both, restarts
from report_read import Model
from report_scales import with_gaps
from report_series import rows_at

from tfonline.evaluate.model_drift import ALARM, CHARTS
from tfonline.formats.reasons import IN_WORDS

_TRIGGERS = {
    "rows": "enough rows were there",
    "secs": "time had passed",
    "end": "the rest before the run's end",
    "skip": "passed over by --lag_policy=skip",
    "lost": "passed over: retention had removed the rows",
    "passed": "passed over by --skip_window",
}
_MOST_COLUMNS, _MOST_CURVES, _MOST_EPISODES = 60, 5, 100
# Title, curves (tag, name, colour), and whether all of their points are shown, of each chart over time.
_FED = (
    ("Lag, rows", [("train/stream/lag_rows", "rows that wait", 0)], True),
    ("Age of rows, s", [
        ("train/stream/lag_secs", "when learned from", 0), ("train/stream/newest_row_age_secs", "newest one, now", 1),
    ], True),
    ("Rows learned from a second", [("train/stream/rows_per_sec", "since the report before", 0)], False),
    ("Time that the backlog still takes, s", [("train/stream/secs_left", "at the last minute's speed", 0)], True),
)  # fmt: skip


def over_time(model: Model, title: str, curves: list[tuple[str, str, int]], whole: bool = True) -> str:
    """A chart of numbers that are not below 0; "" where there is none."""
    found = [(model.series[tag], name, colour) for tag, name, colour in curves if tag in model.series]
    return _over_time(model, title, [(name, s.time, s.value, colour) for s, name, colour in found], whole)


def _over_time(model: Model, title: str, curves: list[tuple[str, np.ndarray, np.ndarray, int]], whole: bool) -> str:
    at = restarts(model)
    lines = [Line(name, *with_gaps(time, value, at), colour) for name, time, value, colour in curves]
    return line_chart(title, lines, TIME_AXIS, at, reach=(0.0,), whole=whole)


def fed(model: Model) -> str:
    """Lag, ages, speed, and the windows as the journal has them."""
    charts = [over_time(model, title, curves, whole) for title, curves, whole in _FED]
    windows = model.folder.windows
    times = np.array([w.time for w in windows])
    if read := [w for w in windows if w.read]:
        rows = ("as planned", np.array([w.time for w in read]), np.array([float(w.rows) for w in read]), 0)
        charts.append(_over_time(model, "Rows of a window", [rows], whole=True))
    if len(windows) > 1:
        between = ("since the one before", times[1:], np.diff(times), 0)
        charts.append(_over_time(model, "Time from window to window, s", [between], whole=False))
    by_trigger = collections.Counter(w.trigger for w in windows)
    unread = sum(w.rows for w in windows if not w.read)
    return section(
        "stream",
        "Is it fed?",
        grid(charts),
        bars(("why windows closed", "windows"), [(_TRIGGERS.get(t, t), n) for t, n in by_trigger.most_common()]),
        text(f"{count(unread)} offsets were passed over unread.", "bad") if unread else "",
    )


def columns(model: Model) -> str:
    """Drift of each column and of the model, episodes, and the shares of missing and unknown values."""
    limit = float(model.folder.flags.get("drift_psi") or 0.25)
    psi = _by_column(model, "train/drift/psi_")
    order = sorted(psi, key=lambda name: -float(psi[name].value.max()))
    curves = [Line(name, rows_at(psi[name].step, model.series), psi[name].value, i) for i, name in enumerate(order[:_MOST_CURVES])]
    charts = [
        line_chart(
            f"Drift of the columns with the most (PSI): told above {limit:g}", curves, ROWS_AXIS,
            level=limit, reach=(0.0, limit), whole=True,
        ),
        *_drift_of_model(model),
        over_both(model, "Rows of the vocabulary in use, their share", [("train/vocabulary/load", "in use", 0, "")]),
    ]  # fmt: skip
    return section("columns", "The columns, and drift", grid(charts), _episodes(model), *_table_of_columns(model, order, limit))


def _drift_of_model(model: Model) -> list[str]:
    """The charts of each label, the first one's by the name of `model` alone."""
    found = _by_column(model, "train/drift/model_")
    suffixes = dict.fromkeys(name.removeprefix(chart) for chart in sorted(CHARTS) for name in found if name.startswith(chart))
    return [
        over_both(
            model, for_label(f"Drift of the model: {ALARM:g} is an alarm", suffix[1:]),
            [
                (f"train/drift/model_{chart}{suffix}", named(chart.replace("_", " "), suffix), i, "")
                for i, chart in enumerate(sorted(CHARTS))
            ],
            ALARM, (0.0, ALARM),
        )
        for suffix in suffixes
    ]  # fmt: skip


def _episodes(model: Model) -> str:
    told = model.folder.drift
    rows = [(count(e["rows"]), "begins" if e["begins"] else "ends", e["about"], e["text"]) for e in told[-_MOST_EPISODES:]]
    title = f"Episodes of drift: {len(told):,} lines" + (f", the last {_MOST_EPISODES}" if len(told) > _MOST_EPISODES else "")
    shown = table(("rows by then", "", "of", "what was said"), rows, texts=(1, 2, 3))
    return f"<h3>{title}</h3>{shown}" if shown else text("No drift was told.")


def _table_of_columns(model: Model, order: list[str], limit: float) -> list[str]:
    psi, missing, unknown = (_by_column(model, f"train/{tag}_") for tag in ("drift/psi", "values/missing", "values/unknown"))
    names = [*order, *(name for name in missing if name not in psi)]
    rows = []
    for name in names:
        of, row = psi.get(name), [name]
        row += [Markup(sparkline(of.value, max(limit, float(of.value.max())))) or None, number(of.last, 3)] if of else [None, None]
        row += [number(float(of.value.max()), 3) if of else None]
        for shares in (missing.get(name), unknown.get(name)):
            row += [Markup(sparkline(shares.value, 1.0, 1)) or None, share(shares.last)] if shares else [None, None]
        rows.append(row)
    head = ("column", "PSI", "last", "most", "missing", "last", "unknown", "last")
    about = (
        "Missing and unknown values are of a sample, once a minute; unknown is what the dictionaries do not hold, or has no row."
    )
    first, rest = (table(head, part) for part in (rows[:_MOST_COLUMNS], rows[_MOST_COLUMNS:]))
    return [text(about, "soft"), first, hidden(f"{len(rows) - _MOST_COLUMNS:,} more columns", rest)] if first else []


def _by_column(model: Model, prefix: str) -> dict:
    return {tag.removeprefix(prefix): s for tag, s in model.series.items() if tag.startswith(prefix)}


def by_value(model: Model) -> str:
    """The metrics by a column's value (--metrics_by), of each label."""
    gauc = sorted(tag for tag in model.series if tag.startswith("train/by_") and tag.endswith("/gauc"))
    charts, tables = [], []
    for tag in gauc:
        (column, label), group = _column_and_label(model, tag.split("/")[1].removeprefix("by_")), tag.removesuffix("gauc")
        title = for_label(f"AUC within the values of {column} (GAUC)", label)
        charts.append(over_both(model, title, [(tag, "recent rows", 0, "")]))
        rows = [
            (name, count(s.last), number(model.last(f"{group}ne_{name}")), number(model.last(f"{group}calibration_{name}"), 3))
            for name, s in sorted(_by_column(model, f"{group}rows_").items(), key=lambda item: -item[1].last)
        ]
        tables.append(table((for_label(f"value of {column}", label), "rows, lately", "NE", "calibration"), rows))
    return section("values", "By a column's value", grid(charts), *tables)


def _column_and_label(model: Model, named: str) -> tuple[str, str]:
    """What curves are of: <column>, by the first label, or <column>_<label> beside it, by another one."""
    for label in model.other_labels:
        column = named.removesuffix(f"_{label}")
        if column != named and f"train/by_{column}/gauc" in model.series:
            return column, label
    return named, ""


def refused(model: Model) -> str:
    """Refused rows by reason. None of them is shown: they stand in rejected.jsonl, which only its owner may read."""
    reasons = model.saved.position.rejected
    total, rows = sum(reasons.values()), model.saved.position.rows
    chart = over_both(model, "Rows refused", [("train/stream/rejected_rows", "since the model's beginning", 0, "")])
    of = [(f"{reason}: {IN_WORDS.get(reason, 'a reason of another version')}", n) for reason, n in sorted(reasons.items())]
    said = f"Up to {model.saved.name}, {count(total)} of {count(total + rows)} rows were refused." if model.saved.name else ""
    return section("refused", "Refused rows", text(said), bars(("reason", "rows"), of), grid([chart]) if total else "")


def unreadable(model: Model) -> str:
    """Which lines of which files could not be understood."""
    files = {**model.folder.unreadable, **(model.published.unreadable if model.published else {})}
    lines = ", ".join(f"{n:,} of {name}" for name, n in files.items())
    return text(f"Lines that could not be understood, and are left out: {lines}.", "bad") if lines else ""


def told_at(secs: float) -> str:
    """The line at the page's end."""
    return text(f"Made by tools/report.py at {when(secs)} UTC.", "soft")
