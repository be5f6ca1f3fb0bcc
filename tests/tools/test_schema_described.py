"""tools/schema.py on messages with a schema: of a real registry, or in a file."""

import decimal
import io
import json
import random
import re
import uuid

import fastavro
import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from kafka_helpers import run_tool

from tfonline.formats.framing import header, indexes
from tfonline.formats.registry import Registry

NUM_ROWS = 600
SMALL = {"dictionary_dir": "", "oov_buckets": 20, "vocabulary_rows": 64, "admit_after": 2, "admit_counters": 1024,
         "window_rows": 100, "stop_at": "latest", "numeric": "bucket"}  # fmt: skip
_START_MS = 1_700_000_000_000
ITEM = {
    "type": "record",
    "name": "Item",
    "fields": [
        {"name": "brand", "type": {"type": "enum", "name": "Brand", "symbols": ["A", "B", "C"]}},
        {"name": "price", "type": "double"},
        {"name": "weight_grams", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    ],
}
FIELDS = [
    {"name": "click", "type": "boolean"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "item", "type": ["null", ITEM], "default": None},
    {"name": "member", "type": "boolean"},
    {"name": "level", "type": "double"},
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "site", "type": "string", "default": "none"},
    {"name": "last_items", "type": {"type": "array", "items": "long"}},
    {"name": "counts", "type": {"type": "map", "values": "int"}},
    {"name": "seen", "type": {"type": "array", "items": "Item"}},
    {"name": "digest", "type": "bytes"},
    {"name": "comment", "type": "string"},
    {"name": "below", "type": ["null", "Row"], "default": None},
    {"name": "never", "type": ["null", "string"], "default": None},
]
AVRO = {"type": "record", "name": "Row", "namespace": "shop", "fields": FIELDS}
AVRO_V2 = {**AVRO, "fields": [*FIELDS, {"name": "added", "type": "string"}]}


def avro_row(number):
    r = random.Random(number)
    item = {"brand": r.choice("ABC"), "price": float(r.randrange(5)), "weight_grams": decimal.Decimal(r.randrange(100, 900))}
    return {
        "click": r.random() < 0.25,
        "at": _START_MS + 1000 * number,
        "item": item if number % 3 else None,
        "member": r.random() < 0.5,
        "level": float(r.randrange(1, 4)),
        "day": 19_000 + number % 5,
        "site": r.choice(["news", "mail"]),
        "last_items": [r.randrange(9) for _ in range(r.randrange(4))],
        "counts": {f"k{number}": 1},
        "seen": [item],
        "digest": b"\xff\xfe",
        "comment": "two\nlines",
        "below": None,
        "never": None,
        "added": r.choice("xy"),
    }


def avro(schema, row):
    written = io.BytesIO()
    fastavro.schemaless_writer(written, fastavro.parse_schema(json.loads(json.dumps(schema))), row)
    return written.getvalue()


def register(registry, kind, schema):
    return Registry(registry.url, {}, 10, print).register(f"test-{uuid.uuid4().hex[:12]}", kind, schema)


def infer(folder, *options):
    """The YAML's content, its text without line breaks in comments, and what was printed."""
    output = folder / "columns.yaml"
    code, out, err = run_tool("schema", "infer", f"--output={output}", *options)
    assert (code, err) == (0, "")
    text = output.read_text()
    return yaml.safe_load(text), re.sub(r"\n *# ", " ", text), out


def at(broker, name):
    return [f"--bootstrap_servers={broker.bootstrap}", f"--topic={name}"]


def framed_avro(registry):
    """Messages of two schemas: the later half has a field more."""
    first, second = (register(registry, "AVRO", json.dumps(schema)) for schema in (AVRO, AVRO_V2))
    rows = [avro_row(number) for number in range(NUM_ROWS)]
    half = NUM_ROWS // 2
    return [header(first) + avro(AVRO, row) for row in rows[:half]] + [header(second) + avro(AVRO_V2, row) for row in rows[half:]]


AVRO_COLUMNS = [
    {"name": "click", "kind": "label"},
    {"name": "at", "kind": "time", "unit": "ms"},
    {"name": "item_brand", "path": "item.brand", "kind": "category"},
    {"name": "item_price", "path": "item.price", "kind": "number"},
    {"name": "item_weight_grams", "path": "item.weight_grams", "kind": "number"},
    {"name": "member", "kind": "category"},
    {"name": "level", "kind": "number"},  # 1.0, 2.0 and 3.0 are no texts that an integer takes
    {"name": "day", "kind": "ignore"},
    {"name": "site", "kind": "category"},
    {"name": "last_items", "kind": "categories", "max_length": 3, "keep": "last"},
    {"name": "never", "kind": "ignore"},
]


def test_avro_with_the_schemas_of_a_registry_is_seen_through_and_trained(tmp_path, broker, topic, registry, start):
    messages = framed_avro(registry)
    messages[7], messages[450] = messages[7][:-1], b"{}"
    name = topic([messages])
    found, text, out = infer(tmp_path, *at(broker, name), "--format=avro", f"--registry_url={registry.url}")
    assert {key: found.get(key) for key in ("format", "framing", "message_schema")} == {
        "format": "avro", "framing": "confluent", "message_schema": None,
    }  # fmt: skip
    assert found["columns"] == [*AVRO_COLUMNS, {"name": "added", "kind": "category"}]
    assert "schema: enum of 3" in text
    assert "schema: long timestamp-millis" in text
    assert "schema: string, default 'none'" in text
    assert "left out: counts: it is a map, which no kind takes" in text
    assert "left out: seen: it holds records or lists inside a list, which no kind takes" in text
    assert "left out: below: its type holds itself" in text
    assert "left out: digest: 100% of the rows would be refused for it, as byte 1 of digest, 0xff, is not UTF-8" in text
    assert "left out: comment: 100% of the rows would be refused for it, as comment holds a tab or a line end" in text
    assert "no row: partition 0, offset 7: it ends in the middle of never" in out
    assert "no row: partition 0, offset 450: it has 2 bytes; Confluent's frame alone has 5" in out
    assert f"{NUM_ROWS - 2} rows of topic {name}: avro, 12 columns" in out
    summary = start(columns=str(tmp_path / "columns.yaml"), topic=name, registry_url=registry.url, **SMALL)
    assert (summary["rows"], summary["rejected"]) == (NUM_ROWS - 2, 2)


def test_avro_without_a_frame_is_read_by_the_schema_in_a_file(tmp_path, broker, topic):
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "row.avsc").write_text(json.dumps(AVRO))
    name = topic([[avro(AVRO, avro_row(number)) for number in range(NUM_ROWS)]])
    options = [*at(broker, name), "--format=avro", f"--message_schema={tmp_path}/schemas/row.avsc"]
    found, _, _ = infer(tmp_path, *options)
    assert (found["framing"], found["message_schema"]) == ("none", "schemas/row.avsc")
    assert found["columns"] == AVRO_COLUMNS
    code, out, err = run_tool("schema", "check", *at(broker, name), f"--columns={tmp_path / 'columns.yaml'}")
    assert (code, err) == (0, "")
    assert f"check: rows={NUM_ROWS} refused=0 " in out


F = descriptor_pb2.FieldDescriptorProto
STAMP = descriptor_pb2.FileDescriptorProto.FromString(timestamp_pb2.DESCRIPTOR.serialized_pb)


def protobuf_set():
    """shop.proto: Row and, before it, Other."""
    file = descriptor_pb2.FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3", dependency=[STAMP.name])
    file.message_type.add(name="Other").field.add(name="x", number=1, label=1, type=F.TYPE_STRING)
    for number, name in enumerate(("NONE", "RED", "BLUE")):
        (file.enum_type or [file.enum_type.add(name="Color")])[0].value.add(name=name, number=number)
    row = file.message_type.add(name="Row")
    item = row.nested_type.add(name="Item")
    item.field.add(name="price", number=1, label=1, type=F.TYPE_DOUBLE)
    item.field.add(name="parent", number=2, label=1, type=F.TYPE_MESSAGE, type_name=".shop.Row.Item")
    fields = [
        ("click", F.TYPE_BOOL, ""), ("at", F.TYPE_MESSAGE, ".google.protobuf.Timestamp"), ("color", F.TYPE_ENUM, ".shop.Color"),
        ("item", F.TYPE_MESSAGE, ".shop.Row.Item"), ("views", F.TYPE_INT32, ""), ("site", F.TYPE_STRING, ""),
    ]  # fmt: skip
    for number, (name, kind, type_name) in enumerate(fields, start=1):
        row.field.add(name=name, number=number, label=1, type=kind, type_name=type_name or None)
    row.field.add(name="tags", number=20, label=3, type=F.TYPE_STRING)
    row.field.add(name="items", number=21, label=3, type=F.TYPE_MESSAGE, type_name=".shop.Row.Item")
    return descriptor_pb2.FileDescriptorSet(file=[STAMP, file])


def protobuf_rows():
    pool = descriptor_pool.DescriptorPool()
    for file in protobuf_set().file:
        pool.Add(file)
    make = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Row"))
    rows = []
    for number in range(NUM_ROWS):
        r = random.Random(number)
        row = make(click=r.random() < 0.25, color=r.randrange(3), views=min(int(r.expovariate(0.2)), 200), site=r.choice("ab"))
        row.tags.extend(r.choice("abc") for _ in range(r.randrange(3)))
        row.at.seconds = _START_MS // 1000 + number
        if number % 2:
            row.item.price = float(r.randrange(4))
            row.items.add(price=1.5)
        rows.append(row.SerializeToString())
    return rows


PROTOBUF_COLUMNS = [
    {"name": "click", "kind": "label"},
    {"name": "at", "kind": "time", "unit": "s"},
    {"name": "color", "kind": "category"},
    {"name": "item_price", "path": "item.price", "kind": "number"},
    {"name": "views", "kind": "integer"},
    {"name": "site", "kind": "category"},
    {"name": "tags", "kind": "categories", "max_length": 2, "keep": "last"},
]


# The same schema as protobuf_set, as a registry has it.
SHOP_PROTO = """
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
message Other { string x = 1; }
enum Color { NONE = 0; RED = 1; BLUE = 2; }
message Row {
  message Item { double price = 1; Item parent = 2; }
  bool click = 1;
  google.protobuf.Timestamp at = 2;
  Color color = 3;
  Item item = 4;
  int32 views = 5;
  string site = 6;
  repeated string tags = 20;
  repeated Item items = 21;
}
"""


@pytest.mark.parametrize(("framing", "message_schema"), [("none", "shop.pb"), ("confluent", "shop.pb"), ("confluent", "")])
def test_protobuf_is_read_by_its_schema_and_trained(tmp_path, broker, topic, registry, start, framing, message_schema):
    messages, options = protobuf_rows(), ["--format=protobuf", "--message_type=shop.Row"]
    if message_schema:
        (tmp_path / message_schema).write_bytes(protobuf_set().SerializeToString())
        options.append(f"--message_schema={tmp_path / message_schema}")
    if framing == "confluent":
        options.append(f"--registry_url={registry.url}")
        number = register(registry, "PROTOBUF", SHOP_PROTO)
        messages = [header(number) + indexes([1]) + message for message in messages]
        messages[3] = header(number) + indexes([0])
    name = topic([messages])
    found, text, _ = infer(tmp_path, *at(broker, name), *options)
    assert [found.get(key, "") for key in ("format", "framing", "message_schema", "message_type")] == [
        "protobuf", framing, message_schema, "shop.Row",
    ]  # fmt: skip
    assert found["columns"] == PROTOBUF_COLUMNS
    assert "schema: google.protobuf.Timestamp" in text
    assert "schema: repeated string" in text
    assert "left out: items: it is a list of messages, which no kind takes" in text
    assert "left out: item.parent: its type holds itself" in text
    of_registry = {"registry_url": registry.url} if framing == "confluent" else {}
    summary = start(columns=str(tmp_path / "columns.yaml"), topic=name, **of_registry, **SMALL)
    rejected = int(framing == "confluent")
    assert (summary["rows"], summary["rejected"]) == (NUM_ROWS - rejected, rejected)
    checked = [f"--columns={tmp_path / 'columns.yaml'}", *(f"--registry_url={url}" for url in of_registry.values())]
    code, out, _ = run_tool("schema", "check", *at(broker, name), *checked)
    assert code == 0
    assert f"check: rows={NUM_ROWS} refused={rejected} " in out


def test_check_tells_refused_messages_and_what_is_passed_by(tmp_path, broker, topic, registry):
    messages = framed_avro(registry)
    messages[7], messages[8], messages[450] = messages[7][:-1], messages[8] + b"x", b"{}"
    name = topic([messages])
    columns = {"name": "shop", "format": "avro", "framing": "confluent", "columns": [
        {"name": "click", "kind": "label"}, {"name": "price", "path": "item.price", "kind": "number"},
        {"name": "level", "kind": "integer"}, {"name": "site", "kind": "category"},
    ]}  # fmt: skip
    (tmp_path / "columns.yaml").write_text(yaml.safe_dump(columns))
    options = [*at(broker, name), f"--columns={tmp_path / 'columns.yaml'}", f"--registry_url={registry.url}"]
    code, out, err = run_tool("schema", "check", *options)
    assert (code, err) == (65, "")
    assert re.search(r"level is .[123]\.0., expected is a whole number", out)
    columns["columns"][2]["kind"] = "number"
    (tmp_path / "columns.yaml").write_text(yaml.safe_dump(columns))
    code, out, err = run_tool("schema", "check", *options)
    assert (code, err) == (0, "")
    assert "refused: avro: 2 rows" in out
    assert "offset 7: it ends in the middle of never" in out
    assert "offset 8: 1 bytes are left behind its last field: another schema wrote it" in out
    assert "refused: framing: 1 rows" in out
    unknown = "at, item.brand, item.weight_grams, member, day, last_items, digest, comment, never, added"
    assert f"warning: fields of the messages' schema that no column takes: {unknown}\n" in out
    assert f"check: rows={NUM_ROWS} refused=3 " in out


def test_a_double_may_be_the_label(tmp_path, broker, topic):
    schema = {"type": "record", "name": "Row", "fields": [{"name": "click", "type": "double"}, {"name": "x", "type": "string"}]}
    (tmp_path / "row.avsc").write_text(json.dumps(schema))
    name = topic([[avro(schema, {"click": float(i % 4 == 0), "x": "ab"[i % 2]}) for i in range(100)]])
    found, _, _ = infer(tmp_path, *at(broker, name), "--format=avro", f"--message_schema={tmp_path}/row.avsc")
    assert found["columns"][0] == {"name": "click", "kind": "label", "positive": ["1.0"]}


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--format=avro", "--topic=t"], 64, "avro messages without a frame need --message_schema=FILE"),
        (["--format=avro", "--topic=t", "--framing=confluent"], 64, "--framing=confluent needs --registry_url"),
        (["--format=avro", "--topic=t", "--message_schema=none.avsc"], 66, "--message_schema=none.avsc cannot be read"),
        (["--format=avro", "--topic=t", f"--message_schema={__file__}"], 64, "it is no Avro schema"),
        (["--format=avro", "--input=rows"], 64, "--input has a message a line, which avro messages are not"),
        (
            ["--topic=t", "--registry_url=http://a"],
            64,
            "--registry_url is for messages with a schema: say --format=avro or protobuf",
        ),
        (["--format=avro", "--topic=t", "--framing=none", "--registry_url=http://a"], 64, "--framing=confluent"),
    ],
)
def test_options_that_do_not_fit_are_said(tmp_path, options, code, said):
    found, _, err = run_tool("schema", "infer", *options, f"--output={tmp_path}/columns.yaml", "--bootstrap_servers=127.0.0.1:1")
    assert found == code
    assert said in err
