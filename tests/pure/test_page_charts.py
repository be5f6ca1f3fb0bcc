"""The charts of tools/report.py: where points stand, which of them are drawn, and what stands beside the axes."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from report_charts import STYLE, Axis, Line, distribution, line_chart, reliability, sparkline, standalone
from report_scales import downsample, limits, ticks, time_ticks, with_gaps

ROWS = Axis("rows")
FIRST_OF_MAY = 1714521600  # seconds since 1970, at midnight UTC


def numbers(*values):
    return np.array(values, np.float64)


def labels(marks):
    return [label for _, label in marks]


# Numbers


def test_of_many_points_the_lowest_and_the_highest_of_each_part_stay():
    x, y = np.arange(1000.0), np.zeros(1000)
    y[500], y[501], y[999] = 9, -9, 3
    found_x, found_y = downsample(x, y, 10)
    assert len(found_x) <= 22
    assert (np.diff(found_x) > 0).all()
    assert dict(zip(found_x.tolist(), found_y.tolist(), strict=True)).items() >= {0: 0, 500: 9, 501: -9, 999: 3}.items()
    assert downsample(x[:22], y[:22], 10)[0].tolist() == x[:22].tolist()


def test_a_first_point_far_from_all_others_is_left_out_and_counted():
    y = np.append(np.arange(100) / 100, 1000.0)
    low, high, outside = limits(y)
    assert (low, outside) == (0.0, 1)
    assert 1 < high < 2
    assert limits(y, whole=True) == (0.0, 1040.0, 0)
    assert limits(np.append(y, np.nan), whole=True) == (0.0, 1040.0, 0)


def test_an_axis_has_a_length_and_reaches_what_it_has_to():
    assert limits(numbers(5, 5)) == (4.5, 5.5, 0)
    assert limits(numbers(0, 0)) == (0.0, 1.0, 0)
    assert limits(numbers(1, 2), reach=(0.0, 10.0), whole=True) == (0.0, 10.4, 0)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0, 137_139, ["0", "25k", "50k", "75k", "100k", "125k"]),
        (0, 9000, ["0", "2,000", "4,000", "6,000", "8,000"]),
        (0.452, 0.63, ["0.50", "0.55", "0.60"]),
        (-0.1, 0.1, ["-0.10", "-0.05", "0.00", "0.05", "0.10"]),
        (2e9, 12e9, ["2G", "4G", "6G", "8G", "10G", "12G"]),
        (0.84, 0.97, ["0.850", "0.875", "0.900", "0.925", "0.950"]),
    ],
)
def test_round_numbers_stand_at_an_axis(low, high, expected):
    assert labels(ticks(low, high)) == expected


def test_round_times_stand_at_an_axis():
    hour, day = 3600, 86400
    assert labels(time_ticks(FIRST_OF_MAY + 1, FIRST_OF_MAY + hour)) == ["00:10", "00:20", "00:30", "00:40", "00:50", "01:00"]
    assert labels(time_ticks(FIRST_OF_MAY, FIRST_OF_MAY + 5)) == [f"00:00:0{i}" for i in range(6)]
    assert labels(time_ticks(FIRST_OF_MAY, FIRST_OF_MAY + day + hour))[:2] == ["01 May 00:00", "01 May 06:00"]
    assert labels(time_ticks(FIRST_OF_MAY, FIRST_OF_MAY + 28 * day)) == ["07 May 2024", "17 May 2024", "27 May 2024"]


def test_nothing_is_drawn_between_two_runs():
    x, y = with_gaps(numbers(1, 2, 3, 4), numbers(5, 6, 7, 8), [2.5, 0.5, 9.0])
    assert x.tolist() == [1, 2, 3, 3, 4]
    assert np.isnan(y).tolist() == [False, False, True, False, False]


# Pictures


def test_where_a_curve_stands():
    svg = line_chart("log < loss", [Line("a & b", numbers(0, 10), numbers(0, 1))], ROWS, whole=True)
    # From 58 to 464 along, from 248 up to 49 below title and legend; the axis goes to 1.04: 248 - 199 / 1.04 = 56.7.
    assert re.findall(r' d="(.*?)"', svg) == ["M58.0 248.0L464.0 56.7"]
    texts = [text.text for text in ElementTree.fromstring(svg).iter("text")]
    assert texts[:2] == ["log < loss", "a & b"]
    assert texts[2:8] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert texts[-1] == "rows"


def test_a_curve_has_gaps_and_a_point_by_itself_is_seen():
    svg = line_chart("t", [Line("a", numbers(0, 5, 6, 10), numbers(1, np.nan, 1, np.nan))], ROWS)
    assert re.findall(r' d="(.*?)"', svg) == ["M58.0 148.5h.1M301.6 148.5h.1"]  # 58 + 0.6 * 406


def test_a_restart_a_level_and_points_outside_are_marked():
    y = np.append(1000.0, np.arange(100) / 100)
    svg = line_chart("t", [Line("a", np.arange(101.0), y)], ROWS, marks=[50.0, -3.0], level=0.5)
    assert re.findall(r'class="mark" d="(.*?)"', svg) == ["M261.0 49V248"]  # (58 + 464) / 2
    assert ">a run begins<" in svg
    assert svg.count('<line class="level"') == 1
    assert ">1 point outside<" in svg


def test_nothing_has_no_picture():
    assert line_chart("t", [], ROWS) == line_chart("t", [Line("a", numbers(), numbers())], ROWS) == ""
    assert line_chart("t", [Line("a", numbers(1), numbers(np.nan))], ROWS) == ""
    assert distribution("t", [("rows", numbers(0), numbers())]) == reliability("t", [("rows", [])]) == ""
    assert sparkline(numbers(1), 1.0) == ""


def test_where_a_part_of_the_scores_stands():
    # Both axes go from 25 % to 50 %.
    svg = reliability("t", [("recent", [(100.0, 0.25, 0.5)]), ("all", [(100.0, 0.5, 0.25)])])
    assert re.findall(r'cx="(.*?)" cy="(.*?)"', svg) == [("58.0", "49.0"), ("464.0", "248.0")]
    assert [t.text for t in ElementTree.fromstring(svg).iter("text")][3:5] == ["25 %", "50 %"]
    assert "circle" in reliability("t", [("recent", [(5.0, 0.3, 0.0)])])  # no click: at the axis' end


def test_how_scores_are_distributed():
    svg = distribution("t", [("rows", numbers(-1, 0, 1), numbers(2, 1))])
    # The axis goes to 2.1: 248 - 199 * 2 / 2.1 = 58.5, 248 - 199 / 2.1 = 153.2.
    assert re.findall(r' d="(.*?)"', svg) == ["M58.0 248V58.5H261.0V153.2H464.0V248z"]


def test_a_small_curve_for_a_cell():
    assert 'points="0,19 50,10 100,1"' in sparkline(numbers(0, 1, 2), 2.0)


def test_a_chart_by_itself_is_a_picture_with_its_own_style():
    svg = standalone(line_chart("t", [Line("a", numbers(0, 1), numbers(0, 1))], ROWS))
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert STYLE in root[0].text
