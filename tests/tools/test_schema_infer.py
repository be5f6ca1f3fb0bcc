"""tools/schema.py infer: what it makes of rows whose truth is known."""

import gzip
import json
import random
import re

import duckdb
import pyarrow as pa
import pytest
import schema as schema_tool
import yaml
from kafka_helpers import run_tool
from schema_guess import likely_labels, names_for, words_of
from schema_sample import of_files

from tfonline.features.schema import load_schema
from tfonline.formats.arrow_reader import stream_of
from tfonline.lifecycle import UserError

NUM_ROWS = 2000
_START_MS = 1_700_000_000_000


def planted(number):
    """A row whose columns are of every sort; deterministic. One in four is a click."""
    r = random.Random(number)
    click = int(r.random() < 0.25)
    row = {
        "labels": {"click": click},
        "request_id": f"req-{number:07}",
        "ts": _START_MS + number * 1000,
        "when": f"2023-11-{number % 28 + 1:02}T{number % 24:02}:00:00Z",
        "hour": f"2311{number % 28 + 1:02}{number % 24:02}",
        "item": {"price": round(r.lognormvariate(2, 1), 2), "brandId": r.choice([11, 700, 31, 92, 5, 6001])},
        "views": min(int(r.expovariate(0.2)), 200),
        "site": r.choice(["news", "mail", "shop"]),
        "device_ip": f"10.{r.randrange(256)}.{r.randrange(256)}.{r.randrange(9)}",
        "user-agent": r.choice(["a", "b"]),
        "country": "de",
        "mixed": "7" if number % 500 == 3 else 7 + number % 5,
        "basket": [r.choice("abcdef") for _ in range(r.randrange(1, 6))],
        "seen": [{"a": 1}],
        "odd.key": 1,
    }
    if click:
        row["bill"] = number % 7
    return row


@pytest.fixture(scope="module")
def rows():
    return [planted(number) for number in range(NUM_ROWS)]


@pytest.fixture
def objects(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def kinds_of(path):
    return {column["name"]: column for column in yaml.safe_load(path.read_text())["columns"]}


def infer(tmp_path, *options):
    output = tmp_path / "columns.yaml"
    code, out, err = run_tool("schema", "infer", f"--output={output}", "--force", *options)
    assert (code, err) == (0, "")
    return kinds_of(output), re.sub(r"\n *# ", " ", output.read_text()), out  # comments may be broken anywhere


def test_a_planted_stream_of_objects_is_seen_through(tmp_path, objects):
    columns, text, out = infer(tmp_path, f"--input={objects}")
    load_schema(str(tmp_path / "columns.yaml"))
    expected = {
        "labels_click": {"path": "labels.click", "kind": "label"},
        "request_id": {"kind": "ignore"},
        "ts": {"kind": "time", "unit": "ms"},
        "when": {"kind": "time", "unit": "iso"},
        "hour": {"kind": "time", "unit": "yymmddhh"},
        "item_price": {"path": "item.price", "kind": "number"},
        "item_brandId": {"path": "item.brandId", "kind": "category"},
        "views": {"kind": "integer"},
        "site": {"kind": "category"},
        "device_ip": {"kind": "ignore"},
        "user_agent": {"path": "user-agent", "kind": "category"},
        "country": {"kind": "ignore"},
        "bill": {"kind": "ignore"},
    }
    for name, entry in expected.items():
        assert columns[name] == {"name": name, **entry}, name
    assert "left out: seen: it holds lists or objects inside a list" in text
    assert "left out: odd.key: no path leads to a key that is empty or has a dot" in text
    assert "LEAK? alone it tells the label with AUC 1.000" in text
    assert "mixed types: 1,996 of type number, 4 of type text; text at " in out
    assert f"{objects}, line 4, " in out
    assert "2023-11-14 22:13:20 to 2023-11-14 22:46:39" in text
    assert "it has one value only" in out
    assert out.splitlines()[-1].startswith(f"schema: columns={len(columns)} label=labels_click rows=2000 output=")


def test_lists_are_categories(tmp_path, objects, rows):
    columns, text, _ = infer(tmp_path, f"--input={objects}")
    assert columns["basket"] == {"name": "basket", "kind": "categories", "max_length": 5, "keep": "last"}
    assert "lengths: half up to 3, 99% up to 5, all up to 5" in text
    lines = ["\t".join((str(row["labels"]["click"]), "|".join(row["basket"]), f"a|title {i}")) for i, row in enumerate(rows)]
    (tmp_path / "rows.tsv").write_text("\n".join(lines) + "\n")
    columns, _, _ = infer(tmp_path, f"--input={tmp_path / 'rows.tsv'}")
    assert columns["c2"] == {"name": "c2", "kind": "categories", "max_length": 5, "keep": "last"}
    assert columns["c3"]["kind"] == "ignore"  # a value a row


def test_nothing_of_what_is_ignored_is_quoted(tmp_path, objects):
    _, text, out = infer(tmp_path, f"--input={objects}")
    for shown in (text, out):
        assert "req-" not in shown
        assert "10." not in shown.replace("10.0", "")
    assert "'news' 3" in text  # a third of the rows


def test_values_of_few_rows_are_not_quoted(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("".join(f"{i % 2}\t{'often' if i % 2 else f'private{i % 10}'}\n" for i in range(60)))
    columns, text, out = infer(tmp_path, f"--input={path}")
    assert columns["c2"]["kind"] == "category"
    assert "'often' 50%" in text
    assert "private" not in text + out


def test_the_same_columns_by_parquet_and_csv(tmp_path, rows):
    flat = {
        "click": [row["labels"]["click"] for row in rows],
        "price": [row["item"]["price"] for row in rows],
        "views": [row["views"] for row in rows],
        "site": [row["site"] for row in rows],
        "when": [row["when"] for row in rows],
    }
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE t (click BOOLEAN, price DOUBLE, views INTEGER, site VARCHAR, moment TIMESTAMP, item STRUCT(brand INT))"
    )
    values = [(bool(c), p, v, s, w, {"brand": v % 3}) for c, p, v, s, w in zip(*flat.values(), strict=True)]
    con.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", values[:300])
    con.execute(f"COPY t TO '{tmp_path / 'rows.parquet'}' (FORMAT parquet)")
    columns, text, _ = infer(tmp_path, f"--input={tmp_path / 'rows.parquet'}")
    assert {name: column["kind"] for name, column in columns.items()} == {
        "click": "label", "price": "number", "views": "integer", "site": "category", "moment": "time", "item_brand": "category",
    }  # fmt: skip
    assert columns["item_brand"]["path"] == "item.brand"
    assert "(parquet)" in text

    lines = [",".join(flat), *(",".join(map(str, values)) for values in zip(*flat.values(), strict=True))]
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress("\r\n".join(lines).encode()))
    columns, text, _ = infer(tmp_path, f"--input={tmp_path / 'rows.csv.gz'}")
    assert {name: column["kind"] for name, column in columns.items()} == {
        "click": "label", "price": "number", "views": "integer", "site": "category", "when": "time",
    }  # fmt: skip
    assert "(csv with a header line)" in text


def test_columns_without_names_are_numbered_and_the_first_that_can_is_the_label(tmp_path, rows):
    lines = ["\t".join(map(str, (row["labels"]["click"], row["views"], row["site"], ""))) for row in rows]
    (tmp_path / "rows.tsv").write_text("\n".join([*lines[:50], "1\t2", *lines[50:]]) + "\n")
    columns, text, out = infer(tmp_path, f"--input={tmp_path / 'rows.tsv'}")
    assert {name: column["kind"] for name, column in columns.items()} == {
        "c1": "label", "c2": "integer", "c3": "category", "c4": "ignore",
    }  # fmt: skip
    assert "it is always missing" in text
    assert f"{tmp_path / 'rows.tsv'}, line 51: it has 2 fields, most have 4" in out


def test_an_object_that_may_be_missing_is_none_of_the_columns(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    with path.open("w") as file:
        for i, row in enumerate(rows):
            objects = {"item": {"price": i % 9} if i % 2 else None, "shop": {"id": i % 5} if i % 3 else "none"}
            file.write(json.dumps({"click": row["labels"]["click"], **objects}) + "\n")
    columns, text, _ = infer(tmp_path, f"--input={path}")
    assert sorted(columns) == ["click", "item_price", "shop_id"]
    assert "left out: shop: some rows have an object there, and others none" in text
    code, out, _ = run_tool(
        "schema", "check", f"--columns={tmp_path / 'columns.yaml'}", f"--input={path}", "--max_rejected_ratio=1"
    )
    assert code == 0
    assert "shop is a text, expected is an object with id" in out


def test_a_topic_is_looked_at_from_both_ends(tmp_path, broker, topic, rows):
    early, late = ([json.dumps(row).encode() for row in of] for of in (rows, [{**row, "added": row["site"]} for row in rows]))
    name = topic([early[:1000] + late[1000:], [b"no row", *early]])
    options = (f"--bootstrap_servers={broker.bootstrap}", f"--topic={name}", "--rows=400")
    columns, _, out = infer(tmp_path, *options)
    assert columns["added"]["kind"] == "category"
    assert "no row: partition 1, offset 0: it is no JSON" in out
    assert f"399 rows of topic {name}: json_objects" in out


def test_the_rows_of_arrow_messages_are_looked_at_one_by_one(tmp_path, broker, topic, objects, rows):
    # pyarrow takes the columns of a list of rows from the first of them.
    plain = [{"bill": None, **{k: v for k, v in row.items() if k not in ("mixed", "seen")}} for row in rows]
    messages = [stream_of(pa.Table.from_pylist(plain[i : i + 50])) for i in range(0, len(plain), 50)]
    name = topic([[*messages[:20], b"junk"], messages[20:]])
    options = (f"--bootstrap_servers={broker.bootstrap}", f"--topic={name}", "--format=arrow")
    code, out, err = run_tool("schema", "infer", *options, f"--output={tmp_path / 'columns.yaml'}")
    assert code == 0, err
    assert f"2,000 rows of topic {name}: arrow" in out
    assert run_tool("schema", "infer", f"--input={objects}", f"--output={tmp_path / 'of_objects.yaml'}")[0] == 0
    found, wanted = (
        {c["name"]: c for c in yaml.safe_load((tmp_path / f).read_text())["columns"]} for f in ("columns.yaml", "of_objects.yaml")
    )
    assert {name: column for name, column in wanted.items() if name not in ("mixed", "seen")} == found
    code, out, err = run_tool("schema", "check", *options[:2], f"--columns={tmp_path / 'columns.yaml'}")
    assert "refused: arrow: 1 rows" in out, err


def test_a_file_with_edits_is_never_written_over(tmp_path, objects):
    output = tmp_path / "columns.yaml"
    output.write_text("mine")
    code, out, err = run_tool("schema", "infer", f"--input={objects}", f"--output={output}")
    assert (code, out, output.read_text()) == (64, "", "mine")
    assert "is there already" in err


def test_which_label_can_be_said(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    clicks = [row["labels"]["click"] for row in rows]
    events = [{"event": "click" if click else "view", "flag": i % 2, "views": 5 + i % 3} for i, click in enumerate(clicks)]
    path.write_text("".join(json.dumps(row) + "\n" for row in events))
    columns, _, _ = infer(tmp_path, f"--input={path}")
    assert columns["event"] == {"name": "event", "kind": "label", "positive": ["click"]}
    columns, _, _ = infer(tmp_path, f"--input={path}", "--label=flag")
    assert columns["flag"]["kind"] == "label"
    assert columns["event"]["kind"] == "ignore"
    code, _, err = run_tool("schema", "infer", f"--input={path}", "--label=nothing", f"--output={tmp_path}/no.yaml")
    assert code == 64
    assert "Expected one of event, flag, views" in err


def test_rows_without_a_label_and_too_few_rows_are_said(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"site": row["site"], "views": row["views"]}) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"looks like a label.*--label=NAME, one of site, views"):
        schema_tool.infer(of_files([str(path)], "", 1000))
    with pytest.raises(UserError, match=r"has 3 rows of format json_objects.*at least 10"):
        schema_tool.infer(of_files([str(path)], "", 3))
    path.write_bytes(b"\0\0\0\0\1x\n" * 20)
    with pytest.raises(UserError, match=r"They begin as Confluent's frame does: --format=avro or protobuf, and --registry_url"):
        of_files([str(path)], "", 100)
    path.write_text("one word\n" * 20)
    with pytest.raises(UserError, match=r"none of the formats .*line 1 is no row of any.*--format"):
        of_files([str(path)], "", 100)


def test_other_labels_are_not_features(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    with path.open("w") as file:
        for i, row in enumerate(rows):
            file.write(json.dumps({"conversion": i % 20 == 0, "click": row["labels"]["click"], "site": row["site"]}) + "\n")
    columns, text, _ = infer(tmp_path, f"--input={path}")
    assert {name: column["kind"] for name, column in columns.items()} == {
        "conversion": "ignore",
        "click": "label",
        "site": "category",
    }
    assert "it could be the label as well as click; as a feature it would tell the label" in text


def test_a_weight_is_known_by_its_name_and_there_is_but_one(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    with path.open("w") as file:
        for i, row in enumerate(rows):
            weights = {"weight": 1 + i % 2 / 2, "other": {"weight": i % 3 / 4}}
            file.write(json.dumps({"click": row["labels"]["click"], "site": row["site"], **weights}) + "\n")
    columns, text, _ = infer(tmp_path, f"--input={path}")
    assert columns["weight"] == {"name": "weight", "kind": "weight"}
    assert columns["other_weight"]["kind"] == "number"
    assert "another column is the weight already" in text


def test_an_id_as_large_as_a_moment_is_an_id(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    with path.open("w") as file:
        for i, row in enumerate(rows):
            made = {"click": row["labels"]["click"], "site": row["site"], "id": 10**12 + i, "seen": 1_700_000_000_000 + i}
            file.write(json.dumps(made) + "\n")
    columns, *_ = infer(tmp_path, f"--input={path}")
    assert (columns["id"]["kind"], columns["seen"]["kind"]) == ("ignore", "time")


def test_names_of_columns_are_valid_and_differ():
    assert names_for(["..ip", "a-b", "a_b", "item.price", "日本", "7th", "A1"]) == {
        "..ip": "ip", "a-b": "a_b", "a_b": "a_b_2", "item.price": "item_price", "日本": "c", "7th": "c_7th", "A1": "A1",
    }  # fmt: skip


def test_words_of_a_name():
    assert words_of("item.brandId") == ["brand", "id"]
    assert words_of("user-item_Affinity") == ["user", "item", "affinity"]


def test_no_columns_no_labels():
    assert likely_labels({}, named=True) == []
