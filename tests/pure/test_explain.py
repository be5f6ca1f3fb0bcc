"""What is said of a refused row, format by format."""

import json

import pytest

from tfonline.features.schema import Schema
from tfonline.formats import find
from tfonline.formats.explain import examine, explain

COLUMNS = Schema.model_validate(
    {
        "name": "shop",
        "columns": [
            {"name": "price", "kind": "number", "path": "item.price"},
            {"name": "click", "kind": "label"},
            {"name": "user", "kind": "category"},
        ],
    }
).columns


def as_json(**row):
    return json.dumps(row).encode()


def test_a_binary_message_is_explained_by_its_field():
    form = find("avro")
    assert explain(b"\x00\x02\x02\x02\x02\xff", COLUMNS, form) == "byte 1 of user, 0xff, is not UTF-8"
    examined = examine(b"\x00\x02\x02\x02\x08a", COLUMNS, form)
    assert (examined.reason, examined.words) == ("avro", "it ends in the middle of user")


@pytest.mark.parametrize(
    ("message_format", "message", "why"),
    [
        ("tsv", b"1.5\t1", "it has 2 fields, expected are 3"),
        ("tsv", b"1.5\t1\ta\nb", "user holds a line end"),
        ("tsv", b"x\t2\ta", "click is '2', expected is 0 or 1, true or false"),
        ("tsv", b"1.5x\t1\t", "item.price is '1.5x', expected is a decimal number such as -1.5 or 2e-3, or nothing"),
        ("tsv", b"1\t1\t\xff", "byte 5, 0xff, is not UTF-8"),
        ("tsv", b"1\t1\ta", ""),
        ("tsv", b"", ""),
        ("json", b'["1", "1", "a\\"b"]', "it is no JSON list of plain strings, whole numbers and null"),
        ("json", b'["1", "7", null]', "click is '7', expected is 0 or 1, true or false"),
        ("json_objects", b"{", "it is no JSON: Input data was truncated"),
        ("json_objects", b"[1]", "it is JSON, but a list, expected is an object"),
        ("json_objects", as_json(click=1, item=5), "item is a number, expected is an object with price"),
        (
            "json_objects",
            as_json(click=1, item={"price": [5]}),
            "item.price is a list, expected is a text, a number, true or false",
        ),
        ("json_objects", as_json(click=1, user="a\tb"), "user holds a tab or a line end, which no text of a column may"),
        ("json_objects", as_json(user="a"), "click is '', expected is 0 or 1, true or false"),
        (
            "json_objects",
            as_json(click=1, item={"price": "x" * 500}),
            f"item.price is '{'x' * 100}'..., expected is a decimal number",
        ),
        ("json_objects", b'{"user": "\xff"}', "byte 11, 0xff, is not UTF-8"),
    ],
)
def test_the_place_and_what_was_expected_are_named(message_format, message, why):
    found = explain(message, COLUMNS, find(message_format))
    assert found == why or (len(why) > 100 and found.startswith(why))
