"""Files of rows: their order, and what is said of one that cannot be read to its end."""

import errno
import gzip
import io
import os
import re

import pytest

from tfonline.lifecycle import Exit, UserError
from tfonline.stream.row_files import find_files, open_rows

LINES = [b"%d\t%d\n" % (i, i * i) for i in range(100_000)]
ROWS = b"".join(LINES)
PACKED = gzip.compress(ROWS, mtime=0)


def file_of(tmp_path, data, name="rows.gz"):
    (tmp_path / name).write_bytes(data)
    return str(tmp_path / name)


def refusal(path) -> tuple[str, Exit]:
    """What is said of a file that cannot be read to its end, wherever that shows."""
    with pytest.raises(UserError) as e, open_rows(path) as file:
        file.read()
    return str(e.value), e.value.code


@pytest.mark.parametrize("packed", [False, True])
def test_plain_and_packed_files_give_the_same_lines(tmp_path, packed):
    path = file_of(tmp_path, PACKED, "rows.gz") if packed else file_of(tmp_path, ROWS, "rows")
    with open_rows(path) as file:
        assert list(file) == LINES
        assert file.disk_bytes == os.path.getsize(path)


def test_a_file_of_several_members_as_cat_makes_them(tmp_path):
    path = file_of(tmp_path, gzip.compress(b"a\n", mtime=0) + gzip.compress(b"b\n", mtime=0))
    with open_rows(path) as file:
        assert file.read() == b"a\nb\n"


def test_what_a_pipe_holds_is_given_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(writer, b"a\nb")
    with open_rows(str(tmp_path / "pipe")) as file:
        assert file.read1(1000) == b"a\nb"
    os.close(writer)


def test_a_file_that_cannot_be_opened_is_missing_input(tmp_path):
    for path, why in ((tmp_path / "none.gz", "No such file or directory"), (tmp_path, "Is a directory")):
        expected = f"{path} cannot be read ({why}). Expected a file of rows, plain or .gz."
        assert refusal(str(path)) == (expected, Exit.NO_INPUT)


@pytest.mark.parametrize("data", [b"", b"1\t2\n", b"PK\x03\x04"])
def test_a_plain_file_with_a_packed_name_is_said_before_a_row_is_read(tmp_path, data):
    path = file_of(tmp_path, data)
    with pytest.raises(UserError) as e:
        open_rows(path)
    assert (str(e.value), e.value.code) == (
        f"{path} is no whole gzip file: it does not begin as one. Fetch it again; if it holds plain text, take .gz off its name.",
        65,
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (PACKED[:-9], "Compressed file ended before the end-of-stream marker was reached"),
        (PACKED[:40], "Compressed file ended before the end-of-stream marker was reached"),
        (PACKED[:1], "Not a gzipped file"),
        (PACKED + b"more", "Not a gzipped file (b'mo')"),
        (PACKED[:-8] + bytes(8), "CRC check failed"),
        (b"\x1f\x8b\x08\x00" + b"\xff" * 50, "Error -3 while decompressing data"),
        (b"\x1f\x8c" + PACKED[2:], "Not a gzipped file"),
    ],
)
def test_a_packed_file_that_is_not_whole_is_damaged_data(tmp_path, data, why):
    message, code = refusal(file_of(tmp_path, data))
    assert code == Exit.DATA == 65
    assert message.startswith(f"{tmp_path}/rows.gz is no whole gzip file: {why}")
    assert message.endswith(" bytes of rows. Fetch it again, or leave it out.")


def test_damage_in_the_middle_shows_behind_the_rows_before_it(tmp_path):
    path, read = file_of(tmp_path, PACKED[:-2000]), []
    with pytest.raises(UserError) as e, open_rows(path) as file:
        read.extend(file)
    assert len(read) > 50_000
    assert read == LINES[: len(read)]
    after = int(re.search(r"after ([\d,]+) bytes of rows", str(e.value))[1].replace(",", ""))
    assert len(ROWS) > after > len(ROWS) // 2


def test_a_disk_that_fails_in_the_middle_is_no_damaged_gzip(tmp_path, monkeypatch):
    path = file_of(tmp_path, ROWS, "rows")
    with open_rows(path) as file:
        assert file.readline() == b"0\t0\n"

        def fail(_):
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(file.raw, "_file", type("Failing", (io.RawIOBase,), {"read1": staticmethod(fail)})())
        with pytest.raises(UserError) as e:
            file.read()
    assert e.value.code == 66
    assert str(e.value).startswith(f"{path} cannot be read (Input/output error), after 262,144 bytes of rows.")


# Which files


def names(found):
    return [path.rpartition("/")[2] for path in found]


def test_the_files_of_a_glob_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("day_10", "day_9", "day_8", "day_08", "other"):
        file_of(tmp_path, b"", name)
    assert names(find_files([f"{tmp_path}/day_*"])) == ["day_08", "day_8", "day_9", "day_10"]
    assert names(find_files([f"{tmp_path}/other", f"{tmp_path}/day_8", f"{tmp_path}/*"])) == [
        "other", "day_8", "day_08", "day_9", "day_10",
    ]  # fmt: skip


def test_a_name_with_brackets_is_a_name_where_such_a_file_is(tmp_path):
    for name in ("a[1]", "a1"):
        file_of(tmp_path, b"", name)
    assert names(find_files([f"{tmp_path}/a[1]"])) == ["a[1]"]
    (tmp_path / "a[1]").unlink()
    assert names(find_files([f"{tmp_path}/a[1]"])) == ["a1"]


@pytest.mark.parametrize("missing", ["nowhere.tsv", "nothing_*.tsv", "."])
def test_a_pattern_that_means_no_file_is_missing_input(tmp_path, missing):
    with pytest.raises(UserError) as e:
        find_files([file_of(tmp_path, b""), f"{tmp_path}/{missing}"])
    assert (str(e.value), e.value.code) == (
        f"{tmp_path}/{missing} is no file, and no file matches it. Expected files of rows, plain or .gz, or a quoted glob.",
        66,
    )
