"""The trainer on messages in Confluent's frame, with schemas from a real registry and rows from a real broker."""

import io
import json
import uuid

import fastavro
import numpy as np
import pytest
from checkpoint_helpers import saved
from kafka_helpers import read_all, run_tool

from tfonline.formats.framing import header
from tfonline.formats.registry import Registry
from tfonline.lifecycle import UserError

COLUMNS = """
name: shop
format: avro
framing: confluent
{more}
columns:
  - {{name: click, kind: label, path: labels.click}}
  - {{name: price, kind: number, path: item.price}}
  - {{name: age, kind: integer}}
  - {{name: user, kind: category}}
  - {{name: site, kind: category}}
"""
PLAIN = COLUMNS.replace("format: avro\nframing: confluent\n", "").format(more="")
LABELS = {"name": "labels", "type": {"type": "record", "name": "Labels", "fields": [{"name": "click", "type": "boolean"}]}}
PRICE = {"name": "price", "type": ["null", "double"], "default": None}
ITEM = {"name": "item", "type": ["null", {"type": "record", "name": "Item", "fields": [PRICE]}], "default": None}
AGE = {"name": "age", "type": ["null", "int"], "default": None}
USER, SITE = {"name": "user", "type": "string"}, {"name": "site", "type": "string", "default": "none"}
MEMBER, SHOWN = {"name": "member", "type": "string"}, {"name": "shown", "type": {"type": "array", "items": "string"}}
READER = [LABELS, ITEM, AGE, {**USER, "aliases": ["member"]}, SITE]
SMALL = {
    "vocabulary_rows": 64, "admit_after": 2, "admit_counters": 1024, "oov_buckets": 20, "window_rows": 40, "batch_size": 20,
    "deep_layers": "4", "embedding_dim": 2, "stop_at": "latest", "numeric": "bucket",
}  # fmt: skip


def schema_of(*fields):
    return {"type": "record", "name": "Row", "namespace": "shop", "fields": list(fields)}


V1, V2 = schema_of(LABELS, ITEM, AGE, USER, SITE), schema_of(SHOWN, MEMBER, ITEM, LABELS, AGE)


def values(i):
    return {"click": i % 3 == 0, "price": i / 8 if i % 5 else None, "age": i % 50 if i % 7 else None, "user": f"u{i % 9}"}


def row(i, of_v2):
    v = values(i)
    made = {"labels": {"click": v["click"]}, "item": {"price": v["price"]} if i % 4 else None, "age": v["age"]}
    return made | ({"member": v["user"], "shown": ["a", "b"][: i % 3]} if of_v2 else {"user": v["user"], "site": f"s{i % 3}"})


def line(i, of_v2):
    """The same row as TSV, where the reader's schema has a default."""
    v = values(i)
    price = "" if v["price"] is None or not i % 4 else repr(v["price"])
    age = "" if v["age"] is None else str(v["age"])
    return "\t".join(["true" if v["click"] else "false", price, age, v["user"], "none" if of_v2 else f"s{i % 3}"]).encode()


def message(number, schema, record):
    written = io.BytesIO(b"\0" + number.to_bytes(4, "big"))
    written.seek(5)
    fastavro.schemaless_writer(written, fastavro.parse_schema(schema), record)
    return written.getvalue()


def register(registry, schema, subject="", kind="AVRO"):
    asked = Registry(registry.url, {}, 10, print)
    return asked.register(subject or f"test-{uuid.uuid4().hex[:12]}", kind, json.dumps(schema) if kind == "AVRO" else schema)


@pytest.fixture
def run(start, tmp_path, registry):
    """Runs the trainer by a YAML of columns, and returns its summary."""

    def run(yaml, **flags):
        (tmp_path / "columns.yaml").write_text(yaml)
        (tmp_path / "row.avsc").write_text(json.dumps(schema_of(*READER)))
        return start(columns=str(tmp_path / "columns.yaml"), **{**SMALL, **flags})

    return run


def tensors(folder):
    return {name: np.asarray(t).tobytes() for name, t in saved(str(folder))[0].items()}


FRAMED = COLUMNS.format(more="message_schema: row.avsc")


def test_a_new_schema_in_mid_stream_loses_no_row_and_a_replay_needs_no_registry(run, topic, registry, tmp_path, capfd):
    first, second = register(registry, V1), register(registry, V2)
    rows = [message(first, V1, row(i, False)) for i in range(100)] + [message(second, V2, row(i, True)) for i in range(100, 200)]
    rows += [message(first, V1, row(i, False)) for i in range(200, 220)]  # a producer that was not replaced yet
    name = topic([rows])
    summary = run(FRAMED, topic=name, registry_url=registry.url, model_dir=str(tmp_path / "framed"))
    assert (summary["rows"], summary["rejected"]) == (220, 0)
    kept = {file.name for file in (tmp_path / "framed" / "schemas").iterdir()}
    assert kept == {f"{first}.json", f"{second}.json"}

    plain = topic([[line(i, 100 <= i < 200) for i in range(220)]])
    assert run(PLAIN, topic=plain, model_dir=str(tmp_path / "plain"))["rejected"] == 0
    assert tensors(tmp_path / "framed") == tensors(tmp_path / "plain")

    replayed = run(FRAMED, topic=name, replay_journal=str(tmp_path / "framed" / "windows.jsonl"), model_dir=str(tmp_path / "again"))
    assert replayed["rows"] == 220
    assert tensors(tmp_path / "again") == tensors(tmp_path / "framed")
    assert {file.name for file in (tmp_path / "again" / "schemas").iterdir()} == kept
    assert "does not answer" not in capfd.readouterr().out


def test_without_a_readers_schema_what_is_not_there_is_missing_and_said(run, topic, registry, capfd):
    second = register(registry, V2)
    name = topic([[message(second, V2, row(i, True)) for i in range(60)]])
    assert run(COLUMNS.format(more=""), topic=name, registry_url=registry.url)["rows"] == 60
    assert f"warning: schema {second} has no field for user, site: a missing value in each" in capfd.readouterr().out


def test_an_unknown_id_ends_the_run_and_a_later_start_goes_on(run, topic, produce, registry, tmp_path):
    first = register(registry, V1)
    name = topic([[message(first, V1, row(i, False)) for i in range(50)]])
    assert run(FRAMED, topic=name, registry_url=registry.url)["rows"] == 50
    coming = register(registry, schema_of(LABELS, USER)) + 1  # the registry counts its schemas
    produce(name, [message(coming, V2, row(i, True)) for i in range(50, 90)])
    with pytest.raises(UserError, match=rf"by the schema with id {coming}, which the registry .* does not know") as e:
        run(FRAMED, topic=name, registry_url=registry.url)
    assert e.value.code == 75
    assert saved(str(tmp_path / "model"))[1]["rows"] == 50
    assert (tmp_path / "model" / "rejected.jsonl").read_text() == ""
    fresh = {**V2, "name": f"Row{uuid.uuid4().hex[:8]}"}  # a schema that it knows already would keep its id
    assert register(registry, fresh) == coming
    summary = run(FRAMED, topic=name, registry_url=registry.url)
    assert (summary["rows"], summary["rejected"]) == (90, 0)


def test_a_registry_that_is_away_ends_the_run(run, topic, registry, tmp_path, capfd):
    first = register(registry, V1)
    name = topic([[message(first, V1, row(i, False)) for i in range(50)]])
    with pytest.raises(UserError, match=r"the schema registry http://127\.0\.0\.1:1/x does not answer: .*refused.* none is") as e:
        run(FRAMED, topic=name, registry_url="http://127.0.0.1:1/x", broker_timeout_secs=2)
    assert e.value.code == 75
    assert "warning: the schema registry http://127.0.0.1:1/x does not answer" in capfd.readouterr().out
    with pytest.raises(UserError, match="framing: confluent needs --registry_url") as e:
        run(FRAMED, topic=name)
    assert e.value.code == 64
    assert run(FRAMED, topic=name, registry_url=registry.url)["rows"] == 50
    assert run(FRAMED, topic=name)["rows"] == 50  # its schema is in the model folder


def test_one_row_in_a_hundred_is_refused_alone(run, topic, registry, tmp_path):
    first = register(registry, V1)
    good = [message(first, V1, row(i, False)) for i in range(1000)]
    bad = [
        good[0][:3], good[0][:-1], good[0] + b"x", b"\1" + good[0][1:], good[0][5:], b"\xff\xfe", b"", b"{}",
        good[0][:5], good[0][:5] + b"\xff" * 30,
    ]  # fmt: skip
    places = {37 + 100 * i: message for i, message in enumerate(bad)}
    name = topic([[places.get(i, message) for i, message in enumerate(good)]])
    summary = run(FRAMED, topic=name, registry_url=registry.url, stop_at="latest")
    assert (summary["rows"], summary["rejected"]) == (990, 10)
    records = [json.loads(record) for record in (tmp_path / "model" / "rejected.jsonl").read_text().splitlines()]
    assert [record["offset"] for record in records] == sorted(places)
    framing, avro = "framing", "avro"
    assert [r["reason"] for r in records] == [framing, avro, avro, framing, framing, framing, "empty", framing, avro, avro]


# Field 1 of each is the click: true. Then a text as field 2 or 3.
PROTO_V1 = """
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
message Labels { bool click = 1; }
message Row { Labels labels = 1; string user = 2; google.protobuf.Timestamp at = 4; }
"""
PROTO_V2 = PROTO_V1.replace("string user = 2;", "string user = 2; string site = 3;")
PROTO_COLUMNS = """
name: shop
format: protobuf
framing: confluent
message_type: shop.Row
columns:
  - {name: click, kind: label, path: labels.click}
  - {name: user, kind: category}
  - {name: site, kind: category}
  - {name: at, kind: time}
"""
PROTO_PLAIN = PROTO_COLUMNS.replace("format: protobuf\nframing: confluent\nmessage_type: shop.Row\n", "")


def proto_message(number, i, of_v2):
    labels = b"\x0a\x02\x08\x01" if i % 3 == 0 else b"\x0a\x00"
    at = b"\x22\x03\x08" + bytes([i & 127 | 128, i >> 7])
    site = b"\x1a\x02s%d" % (i % 3) if of_v2 else b""
    return header(number) + b"\x02\x02" + labels + b"\x12\x02u%d" % (i % 9) + site + at


def proto_line(i, of_v2):
    return b"%s\tu%d\t%s\t%d" % (b"false" if i % 3 else b"true", i % 9, b"s%d" % (i % 3) if of_v2 else b"", i)


def test_protobuf_is_read_by_the_text_of_the_schema_that_wrote_it(run, topic, registry, tmp_path, capfd):
    first, second = (register(registry, text, kind="PROTOBUF") for text in (PROTO_V1, PROTO_V2))
    name = topic([[proto_message(second if i >= 60 else first, i, i >= 60) for i in range(120)]])
    summary = run(PROTO_COLUMNS, topic=name, registry_url=registry.url, model_dir=str(tmp_path / "framed"))
    assert (summary["rows"], summary["rejected"]) == (120, 0)
    assert f"warning: schema {first} has no field for site: a missing value in each of its messages" in capfd.readouterr().out
    plain = topic([[proto_line(i, i >= 60) for i in range(120)]])
    assert run(PROTO_PLAIN, topic=plain, model_dir=str(tmp_path / "plain"))["rejected"] == 0
    assert tensors(tmp_path / "framed") == tensors(tmp_path / "plain")
    journal = str(tmp_path / "framed" / "windows.jsonl")
    run(PROTO_COLUMNS, topic=name, replay_journal=journal, model_dir=str(tmp_path / "again"))
    assert tensors(tmp_path / "again") == tensors(tmp_path / "framed")


def test_a_schema_of_several_types_needs_the_name_of_one(run, topic, registry):
    number = register(registry, PROTO_V1, kind="PROTOBUF")
    name = topic([[proto_message(number, i, False) for i in range(60)]])
    with pytest.raises(
        UserError, match=r"message_type says which of its types the messages have: one of shop\.Labels, shop\.Row"
    ) as e:
        run(PROTO_COLUMNS.replace("message_type: shop.Row\n", ""), topic=name, registry_url=registry.url)
    assert e.value.code == 64


@pytest.mark.parametrize("message_format", ["avro", "protobuf"])
def test_what_produce_writes_is_trained(run, start, topic, broker, registry, tmp_path, message_format):
    (tmp_path / "plain.yaml").write_text(PLAIN)
    yaml = COLUMNS.replace("format: avro", f"format: {message_format}").format(more="")
    (tmp_path / "columns.yaml").write_text(yaml)
    (tmp_path / "rows.tsv").write_bytes(b"".join(line(i, False) + b"\n" for i in range(60)))
    name = topic([[]])
    at = [f"--bootstrap_servers={broker.bootstrap}", f"--topic={name}", f"--columns={tmp_path / 'columns.yaml'}"]
    for _ in range(2):
        code, out, err = run_tool("produce", *at, f"--registry_url={registry.url}", tmp_path / "rows.tsv")
        assert (code, out.split(" partitions")[0]) == (0, "produced: rows=60"), err
    [sent] = read_all(broker.bootstrap, name).values()
    assert sent[0][0] == 0
    assert len({m[:5] for m in sent}) == 1  # one schema, registered once
    summary = run(yaml, topic=name, registry_url=registry.url, model_dir=str(tmp_path / "framed"))
    assert (summary["rows"], summary["rejected"]) == (120, 0)
    run(PLAIN, topic=topic([[line(i % 60, False) for i in range(120)]]), model_dir=str(tmp_path / "plain"))
    assert tensors(tmp_path / "framed") == tensors(tmp_path / "plain")
