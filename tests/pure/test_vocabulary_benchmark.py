"""The benchmark of ids that come with the stream: how figures are reckoned and told."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from benchmarks.quality.scores import scored
from benchmarks.vocabulary.drift import auc_by_window, closed_share, full_at, memory_growth
from benchmarks.vocabulary.figures import Figures, closing_line
from benchmarks.vocabulary.kills import closing_of
from benchmarks.vocabulary.picture import draw
from tfonline.evaluate.progressive import PREDICTION


def test_the_share_of_the_gap_that_is_closed():
    assert closed_share(growing=0.76, frozen=0.74, most=0.79) == pytest.approx(0.4)
    assert closed_share(growing=0.73, frozen=0.74, most=0.79) == pytest.approx(-0.2)


def test_a_vocabulary_is_full_when_it_has_nearly_the_rows_of_the_end():
    assert full_at([(10.0, 0.0), (12.0, 94.0), (14.0, 95.0), (16.0, 100.0)]) == 14.0
    assert full_at([(10.0, 100.0), (12.0, 100.0)]) == 10.0


def test_memory_is_the_least_of_the_first_and_of_the_last_tenth():
    # Before 5.0 s it grows by what does not count; of 20 samples a tenth is two.
    samples = [(float(i), 10) for i in range(5)] + [(5.0 + i, 1000) for i in range(20)]
    samples[5], samples[6] = (5.0, 900), (6.0, 800)
    samples[-2], samples[-1] = (23.0, 1000), (24.0, 840)
    assert memory_growth(samples, 5.0) == pytest.approx(0.05)
    assert memory_growth(samples, 20.0) is None  # of five


def test_each_hundredth_of_the_stream_has_its_auc():
    labels = np.tile(np.array([0, 1], np.float32), 200)  # 400 rows, four a window
    logits = np.where(np.arange(400) < 200, labels, -labels).astype(np.float32)
    assert auc_by_window(logits, labels) == [1.0] * 50 + [0.0] * 50


def test_scores_stand_in_the_order_of_the_rows(tmp_path):
    np.array([(0, 2, 1, 0.5), (0, 0, 0, -1.0), (0, 1, 1, 2.0)], PREDICTION).tofile(tmp_path / "predictions.bin")
    logits, labels = scored(tmp_path)
    assert logits.tolist() == [-1.0, 2.0, 0.5]
    assert labels.tolist() == [0.0, 1.0, 1.0]


def test_the_closing_line_holds_what_was_measured_in_one_order():
    assert closing_line({"kills": "10", "weights_equal": "yes", "auc": "0.76411"}) == (
        "vocabulary: auc=0.76411 kills=10 weights_equal=yes"
    )


def test_figures_are_written_as_they_come_and_curves_are_no_part_of_the_table(tmp_path, capsys):
    figures = Figures(tmp_path / "results.jsonl")
    figures.part = "drift"
    figures.note("rows/s", 12_345.6)
    figures.note("curve", [0.5, 0.75])
    assert (tmp_path / "results.jsonl").read_text().splitlines() == [
        '{"part": "drift", "name": "rows/s", "value": 12345.6}',
        '{"part": "drift", "name": "curve", "value": [0.5, 0.75]}',
    ]
    assert figures.table()[2:] == ["| drift | rows/s | 12,346 |"]
    assert "curve" not in capsys.readouterr().out


def test_the_closing_line_of_the_chaos_is_read():
    said = (
        "chaos: 00:45 kill 1 in saving (window 9, step 16); so far {'saving': 1}\n"
        "chaos: kills=10 broker_faults=0 lost=0 duplicated=0 weights_equal=yes vocabulary_load=0.998 seconds=300\n"
    )
    found = closing_of(said)
    assert (found["kills"], found["weights_equal"], found["vocabulary_load"]) == ("10", "yes", "0.998")
    with pytest.raises(ValueError, match="no closing line of the chaos"):
        closing_of("chaos: FAILED, seed 3: the trainer stands still\n")


def test_the_picture_has_a_line_a_curve_within_its_frame():
    svg = ElementTree.fromstring(draw({"one": [0.70, 0.75, 0.78], "other": [0.71, 0.72, 0.73]}, 300_000))
    lines = svg.findall("{http://www.w3.org/2000/svg}polyline")
    points = [[tuple(map(float, p.split(","))) for p in line.get("points").split()] for line in lines]
    assert [len(of) for of in points] == [3, 3]
    assert all(0 < x < float(svg.get("width")) and 0 < y < float(svg.get("height")) for of in points for x, y in of)
    ys = [y for _, y in points[0]]
    assert ys == sorted(ys, reverse=True)  # a better AUC stands higher
    assert points[0][0][1] > points[1][0][1]
    texts = [text.text for text in svg.findall("{http://www.w3.org/2000/svg}text")]
    assert {"one", "other", "300,000"} <= set(texts)
