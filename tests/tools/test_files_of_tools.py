"""The files that tools/process_data.py and tools/produce.py take beside TSV: CSV, JSON objects and Parquet, by name."""

import gzip
import json

import duckdb
import pytest
from kafka_helpers import read_all, run_tool
from process_data_helpers import build

from tfonline.features.dictionaries import load_dictionaries
from tfonline.features.schema import load_schema

ROWS = [[str(i % 2), str(i % 5), "" if i % 3 else "-7", "ab,c"[: 1 + i % 4], f"v{i % 2}"] for i in range(60)]
NAMES = ["label", "I1", "I2", "C1", "C2"]


@pytest.fixture
def files(small):
    """The same rows in each form of a file."""

    def quoted(row):
        return ",".join(f'"{field}"' if "," in field else field for field in row)

    (small / "rows").write_text("".join("\t".join(row) + "\n" for row in ROWS))
    (small / "headed").write_text("".join("\t".join(row) + "\n" for row in [NAMES, *ROWS]))
    (small / "plain.csv").write_text("".join(quoted(row) + "\n" for row in ROWS))
    named = "".join(quoted([row[3], "x", *row[:3], row[4]]) + "\r\n" for row in [NAMES, *ROWS])
    (small / "named.csv.gz").write_bytes(gzip.compress(named.encode(), mtime=0))
    objects = [{name: field for name, field in zip(NAMES, row, strict=True) if field} for row in ROWS]
    (small / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in objects))
    with duckdb.connect() as con:
        con.execute("CREATE TABLE t (C2 VARCHAR, I1 INTEGER, label BOOLEAN, I2 DOUBLE, C1 VARCHAR)")
        con.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", [[r[4], int(r[1]), r[0] == "1", r[2] or None, r[3]] for r in ROWS])
        con.execute(f"COPY t TO '{small}/rows.parquet' (FORMAT parquet)")
    return small


OTHERS = ("headed", "plain.csv", "named.csv.gz", "rows.jsonl", "rows.parquet")


@pytest.mark.parametrize("name", OTHERS)
def test_dictionaries_do_not_depend_on_the_form_of_a_file(files, name):
    schema = load_schema(str(files / "small.yaml"))
    found = []
    for each in ("rows", name):
        code, out = build(files, files / each, min_count=2)
        assert code == 0
        found.append(load_dictionaries(str(out), schema))
        report = json.loads((out / "report.json").read_text())
        assert (report["rows"], report["bad"], report["empty_lines"]) == (60, {}, 0)
    assert found[0] == found[1]


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("name", OTHERS)
def test_spark_says_which_files_it_does_not_read(files, name, capsys):
    code, _ = build(files, files / name, engine="spark")
    assert code == 64
    assert f"{files}/{name} is no TSV without a header, which is all that --engine=spark reads here" in capsys.readouterr().err


def test_a_bad_row_of_another_form_is_one_bad_row(files, capsys):
    with (files / "rows.jsonl").open("a") as file:
        file.write('{"label": [1]}\n')
    code, _ = build(files, files / "rows.jsonl", max_bad_ratio=0)
    assert code == 65
    assert (
        f"1 of 61 rows are bad (1.64%): type 1; nothing was written. Expected at most --max_bad_ratio=0. The first is {files}"
        in (said := capsys.readouterr().err)
    )
    assert "rows.jsonl, line 61: " in said


def test_a_header_without_a_column_is_said(files, capsys):
    (files / "other.csv").write_text("label,I1,I2,C1\n1,2,3,a\n")
    code, _ = build(files, files / "other.csv")
    assert code == 65
    assert "other.csv has a header without C2; it names label, I1, I2, C1." in capsys.readouterr().err


@pytest.mark.parametrize("name", OTHERS[1:])
@pytest.mark.parametrize("form", ["tsv", "json_objects"])
def test_rows_of_any_file_are_sent_in_any_format(files, broker, topic, name, form):
    sent = topic([[]])
    options = (f"--bootstrap_servers={broker.bootstrap}", f"--topic={sent}", f"--columns={files}/small.yaml", f"--format={form}")
    code, out, err = run_tool("produce", files / name, *options)
    assert (code, err) == (0, "")
    assert "produced: rows=60 " in out
    expected = [list(row) for row in ROWS]
    if name == "rows.parquet":
        expected = [["true" if row[0] == "1" else "false", *row[1:]] for row in ROWS]
    if form == "tsv":
        assert read_all(broker.bootstrap, sent) == {0: ["\t".join(row).encode() for row in expected]}
    else:
        found = [json.loads(message) for message in read_all(broker.bootstrap, sent)[0]]
        assert [[str(row.get(column, "")) for column in NAMES] for row in found] == expected


def test_lines_in_the_format_of_the_messages_are_sent_as_they_are(files, broker, topic):
    sent = topic([[]])
    at = (f"--bootstrap_servers={broker.bootstrap}", f"--topic={sent}")
    (files / "any.jsonl").write_text('{"any": [1]}\r\n\nno object\n')
    code, out, err = run_tool("produce", files / "any.jsonl", *at, "--format=json_objects")
    assert (code, err) == (0, "")
    assert "carriage_returns_cut=1 empty_lines_left_out=1" in out
    assert read_all(broker.bootstrap, sent) == {0: [b'{"any": [1]}', b"no object"]}
    sent = topic([[]])
    at = (f"--bootstrap_servers={broker.bootstrap}", f"--topic={sent}", f"--columns={files}/small.yaml")
    assert run_tool("produce", files / "named.csv.gz", *at, "--format=csv")[0] == 0
    assert read_all(broker.bootstrap, sent)[0][2:4] == [b'0,2,,"ab,",v0', b'1,3,-7,"ab,c",v1']
