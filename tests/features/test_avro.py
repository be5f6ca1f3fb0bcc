"""Avro messages as fastavro writes them: each type's text, other writers' schemas, and messages that are damaged."""

import datetime
import decimal
import io
import json
import random

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfonline.features.schema import Schema
from tfonline.formats.avro import Avro
from tfonline.formats.cursor import ALL, Cursor
from tfonline.formats.framing import header
from tfonline.formats.reasons import REASONS
from tfonline.formats.schemas import Written


def columns_of(**paths):
    columns = [{"name": "label", "kind": "label"}, *({"name": n, "kind": "category", "path": p} for n, p in paths.items())]
    return Schema.model_validate({"name": "t", "columns": columns}).unlabelled


def record(*fields, name="Row"):
    return {
        "type": "record",
        "name": name,
        "fields": [dict(zip(("name", "type", "default", "aliases"), f, strict=False)) for f in fields],
    }


def written(schema, row):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), row)
    return out.getvalue()


def read(schema, rows, columns, **settings):
    """(texts, reason) of each row."""
    form = Avro(json.dumps(schema), **settings)
    texts, reasons = form.canonical([written(schema, row) if isinstance(row, dict) else row for row in rows], columns)
    return [(text.decode(), REASONS[reason]) for text, reason in zip(texts, reasons, strict=True)]


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("int", -7, "-7"),
        ("long", -(2**63), "-9223372036854775808"),
        ("long", 2**63 - 1, "9223372036854775807"),
        ("float", 0.1, "0.1"),
        ("double", 0.1, "0.1"),
        ("double", 3.0, "3.0"),
        ("boolean", True, "true"),
        ("boolean", False, "false"),
        ("string", "grün", "grün"),
        ("string", "", ""),
        ("bytes", "日本".encode(), "日本"),
        ({"type": "fixed", "name": "F", "size": 3}, b"abc", "abc"),
        ({"type": "enum", "name": "E", "symbols": ["A", "BB"]}, "BB", "BB"),
        ({"type": "long", "logicalType": "timestamp-millis"}, 1_700_000_000_123, "1700000000123"),
        ({"type": "int", "logicalType": "date"}, datetime.date(1970, 1, 11), "10"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, decimal.Decimal("-0.05"), "-0.05"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 40, "scale": 0}, decimal.Decimal(10**35 + 1), str(10**35 + 1)),
        (
            {"type": "fixed", "name": "D", "size": 4, "logicalType": "decimal", "precision": 6, "scale": 3},
            decimal.Decimal("1.5"),
            "1.500",
        ),
        (["null", "string"], None, ""),
        (["null", "long", "string"], "x", "x"),
    ],
)
def test_the_text_of_a_type(kind, value, text):
    schema = record(("before", "string"), ("x", kind), ("behind", "long"))
    assert read(schema, [{"before": "a", "x": value, "behind": 5}], columns_of(x="x", y="behind")) == [(f"{text}\t5", "")]


def test_fields_that_nobody_wants_are_passed_by():
    tree = record(("value", "int"), ("children", {"type": "array", "items": "Tree"}), name="Tree")
    odd = [
        ("a", tree),
        ("b", {"type": "map", "values": ["null", "double"]}),
        ("c", {"type": "array", "items": "null"}),
        ("d", "Tree"),
    ]
    schema = record(*odd, ("x", "string"))
    leaf = {"value": 1, "children": []}
    rows = [
        {
            "a": {"value": 7, "children": [leaf] * i},
            "b": {str(j): None if j % 2 else 0.5 for j in range(i)},
            "c": [None] * i,
            "d": leaf,
            "x": f"x{i}",
        }
        for i in range(5)
    ]
    assert read(schema, rows, columns_of(x="x")) == [(f"x{i}", "") for i in range(5)]


def test_blocks_that_say_their_size_are_passed_over():
    schema = record(("a", {"type": "array", "items": "long"}), ("x", "string"))
    # -2 items in 3 bytes, then one item, then the end; and a text of one byte.
    assert read(schema, [b"\x03\x06\x80\x01\x02\x02\x04\x00\x02k"], columns_of(x="x")) == [("k", "")]


def test_items_of_one_size_are_passed_over_at_once():
    schema = record(("e", {"type": "array", "items": "double"}), ("x", "string"))
    # 2^62 items are said to follow, of 8 bytes each.
    endless = b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01" + b"a" * 40
    rows = [{"e": [0.5] * n, "x": "k"} for n in (0, 1, 768)]
    assert read(schema, [*rows, endless], columns_of(x="x")) == [("k", "")] * 3 + [("", "avro")]


def test_a_path_leads_through_records_and_unions():
    inner = record(("price", ["null", "double"]), name="Item")
    schema = record(("item", ["null", inner, "string"]))
    rows = [{"item": {"price": 2.5}}, {"item": {"price": None}}, {"item": None}, {"item": "none"}]
    assert read(schema, rows, columns_of(x="item.price")) == [("2.5", ""), ("", ""), ("", ""), ("", "type")]
    assert [reason for _, reason in read(schema, rows, columns_of(x="item"))] == ["type", "type", "", ""]
    form = Avro(json.dumps(schema))
    with pytest.raises(ValueError, match=r"item is a string, expected is a record with price"):
        form.texts(written(schema, rows[3]), columns_of(x="item.price"))
    assert form.unknown(columns_of(x="item.price", y="item.prize", z="price")) == ["item.prize", "price"]


def test_a_list_in_a_columns_place_is_refused():
    schema = record(("x", {"type": "array", "items": "string"}))
    assert read(schema, [{"x": []}, {"x": ["a"]}], columns_of(x="x")) == [("", "type")] * 2


def test_a_text_with_a_tab_is_refused_alone_and_named():
    schema = record(("x", "string"), ("y", "string"))
    rows = [{"x": "a", "y": "b"}, {"x": "a", "y": "b\tc"}, {"x": "\r", "y": ""}, {"x": "", "y": "d"}]
    assert read(schema, rows, columns_of(x="x", y="y")) == [("a\tb", ""), ("", "type"), ("", "type"), ("\td", "")]
    with pytest.raises(ValueError, match="y holds a tab or a line end"):
        Avro(json.dumps(schema)).texts(written(schema, rows[1]), columns_of(x="x", y="y"))


def test_a_record_that_holds_itself_without_end_is_refused():
    schema = record(("next", ["null", "Row"]), ("x", "string"))
    assert read(schema, [b"\x02" * 10_000, b"\x02\x00\x02b\x02k"], columns_of(x="x")) == [("", "avro"), ("k", "")]


def read_of(writer, reader, row, columns):
    schemas = {"7": Written("AVRO", json.dumps(writer), {})._asdict()}
    form = Avro(reader and json.dumps(reader), "confluent", schemas)
    [text], [reason] = form.canonical([header(7) + written(writer, row)], columns)
    return text.decode(), REASONS[reason]


def test_a_reader_takes_renamed_fields_by_alias_and_new_ones_by_default():
    old = record(("name", "string"), ("n", "int"), ("in", record(("a", "string"), name="In")))
    new = record(
        ("added", "string", "d"), ("flag", "boolean", True), ("user", "string", "", ["name"]), ("n", "double"),
        ("in", record(("b", "string", "", ["a"]), ("c", ["long", "null"], 9), name="In")),
    )  # fmt: skip
    columns = columns_of(x="added", f="flag", u="user", n="n", b="in.b", c="in.c")
    assert read_of(old, new, {"name": "k", "n": 5, "in": {"a": "z"}}, columns) == ("d\ttrue\tk\t5.0\tz\t9", "")
    assert read_of(old, "", {"name": "k", "n": 5, "in": {"a": "z"}}, columns) == ("\t\t\t5\t\t", "")


def test_a_schema_is_read_with_those_it_refers_to():
    item = record(("price", "double"), name="Item") | {"namespace": "shop"}
    row = {"type": "record", "name": "Row", "namespace": "shop", "fields": [{"name": "item", "type": "Item"}]}
    form = Avro("", "confluent", {"3": Written("AVRO", json.dumps(row), {"item": json.dumps(item)})._asdict()})
    assert form.canonical([header(3) + b"\0\0\0\0\0\0\x04@"], columns_of(x="item.price")) == ([b"2.5"], [0])


def test_a_model_does_not_know_a_schema_that_came_later():
    schema = record(("x", "string"))
    form = Avro("", "confluent", {"3": Written("AVRO", json.dumps(schema), {})._asdict()})
    messages = [header(3) + b"\x02a", header(4) + b"\x02a", b"\0\0\0\0", b"\1" + header(3)[1:] + b"\x02a", b""]
    rows, reasons = form.canonical(messages, columns_of(x="x"))
    assert rows == [b"a", b"", b"", b"", b""]
    assert [REASONS[r] for r in reasons] == ["", "framing", "framing", "framing", ""]
    for message, why in zip(messages[1:4], ("id 4; the model knows 3", "it has 4 bytes", "first byte is 0x01"), strict=True):
        with pytest.raises(ValueError, match=why):
            form.texts(message, columns_of(x="x"))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40))
def test_whole_numbers_are_written_as_python_does(numbers):
    import numpy as np

    cursor = Cursor(b"", np.zeros(len(numbers), np.int64), 1, "avro")
    cursor.put_integers([0], ALL, np.array(numbers, np.int64))
    assert cursor.rows(["n"]) == [str(number).encode() for number in numbers]


SIMPLE = st.sampled_from(
    ["int", "long", "double", "boolean", "string", "bytes", ["null", "string"], ["long", "null"], ["null", "boolean", "double"]]
)


def value_of(kind, r):
    if isinstance(kind, list):
        return value_of(r.choice(kind), r)
    return {
        "null": None, "int": r.randrange(-(2**31), 2**31), "long": r.choice([0, -1, r.randrange(-(2**63), 2**63)]),
        "double": r.uniform(-9, 9),
        "boolean": r.random() < 0.5, "string": r.choice(["", "a", "é" * r.randrange(200)]), "bytes": b"b" * r.randrange(300),
    }[kind]  # fmt: skip


def text_of(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return (
        ""
        if value is None
        else value.decode()
        if isinstance(value, bytes)
        else repr(value)
        if isinstance(value, float)
        else str(value)
    )


@given(st.lists(SIMPLE, min_size=1, max_size=8), st.integers(0, 30), st.randoms(use_true_random=False))
def test_any_batch_of_fastavros_is_read_and_a_cut_row_is_refused_alone(kinds, num_rows, r: random.Random):
    schema = record(*((f"f{i}", kind) for i, kind in enumerate(kinds)))
    rows = [{f"f{i}": value_of(kind, r) for i, kind in enumerate(kinds)} for _ in range(num_rows)]
    messages = [written(schema, row) for row in rows]
    expected = [("\t".join(map(text_of, row.values())), "") for row in rows]
    for i in range(0, num_rows, 5):
        messages[i], expected[i] = messages[i][:-1], ("", "avro" if len(messages[i]) > 1 else "")
    assert read(schema, messages, columns_of(**{f"f{i}": f"f{i}" for i in range(len(kinds))})) == expected


@given(st.binary(max_size=60), st.lists(SIMPLE, min_size=1, max_size=6))
def test_whatever_bytes_come_the_rows_beside_them_stay(noise, kinds):
    schema = record(*((f"f{i}", kind) for i, kind in enumerate(kinds)), ("t", {"type": "array", "items": "string"}))
    r = random.Random(1)
    good = [{f"f{i}": value_of(kind, r) for i, kind in enumerate(kinds)} | {"t": ["x"]} for _ in range(2)]
    columns = columns_of(**{f"f{i}": f"f{i}" for i in range(len(kinds))})
    alone = read(schema, good, columns)
    assert [read(schema, [good[0], noise, good[1]], columns)[i] for i in (0, 2)] == alone
