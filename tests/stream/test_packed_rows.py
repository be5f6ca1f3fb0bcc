"""Rows without a Python object for each: what is made of them, and that TensorFlow reads it."""

import numpy as np
import pytest
import tensorflow as tf

from tfonline import string_tensor as tensors
from tfonline.lifecycle import UserError
from tfonline.stream.readers import NO_TIME, Rows
from tfonline.stream.readers.packed import join, messages, pack, string_tensor
from tfonline.stream.readers.worker import rows_answer, rows_of

# On both sides of where a size takes one byte more.
SIZES = [0, 1, 127, 128, 16_383, 16_384, 2**21 - 1, 2**21]


def rows_of_sizes(sizes):
    message = [bytes([i % 256]) * size for i, size in enumerate(sizes)]
    return Rows(message, list(range(7, 7 + len(sizes))), [NO_TIME - i for i in range(len(sizes))])


@pytest.mark.parametrize("sizes", [[], [0], [5], SIZES, SIZES[::-1], [3] * 600, [200, 0, 3] * 99])
def test_a_tensor_of_them_has_the_messages(sizes):
    rows = rows_of_sizes(sizes)
    found = tf.io.parse_tensor(string_tensor(pack(rows)), tf.string)
    assert found.shape == [len(sizes)]
    assert found.numpy().tolist() == rows.message


def test_a_tombstone_is_kept_apart_and_empty_in_a_tensor():
    rows = Rows([b"a\x00", None, b"", b"\xff"], [1, 2, 3, 9], [5, 6, 7, 8])
    assert messages(pack(rows)) == rows.message
    assert tf.io.parse_tensor(string_tensor(pack(rows)), tf.string).numpy().tolist() == [b"a\x00", b"", b"", b"\xff"]


@pytest.mark.parametrize("cut", [0, 1, 3, 5])
def test_parts_joined_are_the_whole_also_by_way_of_another_process(cut):
    rows = Rows([b"ab", None, b"", b"cde", b"f"], [1, 2, 5, 6, 9], [5, 6, 7, 8, 9])
    whole = pack(rows)
    partition, there = rows_of(memoryview(b"".join(rows_answer(3, join([whole.part(0, cut), whole.part(cut, 5)])))))
    assert (partition, len(there)) == (3, 5)
    assert (messages(there), there.offset.tolist(), there.time_ms.tolist()) == rows[:3]
    assert [c.dtype for c in (there.size, there.offset, there.time_ms)] == [np.int32, np.int64, np.int64]
    assert len(join([])) == 0


def test_more_bytes_than_a_tensor_can_be_made_of_are_refused(monkeypatch):
    monkeypatch.setattr(tensors, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match=r"2 rows are trained at once, and their messages have 1,004 bytes.*--batch_size") as e:
        string_tensor(pack(rows_of_sizes([500, 500])))
    assert e.value.code == 64
