"""What refused rows look like, said in one sentence; every row here is made up."""

import gzip
import json

import pytest
from rows import SMALL_SCHEMA

from tfonline.formats import find
from tfonline.formats.recognise import guess

READS_CSV = " (the trainer reads such messages with --message_format=csv)"
TSV = "expected: 5 fields separated by tabs, no quotes, no header line."
GOOD = b"1\t3\t\tred\tblue"


def look(*rows, message_format="tsv"):
    return guess(rows, SMALL_SCHEMA, find(message_format))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (b"1,3,,red,blue", "CSV: 5 fields separated by commas (the trainer reads such messages with --message_format=csv)"),
        (
            b'0,3,4,"a, b","c ""d"""',
            "CSV: 5 fields separated by commas (the trainer reads such messages with --message_format=csv)",
        ),
        (b"1;3;;red;blue", "CSV: 5 fields separated by semicolons"),
        (b"1|3||red|blue", "5 fields separated by bars"),
        (b"1    3   4  red blue", "5 fields separated by spaces"),
        (b"3\t\tred\tblue", "4 fields separated by tabs (one is missing; the label?)"),
        (b"1\t3\t\tred\tblue\tx\ty", "7 fields separated by tabs"),
        (b"1\t3\tred\ta,b,c,d,e,f,g", "4 fields separated by tabs (one is missing; the label?)"),
        (b"red", "text of a single field"),
        (b'"1"\t"3"\t""\t"red"\t"blue"', "5 fields separated by tabs, with quotes around them"),
        (
            b'{"label": 1, "I1": 3, "C1": "red"}',
            "JSON objects (the trainer reads such messages with --message_format=json_objects)",
        ),
        (b'["1", "3", "", "red", "blue"]', "JSON lists (the trainer reads such messages with --message_format=json)"),
        (gzip.compress(GOOD, mtime=0), "gzip data (a file of it needs a name that ends in .gz)"),
        (b"Obj\x01\x04\x14avro.codec\x08null\x16avro.schema", "an Avro file"),
        (
            b"\x00\x00\x00\x01\x02\x02\x06\x06red",
            "Avro or Protobuf messages with Confluent's framing (a zero byte, then schema id 258)",
        ),
        (b"\x08\x01\x10\x03\x22\x03red\x2a\x04blue", "binary data, such as Protobuf or Avro messages"),
        (b"\x08\x96\x01\x10\xff\xff\x03", "binary data, such as Protobuf or Avro messages"),
        ("1\t3\t\tgrün\tblau".encode("latin-1"), "text that is not UTF-8"),
    ],
)
def test_a_form_that_is_not_the_expected_one(row, said):
    assert look(row, row) == f"The rows look like {said}; {TSV}"


def test_a_files_first_bytes_say_what_it_is():
    binary = b"\x01\x02\xff"
    assert look(b"PAR1\x15\x04", binary, binary) == f"The rows look like a Parquet file; {TSV}"
    assert look(b"PK\x03\x04\x14", binary, binary) == f"The rows look like a ZIP file, such as Excel's; {TSV}"
    assert look(b"\xff\xfe1\x00\t\x00", b"\x001\x00", b"\x001\x00") == f"The rows look like UTF-16 text; {TSV}"
    assert look(gzip.compress(GOOD, mtime=0), b"a", b"b").startswith("The rows look like gzip data (a file of it needs a name")


def test_rows_of_the_expected_form_are_not_guessed_at():
    assert look(GOOD, b"0\t\t\t\t", b"2\tx\t\t\t") == ""  # a wrong label or number is told by its reason
    assert look(b'1\t3\t\t"red"\t{blue}', b"1\t3\t\ta\x01\t0,1,2,3,4") == ""  # a category may hold anything but tabs and line ends
    assert look() == ""
    assert look(b"", b"") == ""


def test_what_most_rows_look_like_is_said():
    csv = b"1,3,,red,blue"
    assert look(GOOD, csv, csv) == f"The rows look like CSV: 5 fields separated by commas{READS_CSV}; {TSV}"
    assert look(GOOD, GOOD, csv) == ""


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([b"label\tI1\tI2\tC1\tC2"], "One of the rows looks like a header line (label, I1, I2, ...)"),
        ([b"clicked\tage\tvisits\tsite\tapp", GOOD, GOOD], "One of the rows looks like a header line (clicked, age, visits, ...)"),
        (
            [b'"clicked","age","visits","site","app"', b"1,3,,red,blue", b"0,,,,"],
            f"The rows look like CSV: 5 fields separated by commas{READS_CSV}, with a header line (clicked, age, visits, ...)",
        ),
        # Two files, a header in each.
        ([b"a\tb\tc\td", b"1\t2\t3\t4", b"a\tb\tc\td", b"5\t6\t7\t8"],
         "The rows look like 4 fields separated by tabs (one is missing; the label?), with a header line (a, b, c, ...)"),
    ],
)  # fmt: skip
def test_a_header_line(rows, said):
    assert look(*rows) == f"{said}; {TSV}"


def test_rows_of_words_are_no_headers():
    assert look(b"yes\tno\tnever\tred\tblue", b"no\tyes\tnever\tred\tblue") == ""
    assert look(b"a line of\ttext", b"a line of\ttext") == f"The rows look like 2 fields separated by tabs; {TSV}"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (GOOD, "The rows look like 5 fields separated by tabs (the trainer reads such messages with --message_format=tsv); "),
        (json.dumps(["1", "3", "red"]).encode(), "The rows look like JSON lists of 3 values; "),
        (b'["1", "3", "red]', "The rows look like JSON lists that are cut or damaged; "),
        (b'{"label": 1}', "The rows look like JSON objects (the trainer reads such messages with --message_format=json_objects); "),
    ],
)
def test_json_is_expected(row, said):
    assert look(row, message_format="json") == f"{said}expected: JSON lists of 5 values, no header line."


def test_json_lists_of_the_expected_length_are_not_guessed_at():
    assert look(b'["1", "3", null, "r\\u00e4d", "blue"]', message_format="json") == ""
