"""What process_data reads, writes and answers: files, options, errors."""

import gzip
import json
import pathlib
import subprocess
import sys

import process_data
import process_data_duckdb
import process_data_files
import pytest
from process_data_helpers import CRITEO, FILES, ROOT, build, make_rows, pickles, report


def row(value: str) -> bytes:
    return f"0\t\t\t{value}\t\n".encode()


def kept(out: pathlib.Path) -> list[str]:
    return [key for key in pickles(out)[2] if "_" in key]


def test_globs_gzip_and_several_files(small, engine):
    for i in (0, 2, 10):
        (small / f"day_{i}").write_bytes(row(f"v{i}"))
    with gzip.open(small / "more.gz", "wb") as f:
        f.write(row("packed"))
    with gzip.open(small / "more.gz", "ab") as f:  # two members, as cat makes them
        f.write(row("again"))
    code, out = build(small, small / "day_*", small / "more.gz", small / "day_2", engine=engine, min_count=1)
    assert code == 0
    assert report(out)["files"] == [str(small / n) for n in ("day_0", "day_2", "day_10", "more.gz")]  # day_2 once
    assert kept(out) == ["C1_again", "C1_packed", "C1_v0", "C1_v10", "C1_v2"]


def test_a_name_with_brackets_is_a_name(small, engine):
    (small / "rows[1]").write_bytes(row("a"))
    assert build(small, small / "rows[1]", engine=engine)[0] == 0


def test_a_temporary_folder_with_brackets_is_that_folder(small, engine):
    (small / "tmp[1]*").mkdir()
    (small / "rows").write_bytes(row("a"))
    code, out = build(small, small / "rows", engine=engine, min_count=1, temp_dir=small / "tmp[1]*")
    assert code == 0
    assert kept(out) == ["C1_a"]


@pytest.mark.parametrize(
    ("head_rows", "expected"),
    [(1, ["a"]), (2, ["a"]), (3, ["a", "b"]), (4, ["a", "b", "c"]), (99, ["a", "b", "c", "d"]), (0, ["a", "b", "c", "d"])],
)
def test_head_rows_takes_the_first_rows_in_order(small, engine, head_rows, expected):
    # Bad rows count as rows, empty lines do not.
    (small / "x1").write_bytes(row("a") + b"\nbad\n\n" + row("b").rstrip(b"\n"))
    (small / "x2").write_bytes(row("c") + row("d"))
    code, out = build(small, small / "x*", engine=engine, min_count=1, max_bad_ratio=1, head_rows=head_rows)
    assert code == 0
    assert kept(out) == [f"C1_{v}" for v in expected]
    assert report(out)["rows"] == (min(head_rows, 5) or 5)


def test_too_many_bad_rows_write_nothing(small, engine, capsys):
    (small / "rows").write_bytes(row("a") * 97 + b"bad\n" * 2 + b"2" + row("a")[1:])
    code, out = build(small, small / "rows", engine=engine, max_bad_ratio=0.02)
    assert code == 65
    assert list(out.iterdir()) == []
    assert capsys.readouterr().err == (
        "process_data: 3 of 100 rows are bad (3.00%): fields 2, label 1; nothing was written. Expected at most "
        f"--max_bad_ratio=0.02. The first is {small}/rows, line 98: 'bad'. It has 1 field between tabs, expected are 5: label, I1, "
        "..., C2. The rows look like text of a single field; expected: 5 fields separated by tabs, no quotes, no header line. "
        "Check --columns, mend the files, or raise the ratio.\n"
    )
    assert build(small, small / "rows", engine=engine, max_bad_ratio=0.03)[0] == 0


def as_json(**values) -> bytes:
    return json.dumps({"label": 0, "C1": "a", **values}).encode() + b"\n"


# Lines of JSON objects that are no rows: why, and the words of it.
BAD_OBJECTS = {
    b"{\n": ("json", "it is no JSON: Input data was truncated"),
    b'["a"]\n': ("json", "it is JSON, but a list, expected is an object"),
    as_json(C2=["a"]): ("type", "C2 is a list, expected is a text, a number, true or false"),
    as_json(C2="a\tb"): ("type", "C2 holds a tab or a line end, which no text of a column may"),
    as_json(C2="a\rb"): ("type", "C2 holds a tab or a line end, which no text of a column may"),
    b'{"label": 0, "C1": "\xff"}\n': ("encoding", "byte 21, 0xff, is not UTF-8"),
    as_json(label=2): ("label", "label is '2', expected is 0 or 1, true or false"),
    as_json(I1=2.5): ("number", "I1 is '2.5', expected is a whole number of at most 18 digits, or nothing"),
}


@pytest.mark.parametrize("line", BAD_OBJECTS)
def test_a_bad_object_is_told_by_the_trainers_reason(small, line, capsys):
    (small / "rows.jsonl").write_bytes(as_json() + b"\n" + line + as_json(C1="b"))
    reason, words = BAD_OBJECTS[line]
    assert build(small, small / "rows.jsonl")[0] == 65
    said = capsys.readouterr().err
    assert f"1 of 3 rows are bad (33.33%): {reason} 1; " in said
    assert "rows.jsonl, line 3: " in said
    assert f". {words}." in said
    code, out = build(small, small / "rows.jsonl", max_bad_ratio=1, min_count=1)
    assert code == 0
    assert (report(out)["bad"], report(out)["empty_lines"], kept(out)) == ({reason: 1}, 1, ["C1_a", "C1_b"])


def test_bad_objects_count_as_rows_and_are_shown_as_they_stand(small, capsys):
    (small / "rows.jsonl").write_bytes(as_json() + b"{cut\n" * 2 + as_json(C1="b"))
    code, out = build(small, small / "rows.jsonl", max_bad_ratio=1, min_count=1, head_rows=3)
    assert (code, report(out)["rows"], report(out)["bad"], kept(out)) == (0, 3, {"json": 2}, ["C1_a"])
    capsys.readouterr()
    assert build(small, small / "rows.jsonl")[0] == 65
    said = capsys.readouterr().err
    assert "rows.jsonl, line 2: '{cut'. it is no JSON: " in said
    assert "'cut'" not in said


def test_a_bad_line_of_csv_is_told_by_the_trainers_reason(small, capsys):
    lines = ["label,I1,I2,C1,C2", "0,1,2,a,b", '0,1,2,"a,b', "0,1,2", '0,1,2,"a\tb",c']
    (small / "rows.csv").write_text("\n".join(lines) + "\n")
    code, out = build(small, small / "rows.csv", max_bad_ratio=1, min_count=1)
    assert (code, report(out)["bad"]) == (0, {"csv": 1, "fields": 1, "type": 1})
    assert build(small, small / "rows.csv")[0] == 65
    assert "rows.csv, line 3: '0,1,2,\"a,b'. " in capsys.readouterr().err


def test_a_row_of_tsv_with_carriage_returns_is_no_other_reason(small):
    (small / "rows").write_bytes(row("a") + b"\rjson\rx\n" + b"\r\r\r\r\n")
    code, out = build(small, small / "rows", max_bad_ratio=1)
    assert (code, report(out)["bad"]) == (0, {"carriage_return": 2})


_WIDTH = "expected are 5: label, I1, ..., C2. "


@pytest.mark.parametrize(
    ("text", "line", "problem", "looks"),
    [
        (
            "clicked,age,visits,site,app\n1,3,,red,blue\n", "line 1: 'clicked,age,visits,site,app'",
            f"It has 1 field between tabs, {_WIDTH}",
            "The rows look like CSV: 5 fields separated by commas (the trainer reads such messages with --message_format=csv), "
            "with a header line (clicked, age, visits, ...); expected: 5 ",
        ),
        (
            "clicked\tage\tvisits\tsite\tapp\n1\t3\t\tred\tblue\n", r"line 1: 'clicked\tage\tvisits\tsite\tapp'",
            "label is 'clicked', expected is 0 or 1, true or false. ",
            "One of the rows looks like a header line (clicked, age, visits, ...); ",
        ),
        ('\n{"a": 1}\n', "line 2: '{\"a\": 1}'", f"It has 1 field between tabs, {_WIDTH}", "The rows look like JSON objects "),
        (
            "1\t2.5\t\tred\tblue\n", r"line 1: '1\t2.5\t\tred\tblue'",
            "I1 is '2.5', expected is a whole number of at most 18 digits, or nothing. ", "Check --columns",
        ),
        (
            "x\t2.5\t\tred\tblue\n", r"line 1: 'x\t2.5\t\tred\tblue'", "label is 'x', expected is 0 or 1, true or false. ",
            "Check --columns",
        ),
        (
            "1\t2\t3\tr\r\tblue\n", r"line 1: '1\t2\t3\tr\r\tblue'",
            "It holds a carriage return; expected are lines that end in a line feed alone. ", "Lines that end in CR LF",
        ),
        (
            b"1\t2\t3\tr\xfc\t\n", r"line 1: b'1\t2\t3\tr\xfc\t'", "Its byte 8, 0xfc, is not UTF-8. ",
            "The rows look like text that is not UTF-8; ",
        ),
        ("1 " * 300, f"line 1: '{'1 ' * 100}'... (600 bytes)", "It has 1 field between tabs, ", ""),
    ],
)  # fmt: skip
def test_the_first_bad_row_is_shown_with_what_it_looks_like(small, text, line, problem, looks, capsys):
    (small / "a").write_bytes(row("a"))
    (small / "b").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert build(small, small / "a", small / "b")[0] == 65
    said = capsys.readouterr().err
    assert f" The first is {small}/b, {line}. {problem}" in said
    assert problem + looks in said


def test_the_first_bad_row_is_looked_for_among_the_counted_ones(small, capsys):
    (small / "rows").write_bytes(row("a") + b"bad\n" + row("b") * 98 + b"worse\n")
    assert build(small, small / "rows", head_rows=2)[0] == 65
    said = capsys.readouterr().err
    assert "1 of 2 rows are bad (50.00%): fields 1; " in said
    assert f"The first is {small}/rows, line 2: 'bad'." in said


def test_carriage_returns_are_explained(small, capsys):
    (small / "rows").write_bytes(b"0\t\t\ta\t\r\n")
    assert build(small, small / "rows")[0] == 65
    assert "Lines that end in CR LF: strip the carriage returns first." in capsys.readouterr().err


@pytest.mark.parametrize("data", [b"", b"\n\n\n", gzip.compress(b"", mtime=0)])
def test_no_row_at_all(small, engine, data, capsys):
    name = "rows.gz" if data.startswith(b"\x1f") else "rows"
    (small / name).write_bytes(data)
    assert build(small, small / name, engine=engine)[0] == 65
    assert "The files hold no row." in capsys.readouterr().err


@pytest.mark.parametrize("data", [b"no gzip", gzip.compress(row("a") * 99, mtime=0)[:-9], b"\x1f\x8b\x08\x00" + b"\xff" * 50])
def test_a_damaged_gzip_file(small, engine, data, capsys):
    (small / "rows.gz").write_bytes(data)
    code, out = build(small, small / "rows.gz", engine=engine)
    assert code == 65
    assert "rows.gz is no whole gzip file: " in capsys.readouterr().err
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(("extra", "end", "expected"), [(0, b"\n", 0), (1, b"\n", 65), (1, b"", 65), (9_000_000, b"", 65)])
def test_a_line_that_is_too_long(small, engine, extra, end, expected, capsys):
    (small / "rows").write_bytes(row("a") + b"x" * (process_data_files.LINE_BYTES + extra - 1) + end)
    code, _ = build(small, small / "rows", engine=engine, max_bad_ratio=1)
    assert code == expected
    assert ("rows has a line of more than 1048576 bytes." in capsys.readouterr().err) == (code == 65)


def test_the_longest_line_is_read(small, engine):
    value = "x" * (process_data_files.LINE_BYTES - 20)
    (small / "rows").write_bytes(row("a") + row(value) + row("b"))
    code, out = build(small, small / "rows", engine=engine, min_count=1)
    assert code == 0
    assert kept(out) == ["C1_a", "C1_b", f"C1_{value}"]


@pytest.mark.parametrize("name", ["nowhere", "day_*", "."])
def test_a_missing_file(small, name, capsys):
    code, out = build(small, small / name)
    assert code == 66
    assert "is no file, and no file matches it." in capsys.readouterr().err
    assert not out.exists()


def test_missing_columns_file(small):
    (small / "rows").write_bytes(row("a"))
    assert build(small, small / "rows", columns="nowhere.yaml")[0] == 66


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--nonsense=1", "unrecognized arguments: --nonsense=1"),
        ("--min_count=0", "--min_count=0 is out of range. Expected at least 1."),
        ("--min_count=x", "argument --min_count: invalid int value: 'x'"),
        ("--head_rows=-1", "--head_rows=-1 is out of range. Expected at least 0."),
        ("--max_bad_ratio=1.5", "--max_bad_ratio=1.5 is out of range. Expected a number from 0 to 1."),
        ("--max_bad_ratio=nan", "--max_bad_ratio=nan is out of range."),
        ("--threads=0", "--threads=0 is out of range. Expected at least 1."),
        ("--memory_limit=much", "--memory_limit=much does not work: "),
        ("--temp_dir=/dev/null/x", "cannot write: [Errno 20] Not a directory: '/dev/null/x"),
        ("--output_dir=/dev/null/x", "cannot write: [Errno 20] Not a directory: '/dev/null/x"),
    ],
)
def test_wrong_flags(small, flag, expected, capsys):
    (small / "rows").write_bytes(row("a"))
    files = [str(small / "rows"), f"--output_dir={small / 'out'}", f"--columns={small / 'small.yaml'}", "--threads=1"]
    assert process_data.main([*files, flag]) == 64
    assert expected in capsys.readouterr().err


def test_too_little_memory_says_so(tmp_path, capsys):
    (tmp_path / "rows").write_bytes(make_rows(20_000, seed=3, bad_ratio=0))
    code, _ = build(tmp_path, tmp_path / "rows", columns=CRITEO, memory_limit="2MB")
    assert code == 64
    assert "--memory_limit=2MB is too little for --threads=" in capsys.readouterr().err


def test_a_disk_that_is_full_says_so(small, capsys, monkeypatch):
    def full(self, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(process_data_files.RowReader, "write_chunk", full)
    (small / "rows").write_bytes(row("a"))
    assert build(small, small / "rows")[0] == 64
    assert "No space left on device" in capsys.readouterr().err


def test_the_report_can_go_elsewhere(small):
    (small / "rows").write_bytes(row("a"))
    assert build(small, small / "rows", report=small / "r.json")[0] == 0
    assert json.loads((small / "r.json").read_text())["rows"] == 1
    assert sorted(f.name for f in (small / "out").iterdir()) == sorted(FILES)


def test_the_command_line(small):
    def run(*args: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(ROOT / "tools/process_data.py"), *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    (small / "rows").write_bytes(row("a"))
    good = run(str(small / "rows"), f"--output_dir={small / 'out'}", f"--columns={small / 'small.yaml'}")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.splitlines()[-1].startswith("process_data: rows=1 bad=0 ids=4 ")
    wrong = run("--outptu_dir=x")
    assert (wrong.returncode, wrong.stdout) == (64, "")
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])  # what Python makes of it, and what DuckDB
def test_ctrl_c_cleans_up(small, capsys, monkeypatch, error):
    def interrupted(*_):
        raise error("Query interrupted")

    monkeypatch.setattr(process_data_duckdb, "count_sql", interrupted)
    (small / "rows").write_bytes(row("a"))
    code, out = build(small, small / "rows")
    assert code == 130
    assert list(out.iterdir()) == []
    assert capsys.readouterr().err == "process_data: interrupted; no dictionary was written\n"


def test_a_lost_row_is_a_bug(small, monkeypatch):
    lines = process_data_duckdb._lines
    monkeypatch.setattr(process_data_duckdb, "_lines", lambda chunk: f"(SELECT * FROM {lines(chunk)} LIMIT 1)")
    (small / "rows").write_bytes(row("a") * 3)
    with pytest.raises(RuntimeError, match="a chunk has 3 rows; DuckDB saw 1"):
        build(small, small / "rows")
