"""JSON objects: paths, types, what else an object may hold, and that the fast way of reading says what the slow one does."""

import json

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfonline.features.parse import Parse
from tfonline.features.schema import Schema
from tfonline.formats import canonical, find
from tfonline.formats.json_objects import JsonObjects, read
from tfonline.formats.reasons import REASONS

SCHEMA = Schema.model_validate(
    {
        "name": "feed",
        "columns": [
            {"name": "click", "kind": "label", "path": "labels.click"},
            {"name": "price", "kind": "number", "path": "item.price"},
            {"name": "brand", "kind": "category", "path": "item.made.by"},
            {"name": "again", "kind": "category", "path": "item.made.by"},
            {"name": "age", "kind": "integer", "default": 30},
            {"name": "at", "kind": "time", "unit": "ms"},
            {"name": "user_id", "kind": "category"},
            {"name": "request", "kind": "ignore"},
        ],
    }
)
FLAT = Schema.model_validate(
    {"name": "flat", "columns": [{"name": n, "kind": k} for n, k in (("click", "label"), ("age", "integer"), ("user", "category"))]}
)
ROW = {
    "labels": {"click": True, "order": False},
    "item": {"price": 2.5, "made": {"by": "grün"}, "tags": ["a"]},
    "age": 5,
    "at": 1.7e12,
    "user_id": 77,
    "request": "r1",
    "more": {"of": [1, 2]},
}


def row_of(schema, row):
    [text], [reason] = JsonObjects().canonical([row if isinstance(row, bytes) else json.dumps(row).encode()], schema.columns)
    return text.decode().split("\t") if not reason else REASONS[reason]


def test_values_are_found_by_their_paths_and_written_as_texts():
    assert row_of(SCHEMA, ROW) == ["true", "2.5", "grün", "grün", "5", "1700000000000", "77", "r1"]


@pytest.mark.parametrize(
    ("changed", "texts"),
    [
        ({"labels": {"click": 0}, "item": None}, ["0", "", "", "", "5", "1700000000000", "77", "r1"]),
        ({"item": {"made": {}}, "age": None, "user_id": False}, ["true", "", "", "", "", "1700000000000", "false", "r1"]),
        ({"age": 5.0, "item": {"price": 3}, "user_id": 1.5}, ["true", "3", "", "", "5", "1700000000000", "1.5", "r1"]),
        ({"age": "007", "item": {"price": "1e-3"}}, ["true", "1e-3", "", "", "007", "1700000000000", "77", "r1"]),
    ],
)
def test_what_is_missing_and_numbers_in_other_clothes(changed, texts):
    assert row_of(SCHEMA, {**ROW, **changed}) == texts


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"item": [1]}, "type"),
        ({"item": {"made": "by me"}}, "type"),
        ({"user_id": ["a", "b"]}, "type"),
        ({"user_id": {"a": 1}}, "type"),
        ({"user_id": "a\nb"}, "type"),
    ],
)
def test_what_no_column_can_hold_is_refused_and_its_path_named(changed, reason):
    assert row_of(SCHEMA, {**ROW, **changed}) == reason
    with pytest.raises(ValueError, match=r"item|user_id"):
        read(json.dumps({**ROW, **changed}).encode(), SCHEMA.columns)


def test_a_default_and_a_row_that_is_refused_stand_side_by_side():
    rows = [ROW, {**ROW, "age": None}, {**ROW, "age": "x"}, {**ROW, "labels": {}}]
    fields = Parse(SCHEMA, JsonObjects())(tf.constant([json.dumps(row).encode() for row in rows]))
    assert [REASONS[r] for r in fields.reason] == ["", "", "number", "label"]
    assert fields.values["integer"].number[:, 0].numpy().tolist()[:2] == [5, 30]
    assert fields.values["label"].numpy().tolist() == [[1], [1], [0], [0]]


def test_messages_for_a_published_model_are_the_rows_as_tsv():
    messages = [json.dumps({"user": "u", "click": 1}).encode(), b"{", b""]
    assert canonical(JsonObjects(), messages, FLAT.columns) == [b"1\t\tu", b"", b""]
    assert canonical(JsonObjects(), [b'{"user": "u", "age": 3}'], FLAT.columns[1:]) == [b"3\tu"]
    assert canonical(find("tsv"), messages, FLAT.columns) == messages


# What a list in JSON has between and around its values, and what it writes in another way than a row.
signs = st.sampled_from(["null", "a,b", ",null", "[null", "]", '"', "\\", "\u2028", "\x7f", "true"])
scalars = (
    signs
    | st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner), max_leaves=4
)
flat = st.fixed_dictionaries({}, optional={"click": values, "age": values, "user": values, "x": values})
items = st.none() | st.fixed_dictionaries({}, optional={"price": values, "made": values | st.fixed_dictionaries({"by": values})})
nested = st.fixed_dictionaries(
    {}, optional={"labels": st.fixed_dictionaries({"click": values}), "item": items, "age": values, "at": values, "user_id": values}
)


@settings(max_examples=300, deadline=None)
@given(row=flat | st.lists(values, max_size=2) | values, more=nested)
def test_fast_and_slow_say_the_same(row, more):
    for schema, each in ((FLAT, row), (SCHEMA, more)):
        message = json.dumps(each).encode()
        try:
            expected = read(message, schema.columns)
        except ValueError as e:
            expected = REASONS[e.reason]
        assert row_of(schema, message) == expected, message
