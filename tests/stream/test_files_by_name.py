"""Files whose columns have names: lines below a header, and Parquet. They give the rows that lines of messages give."""

import gzip
import json

import duckdb
import pytest
from stream_helpers import raw_rows

from tfonline.features.schema import Schema
from tfonline.lifecycle import UserError
from tfonline.stream.file_source import FileSource
from tfonline.stream.messages import Wanted, form_of_lines
from tfonline.stream.window import Window

SCHEMA = Schema.model_validate(
    {
        "name": "small",
        "columns": [
            {"name": "click", "kind": "label"},
            {"name": "price", "kind": "number", "path": "item.price"},
            {"name": "site", "kind": "category"},
            {"name": "at", "kind": "time", "unit": "ms"},
        ],
    }
)
ROWS = [["1", "2.5", "a", "1700000000000"], ["0", "", "b,c", "1700000001000"], ["0", "7", "", ""]]


def lines_of(source, start=0):
    [end] = source.ends()
    return [(message, offset) for message, _, offset in raw_rows([Window(0, (start,), (end,), "end")], source.reader)]


def source_of(path, message_format="tsv", columns=SCHEMA.columns):
    return FileSource(str(path), wanted=Wanted(columns, message_format))


def csv_of(rows):
    return "".join(",".join(f'"{f}"' if "," in f else f for f in row) + "\n" for row in rows)


HEADERS = {
    "in order": (["click", "item.price", "site", "at"], [0, 1, 2, 3]),
    "another order, and more": (["site", "more", "at", "click", "item.price"], [2, None, 3, 0, 1]),
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CR LF"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_columns_of_csv_are_taken_by_the_names_of_its_header(tmp_path, name, end, mark):
    header, places = HEADERS[name]
    text = csv_of([header, *([row[p] if p is not None else "x" for p in places] for row in ROWS)])
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress((mark + text).replace("\n", end).encode(), mtime=0))
    source = source_of(tmp_path / "rows.csv.gz", "csv")
    assert (source.begins(), source.ends()) == ([0], [4])
    expected = [(line.encode(), number) for number, line in enumerate(csv_of(ROWS).splitlines(), 1)]
    found = [(message.rstrip(b"\r"), offset) for message, offset in lines_of(source)]
    assert found == expected  # the header is an offset without a row
    assert [(m.rstrip(b"\r"), o) for m, o in lines_of(source, 2)] == expected[1:]
    assert [(o, m.rstrip(b"\r")) for o, m in source.fetch({0: (0, 3)})[0]] == [(o, m) for m, o in expected[:2]]
    assert [(o, m.rstrip(b"\r")) for o, m in source.fetch({0: (2, 9)})[0]] == [(o, m) for m, o in expected[1:]]


def test_a_header_of_tsv(tmp_path):
    (tmp_path / "rows").write_text("at\tsite\titem.price\tclick\n5\ta\t2\t1\n\n6\tb\t\t0\n7\tb\t1\n")
    found = lines_of(source_of(tmp_path / "rows"))
    assert found[:3] == [(b"1\t2\ta\t5", 1), (b"", 2), (b"0\t\tb\t6", 3)]
    assert found[3] == (b"7\tb\t1\t\t\t\t", 4)  # too few fields: it is refused, and shown


def test_a_line_of_as_many_fields_as_there_are_columns_is_no_row_where_the_header_has_more(tmp_path):
    (tmp_path / "rows").write_text("click\titem.price\tsite\tat\tmore\n1\t2\ta\t5\n1\t2\ta\t5\t6\n")
    assert lines_of(source_of(tmp_path / "rows")) == [(b"1\t2\ta\t5\t\t\t\t", 1), (b"1\t2\ta\t5", 2)]


def test_without_a_header_lines_are_passed_on_as_they_are(tmp_path):
    (tmp_path / "rows").write_text("1\t2\ta\t5\nclick\n")
    assert lines_of(source_of(tmp_path / "rows")) == [(b"1\t2\ta\t5", 0), (b"click", 1)]
    (tmp_path / "rows").write_text('{"click": 1}\n')
    assert lines_of(source_of(tmp_path / "rows", "json_objects")) == [(b'{"click": 1}', 0)]


def test_a_header_that_lacks_a_column_is_said_before_anything_is_trained(tmp_path):
    (tmp_path / "rows.csv").write_text("click,price,site,at\n1,2,a,5\n")
    with pytest.raises(UserError) as e:
        source_of(tmp_path / "rows.csv", "csv").ends()
    assert e.value.code == 65
    said = str(e.value)
    assert f"{tmp_path}/rows.csv has a header without item.price; it names click, price, site, at. Mend the file, or give" in said
    (tmp_path / "rows.csv").write_text("click,item.price,site,at,site\n1,2,a,5,b\n")
    with pytest.raises(UserError, match="names site twice"):
        source_of(tmp_path / "rows.csv", "csv").ends()


@pytest.fixture
def parquet(tmp_path):
    """Writes the rows that a SELECT gives to rows.parquet."""

    def write(select, options=""):
        with duckdb.connect(config={"threads": 1}) as con:
            con.execute(f"COPY ({select}) TO '{tmp_path}/rows.parquet' (FORMAT parquet{options})")
        return tmp_path / "rows.parquet"

    return write


def test_columns_of_parquet_are_taken_by_name_and_have_the_texts_of_messages(parquet):
    path = parquet(
        """SELECT * FROM (VALUES
          (TIMESTAMP '2023-11-14 22:13:20', 'a', {'price': 2.5::DOUBLE}, true, 9),
          (TIMESTAMP '2023-11-14 22:13:21', 'b,c', {'price': 'nan'::DOUBLE}, false, 9),
          (NULL, NULL, {'price': 7::DOUBLE}, false, 9)) AS t("at", site, item, click, more)"""
    )
    source = source_of(path)
    rows = [["true" if row[0] == "1" else "false", *row[1:]] for row in ROWS]
    assert lines_of(source) == [("\t".join(row).encode(), number) for number, row in enumerate(rows)]
    objects = [json.loads(message) for message, _ in lines_of(source_of(path, "json_objects"))]
    assert objects == [
        {"click": "true", "item": {"price": "2.5"}, "site": "a", "at": 1700000000000},
        {"click": "false", "site": "b,c", "at": 1700000001000},
        {"click": "false", "item": {"price": 7}},
    ]


def test_rows_of_parquet_are_numbered_over_its_groups_and_read_on_from_anywhere(parquet):
    path = parquet(
        "SELECT i % 2 AS click, {'price': i} AS item, 's' || i AS site, i AS at FROM range(10000) AS t(i)", ", ROW_GROUP_SIZE 2048"
    )
    source = source_of(path)
    assert source.ends() == [10000]
    expected = [(b"%d\t%d\ts%d\t%d" % (i % 2, i, i, i), i) for i in range(10000)]
    assert lines_of(source) == expected
    assert lines_of(source_of(path), 4097) == expected[4097:]
    assert source.fetch({0: (5000, 5002)})[0] == [(i, message) for message, i in expected[5000:5002]]


def test_a_text_with_a_tab_makes_its_row_alone_a_bad_one(parquet):
    path = parquet(
        "SELECT 1 AS click, {'price': 1} AS item, chr(9) || 'a' AS site, 5 AS at UNION ALL SELECT 1, {'price': 1}, 'b', 5"
    )
    (bad, _), good = lines_of(source_of(path))
    assert bad.count(b"\t") > 3
    assert good == (b"1\t1\tb\t5", 1)


def test_a_list_of_parquet_is_a_text_of_its_values(parquet):
    columns = [{"name": "click", "kind": "label"}, {"name": "items", "kind": "categories", "max_length": 3, "separator": ";"}]
    columns = Schema.model_validate({"name": "lists", "columns": columns}).columns
    lists = ["['a', NULL, '', 'b']", "[]", "NULL", "['a;b']"]
    path = parquet(" UNION ALL ".join(f"SELECT 1 AS click, CAST({items} AS VARCHAR[]) AS items" for items in lists))
    found = [message for message, _ in lines_of(source_of(path, columns=columns))]
    assert found[:3] == [b"1\ta;b", b"1\t", b"1\t"]
    assert found[3].count(b"\t") > 1  # a value that would become two: the row is refused
    numbers = parquet("SELECT 1 AS click, [3, 5] AS items")
    assert lines_of(source_of(numbers, columns=columns)) == [(b"1\t3;5", 0)]


@pytest.mark.parametrize(
    ("select", "said"),
    [
        (
            "1 AS click, 2 AS price, 'a' AS site, 5 AS at",
            "has no column item.price; it has click, price, site, at. Mend the file, or",
        ),
        ("1 AS click, {'cost': 2} AS item, 'a' AS site, 5 AS at", "has no column item.price; it has click, item, site, at."),
        (
            "1 AS click, {'price': DATE '2020-01-01'} AS item, 'a' AS site, 5 AS at",
            "item.price is of type DATE, which no column of kind number takes; expected is one of bigint, decimal, double,",
        ),
        (
            "1 AS click, {'price': 2} AS item, [1] AS site, 5 AS at",
            "site is of type INTEGER[], which no column of kind category takes",
        ),
    ],
)
def test_a_parquet_file_with_other_columns_is_said_before_anything_is_trained(parquet, select, said):
    with pytest.raises(UserError) as e:
        source_of(parquet(f"SELECT {select}")).ends()
    assert e.value.code == 65
    assert said in str(e.value)
    assert "rows.parquet" in str(e.value)


def test_a_parquet_file_that_ends_in_the_middle_is_said(parquet):
    path = parquet("SELECT 1 AS click, {'price': i} AS item, 'a' AS site, i AS at FROM range(1000) AS t(i)")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="is no whole Parquet file: ") as e:
        source_of(path).ends()
    assert e.value.code == 65


def test_the_name_of_a_file_says_what_its_lines_are():
    names = {
        "a.csv": "csv",
        "a.CSV.gz": "csv",
        "b.jsonl": "json_objects",
        "b.ndjson.gz": "json_objects",
        "c.tsv": "tsv",
        "d": "tsv",
    }
    assert {name: form_of_lines(name) for name in names} == names
