"""Files as a stream: a partition is a file, a row a line; and what is said of files that are missing, cut or changed."""

import gzip

import pytest
import tensorflow as tf
from stream_helpers import good_rows, raw_rows

from tfonline.lifecycle import Exit, UserError
from tfonline.stream.file_source import FileSource
from tfonline.stream.readers.memory import MemorySource
from tfonline.stream.window import Window

LINES = [good_rows(1300, 0), good_rows(5, 1), good_rows(700, 2)]
CHAIN = [
    Window(0, (0, 0, 0), (600, 2, 0), "rows"),
    Window(1, (600, 2, 0), (601, 2, 520), "rows"),
    Window(2, (601, 2, 520), (650, 5, 520), "skip"),
    Window(3, (650, 5, 520), (1300, 5, 700), "end"),
]


@pytest.fixture
def pattern(tmp_path):
    """LINES in three files, the second packed."""
    (tmp_path / "a.tsv").write_bytes(b"\n".join(LINES[0]) + b"\n")
    with gzip.open(tmp_path / "b.tsv.gz", "wb") as f:
        f.write(b"\n".join(LINES[1]) + b"\n")
    (tmp_path / "c.tsv").write_bytes(b"\n".join(LINES[2]))  # no line end behind the last row
    return f"{tmp_path}/a.tsv,{tmp_path}/[bc].tsv*"


def test_files_are_partitions_with_their_lines_as_rows(pattern):
    source = FileSource(pattern)
    assert (source.num_partitions, source.begins(), source.ends(), source.name) == (3, [0, 0, 0], [1300, 5, 700], pattern)
    rows = raw_rows(CHAIN, source.reader)
    assert rows == raw_rows(CHAIN, MemorySource(LINES))
    assert len(rows) == 1300 + 5 + 700 - 49 - 3


def test_a_new_source_reads_on_from_the_middle(pattern):
    assert raw_rows(CHAIN[3:], FileSource(pattern).reader) == raw_rows(CHAIN[3:], MemorySource(LINES))


def test_a_source_may_be_read_again_from_the_beginning(pattern):
    again = [CHAIN[0], CHAIN[0], CHAIN[3]]
    assert raw_rows(again, FileSource(pattern).reader) == raw_rows(again, MemorySource(LINES))


def test_the_files_of_a_glob_are_in_the_order_of_their_names(tmp_path):
    for name in ("day_2", "day_0", "day_1"):
        (tmp_path / name).write_bytes(name.encode())
    source = FileSource(f"{tmp_path}/day_[12],{tmp_path}/day_0")
    assert [p.rpartition("/")[2] for p in source.paths] == ["day_1", "day_2", "day_0"]
    assert [m for m, _, _ in raw_rows([Window(0, (0, 0, 0), (1, 1, 1), "end")], source.reader)] == [b"day_1", b"day_2", b"day_0"]


def test_lines_are_passed_on_as_they_are(tmp_path):
    (tmp_path / "a").write_bytes(b"\n\r\n\xff\x00\n\n a \n")
    rows = raw_rows([Window(0, (0,), (5,), "end")], FileSource(str(tmp_path / "a")).reader)
    assert [m for m, _, _ in rows] == [b"", b"\r", b"\xff\x00", b"", b" a "]


def test_an_empty_file_is_a_partition_without_rows(tmp_path):
    (tmp_path / "a").touch()
    assert FileSource(str(tmp_path / "a")).ends() == [0]


@pytest.mark.parametrize("missing", ["nowhere.tsv", "nothing_*.tsv", "."])
def test_a_missing_file_is_missing_input(pattern, tmp_path, missing):
    with pytest.raises(UserError) as e:
        FileSource(f"{pattern},{tmp_path}/{missing}")
    assert e.value.code == Exit.NO_INPUT == 66
    assert str(e.value).startswith(f"{tmp_path}/{missing} is no file, and no file matches it.")


def test_a_packed_file_that_is_not_whole_is_said_before_anything_is_trained(tmp_path):
    for data, said in ((b"1\t2\n", "does not begin as one"), (gzip.compress(b"1\t2\n", mtime=0)[:-9], "ended before the end-of")):
        (tmp_path / "a.gz").write_bytes(data)
        with pytest.raises(UserError, match=said) as e:
            FileSource(f"{tmp_path}/a.gz").ends()
        assert e.value.code == 65


def test_a_file_that_is_cut_while_it_is_trained_from_keeps_its_error_for_the_loop(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"".join(b"%d\n" % i for i in range(50_000)), mtime=0))
    source = FileSource(str(path))
    assert source.ends() == [50_000]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(tf.errors.OpError):
        raw_rows([Window(0, (0,), (50_000,), "end")], source.reader)
    error = source.reader.error
    assert (error.code, str(error).split(":")[0]) == (65, f"{path} is no whole gzip file")


def test_a_file_that_loses_rows_while_it_is_trained_from_does_not_end_quietly(tmp_path):
    (tmp_path / "a").write_bytes(b"1\n2\n3\n")
    source = FileSource(f"{tmp_path}/a")
    assert source.ends() == [3]
    (tmp_path / "a").write_bytes(b"1\n2\n")
    with pytest.raises(tf.errors.OpError):
        raw_rows([Window(0, (0,), (3,), "end")], source.reader)
    assert source.reader.error.code == 78
    assert f"{tmp_path}/a has no rows [2, 3) any more, which were there when their window was planned" in str(source.reader.error)
