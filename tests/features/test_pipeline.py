"""Windows to batches: which rows, in which order, how padded, and what is set aside."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from rows import SMALL_SCHEMA as SCHEMA
from stream_helpers import good_rows, raw_rows

from tfonline.features.batch import Batch
from tfonline.features.dictionaries import Dictionaries
from tfonline.features.hashes import row_fingerprints
from tfonline.features.pipeline import Features, make_batches
from tfonline.features.schema import Schema
from tfonline.formats.json_list import JsonList
from tfonline.formats.reasons import REASONS
from tfonline.formats.tsv import Tsv
from tfonline.stream.order import make_raw_batches
from tfonline.stream.raw import Origin
from tfonline.stream.readers.generated import generated_rows
from tfonline.stream.readers.memory import MemorySource
from tfonline.stream.window import Window

DICTIONARIES = Dictionaries(
    max={"I1": 10, "I2": 4},
    min={"I1": 0, "I2": 0},
    cat2id={"I1": 0, "I2": 1, "OOVC1": 2, "OOVC2": 3, "C1_ab": 4, "C2_ab": 5, "C2_x": 6},
)
PADDING_ID = 99
BATCH_SIZE = 4


@pytest.fixture(scope="module")
def features():
    return Features(SCHEMA, DICTIONARIES, "minmax", vocab_size=PADDING_ID)


def elements_of(features, windows, source, batch_size=BATCH_SIZE):
    raw = make_raw_batches(windows, source, batch_size)
    return list(make_batches(raw, features, batch_size))


# Features


def test_a_message_becomes_label_ids_values_and_reason(features):
    label, weight, inputs, reason = features(tf.constant(["1\t5\t1\tab\tab", "0\t\t4\tx\tx", "bad"]))
    assert list(label) == ["label"]
    assert label["label"].numpy().tolist() == [1.0, 0.0, 0.0]
    assert weight.numpy().tolist() == [1.0, 1.0, 1.0]
    assert inputs["ids"].numpy()[:2].tolist() == [[0, 1, 4, 5], [0, 1, 2, 6]]
    assert inputs["values"].numpy()[:2].tolist() == [[0.5, 0.25, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0]]
    assert [REASONS[r] for r in reason] == ["", "", "fields"]
    assert sorted(inputs) == sorted(features.spec.inputs) == ["ids", "values"]
    spec = features.spec
    assert (features.num_ids, spec.num_ids) == (7, PADDING_ID)
    assert (spec.num_fields, spec.width("numeric"), spec.scaled_fields) == (4, 0, 2)


def test_buckets_come_with_the_logarithms_of_the_numbers():
    features = Features(SCHEMA, DICTIONARIES, "bucket")
    numeric = features(tf.constant(["1\t5\t\tab\tab", "0\t-1\t0\tx\tx"])).features["numeric"]
    np.testing.assert_allclose(numeric.numpy(), [[np.log(6), np.nan], [-np.log(2), 0.0]], rtol=1e-6)
    assert (features.spec.num_fields, features.spec.width("numeric"), features.spec.scaled_fields) == (4, 2, 0)


def test_values_that_the_dictionary_does_not_hold_share_buckets():
    features = Features(SCHEMA, DICTIONARIES, "minmax", oov_buckets=1000)
    rows = ["1\t5\t1\tab\tx", "1\t5\t1\tnew\tnew", "1\t5\t1\tnewer\tx", "1\t5\t1\t\t", "1\t5\t1\tnew\tnew"]
    ids = features(tf.constant(rows)).features["ids"]
    known, new, newer, missing, again = ids.numpy()[:, 2:].tolist()
    assert (known, missing) == ([4, 6], [2, 3])  # a missing value is no unknown one
    assert features.num_ids == 7 + 1000
    assert all(7 <= i < 1007 for i in [*new, newer[0]])
    assert len({*new, newer[0]}) == 3  # the same text in another column is another value
    assert again == new


@pytest.mark.parametrize(("numeric", "num_ids"), [("minmax", 7), ("log", 7 + 2), ("bucket", 7 + (5 + 5) + (5 + 1))])
def test_num_ids_covers_every_id(numeric, num_ids):
    features = Features(SCHEMA, DICTIONARIES, numeric)
    ids = features(tf.constant([f"0\t{n}\t{n}\tab\tx" for n in ["", *range(-1, 50)]])).features["ids"]
    assert features.num_ids == num_ids
    assert ids.numpy().min() >= 0
    assert ids.numpy().max() < num_ids


def test_features_of_json_equal_those_of_tsv():
    tsv, json = (Features(SCHEMA, DICTIONARIES, "bucket", form) for form in (Tsv(), JsonList()))
    rows = tsv(tf.constant(["1\t5\t\tab\tx"])), json(tf.constant(['["1", 5, null, "ab", "x"]']))
    tf.nest.map_structure(np.testing.assert_array_equal, *rows)


# Of log, the values are any: it says so of no columns, too, as it always has.
@pytest.mark.parametrize(("numeric", "scaled_fields"), [("minmax", (2, 0)), ("log", (None, None)), ("bucket", (0, 0))])
def test_a_data_set_may_have_columns_of_one_kind_alone(numeric, scaled_fields):
    def features_of(kind, dictionaries):
        columns = [{"name": "label", "kind": "label"}, {"name": "A1..A2", "kind": kind}]
        return Features(Schema.model_validate({"name": "one", "columns": columns}), dictionaries, numeric)

    numbers = features_of("integer", Dictionaries({"A1": 9, "A2": 9}, {"A1": 0, "A2": 0}, {"A1": 0, "A2": 1}))
    assert numbers(tf.constant(["1\t0\t9"])).features["ids"].shape == [1, 2]
    texts = features_of("category", Dictionaries({}, {}, {"OOVA1": 0, "OOVA2": 1, "A2_x": 2}))
    assert texts(tf.constant(["1\tx\tx"])).features["ids"].numpy().tolist() == [[0, 2]]
    assert (numbers.spec.scaled_fields, texts.spec.scaled_fields) == scaled_fields


# Batches


def test_shapes_are_static(features):
    source = MemorySource([good_rows(1)])
    raw = make_raw_batches([], source, BATCH_SIZE)
    batch, rejected, fingerprint, message, fields, window, last, _ = make_batches(raw, features, BATCH_SIZE).element_spec
    assert tf.nest.map_structure(lambda spec: (spec.dtype, *spec.shape.as_list()), batch) == Batch(
        label={"label": (tf.float32, 4)},
        weight=(tf.float32, 4),
        valid=(tf.bool, 4),
        features={"ids": (tf.int32, 4, 4), "values": (tf.float32, 4, 4)},
        origin=Origin((tf.int32, 4), (tf.int64, 4), (tf.int64, 4)),
    )
    assert [spec.shape.as_list() for spec in tf.nest.flatten(rejected)] == [[None]] * 5
    assert fields.reason.shape.as_list() == [None]
    shapes = {name: {tuple(spec.shape.as_list()) for spec in tf.nest.flatten(of)} for name, of in fields.values.items()}
    assert shapes == {"label": {(None, 1)}, "integer": {(None, 2)}, "category": {(None, 2)}}
    assert [(spec.shape.as_list(), spec.dtype) for spec in (fingerprint, message, window, last)] == [
        ([], tf.int64), ([None], tf.string), ([], tf.int64), ([], tf.bool),
    ]  # fmt: skip


def test_a_short_batch_is_padded_and_a_window_ends_with_no_rows(features):
    rows = [b"1\t5\t1\tab\tab", b"0\t10\t4\tx\tx", b"1\t0\t0\tab\tx", b"0\t\t\t\t", b"1\t10\t2\tab\tzz"]
    full, short, end = elements_of(features, [Window(7, (0,), (5,), "rows")], MemorySource([rows]))
    assert full.batch.label["label"].numpy().tolist() == [1.0, 0.0, 1.0, 0.0]
    assert full.batch.features["ids"].numpy().tolist() == [[0, 1, 4, 5], [0, 1, 2, 6], [0, 1, 4, 6], [0, 1, 2, 3]]
    assert full.batch.features["values"].numpy().tolist() == [
        [0.5, 0.25, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0],
    ]  # fmt: skip
    assert full.batch.weight.numpy().tolist() == [1.0] * 4
    assert full.batch.valid.numpy().all()
    assert full.batch.origin.offset.numpy().tolist() == [0, 1, 2, 3]

    assert short.batch.label["label"].numpy().tolist() == [1.0, 0.0, 0.0, 0.0]
    assert short.batch.features["ids"].numpy().tolist() == [[0, 1, 4, 3]] + [[PADDING_ID] * 4] * 3
    assert short.batch.features["values"].numpy().tolist() == [[1.0, 0.5, 1.0, 1.0]] + [[0.0] * 4] * 3
    assert short.batch.weight.numpy().tolist() == [1.0, 0.0, 0.0, 0.0]
    assert short.batch.valid.numpy().tolist() == [True, False, False, False]
    assert short.batch.origin.partition.numpy().tolist() == [0, -1, -1, -1]
    assert short.batch.origin.offset.numpy().tolist() == [4, -1, -1, -1]

    assert end.batch.weight.numpy().tolist() == [0.0] * 4
    assert end.batch.origin.partition.numpy().tolist() == [-1] * 4
    assert end.batch.features["ids"].numpy().tolist() == [[PADDING_ID] * 4] * 4
    assert [(int(e.window), bool(e.last)) for e in (full, short, end)] == [(7, False), (7, False), (7, True)]


def test_refused_rows_have_no_weight_and_are_recorded(features):
    rows = [b"1\t5\t1\tab\tx", b"", b"2\t5\t1\tab\tx", b"0\t5\t1\tab\tx", b"1\t5\t1\tab\t\xff", b"x" * 5000]
    source = MemorySource([[b"skipped"] * 3, [b"skipped"] + rows])
    first, second, end = elements_of(features, [Window(0, (3, 1), (3, 7), "secs")], source)
    assert first.batch.weight.numpy().tolist() == [1.0, 0.0, 0.0, 1.0]
    assert first.batch.valid.numpy().tolist() == [True, False, False, True]
    assert first.batch.features["ids"].numpy().tolist() == [[0, 1, 4, 6], [PADDING_ID] * 4, [PADDING_ID] * 4, [0, 1, 4, 6]]
    assert first.batch.features["values"].numpy()[1:3].tolist() == [[0.0] * 4] * 2
    assert first.batch.label["label"].numpy().tolist() == [1.0, 0.0, 0.0, 0.0]
    assert first.batch.origin.offset.numpy().tolist() == [1, 2, 3, 4]  # a refused row keeps its place

    def rejected(element):
        partition, offset, _, reason, message = (t.numpy().tolist() for t in tf.nest.flatten(element.rejected))
        return list(zip(partition, offset, [REASONS[r] for r in reason], message, strict=True))

    assert rejected(first) == [(1, 2, "empty", b""), (1, 3, "label", b"2\t5\t1\tab\tx")]
    assert rejected(second) == [(1, 5, "encoding", b"1\t5\t1\tab\t\xff"), (1, 6, "fields", b"x" * 5000)]
    assert rejected(end) == []


def test_the_fingerprint_is_of_the_good_rows_alone(features):
    rows = [b"1\t5\t1\tab\tx", b"bad", b"0\t5\t1\tab\tx", b"", b"1\t1\t1\t\t"]
    elements = elements_of(features, [Window(0, (0,), (5,), "rows")], MemorySource([rows]))
    good = row_fingerprints(tf.constant([rows[0], rows[2], rows[4]]), tf.zeros(3, tf.int32), tf.constant([0, 2, 4], tf.int64))
    a, b, c = good.numpy().tolist()
    assert [int(e.fingerprint) % 2**64 for e in elements] == [(a + b) % 2**64, c % 2**64, 0]


# Windows


def test_windows_ticks_and_skips_come_in_order(features):
    source = MemorySource([good_rows(12), good_rows(3)])
    windows = [
        Window(3, (0, 0), (2, 1), "rows"),
        None,
        Window(4, (2, 1), (10, 2), "skip"),
        Window(5, (10, 2), (12, 2), "secs"),  # nothing of partition 1
        None,
        Window(6, (12, 2), (12, 3), "end"),
    ]
    elements = elements_of(features, windows, source)
    assert [(int(e.window), bool(e.last)) for e in elements if e.window >= 0] == [
        (3, False), (3, True), (4, True), (5, False), (5, True), (6, False), (6, True),
    ]  # fmt: skip
    assert [int(e.window) for e in elements] == [3, 3, -1, 4, 5, 5, -1, 6, 6]
    rows = [list(zip(e.batch.origin.partition.numpy(), e.batch.origin.offset.numpy(), strict=True)) for e in elements]
    assert [r[: r.index((-1, -1))] for r in rows] == [
        [(0, 0), (0, 1), (1, 0)], [], [], [], [(0, 10), (0, 11)], [], [], [(1, 2)], [],
    ]  # fmt: skip


def test_only_the_ranges_of_a_window_are_read():
    class Watched(MemorySource):
        def _pieces(self, *asked):
            reads.append(asked)
            return super()._pieces(*asked)

    reads = []
    windows = [
        Window(0, (0, 0), (5, 5), "skip"),
        Window(1, (5, 5), (7, 5), "secs"),
        Window(2, (7, 5), (7, 5), "secs"),
    ]
    source = Watched([good_rows(9), good_rows(9)])
    raw = make_raw_batches(windows, source, BATCH_SIZE)
    assert [(len(r.message), int(w), bool(last)) for r, w, last in raw] == [
        (0, 0, True), (2, 1, False), (0, 1, True), (0, 2, True),
    ]  # fmt: skip
    assert reads == [(0, 5, 7)]


def test_batches_do_not_cross_windows():
    windows = [Window(0, (0,), (5,), "rows"), Window(1, (5,), (9,), "rows")]
    raw = make_raw_batches(windows, MemorySource([good_rows(9)]), BATCH_SIZE)
    assert [r.origin.offset.numpy().tolist() for r, _, _ in raw] == [[0, 1, 2, 3], [4], [], [5, 6, 7, 8], []]


def places(partition, *ranges):
    return [(partition, o) for start, stop in ranges for o in range(start, stop)]


def test_partitions_take_turns_by_512_rows():
    """The order of rows is part of the promise: a replayed journal gives the same weights only if it never changes."""
    source = MemorySource([good_rows(600, 0), [], good_rows(1500, 2)])
    rows = raw_rows([Window(0, (0, 0, 100), (600, 0, 1300), "rows")], source)
    assert [(p, o) for _, p, o in rows] == [
        *places(0, (0, 512)), *places(2, (100, 612)), *places(0, (512, 600)), *places(2, (612, 1124), (1124, 1300)),
    ]  # fmt: skip
    assert all(message == source.partitions[p][o] for message, p, o in rows)


class Pieces:
    """A reader that gives the rows of a MemorySource in pieces of one size after the other, an empty one before each."""

    error = None

    def __init__(self, source, sizes):
        self._source, self._sizes = source, sizes

    def rows(self, partition, start, stop):
        return generated_rows(self._pieces, partition, start, stop)

    def _pieces(self, partition, start, stop):
        for size in itertools.cycle(self._sizes):
            yield start, []
            yield start, self._source.partitions[partition][start : min(start + size, stop)]
            start += size
            if start >= stop:
                return


@pytest.mark.parametrize("sizes", [(1,), (7,), (512,), (1000,), (511, 1, 1025)], ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_the_order_does_not_depend_on_the_pieces_that_a_reader_gives(sizes, groups):
    source = MemorySource([good_rows(1100, 0), good_rows(5, 1), good_rows(1700, 2), []])
    windows = [
        Window(0, (3, 0, 100, 0), (700, 1, 1300, 0), "rows"),
        None,
        Window(1, (700, 1, 1300, 0), (701, 5, 1700, 0), "secs"),
        Window(2, (701, 5, 1700, 0), (1100, 5, 1700, 0), "end"),
    ]
    rows, expected = (raw_rows(windows, reader, 96, groups) for reader in (Pieces(source, sizes), source))
    assert rows == expected
    if groups == 1:
        assert [(p, o) for _, p, o in rows] == [
            *places(0, (3, 515)), (1, 0), *places(2, (100, 612)), *places(0, (515, 700)), *places(2, (612, 1124), (1124, 1300)),
            (0, 700), *places(1, (1, 5)), *places(2, (1300, 1700)), *places(0, (701, 1100)),
        ]  # fmt: skip


def test_the_order_is_the_same_every_time():
    source = MemorySource([good_rows(1100, p) for p in range(4)])
    windows = [Window(0, (0,) * 4, (1050, 700, 513, 1100), "rows"), Window(1, (1050, 700, 513, 1100), (1100,) * 4, "rows")]
    first = raw_rows(windows, source, batch_size=96)
    assert sorted((p, o) for _, p, o in first) == [(p, o) for p in range(4) for o in range(1100)]
    assert raw_rows(windows, source, batch_size=96) == first


def test_messages_are_passed_on_to_the_byte():
    rows = [b"", b"\x00", b"a\x00", b"\x00\x00", b"\xff\xfe", b"a\tb\n", b" "]
    assert raw_rows([Window(0, (0,), (7,), "rows")], MemorySource([rows])) == [(m, 0, o) for o, m in enumerate(rows)]


def test_an_empty_window_and_an_empty_plan(features):
    source = MemorySource([good_rows(3)])
    assert [bool(e.last) for e in elements_of(features, [Window(0, (3,), (3,), "secs")], source)] == [True]
    assert elements_of(features, [], source) == []


def test_memory_grows():
    source = MemorySource([good_rows(2), []])
    assert (source.begins(), source.ends(), source.num_partitions) == ([0, 0], [2, 0], 2)
    source.partitions[1].append(b"x")
    assert source.ends() == [2, 1]
    assert raw_rows([Window(0, (2, 0), (2, 1), "secs")], source) == [(b"x", 1, 0)]
