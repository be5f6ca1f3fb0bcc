"""The first rows of a stream, looked at before a run."""

import pytest
from rows import SMALL_SCHEMA as SCHEMA

from tfonline.features.parse import Parse
from tfonline.formats.recognise import shown
from tfonline.formats.tsv import Tsv
from tfonline.lifecycle import Exit, UserError
from tfonline.report.first_rows import check, describe, read_first_rows
from tfonline.stream.readers.memory import MemorySource
from tfonline.stream.records import RowsGone

GOOD = b"1\t5\t1\tab\tx"


def look(partitions, position=None, source=None):
    source = source or MemorySource(partitions)
    return read_first_rows(source, position or [0] * len(partitions), Parse(SCHEMA))


def numbered(partition, n):
    return [b"%d of %d" % (i, partition) for i in range(n)]


def test_a_hundred_rows_from_the_position_on():
    first = look([numbered(0, 500)], [250])
    assert first.messages == numbered(0, 500)[250:350]
    assert [row[:3] for row in first.refused] == [(0, offset, 4) for offset in range(250, 350)]
    assert first.refused[7][3] == b"257 of 0"


def test_they_are_of_the_first_partitions_that_have_any():
    first = look([numbered(p, n) for p, n in enumerate((10, 0, 500, 20, 500, 500))], [5, 0, 0, 0, 0])
    counts = [sum(message.endswith(b"of %d" % p) for message in first.messages) for p in range(6)]
    assert counts == [5, 0, 32, 20, 43, 0]
    assert len(first.messages) == 100


def test_rows_that_retention_has_removed_are_not_asked_for():
    class Later(MemorySource):
        def begins(self):
            return [30]

    assert look([numbered(0, 50)], [10], Later([numbered(0, 50)])).messages == numbered(0, 50)[30:]


def test_rows_that_retention_removes_meanwhile_are_another_start():
    class Gone(MemorySource):
        def fetch(self, ranges):
            assert ranges == {0: (10, 50)}
            raise RowsGone("partition 0: [10, 50)")

    with pytest.raises(UserError, match=r"the first rows were removed while they were read: partition 0: \[10, 50\)") as e:
        look([numbered(0, 50)], [10], Gone([numbered(0, 50)]))
    assert e.value.code == 75


@pytest.mark.parametrize("position", [[7, 3], [7, 3, 0, 0]])
def test_a_journals_topic_may_have_had_another_number_of_partitions(position):
    assert look([numbered(p, 9) for p in range(3)], position).messages == numbered(0, 9)[7:] + numbered(1, 9)[3:] + numbered(2, 9)


@pytest.mark.parametrize("partitions", [[[]], [numbered(0, 3), []]])
def test_a_stream_without_rows_is_not_read(partitions):
    class Unread(MemorySource):
        def fetch(self, ranges):
            raise AssertionError("nothing is there to be read")

    source = Unread(partitions)
    first = look(partitions, [len(rows) for rows in partitions], source)
    assert first == ([], [])
    assert describe(first, SCHEMA, Tsv()) == "the stream has no row there yet"


def test_what_is_said_of_them():
    assert describe(look([[GOOD] * 3]), SCHEMA, Tsv()) == "of the first 3 rows all are good"
    assert describe(look([[GOOD, b"1;5;1;ab;x", b"", GOOD]]), SCHEMA, Tsv()) == (
        "of the first 4 rows 2 are good. The first that is not: partition 0, offset 1, fields (more or fewer fields than there "
        "are columns, or a line end inside): '1;5;1;ab;x'. The rows look like CSV: 5 fields separated by semicolons; expected: 5 "
        "fields separated by tabs, no quotes, no header line."
    )
    assert describe(look([[b"7" + GOOD[1:], GOOD]]), SCHEMA, Tsv()) == (
        r"of the first 2 rows 1 is good. The first that is not: partition 0, offset 0, label (the label is neither 0 "
        r"nor 1, true nor false): "
        r"'7\t5\t1\tab\tx'."
    )


def test_a_message_is_shown_cut_and_with_its_bytes_written_out():
    assert shown(b"a\tb\x1b[2J\r\n") == r"'a\tb\x1b[2J\r\n'"
    assert shown(b"\xff\x00a") == r"b'\xff\x00a'"
    assert shown("é".encode() * 300) == f"'{'é' * 200}'... (600 bytes)"
    assert shown(b"") == "''"


def test_a_stream_of_nothing_but_other_things_ends_the_run():
    with pytest.raises(
        UserError, match=r"of the first 10 rows none is good\. .* Check --topic, --columns and --message_format"
    ) as e:
        check(look([[b'{"label": 1}'] * 10]), SCHEMA, Tsv(), "--topic")
    assert "The rows look like JSON objects" in str(e.value)
    assert e.value.code == Exit.DATA == 65
    with pytest.raises(UserError, match="Check --input_files, "):
        check(look([[b""] * 10]), SCHEMA, Tsv(), "--input_files")


def test_some_rows_and_few_rows_do_not():
    for few in ([[b"other"] * 99, [GOOD]], [[b"other"] * 9], [[]]):
        check(look(few), SCHEMA, Tsv(), "--topic")
