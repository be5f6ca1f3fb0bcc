"""The tool that builds the dictionaries, against literal results and against a plain count in Python."""

import collections
import gzip
import pathlib
import re

import process_data_files
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from process_data_helpers import CRITEO, FILES, ROOT, build, make_rows, pickles, report

from tfonline.features.dictionaries import load_dictionaries
from tfonline.features.schema import load_schema


def test_a_small_file_gives_these_pickles(small, engine, capsys):
    lines = [
        b"1\t5\t-3\tb\tx",  # the first line is a row, not a header
        b"0\t\t007\ta\t",
        b'0\t2\t-0\tb\t"q',
        b"1\t\t\ta\tx",
        b"",
        b'0\t1\t\tB\t"q',
        b"0\t1\t\tb\t\xc3\xa9",
    ]
    (small / "rows").write_bytes(b"\n".join(lines))  # and the last one has no line feed
    code, out = build(small, small / "rows", engine=engine, min_count=1)
    assert code == 0
    maximum, minimum, ids = pickles(out)
    assert (maximum, minimum) == ({"I1": 5, "I2": 7}, {"I1": 0, "I2": -3})
    assert list(ids.items()) == [
        ("I1", 0), ("I2", 1), ("OOVC1", 2), ("OOVC2", 3),
        ("C1_b", 4), ("C1_a", 5), ("C1_B", 6),
        ('C2_"q', 7), ("C2_x", 8), ("C2_é", 9),
    ]  # fmt: skip
    loaded = load_dictionaries(str(out), load_schema(str(small / "small.yaml")))
    assert (loaded.max, loaded.min, loaded.cat2id) == (maximum, minimum, ids)
    got = report(out)
    assert {k: got[k] for k in ("rows", "good", "bad", "empty_lines", "ids", "min_count", "files")} == {
        "rows": 6, "good": 6, "bad": {}, "empty_lines": 1, "ids": 10, "min_count": 1, "files": [str(small / "rows")],
    }  # fmt: skip
    assert got["integers"] == {"I1": {"min": 0, "max": 5, "missing": 0.333333}, "I2": {"min": -3, "max": 7, "missing": 0.5}}
    assert got["categories"]["C1"] == {"values": 3, "kept": 3, "covered": 1.0, "missing": 0.0}
    assert got["categories"]["C2"] == {"values": 3, "kept": 3, "covered": 1.0, "missing": 0.166667}
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(rf"process_data: rows=6 bad=0 ids=10 rows_per_sec=\d+ output={re.escape(str(out))}", last)


def test_values_seen_more_than_six_times_are_kept(small, engine):
    rows = [b"0\t\t\t%b\t" % value for value, n in ((b"six", 6), (b"seven", 7), (b"eight", 8), (b"", 9)) for _ in range(n)]
    (small / "rows").write_bytes(b"\n".join(rows) + b"\n")
    code, out = build(small, small / "rows", engine=engine)
    assert code == 0
    maximum, minimum, ids = pickles(out)
    assert maximum == minimum == {"I1": 0, "I2": 0}  # nothing but missing values
    assert ids == {"I1": 0, "I2": 1, "OOVC1": 2, "OOVC2": 3, "C1_eight": 4, "C1_seven": 5}
    assert report(out)["categories"] == {
        "C1": {"values": 3, "kept": 2, "covered": 0.714286, "missing": 0.3},
        "C2": {"values": 0, "kept": 0, "covered": 0.0, "missing": 1.0},
    }


def test_ties_go_by_the_bytes_of_the_value(small, engine):
    values = ["z", "a", "B", "é", "\U0001f600", "\uffff", "10", "9", " ", "'", "a b", "\x00"]
    (small / "rows").write_text("".join(f"0\t\t\t{v}\t\n" for v in values), encoding="utf-8")
    _, out = build(small, small / "rows", engine=engine, min_count=1)
    kept = [key[3:] for key in pickles(out)[2] if key.startswith("C1_")]
    assert kept == ["\x00", " ", "'", "10", "9", "B", "a", "a b", "z", "é", "\uffff", "\U0001f600"]


ALL_KINDS = """
name: all kinds
columns:
  - {name: click, kind: label, positive: [buy, cart]}
  - {name: request_id, kind: ignore}
  - {name: item_price, kind: number, buckets: 4}
  - {name: item_weight, kind: number, boundaries: [0.5, 2]}
  - {name: user_age, kind: integer, default: 30}
  - {name: shop_id, kind: category, default: none}
  - {name: device_ip, kind: category, hash_buckets: 100}
  - {name: at, kind: time, unit: ms}
"""


def test_columns_of_all_kinds(small, engine):
    (small / "all.yaml").write_text(ALL_KINDS)
    prices = ["0.5", "1", "1.0", "2", "2.5", "-1e1", "3", "4", ""]
    rows = [f"buy\tr{i}\t{price}\t1\t{20 * (i % 2) or ''}\t{'ab'[i % 2] if i else ''}\tip{i}\t0" for i, price in enumerate(prices)]
    (small / "rows").write_text("\n".join([*rows, "view\tr\tx\t\t\t\t\t", ""]))
    code, out = build(small, small / "rows", engine=engine, columns=small / "all.yaml", min_count=1, max_bad_ratio=0.2)
    assert code == 0
    maximum, minimum, ids = pickles(out)
    assert (maximum, minimum) == ({"user_age": 30}, {"user_age": 0})
    assert ids == {"user_age": 0, "OOVshop_id": 1, "shop_id_a": 2, "shop_id_b": 3, "shop_id_none": 4}
    got = report(out)
    assert got["bad"] == {"number": 1}
    # Of eight prices the 2nd, 4th, 6th and 8th; 1 and 1.0 are one value.
    assert got["numbers"] == {"item_price": {"buckets": 5, "median": 1.0, "missing": 0.111111}}
    loaded = load_dictionaries(str(out), load_schema(str(small / "all.yaml")))
    assert loaded.boundaries == {"item_price": (0.5, 1.0, 2.5, 4.0)}


def test_the_values_of_a_list_are_counted_one_by_one(small, engine):
    (small / "lists.yaml").write_text(
        "name: lists\ncolumns:\n  - {name: click, kind: label}\n  - {name: item, kind: category}\n"
        "  - {name: last, kind: categories, shares: item}\n  - {name: tags, kind: categories}\n"
        "  - {name: words, kind: categories, separator: ', ', default: none}\n".replace("', '", "'\u2028'")
    )
    rows = ["1\ta\tx|y\tred|red|blue\ta\u2028b|c", "0\tb\tx\tred||\t", "0\t\t\t\tb|c", "0\t\t\t||\t"]
    (small / "rows").write_text("\n".join([*rows, ""]), encoding="utf-8")
    code, out = build(small, small / "rows", engine=engine, columns=small / "lists.yaml", min_count=2)
    assert code == 0
    ids = pickles(out)[2]
    assert ids == {"OOVitem": 0, "OOVtags": 1, "OOVwords": 2, "tags_red": 3, "words_b|c": 4, "words_none": 5}


BAD = [
    (b"1\t1\t1\ta", "fields"),
    (b"1\t1\t1\ta\tb\tc", "fields"),
    (b" ", "fields"),
    (b"\x00", "fields"),
    (b"\t1\t1\ta\tb", "label"),
    (b"2\t1\t1\ta\tb", "label"),
    (b"01\t1\t1\ta\tb", "label"),
    (b"1 \t1\t1\ta\tb", "label"),
    (b"\xef\xbb\xbf1\t1\t1\ta\tb", "label"),  # a byte order mark
    (b"1\t1.0\t1\ta\tb", "number"),
    (b"1\t1\t+1\ta\tb", "number"),
    (b"1\t1\t-\ta\tb", "number"),
    (b"1\t 1\t1\ta\tb", "number"),
    (b"1\t0x1\t1\ta\tb", "number"),
    (b"1\t1\t1234567890123456789\ta\tb", "number"),
    (b"1\t1\t\xd9\xa1\ta\tb", "number"),  # a digit, but not of ASCII
    (b"1\t1\t1\ta\tb\r", "carriage_return"),
    (b"1\t1\t1\ta\rb\tb", "carriage_return"),
    (b"\r", "carriage_return"),
    (b"1\t1\t1\ta\t\xff", "encoding"),
    (b"1\t1\t1\t\xed\xa0\x80\tb", "encoding"),  # a surrogate
    (b"1\t1\t1\ta\t\xff\r", "encoding"),
]
GOOD = [
    b"0\t-123456789012345678\t123456789012345678\ta\tb",
    b"1\t\t\t\t",
    b'0\t1\t1\t"a\tb"',
    b"0\t1\t1\t\\N\tNULL",
    b"0\t1\t1\t#a\x1f,;|\x00\x0b\x0c\t\xe2\x80\xa8\xc2\x85 ",
]


@pytest.mark.parametrize(("line", "reason"), BAD)
def test_a_bad_row_counts_nowhere(small, line, reason):
    # First, in between and last, where a reader might take it for a header, a mark or the end.
    (small / "rows").write_bytes(b"\n".join([line, GOOD[0], line, line, GOOD[0], line]))
    code, out = build(small, small / "rows", min_count=1, max_bad_ratio=0.7)
    assert code == 0
    assert {k: report(out)[k] for k in ("rows", "good", "bad", "empty_lines")} == {
        "rows": 6, "good": 2, "bad": {reason: 4}, "empty_lines": 0,
    }  # fmt: skip
    assert pickles(out)[2] == {"I1": 0, "I2": 1, "OOVC1": 2, "OOVC2": 3, "C1_a": 4, "C2_b": 5}


@pytest.mark.parametrize("line", GOOD)
def test_an_odd_row_is_good(small, line):
    (small / "rows").write_bytes(line)
    code, out = build(small, small / "rows", min_count=1)
    assert code == 0
    assert report(out)["good"] == 1
    expected = {f"C{i}_{v.decode()}" for i, v in enumerate(line.split(b"\t")[3:], start=1) if v}
    assert {key for key in pickles(out)[2] if "_" in key} == expected


def test_the_largest_numbers_are_exact(small, engine):
    (small / "rows").write_bytes(GOOD[0])
    _, out = build(small, small / "rows", engine=engine)
    assert pickles(out)[:2] == [{"I1": 0, "I2": 123456789012345678}, {"I1": -123456789012345678, "I2": 0}]


def plain_count(data: bytes, kinds: list[str], names: list[str], min_count: int) -> tuple[list[dict], dict]:
    """The same dictionaries and totals, counted row by row."""
    low, high = ({n: 0 for n, k in zip(names, kinds, strict=True) if k == "integer"} for _ in range(2))
    counts = {n: collections.Counter() for n, k in zip(names, kinds, strict=True) if k == "category"}
    totals = collections.Counter()
    for raw in data.split(b"\n")[: None if not data.endswith(b"\n") else -1]:
        if raw == b"":
            totals["empty"] += 1
            continue
        try:
            fields = raw.decode().split("\t")
        except UnicodeDecodeError:
            fields = []
        accepts = {
            "label": lambda v: v in ("0", "1"),
            "integer": lambda v: v == "" or (1 <= len(v.removeprefix("-")) <= 18 and set(v.removeprefix("-")) <= set("0123456789")),
            "category": lambda v: "\r" not in v,
        }
        if len(fields) != len(kinds) or not all(accepts[k](v) for k, v in zip(kinds, fields, strict=True)):
            totals["bad"] += 1
            continue
        totals["good"] += 1
        for name, kind, value in zip(names, kinds, fields, strict=True):
            if kind == "integer" and value:
                low[name], high[name] = min(low[name], int(value)), max(high[name], int(value))
            elif kind == "category" and value:
                counts[name][value] += 1
    ids = {key: i for i, key in enumerate([*low, *(f"OOV{c}" for c in counts)])}
    for name, counter in counts.items():
        for value, n in sorted(counter.items(), key=lambda item: (-item[1], item[0].encode())):
            if n >= min_count:
                ids[f"{name}_{value}"] = len(ids)
    return [high, low, ids], dict(totals)


def check_against_plain_count(data: bytes, out: pathlib.Path, columns: str, min_count: int) -> None:
    schema = load_schema(columns)
    expected, totals = plain_count(data, [c.kind for c in schema.columns], list(schema.names), min_count)
    got = pickles(out)
    assert got == expected
    assert list(got[2]) == list(expected[2])
    counted = report(out)
    assert counted["good"] == totals.get("good", 0)
    assert sum(counted["bad"].values()) == totals.get("bad", 0)
    assert counted["rows"] == counted["good"] + totals.get("bad", 0)
    assert counted["empty_lines"] == totals.get("empty", 0)


def test_counts_equal_a_plain_count_over_many_chunks(tmp_path, monkeypatch, engine):
    # Small pieces, so that lines, rows and values go over their edges.
    monkeypatch.setattr(process_data_files, "BLOCK_BYTES", 1 << 16)
    monkeypatch.setattr(process_data_files, "CHUNK_BYTES", 1 << 19)
    data = make_rows(20_000, seed=1)
    (tmp_path / "rows").write_bytes(data)
    code, out = build(tmp_path, tmp_path / "rows", engine=engine, columns=CRITEO, max_bad_ratio=0.1)
    assert code == 0
    check_against_plain_count(data, out, CRITEO, min_count=7)
    assert set(report(out)["bad"]) == {"fields", "label", "number", "encoding", "carriage_return"}


@pytest.mark.parametrize("path", [None, *(ROOT / "../shared/data").glob("criteo_first10k.tsv.gz")])
def test_counts_equal_a_plain_count_of_10_000_rows(tmp_path, path):
    """Of generated rows everywhere, and of real ones where they are at hand."""
    if path is None:
        path = tmp_path / "rows.gz"
        path.write_bytes(gzip.compress(make_rows(10_000, seed=2, bad_ratio=0)))
    code, out = build(tmp_path, path, columns=CRITEO)
    assert code == 0
    check_against_plain_count(gzip.decompress(path.read_bytes()), out, CRITEO, min_count=7)


# Bytes that a CSV reader might take for something, and pieces of good rows.
LINES = st.lists(st.one_of(st.sampled_from([line for line, _ in BAD] + GOOD + [b""]), st.binary(max_size=12)), max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=LINES, end=st.sampled_from([b"", b"\n", b"\n\n"]))
def test_every_line_is_accounted_for(small, lines, end):
    data = b"\n".join([GOOD[0], *lines]) + end
    (small / "rows").write_bytes(data)
    code, out = build(small, small / "rows", min_count=2, max_bad_ratio=1)
    assert code == 0
    check_against_plain_count(data, out, str(small / "small.yaml"), min_count=2)


def test_bytes_do_not_depend_on_threads_pieces_or_file_order(tmp_path, monkeypatch):
    data = make_rows(6_000, seed=2, bad_ratio=0).splitlines(keepends=True)
    (tmp_path / "a").write_bytes(b"".join(data[:2_000]))
    (tmp_path / "b").write_bytes(b"".join(data[2_000:]).removesuffix(b"\n"))
    runs = [(["a", "b"], 1), (["a", "b"], 1), (["b", "a"], 3)]
    for i, (names, threads) in enumerate(runs):
        monkeypatch.setattr(process_data_files, "CHUNK_BYTES", 1 << (17 + 3 * i))
        code, _ = build(tmp_path, *(tmp_path / n for n in names), columns=CRITEO, out=f"out{i}", threads=threads)
        assert code == 0
    for name in FILES:
        assert len({(tmp_path / f"out{i}" / name).read_bytes() for i in range(3)}) == 1
