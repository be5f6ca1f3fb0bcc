"""The page's sections on how good a model is, how true its scores are, and how it stands against another one: of each label."""

from collections.abc import Sequence

import numpy as np
from report_charts import Axis, Line, distribution, line_chart, reliability
from report_html import count, grid, number, section, share, signed, table, text
from report_read import Model
from report_scales import with_gaps
from report_series import rows_at

from tfonline.evaluate.progressive import Counts

_SCOPES = (("window", "each window", 5, "thin"), ("total", "all rows", 2, ""), ("running", "recent rows", 0, ""),
           ("served", "served version", 3, ""), ("trivial", "share of clicks alone", 1, "dashed"))  # fmt: skip
# The metric, its chart's title, and the number that has a line of its own.
_METRICS = (
    ("log_loss", "Log loss, nats", None),
    ("ne", "Normalised entropy: below 1 beats the share of clicks", 1.0),
    ("auc", "AUC", None),
    ("calibration", "Calibration (predicted / clicks): 1 is right", 1.0),
)
ROWS_AXIS, TIME_AXIS = Axis("rows learned from"), Axis("time (UTC)", time=True)
_SWITCH = (
    '<div class="switch">over <label><input type="radio" name="over" id="over-rows" checked> rows</label>'
    '<label><input type="radio" name="over" id="over-time"> time</label></div>'
)
_DECILES = 10


def for_label(text: str, label: str) -> str:
    """A title as it is for the first label, '', and for another one, `AUC for buy`, without what is said behind a colon."""
    name, comma, unit = text.partition(":")[0].partition(",")
    return f"{name} for {label}{comma}{unit}" if label else text


def named(text: str, label: str) -> str:
    """A text on clicks, for the first label, '', and for another one: what is 1 there need not be a click."""
    return text.replace("clicks", "positives") if label else text


def quality(model: Model) -> str:
    """The stream's metrics of each label, each over rows and over time."""
    charts = []
    for label in ("", *model.other_labels):
        for metric, title, level in _METRICS:
            tags = [(_tag(scope, metric, label), named(name, label), *look) for scope, name, *look in _SCOPES]
            charts.append(over_both(model, for_label(named(title, label), label), tags, level))
    shown = grid(charts)
    about = "Each row is scored before it is learned from. A dotted line is a restart; what it repeated is drawn once."
    return section("quality", "How good is it?", text(about, "soft"), _SWITCH if shown else "", shown)


def _tag(scope: str, metric: str, label: str) -> str:
    """Where a metric's curve is: TensorBoard has another label's than the first beside all else of a run."""
    if not label:
        return f"{scope}/quality/{metric}"
    elsewhere = {"served": f"train/serving/{metric}_{label}", "trivial": f"train/running_{label}/trivial_{metric}"}
    return elsewhere.get(scope, f"train/{scope}_{label}/{metric}")


def over_both(
    model: Model,
    title: str,
    tags: Sequence[tuple[str, str, int, str]],
    level: float | None = None,
    reach: tuple[float, ...] = (),
) -> str:
    """A chart over rows and the same over time, of which the page shows one; "" where no curve is there.

    Args:
      model: whose curves they are.
      title: of the chart.
      tags: tag, name, colour and look of each curve.
      level: see line_chart.
      reach: likewise.
    """
    found = [(model.series[tag], *look) for tag, *look in tags if tag in model.series]
    by_rows = [Line(name, rows_at(s.step, model.series), s.value, colour, look) for s, name, colour, look in found]
    by_time = [Line(name, *with_gaps(s.time, s.value, restarts(model)), colour, look) for s, name, colour, look in found]
    steps = np.array([run.first_step for run in model.runs[1:] if run.first_step is not None], np.int64)
    rows = line_chart(title, by_rows, ROWS_AXIS, rows_at(steps, model.series).tolist(), level, reach)
    time = line_chart(title, by_time, TIME_AXIS, restarts(model), level, reach)
    return f'<figure><div class="by-rows">{rows}</div><div class="by-time">{time}</div></figure>' if rows else ""


def restarts(model: Model) -> list[float]:
    """When each run but the first began, seconds since 1970."""
    return [run.began for run in model.runs[1:]]


def scores(model: Model) -> str:
    """How true the scores of each label are, how they are distributed, and both as a table: of the newest checkpoint's rows."""
    saved = model.saved
    if not saved.name:
        return section("scores", "Are the scores true?", text(f"Not known: {saved.problem}.", "bad"))
    about = f"Of {saved.name}: {count(saved.running.report()['rows'])} recent rows (older ones weigh less)"
    about += f", {count(saved.total.report()['rows'])} in all." + (f" {saved.problem}." if saved.problem else "")
    charts, tables = _scores_of("", saved.running, saved.total)
    for label, (running, total) in saved.others.items():
        about += f" With {label}: {count(running.report()['rows'])} recent rows, {count(total.report()['rows'])} in all."
        more_charts, more_tables = _scores_of(label, running, total)
        charts, tables = charts + more_charts, tables + more_tables
    return section("scores", "Are the scores true?", text(about, "soft"), grid(charts), *tables)


def _scores_of(label: str, running: Counts, total: Counts) -> tuple[list[str], list[str]]:
    """Charts and tables of one label: '' for the first."""
    recent, in_all = running.by_score(_DECILES), total.by_score(_DECILES)
    axes = ("predicted share of positives", "predicted probability") if label else ()
    title = for_label("Reliability by tenths of the rows: bars are 95 % intervals", label)
    charts = [
        reliability(title, [("recent rows", recent), ("all rows", in_all)], *axes[:1]),
        distribution(for_label("Recent rows by score", label), _distributions(running, named("clicks", label)), *axes[1:]),
    ]
    rows = [
        (i, count(n), share(predicted), share(clicked), number(predicted / clicked if clicked else None, 3))
        for i, (n, predicted, clicked) in enumerate(recent, 1)
    ]
    head = (for_label("tenth, by score", label), "rows", "predicted", named("clicks", label), "calibration")
    return charts, [table(head, rows)]


def _distributions(counts: Counts, positives: str) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """All rows, and the clicks among them, or what else the positives are."""
    clicks = Counts()
    clicks.positives = counts.positives
    return [("rows", *counts.histogram()), (positives, *clicks.histogram())]


def comparison(model: Model, other: Model) -> str:
    """Both models' curves in one picture a metric, what became of them, and the flags that differ."""
    charts, names = [], (model.name, other.name) if model.name != other.name else (f"{model.folder.path}", f"{other.folder.path}")
    metrics = [(label, *of) for label in ("", *model.other_labels) if label in ("", *other.other_labels) for of in _METRICS]
    for label, metric, title, level in metrics:
        lines = []
        for i, (one, name) in enumerate(zip((model, other), names, strict=True)):
            for scope, what, look in (("running", "recent rows", ""), ("trivial", "share of clicks alone", "dashed")):
                if (tag := _tag(scope, metric, label)) in one.series:
                    s = one.series[tag]
                    lines.append(Line(f"{name}: {named(what, label)}", rows_at(s.step, one.series), s.value, i, look))
        charts.append(line_chart(for_label(named(title, label), label), lines, ROWS_AXIS, level=level))
    rows = []
    for scope, of in (("recent rows", "running"), ("all rows", "total")):
        for label, metric, title, _ in metrics:
            values = [one.last(_tag(of, metric, label)) for one in (model, other)]
            difference = None if None in values else values[0] - values[1]
            what = for_label(named(title, label), label).split(":")[0].split(",")[0]
            rows.append((f"{what}, {scope}", *map(number, values), signed(difference)))
    learned = [one.last("train/stream/rows") for one in (model, other)]
    rows.append(("rows learned from", *map(count, learned), signed(None if None in learned else learned[0] - learned[1], 0)))
    flags = [one.folder.flags for one in (model, other)]
    changed = [
        (f"--{name}", *(_flag(of, name) for of in flags))
        for name in {**flags[0], **flags[1]}
        if flags[0].get(name) != flags[1].get(name)
    ]
    return section(
        "comparison",
        f"{names[0]} against {names[1]}",
        text("Curves say which is better only where both have learned from the same rows.", "soft"),
        grid(charts),
        "<h3>At the end of the curves</h3>",
        table(("", *names, "difference"), rows),
        "<h3>Flags that differ</h3>",
        table(("flag", *names), changed, texts=(0, 1, 2)) or text("None."),
    )


def _flag(flags: dict, name: str) -> str:
    return shown_flag(flags[name]) if name in flags else "there is no such flag"


def shown_flag(value: object) -> str:
    """A flag's value, as a person writes it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
