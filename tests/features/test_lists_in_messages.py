"""Lists in messages: joined for a column of categories; one whose value holds the separator is refused, and one for a text."""

import io
import json

import fastavro
import pytest
from google.protobuf import descriptor_pb2, message_factory

from tfonline import formats
from tfonline.features.schema import Schema
from tfonline.formats.protobuf_type import type_of
from tfonline.formats.reasons import REASONS

COLUMNS = Schema.model_validate(
    {
        "name": "t",
        "columns": [
            {"name": "click", "kind": "label"},
            {"name": "last", "kind": "categories", "path": "user.last"},
            {"name": "tags", "kind": "categories", "separator": ","},
            {"name": "item", "kind": "category"},
        ],
    }
).columns

ITEMS = {"type": "array", "items": ["null", "string", "long"]}
AVRO = {
    "type": "record",
    "name": "Row",
    "fields": [
        {"name": "click", "type": "int"},
        {"name": "user", "type": {"type": "record", "name": "User", "fields": [{"name": "last", "type": ["null", ITEMS]}]}},
        {"name": "tags", "type": ITEMS},
        {"name": "item", "type": ["null", "string", ITEMS]},
    ],
}

# click, last, tags and item, and the row or the reason.
ROWS = [
    ((1, ["a", "b"], ["x"], "i"), "1\ta|b\tx\ti"),
    ((0, None, [], None), "0\t\t\t"),
    ((0, ["a", None, 7, "a"], ["é"], "j"), "0\ta|7|a\té\tj"),
    ((0, ["a|b"], [], "i"), "type"),
    ((0, ["a"], ["x,y"], "i"), "type"),
    ((0, ["a"], ["x|y"], "i"), "0\ta\tx|y\ti"),
    ((0, ["a"], [], ["i"]), "type"),
    ((0, ["a\tb"], [], "i"), "type"),
    ((1, [f"v{i}" for i in range(300)], ["t"] * 3, "k"), "1\t" + "|".join(f"v{i}" for i in range(300)) + "\tt,t,t\tk"),
]


def check(form, messages, rows):
    texts, reasons = form.canonical(messages, COLUMNS)
    for text, reason, (_, expected) in zip(texts, reasons, rows, strict=True):
        assert (text.decode(), REASONS[reason]) == (("", expected) if expected in REASONS else (expected, ""))


def objects(rows):
    return [{"click": c, "user": {"last": last}, "tags": tags, "item": item} for (c, last, tags, item), _ in rows]


def test_of_json():
    check(formats.find("json_objects"), [json.dumps(row).encode() for row in objects(ROWS)], ROWS)


def test_of_avro():
    messages = []
    for row in objects(ROWS):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(AVRO), row)
        messages.append(out.getvalue())
    check(formats.of({"format": "avro", "message_schema": json.dumps(AVRO)}), messages, ROWS)


def test_avro_blocks_that_say_their_bytes():
    """Java's blocking encoder writes them: -2 items in 4 bytes, then one more, then the end."""
    schema = {"type": "record", "name": "R", "fields": [{"name": "tags", "type": {"type": "array", "items": "string"}}]}
    columns = [column for column in COLUMNS if column.name == "tags"]
    form = formats.of({"format": "avro", "message_schema": json.dumps(schema)})
    texts, reasons = form.canonical([b"\x03\x08\x02a\x02b\x02\x02c\x00", b"\x00"], tuple(columns))
    assert (texts, reasons) == ([b"a,b,c", b""], [0, 0])


@pytest.fixture
def descriptor_set():
    file = descriptor_pb2.FileDescriptorProto(name="row.proto", package="t", syntax="proto3")
    user, row = file.message_type.add(name="User"), file.message_type.add(name="Row")
    kind = descriptor_pb2.FieldDescriptorProto
    user.field.add(name="last", number=1, type=kind.TYPE_STRING, label=kind.LABEL_REPEATED)
    row.field.add(name="click", number=1, type=kind.TYPE_INT32, label=kind.LABEL_OPTIONAL)
    row.field.add(name="user", number=2, type=kind.TYPE_MESSAGE, type_name=".t.User", label=kind.LABEL_OPTIONAL)
    row.field.add(name="tags", number=3, type=kind.TYPE_STRING, label=kind.LABEL_REPEATED)
    row.field.add(name="item", number=4, type=kind.TYPE_STRING, label=kind.LABEL_OPTIONAL)
    return descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString()


def test_of_protobuf(descriptor_set):
    from tfonline.formats.protobuf_type import as_text

    form = formats.of({"format": "protobuf", "message_schema": as_text(descriptor_set), "message_type": "t.Row"})
    made = message_factory.GetMessageClass(type_of(descriptor_set, "t.Row"))
    rows = [row for row in ROWS if not isinstance(row[0][3], list) and None not in (row[0][1] or [])]
    messages = []
    for row in objects(rows):
        message = made(click=row["click"], tags=row["tags"], item=row["item"] or "")
        message.user.last.extend(row["user"]["last"] or [])
        messages.append(message.SerializeToString())
    check(form, messages, rows)
    for text in ("1\ta|b\tx\ti", "0\t\t\tk"):
        assert form.canonical([form.encode(text.split("\t"), COLUMNS)], COLUMNS)[0] == [text.encode()]
    with pytest.raises(ValueError, match=r"is no value of user\.last"):
        form.encode(["1", "a||b", "", "i"], COLUMNS)
