"""Messages as Arrow IPC streams: which values a column takes of which types, and that rows of a message are rows like any other."""

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfonline.features.parse import Parse
from tfonline.features.schema import Schema
from tfonline.formats import FORMATS, canonical
from tfonline.formats.arrow_reader import stream_of
from tfonline.formats.explain import explain
from tfonline.formats.reasons import REASONS

FORM, TSV = FORMATS["arrow"], FORMATS["tsv"]
MOMENT = datetime.datetime(2026, 11, 29, 13, 5, 7, 250_000)


def schema_of(**column):
    columns = [{"name": "click", "kind": "label"}, {"name": "x", **column}, {"name": "y", "kind": "integer"}]
    return Schema.model_validate({"name": "arrow", "columns": columns})


def message_of(values, **more):
    return stream_of(pa.table({"click": pa.array([0] * len(values), pa.int8()), "x": values, **more}))


def texts_of(message, schema):
    """The texts of column x, None of a refused row."""
    rows, lines = FORM.canonical_rows([message], schema.columns)
    return [None if reason else line.decode().split("\t")[1] for line, reason in zip(lines, rows.reason.tolist(), strict=True)]


def reasons_of(fields):
    return [REASONS[reason] for reason in fields.reason.numpy()]


@pytest.mark.parametrize(
    ("kind", "values", "texts"),
    [
        ("integer", pa.array([5, None, -3], pa.int16()), ["5", "", "-3"]),
        ("integer", pa.array([2**32 - 1], pa.uint32()), ["4294967295"]),
        ("integer", pa.array([7, 2**40], pa.uint64()), ["7", "1099511627776"]),
        ("integer", pa.array([5.0, float("nan"), None]), ["5", "", ""]),
        ("integer", pa.array(["5", None, "007"]), ["5", "", "007"]),
        ("integer", pa.array([5, 5, None]).dictionary_encode(), ["5", "5", ""]),
        ("integer", pa.nulls(2), ["", ""]),
        ("number", pa.array([0.1, None, 2e-3, 5.0]), ["0.1", "", "0.002", "5.0"]),
        ("number", pa.array([1.5], pa.float32()), ["1.5"]),
        ("number", pa.array([decimal.Decimal("1.50"), None]), ["1.50", ""]),
        ("weight", pa.array([0.5, None]), ["0.5", ""]),
        ("category", pa.array(["ab", None, "grün", ""]), ["ab", "", "grün", ""]),
        ("category", pa.array(["ab", None], pa.large_string()), ["ab", ""]),
        ("category", pa.array(["ab", None], pa.string_view()), ["ab", ""]),
        ("category", pa.array(["ab", None, "ab", "c"]).dictionary_encode(), ["ab", "", "ab", "c"]),
        ("category", pa.DictionaryArray.from_arrays([0, 1, None], pa.array(["ab", None])), ["ab", "", ""]),
        ("category", pa.array([7, None]), ["7", ""]),
        ("category", pa.array([True, False, None]), ["true", "false", ""]),
        ("time", pa.array([1_764_421_507, None]), ["1764421507", ""]),
        ("time", pa.array([MOMENT, None]), ["1795957507", ""]),
        ("time", pa.array([datetime.date(1969, 12, 31)]), ["-86400"]),
        ("categories", pa.array([["a", "b"], [], None, ["c", None, ""]]), ["a|b", "", "", "c"]),
        ("categories", pa.array([[1, 2]], pa.large_list(pa.int64())), ["1|2"]),
        ("categories", pa.array([["a", "b"]], pa.list_(pa.string(), 2)), ["a|b"]),
        ("categories", pa.array(["a|b", None]), ["a|b", ""]),
    ],
    ids=lambda value: f"{value.type}" if isinstance(value, pa.Array) else None,
)
def test_a_value_is_the_text_that_a_json_object_would_have(kind, values, texts):
    schema = schema_of(kind=kind)
    assert texts_of(message_of(values), schema) == texts
    # What the trainer makes of it is what it makes of those texts.
    found = Parse(schema, FORM)(tf.constant([message_of(values)]))
    expected = Parse(schema, TSV)(tf.constant([f"0\t{text}\t" for text in texts]))
    tf.nest.map_structure(np.testing.assert_array_equal, (found.values, found.reason), (expected.values, expected.reason))


def test_a_moment_is_in_the_unit_of_its_column():
    texts = {
        unit: texts_of(message_of(pa.array([MOMENT])), schema_of(kind="time", unit=unit))[0]
        for unit in ("s", "ms", "us", "iso", "yymmddhh")
    }
    assert texts == {
        "s": "1795957507", "ms": "1795957507250", "us": "1795957507250000", "iso": "2026-11-29T13:05:07Z", "yymmddhh": "26112913",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "values", "reason", "why"),
    [
        ("integer", pa.array([1.0, 2.5]), "number", "x is '2.5', expected is a whole number of at most 18 digits, or nothing"),
        ("integer", pa.array([1, -(10**18)]), "number", "x is '-1000000000000000000', expected"),
        ("integer", pa.array([1.0, 2.0**53]), "number", "x is '9007199254740992.0', expected"),
        ("integer", pa.array(["1", "ab"]), "number", "x is 'ab', expected"),
        ("number", pa.array([1.0, float("inf")]), "number", "x is 'inf', expected is a decimal number"),
        ("category", pa.array(["a", "b\nc"]), "type", "x holds a tab or a line end"),
        ("category", pa.array([None, b"b"]), "type", "x is binary, expected is a text, a number, true or false"),
        ("categories", pa.array([["a"], ["b|c"]]), "type", "x has a value that holds '|', the separator of column x"),
    ],
    ids=lambda value: f"{value.type}" if isinstance(value, pa.Array) else None,
)
def test_a_row_is_refused_alone_and_it_is_said_why(kind, values, reason, why):
    schema = schema_of(kind=kind)
    fields = Parse(schema, FORM)(tf.constant([message_of(values)]))
    assert reasons_of(fields) == ["", reason]
    assert why in explain(FORM.one(message_of(values), 1), schema.columns, FORM)


def test_columns_are_found_by_path_and_in_structs():
    schema = schema_of(kind="integer", path="item.price")
    inside = pa.array([{"price": 5}, None, {"price": None}])
    assert texts_of(stream_of(pa.table({"click": [0, 0, 0], "item": inside})), schema) == ["5", "", ""]
    assert texts_of(stream_of(pa.table({"click": [0], "item.price": [7]})), schema) == ["7"]
    assert texts_of(stream_of(pa.table({"click": [0]})), schema) == [""]
    assert texts_of(stream_of(pa.table({"click": [0], "item": pa.nulls(1)})), schema) == [""]
    assert texts_of(stream_of(pa.table({"click": [0], "item": [7]})), schema) == [None]
    twice = pa.Table.from_arrays([pa.array([0]), pa.array([7]), pa.array([8])], ["click", "item.price", "item.price"])
    assert texts_of(stream_of(twice), schema) == [None]


def test_messages_of_other_schemas_stand_side_by_side():
    schema = schema_of(kind="category")
    messages = [
        message_of(pa.array(["a", "b"])),
        b"junk",
        message_of(pa.array([7])),
        message_of(pa.array(["c", "a"]).dictionary_encode()),
        message_of(pa.array(["d", "a"]).dictionary_encode()),
        b"",
        message_of(pa.array([], pa.string())),
        stream_of(pa.table({"click": [1]})),
    ]
    rows, lines = FORM.canonical_rows(messages, schema.columns)
    assert lines == [b"0\ta\t", b"0\tb\t", b"", b"0\t7\t", b"0\tc\t", b"0\ta\t", b"0\td\t", b"0\ta\t", b"", b"1\t\t"]
    assert [REASONS[reason] for reason in rows.reason] == ["", "", "arrow", "", "", "", "", "", "empty", ""]
    assert rows.message.tolist() == [0, 0, 1, 2, 3, 3, 4, 4, 5, 7]
    assert rows.row.tolist() == [0, 1, 0, 0, 0, 1, 0, 1, 0, 0]
    fields = Parse(schema, FORM)(tf.constant(messages))
    assert fields.place.message.numpy().tolist() == rows.message.tolist()
    places = [(4, 1), (3, 0), (5, 0), (-1, -1)]
    assert canonical(FORM, messages, schema.columns, places) == [b"0\ta\t", b"0\tc\t", b"", b""]


def test_a_message_of_one_of_its_rows():
    schema = schema_of(kind="category")
    whole = message_of(pa.array(["a", "b", "c"] * 1000).dictionary_encode(), other=pa.array([{"z": 1}] * 3000))
    alone = FORM.one(whole, 4)
    assert texts_of(alone, schema) == ["b"]
    assert len(alone) < len(whole) / 10
    assert FORM.contents(alone) == {"click": 0, "x": "b", "other": {"z": 1}}
    assert FORM.one(b"junk", 0) == b"junk"


def test_what_takes_one_row_says_that_there_are_more():
    with pytest.raises(ValueError, match="it has 3 rows, expected is one"):
        FORM.texts(message_of(pa.array([1, 2, 3])), schema_of(kind="integer").columns)
    with pytest.raises(ValueError, match="it has 0 rows, expected is one"):
        FORM.contents(message_of(pa.array([], pa.int64())))


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["0", "1", "2"]),
        st.sampled_from(["", "5", "-3", "007", "1.5", "9" * 18, "9" * 19]),
        st.sampled_from(["", "0.5", "1", "2e-3", "x"]),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\r\n"), max_size=3),
        st.sampled_from(["", "a", "a|b|c"]),
    ),
    min_size=1,
    max_size=30,
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(ROWS, st.integers(1, 9))
def test_rows_written_together_are_what_each_is_as_tsv(rows, size):
    columns = [("click", "label"), ("i", "integer"), ("n", "number"), ("c", "category"), ("l", "categories")]
    schema = Schema.model_validate({"name": "all", "columns": [{"name": name, "kind": kind} for name, kind in columns]})
    messages = [FORM.encode_rows(rows[i : i + size], schema.columns) for i in range(0, len(rows), size)]
    found = Parse(schema, FORM)(tf.constant(messages))
    expected = Parse(schema, TSV)(tf.constant(["\t".join(row) for row in rows]))
    assert reasons_of(found) == reasons_of(expected)
    tf.nest.map_structure(np.testing.assert_array_equal, found.values, expected.values)
