"""Messages of many rows through the pipeline: the batches of the same rows one by one, whatever the messages' sizes are."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from pipeline_helpers import elements_of
from rows import SMALL_SCHEMA

from tfonline.features.dictionaries import Dictionaries
from tfonline.features.pipeline import Features
from tfonline.formats import FORMATS
from tfonline.formats.arrow_reader import stream_of
from tfonline.formats.reasons import REASONS

FORM, TSV = FORMATS["arrow"], FORMATS["tsv"]
BATCH = 8
ROWS = [[str(i % 2), str(i), "", f"a{i % 5}", f"b{i}"] for i in range(60)]


def features(form):
    known = Dictionaries.without_values(SMALL_SCHEMA)
    return Features(SMALL_SCHEMA, known, "bucket", form, oov_buckets=7, cross_buckets=100, vocabulary_rows=64)


def elements(form, windows, at_once, tombstones=()):
    return elements_of(features(form), windows, BATCH, at_once, tombstones)


def together(rows, sizes):
    """The rows in messages of these sizes, again and again."""
    rows, messages, sizes = list(rows), [], itertools.cycle(sizes)
    while rows:
        size = next(sizes)
        messages.append(FORM.encode_rows(rows[:size], SMALL_SCHEMA.columns))
        rows = rows[size:]
    return messages


@pytest.mark.parametrize("sizes", [(60,), (1,), (7, 1, 30, 2), (8, 16)], ids=str)
@pytest.mark.parametrize("at_once", [1, 3])
def test_batches_are_those_of_the_rows_one_by_one(sizes, at_once):
    windows = [ROWS[:40], ROWS[40:]]
    of_one = elements(TSV, [[TSV.encode(row, SMALL_SCHEMA.columns) for row in rows] for rows in windows], BATCH)
    many = elements(FORM, [together(ROWS[:40], sizes), together(ROWS[40:], sizes)], at_once)
    assert [(int(e.window), bool(e.last)) for e in many] == [(int(e.window), bool(e.last)) for e in of_one]
    for one, other in zip(many, of_one, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one.batch[:4], other.batch[:4])


def test_each_row_is_known_by_its_message_and_number():
    found = elements(FORM, [together(ROWS[:20], (5, 1, 14))], at_once=2)
    places = [(o, r) for e in found for o, r in zip(e.batch.origin.offset.numpy(), e.batch.place.row.numpy(), strict=True)]
    assert [place for place in places if place[0] >= 0] == [(0, i) for i in range(5)] + [(1, 0)] + [(2, i) for i in range(14)]
    for element in found:
        batch = element.batch
        for i in np.flatnonzero(batch.valid.numpy()):
            alone = FORM.one(element.message.numpy()[batch.place.message[i]], int(batch.place.row[i]))
            assert FORM.contents(alone)["I1"] == round(np.expm1(batch.features["numeric"].numpy()[i, 0]))
        assert (batch.place.row.numpy()[batch.origin.partition.numpy() < 0] == -1).all()
        assert set(batch.origin.time_ms.numpy().tolist()) <= {-1, 1000, 1001, 1002}


def test_a_row_is_refused_alone_with_a_message_of_its_own():
    rows = [list(row) for row in ROWS[:20]]
    rows[2][0], rows[17][1] = "x", "1.5"
    messages = [*together(rows, (10, 10)), b"junk", b""]
    found = elements(FORM, [messages], at_once=3, tombstones={3})
    refused = [
        (int(p), int(o), int(r), REASONS[reason], message)
        for e in found
        for p, o, r, reason, message in zip(
            *(t.numpy() for t in (*e.rejected.origin[:2], e.rejected.row, e.rejected.reason, e.rejected.message)), strict=True
        )
    ]
    assert [row[:4] for row in refused] == [(3, 0, 2, "label"), (3, 1, 7, "number"), (3, 2, 0, "arrow"), (3, 3, 0, "tombstone")]
    assert FORM.texts(refused[0][4], SMALL_SCHEMA.columns) == rows[2]
    assert [row[4] for row in refused[2:]] == [b"junk", b""]
    assert sum(int(e.batch.valid.numpy().sum()) for e in found) == 18


def test_the_fingerprint_is_of_good_rows_and_of_their_places():
    def parts_of(*messages):
        return [int(e.fingerprint) for e in elements(FORM, [list(messages)], at_once=2) if e.batch.valid.numpy().any()]

    one, other = together(ROWS[:20], (10, 10))
    sums = [sum(parts_of(*some)) % 2**64 for some in ([one, other], [one, other], [other, one], [one, b"junk"])]
    of_one = parts_of(one)
    assert len(set(of_one)) == 2
    assert sums[0] == sums[1]
    assert sums[3] == sum(of_one) % 2**64
    assert len({*sums}) == 3


def test_messages_without_a_row_are_none():
    empty = stream_of(pa.table({"label": pa.array([], pa.int8())}))
    found = elements(FORM, [[empty], []], at_once=1)
    assert [(int(e.window), bool(e.last)) for e in found] == [(0, True), (-1, True), (1, True), (-1, True)]
