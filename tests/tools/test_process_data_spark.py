"""process_data with Spark: the bytes of DuckDB, and what is Spark's alone. What both do alike is tested with both elsewhere."""

import argparse
import gzip
import os
import subprocess
import sys

import process_data
import process_data_spark
import pytest
import synthetic
from process_data_helpers import CRITEO, FILES, QUICK_JAVA, ROOT, build, make_rows, report

from tfonline.lifecycle import UserError

ROW = b"0\t\t\ta\t\n"
ARGS = argparse.Namespace(memory_limit="2GB", threads=3, spark_master="", temp_dir="/tmp/here")


def test_both_engines_write_the_same_bytes(spark, tmp_path):
    rows = b"\n".join(line for block in synthetic.rows(6_000) for line in block.lines) + b"\n"
    # Ties of every kind: 40 values that are seen seven times each, in the first category column, in another order each time.
    words = [f"{letter}{i}" for letter in ("é", "z", "Z", "\uffff", "\U0001f600", "-", "'", '"') for i in range(5)]
    ties = "".join("\t".join(["1", *[""] * 13, words[(i * 7 + k) % 40], *[""] * 25]) + "\n" for k in range(7) for i in range(40))
    (tmp_path / "day_1").write_bytes(rows[: len(rows) // 3])  # cut within a line: two bad rows
    (tmp_path / "day_2.gz").write_bytes(gzip.compress(rows[len(rows) // 3 :]))
    (tmp_path / "day_10").write_bytes(make_rows(3_000, seed=5) + ties.encode())
    counted = {}
    for engine in process_data.ENGINES:
        code, out = build(tmp_path, tmp_path / "day_*", engine=engine, columns=CRITEO, out=engine, max_bad_ratio=0.1)
        assert code == 0
        counted[engine] = report(out)
        for key in ("secs", "rows_per_sec", engine):
            del counted[engine][key]
    for name in FILES:
        assert (tmp_path / "spark" / name).read_bytes() == (tmp_path / "duckdb" / name).read_bytes()
    assert counted["spark"] == counted["duckdb"]
    assert counted["spark"]["rows"] == sum(counted["spark"]["bad"].values()) + counted["spark"]["good"] > 9_000
    assert set(counted["spark"]["bad"]) == {"fields", "label", "number", "encoding", "carriage_return"}
    assert counted["spark"]["empty_lines"] > 0


def test_every_bad_row_has_the_reason_that_duckdb_gives(spark, small):
    lines = [
        b"1\t1\t1\ta", b"1\t1\t1\ta\tb\tc", b" ", b"\x00",  # fields
        b"\t1\t1\ta\tb", b"2\t1\t1\ta\tb", b"\xef\xbb\xbf1\t1\t1\ta\tb",  # label
        b"1\t1.0\t1\ta\tb", b"1\t\xd9\xa1\t1\ta\tb", b"1\t1\t1\xe2\x80\xa8\ta\tb", b"1\t1234567890123456789\t1\ta\tb",  # number
        b"1\t1\t1\ta\rb\tb", b"\r",  # carriage_return
        b"1\t1\t1\ta\t\xff", b"1\t1\t1\t\xed\xa0\x80\tb", b"1\t1\t1\ta\t\xff\r",  # encoding
        b"0\t1\t1\t#a\x1f,;|\x00\x0b\x0c\t\xe2\x80\xa8\xc2\x85", b'0\t-123456789012345678\t1\t"a\tb"', b"1\t\t\t\t",  # good
    ]  # fmt: skip
    (small / "rows").write_bytes(b"\n".join(lines))
    code, out = build(small, small / "rows", engine="spark", min_count=1, max_bad_ratio=1)
    assert code == 0
    assert report(out)["bad"] == {"carriage_return": 2, "encoding": 3, "fields": 4, "label": 3, "number": 4}
    assert report(out)["good"] == 3
    assert build(small, small / "rows", engine="duckdb", min_count=1, max_bad_ratio=1, out="same")[0] == 0
    for name in FILES:
        assert (out / name).read_bytes() == (small / "same" / name).read_bytes()


def test_a_number_at_the_end_of_a_row_ends_there(spark, small):
    # Java's $ would let a line separator follow.
    (small / "odd.yaml").write_text("name: odd\ncolumns:\n  - {name: label, kind: label}\n  - {name: I1, kind: integer}\n")
    (small / "rows").write_bytes("0\t1\n0\t1\u2028\n0\t1\u0085\n".encode())
    code, out = build(small, small / "rows", engine="spark", columns=small / "odd.yaml", max_bad_ratio=1)
    assert (code, report(out)["bad"]) == (0, {"number": 2})


def test_a_name_is_no_pattern_of_spark(spark, small):
    (small / "a b%20[x]{y,z}\\?é.gz").write_bytes(gzip.compress(ROW))
    code, out = build(small, small / "a b*", engine="spark")
    assert (code, report(out)["good"]) == (0, 1)


@pytest.mark.parametrize(
    ("name", "data", "expected", "problem"),
    [
        ("_rows", ROW, 66, "_rows: Spark passes over names that begin with an underscore or a dot, and takes none with a colon."),
        (".rows", ROW, 66, ".rows: Spark passes over names"),
        ("10:30", ROW, 66, "10:30: Spark passes over names"),
        ("rows.bz2", ROW, 65, "rows.bz2 has a name of a compressed file."),
        ("rows", b"\xef\xbb\xbf" + ROW, 65, "rows begins with a byte order mark, which Spark passes over"),
        ("rows.gz", gzip.compress(b"\xef\xbb\xbf" + ROW, mtime=0), 65, "rows.gz begins with a byte order mark"),
    ],
)
def test_what_spark_would_read_otherwise_is_refused(spark, small, name, data, expected, problem, capsys):
    (small / name).write_bytes(data)
    code, out = build(small, small / name, engine="spark", max_bad_ratio=1)
    assert code == expected
    assert problem in capsys.readouterr().err
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--engine=flink"], "--engine=flink is none. Expected duckdb or spark."),
        (["--spark_master=yarn"], "--spark_master=yarn is for Spark. Add --engine=spark, or leave it out."),
        (["--engine=spark", "--spark_master=yarn", "--threads=99"], "--threads=99 is for this machine. Leave it out"),
    ],
)
def test_wrong_flags(small, flags, expected, capsys):
    assert process_data.main(["rows", f"--output_dir={small / 'out'}", *flags]) == 64
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("limit", "megabytes"), [("4GB", 3814), ("4GiB", 4096), ("1.5 gib", 1536), ("700mb", 667), ("1TB", 953674), ("512MiB", 512)]
)
def test_the_memory_limit_has_units_of_duckdb(limit, megabytes):
    assert process_data_spark._megabytes(limit) == megabytes


@pytest.mark.parametrize(("limit", "problem"), [("much", "no number"), ("4", "no number"), ("511MiB", "at least 512MiB")])
def test_a_memory_limit_that_does_not_work(tmp_path, limit, problem):
    args = argparse.Namespace(**{**vars(ARGS), "memory_limit": limit})
    with pytest.raises(UserError, match=problem) as e:
        process_data_spark.start(args, str(tmp_path))
    assert e.value.code == 64


def test_without_pyspark_it_says_how_to_install_it(small, monkeypatch, capsys):
    for name in ("pyspark", "pyspark.sql"):
        monkeypatch.setitem(sys.modules, name, None)
    (small / "rows").write_bytes(ROW)
    assert build(small, small / "rows", engine="spark")[0] == 64
    assert "Install it: pip install -r requirements-spark.txt. Or use --engine=duckdb." in capsys.readouterr().err
    assert build(small, small / "rows", engine="duckdb")[0] == 0


def test_ctrl_c_leaves_a_session_that_works(spark, small, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    (small / "rows").write_bytes(ROW)
    with monkeypatch.context() as m:
        m.setattr(process_data_spark, "count_sql", interrupted)
        code, out = build(small, small / "rows", engine="spark")
    assert (code, list(out.iterdir())) == (130, [])
    assert capsys.readouterr().err == "process_data: interrupted; no dictionary was written\n"
    assert build(small, small / "rows", engine="spark")[0] == 0


def test_nothing_is_kept_in_a_session_that_goes_on(spark, small):
    (small / "rows").write_bytes(ROW)
    assert build(small, small / "rows", engine="spark")[0] == 0
    assert spark.sparkContext._jsc.getPersistentRDDs().isEmpty()


def _tool(*args: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "tools/process_data.py"), *args, "--engine=spark"]
    env = {**os.environ, "JDK_JAVA_OPTIONS": QUICK_JAVA}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=env)


def test_the_command_line_prints_nothing_of_spark(small):
    (small / "rows").write_bytes(ROW)
    flags = [f"--output_dir={small / 'out'}", f"--columns={small / 'small.yaml'}", f"--temp_dir={small}"]
    done = _tool(str(small / "rows"), *flags, "--threads=1", "--memory_limit=600MB")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].split() == ["column", "min", "max", "missing"]
    assert done.stdout.splitlines()[-1].startswith("process_data: rows=1 bad=0 ids=4 ")
    assert sorted(f.name for f in small.iterdir()) == ["out", "rows", "small.yaml"]


def test_a_master_that_is_none(small):
    (small / "rows").write_bytes(ROW)
    done = _tool(str(small / "rows"), f"--output_dir={small / 'out'}", "--spark_master=nonsense")
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith("process_data: Spark does not start with --spark_master=nonsense: ")
    assert "Master must either be yarn or start with" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("problem", "expected", "code"),
    [
        (
            "x\nCaused by: java.lang.OutOfMemoryError: Java heap space\n",
            "--memory_limit=2GB is too little for --threads=3: it ran out of memory. Give more memory or fewer threads.",
            64,
        ),
        (
            "x\nCaused by: java.io.IOException: No space left on device\n",
            "cannot write: No space left on device. Give a folder that has space: --temp_dir=/tmp/here.",
            64,
        ),
        (
            "x: [FAILED_READ_FILE.FILE_NOT_EXIST] Encountered error while reading file file:///data/a%20b. File does not exist.\n",
            "/data/a b cannot be read by Spark: it is not there. All machines of --spark_master must see the files, and --temp_dir "
            "with --head_rows, under the same names.",
            66,
        ),
    ],
)  # fmt: skip
def test_failures_of_spark_that_a_person_can_mend(problem, expected, code):
    error = process_data_spark._as_user_error(ARGS, problem)
    assert (str(error), error.code) == (expected, code)


def test_a_failure_that_is_a_bug_stays_one():
    assert process_data_spark._as_user_error(ARGS, "x\nCaused by: java.lang.NullPointerException\n") is None
