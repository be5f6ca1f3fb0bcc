"""Offsets in a line for people."""

import pytest

from tfonline.stream.offsets_in_words import short


@pytest.mark.parametrize(
    ("offsets", "shown"),
    [
        ([], "[]"),
        ([200], "[200]"),
        ((200,), "[200]"),
        ([1, 2, 3, 4, 5, 6, 7, 8], "[1, 2, 3, 4, 5, 6, 7, 8]"),
        ([10, 20, 3, 4, 5, 6, 7, 8, 1000], "[0: 10, 1: 20, ... 7 more], 1,063 in all"),
        ((10, 20, 3, 4, 5, 6, 7, 8, 1000), "[0: 10, 1: 20, ... 7 more], 1,063 in all"),
        ([1234567] * 1000, "[0: 1234567, 1: 1234567, ... 998 more], 1,234,567,000 in all"),
    ],
)
def test_few_partitions_are_written_out_and_many_are_summed_up(offsets, shown):
    assert short(offsets) == shown
