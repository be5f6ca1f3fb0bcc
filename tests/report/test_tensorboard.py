"""What TensorBoard shows, read back with TensorBoard's own code."""

import io
import json
import math
import pathlib
import re
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from rows import SMALL_SCHEMA
from tensorboard_helpers import events_of
from werkzeug.test import Client

from tfonline.evaluate.progressive import Counts
from tfonline.features.dictionaries import Dictionaries
from tfonline.features.pipeline import Features
from tfonline.report.columns import ColumnShares
from tfonline.report.reliability import HEIGHT, POINT, WIDTH, Axes, interval, reliability_png
from tfonline.report.tensorboard import TensorBoard, places

# What TensorBoard 2.16 brings along, or imports, is deprecated; not ours to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:html5lib's sanitizer is deprecated:DeprecationWarning"),
]


def plugins_of(folder):
    """TensorBoard's plugins over a folder of runs, as its server makes them."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.custom_scalar.custom_scalars_plugin import CustomScalarsPlugin
    from tensorboard.plugins.histogram.histograms_plugin import HistogramsPlugin
    from tensorboard.plugins.image.images_plugin import ImagesPlugin
    from tensorboard.plugins.pr_curve.pr_curves_plugin import PrCurvesPlugin
    from tensorboard.plugins.scalar.scalars_plugin import ScalarsPlugin
    from tensorboard.plugins.text.text_plugin import TextPlugin

    runs = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
    plugins = {}
    provider = MultiplexerDataProvider(runs, str(folder))
    context = TBContext(multiplexer=runs, data_provider=provider, logdir=str(folder), plugin_name_to_instance=plugins)
    plugins["scalars"] = ScalarsPlugin(context)
    return SimpleNamespace(
        request=RequestContext(),
        charts=CustomScalarsPlugin(context),
        histograms=HistogramsPlugin(context),
        images=ImagesPlugin(context),
        curves=PrCurvesPlugin(context),
        texts=TextPlugin(context),
    )


def counted(logits, labels):
    counts = Counts()
    counts.add(np.array(logits, np.float32), np.array(labels, np.float32))
    return counts


# Runs and tags


def test_what_was_written_is_read_at_once_and_after_a_restart(tmp_path):
    writer = TensorBoard(str(tmp_path))
    writer.write(10, {"window/auc": 0.5, "lag_rows": 3.0})
    assert events_of(tmp_path) == {"window/quality/auc": [(10, 0.5)], "train/stream/lag_rows": [(10, 3.0)]}
    writer.close()
    again = TensorBoard(str(tmp_path))
    again.write(20, {"lag_rows": 4.0})
    again.close()
    assert events_of(tmp_path)["train/stream/lag_rows"] == [(10, 3.0), (20, 4.0)]


def test_events_of_an_older_version_are_read_by_the_same_command(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "events.out.tfevents.1.host.1")) as file:
        value = tf.compat.v1.Summary.Value(tag="running/auc", simple_value=0.75)
        for event in (
            tf.compat.v1.Event(wall_time=1, file_version="brain.Event:2"),
            tf.compat.v1.Event(wall_time=2, step=7, summary=tf.compat.v1.Summary(value=[value])),
        ):
            file.write(event.SerializeToString())
    writer = TensorBoard(str(tmp_path))
    writer.write(10, {"running/auc": 0.5})
    writer.close()
    assert events_of(tmp_path) == {"running/auc": [(7, 0.75)], "running/quality/auc": [(10, 0.5)]}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("running/log_loss", [("running", "quality/log_loss")]),
        ("running/trivial_log_loss", [("running", "quality/trivial_log_loss"), ("trivial", "quality/log_loss")]),
        ("window/trivial_log_loss", [("window", "quality/trivial_log_loss")]),
        ("served/auc", [("served", "quality/auc")]),
        ("served/rows", [("served", "stream/rows")]),
        ("served/age_secs", [("train", "serving/age_secs")]),
        ("export/refused", [("train", "serving/export_refused")]),
        ("unread_rows/lost", [("train", "unread_rows/lost")]),
        ("train/wide_loss", [("train", "train/wide_loss")]),
        ("values/missing_I1", [("train", "values/missing_I1")]),
        ("rows_per_sec", [("train", "stream/rows_per_sec")]),
    ],
)
def test_curves_that_belong_together_have_one_tag_and_all_have_a_group(name, expected):
    assert places(name) == expected


def test_a_write_keeps_no_memory(tmp_path):
    def resident_kb():
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])

    writer = TensorBoard(str(tmp_path))
    scalars = {f"window/{i}": float(i) for i in range(6)}
    counts = counted([0.0, 1.0], [0, 1])

    def write(steps):
        for step in range(steps):
            writer.write(step, scalars)
            if step % 3 == 0:  # a picture takes longer than the rest
                writer.write_scores(step, counts)

    write(200)
    before = resident_kb()
    write(1500)
    assert resident_kb() - before < 5000  # tf.summary keeps 25,000
    writer.close()


# The layout


def test_charts_are_ordered_as_people_ask(tmp_path):
    writer = TensorBoard(str(tmp_path))
    names = ("running/log_loss", "window/log_loss", "total/log_loss", "served/log_loss", "running/trivial_log_loss")
    writer.write(10, dict.fromkeys(names, 0.25) | {"unread_rows/lost": 2.0, "values/missing_I1": 0.5, "values/unknown_C1": 0.75})
    writer.close()
    plugins = plugins_of(tmp_path)
    groups = json.loads(plugins.charts.layout_impl(plugins.request, "experiment"))["category"]
    assert [group["title"] for group in groups] == ["How good is it?", "Is it fed?", "What went wrong?", "The columns", "Serving"]
    charts = {chart["title"]: chart["multiline"]["tag"] for group in groups for chart in group["chart"]}

    def curves(title):
        """Tags by run, as the page asks for them."""
        [tags] = [tags for chart, tags in charts.items() if chart.startswith(title)]
        runs = ("running", "served", "total", "train", "trivial", "window")
        found = {run: plugins.charts.scalars_impl(plugins.request, run, tags[0], "experiment")["tag_to_events"] for run in runs}
        return {
            run: {tag: [value for _, _, value in points] for tag, points in tags.items()} for run, tags in found.items() if tags
        }

    one = {"quality/log_loss": [0.25]}
    assert curves("log loss") == {"running": one, "served": one, "total": one, "trivial": one, "window": one}
    assert curves("offsets passed over") == {"train": {"unread_rows/lost": [2.0]}}
    assert curves("share of missing values") == {"train": {"values/missing_I1": [0.5]}}
    assert curves("share of values that the dictionaries do not hold, or without a row") == {"train": {"values/unknown_C1": [0.75]}}


def test_each_label_has_charts_of_how_good_it_is(tmp_path):
    writer = TensorBoard(str(tmp_path), others=("buy",))
    names = [f"{scope}_buy/{metric}" for scope in ("running", "window", "total") for metric in Counts().report()]
    names += ["served/log_loss_buy", "served/auc_buy"]
    writer.write(10, dict.fromkeys(names, 0.25))
    writer.close()
    plugins = plugins_of(tmp_path)
    group, *_ = json.loads(plugins.charts.layout_impl(plugins.request, "experiment"))["category"]
    charts = {chart["title"]: chart["multiline"]["tag"] for chart in group["chart"]}
    assert [title for title in charts if title.startswith("buy: ")] == [
        "buy: log loss; trivial: of the share of positives alone",
        "buy: AUC",
        "buy: normalised entropy (log loss / trivial): below 1 beats the trivial",
        "buy: calibration (mean prediction / share of positives): 1 is right",
    ]
    assert len(charts) == 8
    tags = [tag for name in names for _, tag in places(name)]

    def curves(title):
        return {tag for tag in tags if any(re.match(pattern, tag) for pattern in charts[title])}

    scopes = ("running", "window", "total")
    assert curves("buy: AUC") == {*(f"{scope}_buy/auc" for scope in scopes), "serving/auc_buy"}
    losses = {*(f"{scope}_buy/log_loss" for scope in scopes), "serving/log_loss_buy"}
    assert curves("buy: log loss; trivial: of the share of positives alone") == losses | {"running_buy/trivial_log_loss"}


def test_each_chart_shows_something_that_a_run_reports(tmp_path):
    """No chart's tags are misspelt: each matches a tag of what the loop, the publisher and ColumnShares report."""
    names = [f"{scope}/{metric}" for scope in ("running", "window", "total") for metric in Counts().report()]
    names += ["lag_secs", "newest_row_age_secs"]
    names += [f"vocabulary/{name}" for name in ("rows_in_use", "load", "admitted", "reused", "refused")]
    names += ["lag_rows", "rows_per_sec", "secs_left", "rejected_rows", "rows", "unread_rows/lost", "train/wide_loss"]
    names += ["drift/psi_I1", "drift/model_more_clicks", "values/missing_I1", "values/unknown_C1", "by_C9/gauc", "by_C9/ne_a"]
    names += ["served/age_secs", "served/newest_row_age_secs", "served/age_rows", "served/version"]
    names += [f"export/{name}" for name in ("published", "refused", "failed", "secs", "stall_secs")]
    tags = [tag for name in names for _, tag in places(name)]
    TensorBoard(str(tmp_path)).close()
    plugins = plugins_of(tmp_path)
    groups = json.loads(plugins.charts.layout_impl(plugins.request, "experiment"))["category"]
    patterns = [pattern for group in groups for chart in group["chart"] for pattern in chart["multiline"]["tag"]]
    assert [pattern for pattern in patterns if not any(re.match(pattern, tag) for tag in tags)] == []


# Scores


def test_the_scores_are_shown_as_histograms(tmp_path):
    writer = TensorBoard(str(tmp_path))
    writer.write_scores(10, counted([0.0, 0.1, 0.3, -0.1], [0, 1, 1, 0]))
    writer.close()
    plugins = plugins_of(tmp_path)

    def buckets(tag):
        [[_, step, found]] = plugins.histograms.histograms_impl(plugins.request, tag, "running", "experiment")[0]
        return step, np.array(found)

    step, found = buckets("scores/logit")
    # From -0.25, a quarter of a logit each.
    assert (step, found.tolist()) == (10, [[-0.25, 0.0, 1.0], [0.0, 0.25, 2.0], [0.25, 0.5, 1.0]])
    _, found = buckets("scores/probability")
    assert found[:, 2].tolist() == [1.0, 2.0, 1.0]
    assert found[:, 0] == pytest.approx([0.437823, 0.5, 0.562177], abs=1e-6)  # 1 / (1 + exp(0.25)), 1/2, 1 / (1 + exp(-0.25))
    assert found[-1, 1] == pytest.approx(0.622459, abs=1e-6)


def test_the_reliability_diagram_comes_as_an_image_that_a_browser_draws(tmp_path):
    writer = TensorBoard(str(tmp_path))
    writer.write_scores(10, counted([0.0, 0.0, 0.0, 0.0], [0, 1, 1, 0]))
    writer.close()
    plugins = plugins_of(tmp_path)
    [image] = plugins.images._image_response_for_run(plugins.request, "experiment", "running", "scores/reliability", 0)
    answer = Client(plugins.images.get_plugin_apps()["/individualImage"]).get(query_string=image["query"])
    assert (image["step"], answer.mimetype) == (10, "image/png")
    assert marked(answer.data, 74, 358)  # half are clicks: at the beginning of axes from 50 % to 75 %


def test_precision_and_recall_are_shown_over_thresholds(tmp_path):
    writer = TensorBoard(str(tmp_path))
    # Probabilities 0.12, 0.5 and 0.88, of which 0.12 comes twice.
    writer.write_scores(10, counted([-2.0, -2.0, 0.001, 2.0], [1, 0, 0, 1]))
    writer.close()
    plugins = plugins_of(tmp_path)
    [curve] = plugins.curves.pr_curves_impl(plugins.request, "experiment", ["running"], "scores/pr_curve")["running"]
    # Thresholds are 0.005 apart: 0, 0.1, 0.115, 0.12, 0.5, 0.505 and 0.88; above there is nothing.
    at = [0, 20, 23, 24, 100, 101, 176]
    assert [curve["thresholds"][i] for i in at] == pytest.approx([0, 0.1, 0.115, 0.12, 0.5, 0.505, 0.88])
    assert len(curve["thresholds"]) == 177
    assert [curve["true_positives"][i] for i in at] == [2, 2, 2, 1, 1, 1, 1]
    assert [curve["false_positives"][i] for i in at] == [2, 2, 2, 1, 1, 0, 0]
    assert [curve["true_negatives"][i] for i in at] == [0, 0, 0, 1, 1, 2, 2]
    assert [curve["false_negatives"][i] for i in at] == [0, 0, 0, 1, 1, 1, 1]
    assert [curve["precision"][i] for i in at] == [0.5, 0.5, 0.5, 0.5, 0.5, 1, 1]
    assert [curve["recall"][i] for i in at] == [1, 1, 1, 0.5, 0.5, 0.5, 0.5]


def test_the_scores_of_another_label_have_its_name_behind(tmp_path):
    writer = TensorBoard(str(tmp_path))
    writer.write_scores(10, counted([0.0], [1]))
    writer.write_scores(10, counted([0.1, 0.1, 0.1], [1, 0, 0]), "buy")
    writer.close()
    plugins = plugins_of(tmp_path)
    for tag, rows in (
        ("scores/logit", 1.0),
        ("scores/logit_buy", 3.0),
        ("scores/probability", 1.0),
        ("scores/probability_buy", 3.0),
    ):
        [[_, _, found]] = plugins.histograms.histograms_impl(plugins.request, tag, "running", "experiment")[0]
        assert np.array(found)[:, 2].tolist() == [rows]
    for tag, clicks in (("scores/pr_curve", 1), ("scores/pr_curve_buy", 1)):
        [curve] = plugins.curves.pr_curves_impl(plugins.request, "experiment", ["running"], tag)["running"]
        assert (curve["true_positives"][0], curve["false_positives"][0]) == (clicks, 0 if tag == "scores/pr_curve" else 2)
    pictures = []
    for tag in ("scores/reliability", "scores/reliability_buy"):
        [image] = plugins.images._image_response_for_run(plugins.request, "experiment", "running", tag, 0)
        pictures.append(Client(plugins.images.get_plugin_apps()["/individualImage"]).get(query_string=image["query"]).data)
    assert pictures == [
        reliability_png(counted([0.0], [1]).by_score()),
        reliability_png(counted([0.1] * 3, [1, 0, 0]).by_score(), "buy"),
    ]


def test_flags_are_shown_as_text_once_a_run(tmp_path):
    TensorBoard(
        str(tmp_path), {"flags": {"topic": "clicks_*new*", "kafka_property": ("a=1", "b=2"), "history": True, "l": ""}}, 7
    ).close()
    plugins = plugins_of(tmp_path)
    [shown] = plugins.texts.text_impl(plugins.request, "train", "run/flags", "experiment", enable_markdown=True)
    assert shown["step"] == 7
    cells = re.findall(r"<td>(?:<p>)?(?:<code>(.*?)</code>)?(?:</p>)?</td>", shown["text"])
    assert cells == ["topic", "clicks_*new*", "kafka_property", "a=1, b=2", "history", "True", "l", ""]


def test_no_rows_have_no_picture(tmp_path):
    writer = TensorBoard(str(tmp_path))
    writer.write_scores(10, Counts())
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


# The reliability diagram


def marked(png, x, y):
    """Whether a point is drawn there."""
    near = Image.open(io.BytesIO(png)).convert("RGB").crop((x - 1, y - 1, x + 2, y + 2))
    wanted = [int(POINT[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((np.abs(np.asarray(near, int) - wanted) < 8).all())


def test_where_a_point_stands():
    # The axes go from 10 % to 90 %, the nearest marks outside; logits are -2.2, 0 and 2.2 at 10, 50 and 90 %. The picture is 420
    # wide and high, with margins of 74, 24, 72 and 62: 322 and 286 are left.
    parts = [(1000.0, 0.1, 0.1), (1000.0, 0.5, 0.9), (1000.0, 0.9, 0.5)]
    axes, png = Axes.around(parts), reliability_png(parts)
    assert axes.ticks == (0.1, 0.25, 0.5, 0.75, 0.9)
    places = [(74, 358), (235, 72), (396, 215)]
    assert [(axes.x(predicted), axes.y(clicked)) for _, predicted, clicked in parts] == [pytest.approx(place) for place in places]
    assert Image.open(io.BytesIO(png)).size == (WIDTH, HEIGHT) == (420, 420)
    assert [marked(png, x, y) for x, y in places] == [True] * 3
    assert not marked(png, 235, 215)


def test_shares_of_a_hundredth_are_told_apart():
    axes = Axes.around([(1e6, 0.002, 0.0021), (1e6, 0.008, 0.0079), (1e6, 0.06, 0.061)])
    assert axes.ticks == (0.001, 0.003, 0.01, 0.03, 0.1)
    x1, x2, x3 = (axes.x(predicted) for predicted in (0.002, 0.008, 0.06))
    assert 90 < x2 - x1 < 120 < x3 - x2


@pytest.mark.parametrize(
    "parts",
    [
        [(4.0, 0.5, 0.5)],
        [(4.0, 0.3, 0.0)],
        [(4.0, 0.3, 1.0), (0.001, 0.9999999, 0.0)],
        [(1.0, 1e-7, 0.0)],
        [(1.0, 0.9999999, 1.0)],
    ],
)
def test_what_lies_beyond_the_axes_is_drawn_at_their_ends(parts):
    axes, png = Axes.around(parts), reliability_png(parts)
    for _, predicted, clicked in parts:
        x, y = axes.x(predicted), axes.y(clicked)
        assert 74 <= x <= 396
        assert 72 <= y <= 358
        assert marked(png, round(x), round(y))


def test_the_interval_of_a_share():
    assert interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)  # Wilson's, as tables have it
    assert interval(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert interval(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


# Columns

# Ids: I1 0, I2 1, OOVC1 2, OOVC2 3, C1_a 4, C1_b 5, C2_x 6; then seven buckets of I1 and I2 each with --numeric=bucket.
DICTIONARIES = Dictionaries(
    max={"I1": 9, "I2": 9},
    min={"I1": 0, "I2": 0},
    cat2id={"I1": 0, "I2": 1, "OOVC1": 2, "OOVC2": 3, "C1_a": 4, "C1_b": 5, "C2_x": 6},
)
MESSAGES = [b"1\t3\t\ta\tx", b"0\t\t\tb\tx", b"0\t5\t\tc\t", b"1\t5\t8\td\ty", b"no row"]


@pytest.mark.parametrize("numeric", ["minmax", "log", "bucket"])
@pytest.mark.parametrize("oov_buckets", [0, 5])
def test_shares_of_missing_and_of_unknown_values(numeric, oov_buckets):
    features = Features(SMALL_SCHEMA, DICTIONARIES, numeric, oov_buckets=oov_buckets)
    shares = ColumnShares(features)
    assert shares(features.parse(tf.constant(MESSAGES))) == {
        "values/missing_I1": 0.25,
        "values/missing_I2": 0.75,
        "values/missing_C1": 0.0,
        "values/missing_C2": 0.25,
        "values/unknown_C1": 0.5,
        "values/unknown_C2": 0.25,
    }
    assert shares(features.parse(tf.constant([b"no row", b""]))) == {}
    assert shares(features.parse(tf.constant([], tf.string))) == {}


def test_of_many_rows_a_sample_is_looked_at_all_over_them():
    features = Features(SMALL_SCHEMA, DICTIONARIES, "bucket")
    shares = ColumnShares(features)
    rows = [b"0\t\t\ta\tx"] * 3000 + [b"0\t1\t\ta\tx"] * 3000
    found = shares(features.parse(tf.constant(rows)))
    assert (found["values/missing_I1"], found["values/missing_I2"]) == (0.5, 1.0)
    assert not any(math.isnan(share) for share in found.values())
