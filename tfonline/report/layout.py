"""How TensorBoard's tab "Custom Scalars" shows a run: groups of charts in the order in which people ask."""

from collections.abc import Sequence

from tensorboard.plugins.custom_scalar.layout_pb2 import Category, Chart, Layout, MultilineChartContent

# A chart's title, and the tags of its curves, which have a colour a run. A tag that no run has makes no curve.
_Charts = dict[str, list[str]]

_HOW_GOOD: _Charts = {
    "log loss; trivial: of the share of clicks alone": ["quality/log_loss"],
    "AUC": ["quality/auc"],
    "normalised entropy (log loss / trivial): below 1 beats the trivial": ["quality/ne"],
    "calibration (mean prediction / share of clicks): 1 is right": ["quality/calibration"],
}
_IS_IT_FED: _Charts = {
    "lag, rows": ["stream/lag_rows"],
    "age of rows when they are learned from, and of the newest one now, s": ["stream/lag_secs", "stream/newest_row_age_secs"],
    "rows trained a second": ["stream/rows_per_sec"],
    "time that a backlog still takes, s": ["stream/secs_left"],
}
_WHAT_WENT_WRONG: _Charts = {
    "drift of the model: 8 is an alarm": ["drift/model_.*"],
    "rows refused": ["stream/rejected_rows"],
    "offsets passed over: by --lag_policy, lost by retention, by --skip_window": ["unread_rows/.*"],
    "loss of the last step, l2 with it: wide and deep side": ["train/.*_loss"],
}
_COLUMNS: _Charts = {
    "drift: how unlike the first rows the newest are (PSI), a column": ["drift/psi_.*"],
    "share of missing values, a column": ["values/missing_.*"],
    "share of values that the dictionaries do not hold, or without a row, a column": ["values/unknown_.*"],
    "GAUC, and NE of the largest values of the column of --metrics_by": ["by_.*/gauc", "by_.*/ne_.*"],
    "rows of the vocabulary in use, their share": ["vocabulary/load"],
    "values that got a row, another's row, or none though it was due": [
        "vocabulary/admitted",
        "vocabulary/reused",
        "vocabulary/refused",
    ],
}
_SERVING: _Charts = {
    "models published, refused by the gate, failed": [
        "serving/export_published", "serving/export_refused", "serving/export_failed",
    ],
    "age of the published model, and of its newest row, s": ["serving/age_secs", "serving/newest_row_age_secs"],
    "rows that were learned from since it was published": ["serving/age_rows"],
    "its version": ["serving/version"],
    "what an export takes, and how long training stood still for it, s": ["serving/export_secs", "serving/export_stall_secs"],
}  # fmt: skip
_FIRST = "How good is it?"
_GROUPS = {
    _FIRST: _HOW_GOOD,
    "Is it fed?": _IS_IT_FED,
    "What went wrong?": _WHAT_WENT_WRONG,
    "The columns": _COLUMNS,
    "Serving": _SERVING,
}


def _how_good(label: str) -> _Charts:
    """Those of the first label, '', or of another one, whose scopes are no runs of TensorBoard but stand in their tags."""
    if not label:
        return _HOW_GOOD
    charts: _Charts = {}
    for title, [tag] in _HOW_GOOD.items():
        metric = tag.removeprefix("quality/")
        tags = [f"{scope}_{label}/{metric}" for scope in ("running", "window", "total")] + [f"serving/{metric}_{label}"]
        trivial = [f"running_{label}/trivial_log_loss"] if metric == "log_loss" else []
        charts[f"{label}: " + title.replace("clicks", "positives")] = tags + trivial
    return charts


def layout(others: Sequence[str] = ()) -> Layout:
    """The layout, for TensorBoard's plugin `custom_scalars`.

    Args:
      others: of several labels all but the first; each has charts beside those of the first one.
    """
    groups = {**_GROUPS, _FIRST: {title: tags for label in ("", *others) for title, tags in _how_good(label).items()}}
    # The plugin takes a tag for the beginning of a regular expression: "$" keeps `quality/ne` from showing `quality/negatives`.
    return Layout(
        category=[
            Category(
                title=group,
                chart=[
                    Chart(title=title, multiline=MultilineChartContent(tag=[f"{tag}$" for tag in tags]))
                    for title, tags in charts.items()
                ],
            )
            for group, charts in groups.items()
        ]
    )
