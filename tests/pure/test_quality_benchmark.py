"""The benchmark of who predicts best: how its figures are reckoned."""

import gzip

import numpy as np
import pytest

from benchmarks.quality.orders import in_order
from benchmarks.quality.report import of_tenths, paired_bootstrap, table, worst_tenth, worst_tenth_by_chance
from benchmarks.quality.scores import plain_rows


def test_each_tenth_by_score_has_its_calibration():
    # Twenty rows, two a tenth, of which one was clicked; probabilities 1/4 up to 3/4, the order of the rows mixed up.
    p = np.array([0.25] * 2 + [0.5] * 16 + [0.75] * 2)
    labels = np.tile(np.array([0, 1], np.float32), 10)
    order = np.concatenate([np.arange(10, 20), np.arange(10)])
    logits = np.log(p / (1 - p)).astype(np.float32)
    assert of_tenths(logits[order], labels[order]) == pytest.approx([0.5, *[1.0] * 8, 1.5])
    assert worst_tenth(logits, labels) == pytest.approx(0.5)


def test_a_tenth_without_a_click_is_infinitely_wrong():
    assert worst_tenth(np.arange(10, dtype=np.float32), np.array([0] + [1] * 9, np.float32)) == np.inf


def test_what_chance_alone_does_falls_with_the_rows():
    # With p 1/2 and n rows a tenth, ten shares of clicks lie 1 / sqrt(n) apart, and the worst of ten some 1.7 times as far.
    few, many = (worst_tenth_by_chance(np.zeros(10 * n, np.float32)) for n in (100, 10_000))
    assert few == pytest.approx(0.18, rel=0.2)
    assert many == pytest.approx(0.018, rel=0.2)


def test_the_table_has_a_column_for_the_worst_tenth():
    labels = np.tile(np.array([0, 1], np.float32), 70)
    head, _, row = table({"coin": [np.zeros(140, np.float32)]}, {"coin": 1.0}, labels)
    assert head.split("|")[6].strip() == "worst tenth"
    assert row.split("|")[6].strip() == "0.000"


def test_a_stream_in_another_order_has_the_same_rows():
    assert in_order(3, "forward").tolist() == [0, 1, 2]
    assert in_order(3, "reversed").tolist() == [2, 1, 0]
    blocks = in_order(4500, "blocks")
    assert sorted(blocks) == list(range(4500))
    assert blocks.tolist() != list(range(4500))
    assert (np.diff(blocks) != 1).sum() <= 4  # within a block the rows stand as they did


def test_the_rows_are_written_in_their_order(tmp_path):
    (tmp_path / "rows.gz").write_bytes(gzip.compress(b"1\ta\n0\tb\n0\tc\n"))
    assert plain_rows(str(tmp_path / "rows.gz"), tmp_path, "reversed").read_bytes() == b"0\tc\n0\tb\n1\ta\n"


def test_the_margin_of_several_seeds_is_the_mean_of_theirs():
    labels = np.tile(np.array([0, 1], np.float32), 70)
    right, coin = (labels - 0.5) * 2, np.zeros(140, np.float32)
    of_both = paired_bootstrap(np.stack([right, coin]), coin, labels)
    assert of_both["auc"] == pytest.approx((0.25, 0.25, 0.25))  # 0.5 and 0
    margin = np.log(2) - np.log1p(np.exp(-1))
    assert of_both["log_loss"] == pytest.approx((margin / 2,) * 3)
    assert paired_bootstrap(right, coin, labels)["log_loss"] == pytest.approx((margin,) * 3)
