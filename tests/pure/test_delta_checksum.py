"""The checksum of a model: what docs and docstring say, and that it moves with the rows that change."""

import hashlib

import numpy as np
import pytest

from tfonline.deltas import checksum
from tfonline.deltas.checksum import moved, row_hashes, total

MASK = 2**64 - 1


def plain(name, row, content):
    """The hash of a row's bytes, number by number, as it is written down."""

    def mix(x):
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        return x ^ (x >> 31)

    content += bytes(-len(content) % 4)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    words = [int.from_bytes(content[i : i + 4], "little") for i in range(0, len(content), 4)]
    factors = [mix((j * 0x9E3779B97F4A7C15) & MASK) | 1 for j in range(1, len(words) + 1)]
    return mix((mix((seed + row) & MASK) + sum(a * w for a, w in zip(factors, words, strict=True))) & MASK)


@pytest.mark.parametrize(
    "values",
    [
        np.array([[1.5], [0.0], [-2.0]], np.float32),
        np.arange(3 * 40, dtype=np.float32).reshape(3, 40),  # more words than are taken one by one
        np.array([[1, -1], [2**40, 0], [5, 6]], np.int64),
        np.array([1, 2, 3], np.uint16),  # filled up
        np.array([[True, False, True]] * 3),
    ],
    ids=["floats", "wide", "longs", "shorts", "bools"],
)
def test_it_is_what_is_written_down(values, monkeypatch):
    monkeypatch.setattr(checksum, "_AT_ONCE", 2)  # in several parts
    expected = [plain("model/x", i, row.tobytes()) for i, row in enumerate(values)]
    assert row_hashes("model/x", values).tolist() == expected
    assert total(row_hashes("model/x", values)) == sum(expected) % 2**64
    rows = np.array([7, 3, 900])
    assert row_hashes("model/x", values, rows).tolist() == [
        plain("model/x", int(r), row.tobytes()) for r, row in zip(rows, values, strict=True)
    ]


def test_a_variable_without_an_axis_is_a_row():
    assert row_hashes("b", np.float32(0.25)).tolist() == [plain("b", 0, np.float32(0.25).tobytes())]


def test_no_rows_have_no_hash():
    assert row_hashes("t", np.zeros([0, 3], np.float32), np.zeros(0, np.int64)).tolist() == []
    assert total(row_hashes("t", np.zeros([0, 3], np.float32))) == 0


def test_it_moves_with_the_rows_that_change():
    random = np.random.default_rng(1)
    before = random.normal(size=(50, 3)).astype(np.float32)
    after, rows = before.copy(), np.array([0, 17, 49])
    after[rows] = 1.0
    of_rows = [total(row_hashes("t", values[rows], rows)) for values in (before, after)]
    assert moved(total(row_hashes("t", before)), *of_rows) == total(row_hashes("t", after))


def test_every_bit_place_and_name_counts():
    values = np.zeros([4, 2], np.float32)
    found = {total(row_hashes("t", values)), total(row_hashes("u", values))}
    for i in range(4 * 2 * 32):
        changed = values.copy()
        changed.view(np.uint32).ravel()[i // 32] ^= np.uint32(1 << i % 32)
        found.add(total(row_hashes("t", changed)))
    swapped = np.arange(8, dtype=np.float32).reshape(4, 2)
    found |= {total(row_hashes("t", swapped)), total(row_hashes("t", swapped[::-1])), total(row_hashes("t", swapped[:, ::-1]))}
    assert len(found) == 2 + 256 + 3
