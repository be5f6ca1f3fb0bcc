"""tools/schema.py check: what it says of rows that do not suit the columns."""

import json

import pytest
from kafka_helpers import run_tool
from schema_check import check
from schema_sample import Message

from tfonline.features.schema import Schema
from tfonline.formats.json_objects import JsonObjects

COLUMNS = """
name: feed
columns:
  - {name: click, kind: label}
  - {name: price, path: item.price, kind: number}
  - {name: views, kind: integer}
  - {name: site, kind: category}
"""


def schema_of(*columns):
    return Schema.model_validate({"name": "feed", "columns": [{"name": "click", "kind": "label"}, *columns]})


def messages_of(rows):
    return [Message(json.dumps(row).encode(), "partition 0", offset) for offset, row in enumerate(rows)]


def row(number, **others):
    return {"click": int(number % 4 == 0), "item": {"price": number / 8}, "views": number % 7, "site": "ab"[number % 2], **others}


@pytest.fixture
def columns(tmp_path):
    path = tmp_path / "columns.yaml"
    path.write_text(COLUMNS)
    return path


@pytest.fixture
def run(tmp_path, columns):
    def run(rows, *options):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
        code, out, err = run_tool("schema", "check", f"--columns={columns}", f"--input={path}", "--format=json_objects", *options)
        assert err == ""
        return code, out

    return run


def test_rows_that_suit_the_columns(run):
    code, out = run([row(i) for i in range(1000)])
    assert (code, out) == (0, "check: rows=1000 refused=0 label_rate=0.25000 warnings=0 mend=0\n")


def test_refused_rows_are_told_by_reason_and_path_with_examples(run, tmp_path):
    rows = [row(i) for i in range(1000)]
    for i in (10, 20, 30, 40):
        rows[i]["item"]["price"] = "cheap"
    rows[50], rows[60]["click"] = "{", 2
    code, out = run(rows)
    assert code == 0
    assert "refused: number price: 4 rows (0.40%), such as\n" in out
    assert f"  {tmp_path}/rows.jsonl, line 11: item.price is 'cheap', expected is a decimal number such as -1.5 or 2e-3" in out
    assert "line 41" not in out  # three examples are enough
    assert "refused: json: 1 rows" in out
    assert "refused: label click: 1 rows" in out
    assert "check: rows=1000 refused=6 " in out


def test_too_many_refused_rows_are_to_be_mended(run):
    rows = [row(i) if i % 5 else {**row(i), "views": "many"} for i in range(1000)]
    code, out = run(rows)
    assert code == 65
    assert "mend: 20.00% of the rows would be refused, and --max_rejected_ratio=0.1: a run would end." in out
    assert run(rows, "--max_rejected_ratio=0.2")[0] == 0


def test_a_stream_of_another_format_is_recognised(run, columns, tmp_path):
    code, out = run([f"{i % 2}\t1.5\t3\ta" for i in range(100)])
    assert code == 65
    assert "refused rows: The rows look like 4 fields separated by tabs" in out


@pytest.mark.parametrize("click", [0, 1])
def test_a_label_that_never_changes_is_to_be_mended(run, click):
    code, out = run([row(i) | {"click": click} for i in range(100)])
    assert code == 65
    assert f"mend: the label click is {click} in all 100 rows" in out


def test_no_row_is_to_be_mended(run):
    code, out = run([])
    assert code == 65
    assert "mend: there is no row" in out


def test_keys_that_no_column_takes_are_told(run):
    _, out = run([row(i, more={"a": 1}) | ({"rare": 1} if i % 10 == 0 else {}) for i in range(200)])
    assert "warning: keys that no column takes, and the share of rows that have them: more (100%), rare (10%)\n" in out


WARNED = {
    "always missing": ({"name": "gone", "kind": "category"}, lambda i: {}, "gone: always missing"),
    "constant": ({"name": "country", "kind": "category"}, lambda i: {"country": "de"}, "country: the same value in all rows"),
    "an id of the row": (
        {"name": "request", "kind": "category"}, lambda i: {"request": f"r{i}"},
        "request: 2,000 different values in 2,000 rows: an id of the row? kind ignore",
    ),
    "moments": (
        {"name": "at", "kind": "integer"}, lambda i: {"at": 1_700_000_000_000 + 60_000 * i},
        "at: its values look like moments: kind time, unit ms",
    ),
    "another unit": (
        {"name": "at", "kind": "time", "unit": "s"}, lambda i: {"at": 1_700_000_000_000 + 60_000 * i},
        "at: its values look like moments of unit ms, not s",
    ),
    "numbers": (
        {"name": "rate", "kind": "category"}, lambda i: {"rate": i % 50 / 16},
        "rate: its values look like decimal numbers: kind number",
    ),
    "a leak": (
        {"name": "bill", "kind": "integer"}, lambda i: {"bill": i % 7} if i % 4 == 0 else {},
        "bill: alone it tells the label with AUC 1.000: is it known before the click?",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WARNED)
def test_what_a_person_should_look_at_is_warned_of(what):
    column, values, said = WARNED[what]
    rows = messages_of([{"click": int(i % 4 == 0), **values(i)} for i in range(2000)])
    found = check(rows, schema_of(column, {"name": "plain", "kind": "category"}), JsonObjects(), 0.1, 0.97)
    assert (found.num_refused, found.mend) == (0, [])
    assert any(text.startswith(said) for text in found.warnings), found.warnings


def test_nothing_is_warned_of_where_texts_are_whole_numbers_or_values_stay_the_same_few():
    rows = messages_of([{"click": int(i % 4 == 0), "code": str(i * 7919 % 97), "items": ["a", "b"][: i % 3]} for i in range(2000)])
    columns = [{"name": "code", "kind": "category"}, {"name": "items", "kind": "categories", "max_length": 2}]
    assert check(rows, schema_of(*columns), JsonObjects(), 0.1, 0.97).warnings == []


def test_a_topic_is_checked(columns, broker, topic):
    name = topic([[json.dumps(row(i)).encode() for i in range(50)], [b"no"]])
    code, out, _ = run_tool(
        "schema",
        "check",
        f"--columns={columns}",
        f"--bootstrap_servers={broker.bootstrap}",
        f"--topic={name}",
        "--format=json_objects",
    )
    assert code == 0
    assert "partition 1, offset 0: it is no JSON" in out
    assert "check: rows=51 refused=1 " in out


def test_rows_under_a_header_and_of_parquet_are_those_that_the_trainer_has(columns, tmp_path):
    import duckdb

    lines = "".join(f"{i % 7},x,{i / 8},{'ab'[i % 2]},{int(i % 4 == 0)}\n" for i in range(100))
    (tmp_path / "a.csv").write_text("views,more,item.price,site,click\n" + lines)
    code, out, _ = run_tool("schema", "check", f"--columns={columns}", f"--input={tmp_path}/a.csv", "--format=csv")
    assert (code, out.splitlines()[-1]) == (0, "check: rows=100 refused=0 label_rate=0.25000 warnings=0 mend=0")
    with duckdb.connect() as con:
        con.execute(
            f"COPY (SELECT i % 4 = 0 AS click, {{'price': i / 8}} AS item, i % 7 AS views, 'a' || i % 2 AS site "
            f"FROM range(100) AS t(i)) TO '{tmp_path}/a.parquet' (FORMAT parquet)"
        )
    code, out, _ = run_tool("schema", "check", f"--columns={columns}", f"--input={tmp_path}/a.parquet")
    assert (code, out.splitlines()[-1]) == (0, "check: rows=100 refused=0 label_rate=0.25000 warnings=0 mend=0")


@pytest.mark.parametrize("options", [[], ["--input=a"], ["--columns=a", "--input=a", "--topic=b"]])
def test_wrong_options(options):
    code, _, err = run_tool("schema", "check", *options)
    assert code == 64
    assert "schema.py check --help" in err
