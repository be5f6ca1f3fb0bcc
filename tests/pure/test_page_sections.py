"""What a person reads on the page of tools/report.py: of models that are made up, number by number."""

import dataclasses
import pathlib
import re

import numpy as np
from report_events import Saved
from report_folder import Folder, Planned, Published
from report_html import bars, table, whole_page
from report_page import how_it_stands, page, runs, served
from report_quality import comparison, quality, scores
from report_read import Model
from report_series import Run, Series
from report_stream import by_value, columns, fed, refused

from tfonline.evaluate.progressive import Counts
from tfonline.state import Position

NOON = 1714564800.0  # 1 May 2024, 12:00 UTC, seconds since 1970
STATUS = "2024-05-01T12:30:00.000Z pid 7 training window 12 step 3400"


def series(values, first_step=100, every=100, secs=10.0):
    steps = first_step + every * np.arange(len(values))
    return Series(steps, NOON + secs * np.arange(len(values)), np.array(values, np.float64))


def model(name="clicks", **parts):
    """A model of two reports, at 1,000 and 2,000 rows, with what the test is about."""
    folder = Folder(pathlib.Path("/runs") / name, {"topic": "clicks"}, {}, 0.0, "", [], [], {})
    curves = {"train/stream/rows": series([1000, 2000]), "running/quality/log_loss": series([0.6, 0.5])}
    curves["trivial/quality/log_loss"] = series([0.7, 0.7])
    nothing = Saved("", Position(next=[], start=[]), Counts(), Counts(), {}, "there is no checkpoint")
    made = Model(folder, curves, [Run(NOON, NOON + 10, 100, 200)], nothing, None)
    of_folder = {key: value for key, value in parts.items() if key in Folder.__annotations__}
    others = {key: value for key, value in parts.items() if key not in of_folder}
    others["series"] = {**curves, **others.get("series", {})}
    return dataclasses.replace(made, folder=dataclasses.replace(folder, **of_folder), **others)


def cells(html):
    """The texts of a table's cells, a list a row."""
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    return [[re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row)] for row in rows]


# How it stands


def test_a_run_that_has_ended_says_how():
    ended = model(summary={"ended": "reached --stop_at"}, summed_up=NOON + 20, status=STATUS.replace("training", "ended"))
    assert how_it_stands(ended) == "The last run has ended: reached --stop_at (2024-05-01 12:00:20 UTC)."


def test_a_run_that_goes_on_says_what_it_does_and_how_the_one_before_ended():
    now = "The last run goes on, or was cut off: training, window 12, step 3,400, at 2024-05-01 12:30:00.000 UTC."
    assert how_it_stands(model(status=STATUS)) == now
    before = model(status=STATUS, summary={"ended": "stopped by SIGTERM"}, summed_up=NOON - 60)
    assert how_it_stands(before) == f"{now} The one before it had ended: stopped by SIGTERM (2024-05-01 11:59:00 UTC)."
    assert how_it_stands(model()) == "The last run has not said how it ended."


def test_runs_are_told_with_the_flags_that_changed():
    two = [
        Run(NOON, NOON + 5, 10, 30, {"version": "0.1", "stack": "tf216"}, {"batch_size": "100", "topic": "a"}),
        Run(NOON + 60, NOON + 90, 21, 4000, {"version": "0.2", "stack": "tf221"}, {"batch_size": "200", "topic": "a", "new": "1"}),
        Run(NOON + 99, NOON + 99),
    ]
    assert cells(runs(model(runs=two)))[1:] == [
        ["1", "2024-05-01 12:00:00", "2024-05-01 12:00:05", "10 to 30", "0.1, tf216", ""],
        ["2", "2024-05-01 12:01:00", "2024-05-01 12:01:30", "21 to 4,000", "0.2, tf221", "--batch_size: 100 → 200"],
        ["3", "2024-05-01 12:01:39", "2024-05-01 12:01:39", "none", "-, -", "-"],
    ]


# Sections


def test_how_true_scores_are_by_tenths():
    counts = Counts()
    counts.add(np.zeros(4, np.float32), np.array([0, 0, 0, 1], np.float32))  # predicted 50 %, of which 25 % came
    html = scores(model(saved=Saved("ckpt-7", Position(next=[], start=[]), counts, counts, {})))
    assert cells(html)[1:] == [["1", "4", "50 %", "25 %", "2.001"]]  # a bin's middle is 1/1024 of a logit above 0
    assert "Of ckpt-7: 4 recent rows" in html
    assert "Not known: there is no checkpoint." in scores(model())


def test_how_true_the_scores_of_each_label_are():
    clicks, purchases = Counts(), Counts()
    clicks.add(np.zeros(4, np.float32), np.array([0, 0, 0, 1], np.float32))
    purchases.add(np.zeros(2, np.float32), np.array([1, 1], np.float32))
    of = {"clicks_and_buys": (purchases, purchases)}
    html = scores(model(saved=Saved("ckpt-7", Position(next=[], start=[]), clicks, clicks, {}, others=of)))
    assert cells(html) == [
        ["tenth, by score", "rows", "predicted", "clicks", "calibration"],
        ["1", "4", "50 %", "25 %", "2.001"],
        ["tenth for clicks_and_buys, by score", "rows", "predicted", "positives", "calibration"],
        ["1", "2", "50 %", "100 %", "0.500"],
    ]
    assert "4 in all. With clicks_and_buys: 2 recent rows, 2 in all." in html
    titles = ["Reliability by tenths of the rows", "Recent rows by score"]
    wanted = [*titles, *(f"{title} for clicks_and_buys" for title in titles)]
    assert [title.partition(":")[0] for title in re.findall('aria-label="(.*?)"', html)] == wanted
    axes = re.findall(">(predicted [a-z ]+)", html.partition("<table")[0])
    assert axes == [
        "predicted share of clicks",
        "predicted probability of a click ",
        "predicted share of positives",
        "predicted probability ",
    ]


def test_each_label_has_its_curves():
    metrics = [(scope, metric) for scope in ("running", "window") for metric in ("rows", "log_loss", "auc")]
    of = {f"train/{scope}_buy/{metric}": series([0.5, 0.25]) for scope, metric in metrics}
    of |= {"train/running_buy/trivial_log_loss": series([0.7, 0.7]), "train/serving/log_loss_buy": series([0.5])}
    html = quality(model(series=of))
    charts = dict(zip(re.findall('aria-label="(.*?)"', html), re.findall("<svg.*?</svg>", html), strict=True))
    names = ("each window", "all rows", "recent rows", "served version", "share of clicks alone", "share of positives alone")
    assert {title: [name for name in names if f">{name}<" in chart] for title, chart in charts.items()} == {
        "Log loss, nats": ["recent rows", "share of clicks alone"],
        "Log loss for buy, nats": ["each window", "recent rows", "served version", "share of positives alone"],
        "AUC for buy": ["each window", "recent rows"],
    }
    of_one = comparison(model(series=of), model("other"))
    assert "for buy" not in of_one  # the other model has no such label
    both = cells(comparison(model(series=of), model("other", series=of)))
    assert ["AUC for buy, recent rows", "0.2500", "0.2500", "+0.0000"] in both
    assert [row[0] for row in both if "Calibration" in row[0]][1] == "Calibration (predicted / positives) for buy, recent rows"


def test_windows_are_told_by_what_closed_them():
    windows = [Planned(i, 10, "rows", NOON + 5 * i) for i in range(3)] + [Planned(3, 70, "lost", NOON + 15)]
    html = fed(model(windows=windows))
    assert cells(html)[1:] == [
        ["enough rows were there", "3", "75 %", ""],
        ["passed over: retention had removed the rows", "1", "25 %", ""],
    ]
    assert "70 offsets were passed over unread." in html
    assert "Time from window to window, s" in html


def test_columns_are_ordered_by_their_drift():
    of = {
        "train/drift/psi_C1": series([0.1, 0.2]),
        "train/drift/psi_C2": series([0.9, 0.1]),
        "train/values/missing_C2": series([0.25]),
        "train/values/unknown_C2": series([0.5]),
        "train/values/missing_I1": series([1.0]),
    }
    line = {"rows": 1500, "about": "C2", "begins": True, "text": "drift in column C2: <PSI> 0.9"}
    html = columns(model(series=of, drift=[line], flags={"drift_psi": 0.3}))
    assert [row for row in cells(html) if row[0] in ("C1", "C2", "I1")] == [
        ["C2", "", "0.100", "0.900", "-", "25 %", "-", "50 %"],
        ["C1", "", "0.200", "0.200", "-", "-", "-", "-"],
        ["I1", "-", "-", "-", "-", "100 %", "-", "-"],
    ]
    assert "<td>1,500</td>" in html
    assert "drift in column C2: &lt;PSI&gt; 0.9" in html
    assert "told above 0.3" in html


def test_each_label_has_a_chart_of_the_models_drift():
    of = {f"train/drift/model_{name}": series([1.0, 2.0]) for name in ("more_clicks", "over_confident", "fewer_clicks")}
    found = re.findall('aria-label="(.*?)"', columns(model(series=of)))
    assert found == ["Drift of the model: 8 is an alarm"] * 2  # over rows and over time
    of |= {f"{tag}_first_buy": curve for tag, curve in of.items()}
    html = columns(model(series=of))
    assert re.findall('aria-label="(.*?)"', html)[::2] == [*found[:1], "Drift of the model for first_buy"]
    assert [html.count(f">more {of}</text>") for of in ("clicks", "positives")] == [2, 2]


def test_metrics_by_a_columns_value_are_told_of_each_label():
    groups = {"by_C9": ("a_buy", 0.9), "by_C9_buy": ("a", 0.8), "by_C9_sell": ("a", 0.7)}
    of = {"train/running_buy/rows": series([1.0, 2.0]), "train/running_buy/auc": series([0.5, 0.5])}
    for group, (value, ne) in groups.items():
        of |= {f"train/{group}/{tag}": series([0.5, at]) for tag, at in (("gauc", 0.6), (f"rows_{value}", 7), (f"ne_{value}", ne))}
    html = by_value(model(series=of))
    titles = [
        f"AUC within the values of {named} (GAUC){of_label}"
        for named, of_label in (("C9", ""), ("C9", " for buy"), ("C9_sell", ""))
    ]
    assert re.findall('aria-label="(.*?)"', html)[::2] == titles  # sell is no label: a column is named so
    assert cells(html)[:4] == [
        ["value of C9", "rows, lately", "NE", "calibration"],
        ["a_buy", "7", "0.9000", "-"],
        ["value of C9 for buy", "rows, lately", "NE", "calibration"],
        ["a", "7", "0.8000", "-"],
    ]


def test_refused_rows_are_told_by_reason_and_none_is_shown():
    position = Position(next=[], start=[], rows=96, rejected={"fields": 3, "later": 1})
    html = refused(model(saved=Saved("ckpt-7", position, Counts(), Counts(), {})))
    assert "Up to ckpt-7, 4 of 100 rows were refused." in html
    assert cells(html)[1:] == [
        ["fields: more or fewer fields than there are columns, or a line end inside", "3", "75 %", ""],
        ["later: a reason of another version", "1", "25 %", ""],
    ]


def test_versions_are_told_as_the_gate_saw_them():
    metrics = {"auc": 0.75, "log_loss": 0.45, "calibration": None, "served_log_loss": 0.452, "regression": -0.002}
    versions = [
        {"version": 2, "state": "newest", "published": NOON, "rows": 2000, "metrics": metrics, "newest_row_time": NOON - 30},
        {"version": 1, "state": "bad: too low"},
    ]
    refusals = [{"time": NOON + 1, "window": 4, "step": 1234, "why": "its AUC is 0.4"}]
    html = served(model(published=Published(pathlib.Path("models"), versions, refusals, "somebody said so", {})), NOON + 7200)
    found = cells(html)
    assert found[1] == ["2", "2024-05-01 12:00:00", "2 h", "2,000", "0.7500", "0.4500", "-", "0.4520", "-0.00200", "30 s", "newest"]
    assert found[2] == ["1", *["-"] * 9, "bad: too low"]
    assert found[4] == ["2024-05-01 12:00:01", "4", "1,234", "its AUC is 0.4"]
    assert "Publishing is paused: somebody said so." in html
    assert "Nothing was published" in served(model(), NOON)


def test_two_models_are_held_against_each_other():
    one = model(flags={"batch_size": 100, "kafka_property": ["a=1", "b=2"], "new_flag": 1})
    other = model(
        "other", flags={"batch_size": 100, "kafka_property": []}, series={"running/quality/log_loss": series([0.6, 0.45])}
    )
    html = comparison(one, other)
    found = cells(html)
    assert ["Log loss, recent rows", "0.5000", "0.4500", "+0.0500"] in found
    assert ["AUC, all rows", "-", "-", "-"] in found
    assert ["rows learned from", "2,000", "2,000", "+0"] in found
    flags = found[found.index(["flag", "clicks", "other"]) + 1 :]
    assert flags == [["--kafka_property", "a=1,b=2", ""], ["--new_flag", "1", "there is no such flag"]]
    assert "other: share of clicks alone" in html


# The whole


def test_a_month_and_hundreds_of_columns_make_a_page_that_is_sent_by_mail():
    rng, n, m = np.random.default_rng(0), 30_000, 300
    curves = {f"{scope}/quality/{metric}": series(rng.random(n)) for scope in ("window", "running", "total", "served")
              for metric in ("log_loss", "ne", "auc", "calibration")}  # fmt: skip
    curves |= {
        f"train/{tag}_C{i}": series(rng.random(500)) for i in range(m) for tag in ("drift/psi", "values/missing", "values/unknown")
    }
    curves |= {f"train/stream/{tag}": series(rng.random(n)) for tag in ("lag_rows", "lag_secs", "rows_per_sec")}
    curves["train/stream/rows"] = series(np.arange(n, dtype=float))
    windows = [Planned(i, 10, "rows", NOON + 5 * i) for i in range(n)]
    many = [Run(NOON + 1000 * i, NOON + 1000 * i + 900, 10_000 * i + 1, 10_000 * i + 9_999) for i in range(300)]
    html = page(model(series=curves, windows=windows, runs=many), now=NOON)
    assert len(html) < 2_000_000
    assert html.count("<svg") > 900


def test_texts_are_no_markup():
    assert cells(table(("<b>",), [("<i>&",)])) == [["&lt;b&gt;"], ["&lt;i&gt;&amp;"]]
    assert cells(bars(("a", "n"), [("x<", 1)]))[1][0] == "x&lt;"
    html = page(model(name="<script>alert(1)</script>"), now=NOON)
    assert "<script" not in html
    assert "default-src 'none'" in whole_page("t", [])
