"""The arithmetic of the benchmark of growth: ratios, exponents, and the bytes that workers send."""

import math

import pytest

from benchmarks.growth import reckon, table


def test_an_exponent_is_1_where_a_figure_grows_as_the_axis_does_and_0_where_it_does_not():
    assert table.exponents([10, 100, 1000, 2000], [3, 30, 30, 120]) == pytest.approx([1, 0, 2])
    assert math.isnan(*table.exponents([10, 100], [0, 5]))


def test_a_table_has_ratios_to_the_smallest_point_whatever_the_order_and_leaves_out_what_is_nowhere():
    points = {100: {"cpu_us": 6.0, "sent, kB": 2.0}, 10: {"cpu_us": 3.0}, 1000: {"cpu_us": 4.5, "sent, kB": 4.0}}
    head, _, cpu, sent = table.lines("partitions", "consumer", points)
    assert head == "| partitions, consumer | 10 | 100 | 1,000 |"
    assert cpu == "| CPU a row, µs | 3 | 6 (2.00; +0.30) | 4.5 (1.50; -0.12) |"
    assert sent.startswith("| sent, kB | | 2 | 4 (")
    assert table.largest(points) == 2.0


def test_what_workers_send_is_a_ring_of_each_collective():
    model = reckon.Model(dense=999, width=8, observed=10)
    two, four = (reckon.sent(model, workers, rows=100, distinct=50) for workers in (2, 4))
    assert two == {"dense": 4000, "tables": 50 * (36 + 8), "observed": 4000, "agreement": 1600 + 152}
    assert four == {"dense": 6000, "tables": 3 * 50 * 44, "observed": 12_000, "agreement": 4800 + 228}
