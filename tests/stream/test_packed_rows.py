"""Rows without a Python object for each: what is made of them, and that TensorFlow reads it."""

import numpy as np
import pytest
import tensorflow as tf

from tfonline import string_tensor as tensors
from tfonline.lifecycle import UserError
from tfonline.stream.readers import NO_TIME, Rows
from tfonline.stream.readers.packed import columns_of, join, messages, pack, string_tensor
from tfonline.stream.readers.worker import rows_answer, rows_of

# On both sides of where a size takes one byte more.
SIZES = [0, 1, 127, 128, 16_383, 16_384, 2**21 - 1, 2**21]


def rows_of_sizes(sizes):
    message = [bytes([i % 256]) * size for i, size in enumerate(sizes)]
    return Rows(message, list(range(7, 7 + len(sizes))), [NO_TIME - i for i in range(len(sizes))])


def tensor_of(*parts):
    return string_tensor(columns_of(parts)[0], parts)


@pytest.mark.parametrize("sizes", [[], [0], [5], SIZES, SIZES[::-1], [3] * 600, [200, 0, 3] * 99])
def test_a_tensor_of_them_has_the_messages(sizes):
    rows = rows_of_sizes(sizes)
    found = tf.io.parse_tensor(tensor_of(pack(rows)), tf.string)
    assert found.shape == [len(sizes)]
    assert found.numpy().tolist() == rows.message


def test_a_tombstone_is_kept_apart_and_empty_in_a_tensor():
    rows = Rows([b"a\x00", None, b"", b"\xff"], [1, 2, 3, 9], [5, 6, 7, 8])
    assert messages(pack(rows)) == rows.message
    assert tf.io.parse_tensor(tensor_of(pack(rows)), tf.string).numpy().tolist() == [b"a\x00", b"", b"", b"\xff"]


@pytest.mark.parametrize("num_rows", [1, 2, 3, 7, 30])
def test_parts_of_parts_have_the_rows_that_they_name(num_rows):
    rows = rows_of_sizes([3, 0, 200, 1, 70, 0, 5, 9, 2])
    rows = rows._replace(message=[None if i == 5 else m for i, m in enumerate(rows.message)])
    rest, found = pack(rows), []
    while len(rest):
        found.append(rest.part(0, num_rows))
        rest = rest.part(num_rows, len(rest))
    assert [len(part) for part in found[:-1]] == [num_rows] * (len(found) - 1)
    assert [m for part in found for m in messages(part)] == rows.message
    assert [o for part in found for o in part.offset.tolist()] == rows.offset
    assert tf.io.parse_tensor(tensor_of(*found), tf.string).numpy().tolist() == [m or b"" for m in rows.message]
    for part in found:  # also of a part that does not begin with the first row
        assert messages(part.part(1, len(part))) == messages(part)[1:]


@pytest.mark.parametrize("cut", [0, 1, 3, 5])
def test_parts_joined_are_the_whole_also_by_way_of_another_process(cut):
    rows = Rows([b"ab", None, b"", b"cde", b"f"], [1, 2, 5, 6, 9], [5, 6, 7, 8, 9])
    whole = pack(rows)
    answer = rows_answer(3, join([whole.part(0, cut), whole.part(cut, 5)]), go_on=12)
    partition, there, go_on = rows_of(memoryview(b"".join(answer)))
    assert (partition, len(there), go_on) == (3, 5, 12)
    assert (messages(there), there.offset.tolist(), there.time_ms.tolist()) == rows[:3]
    assert [c.dtype for c in (there.size, there.offset, there.time_ms)] == [np.int32, np.int64, np.int64]
    assert len(join([])) == 0


def test_more_bytes_than_a_tensor_can_be_made_of_are_refused(monkeypatch):
    monkeypatch.setattr(tensors, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match=r"2 rows are trained at once, and their messages have 1,004 bytes.*--batch_size") as e:
        tensor_of(pack(rows_of_sizes([500, 500])))
    assert e.value.code == 64
