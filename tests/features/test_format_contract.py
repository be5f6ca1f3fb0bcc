"""Every format of messages through the same checks. Who adds a format adds a line to CASES."""

import subprocess
import sys

import pyarrow as pa
import pytest
from contracts.formats import CHECKS, check_format

from tfonline.formats import FORMATS, find
from tfonline.formats.arrow_reader import stream_of
from tfonline.formats.tsv import Tsv


def arrow(**columns):
    """A message of columns by name, of a type as pyarrow guesses it."""
    return stream_of(pa.table(columns))


# By the name of the format: messages of label, I1, I2, C1, C2 that it refuses, and why.
CASES = {
    "tsv": {b"1\t5\t-3\tab\tc\rd": "fields", b"1\t5\t-3\tab\t\xff": "encoding"},
    "csv": {
        b'1,5,-3,"ab,cd': "csv",
        b'1,5,-3,"ab"c,cd': "csv",
        b"1,5,-3,ab,c\rd": "csv",
        b"1,5,-3,ab,cd\n1,5,-3,ab,cd": "csv",
        b'1,5,-3,"a\nb",cd': "type",
        b"1,5,-3,a\tb,cd": "type",
        b"1,5,-3,ab,\xff": "encoding",
        b'1,5,-3,"ab",\xff': "encoding",
    },
    "json": {b'["1","5","-3","ab","c\\"d"]': "json", b'["1","5","-3","ab","\xff"]': "encoding", b'{"label":"1"}': "json"},
    "json_objects": {
        b'{"label": 1, "I1": [5]}': "type",
        b'{"label": 1, "I1": {"a": 5}}': "type",
        b'{"label": 1, "C1": "a\\tb"}': "type",
        b'{"label": 1, "C1": "\xff"}': "encoding",
        b'{"label": 1, "I1": 5.5}': "number",
        b'{"label": 1, "I1": true}': "number",
        b'{"I1": 5}': "label",
        b'{"label": 1': "json",
        b'["1","5"]': "json",
        b"7": "json",
    },
    # Branches of unions: 0 for null, 2 for a whole number or the text of a category, 4 for a text; a text's length is doubled, too.
    "avro": {
        b"\x02\x02\x02\x0a\x02\x05\x02\x04ab\x02\x04c": "avro",  # cut
        b"\x02\x02\x02\x0a\x02\x05\x02\x04ab\x02\x04cdx": "avro",  # a byte too many
        b"\x02\x02\x02\x0a\x02\x05\x02\x04ab\x06\x04cd": "avro",  # there is no such branch
        b"\x02\x02\x02\x0a\x02\x05\x02\x04ab\x01\x04cd": "avro",  # nor is there one below 0
        b"\x02\x02\x02\x0a\x02\x05\x02\x04ab\x02\x03cd": "avro",  # a text of -2 bytes
        b"\x02\x02\x02\x0a\x02\x05\x02\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01ab\x02\x04cd": "avro",  # of 2^63 - 1
        b"\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01": "avro",  # a number of more than 64 bits
        b"\x02\x02\x02\x0a\x02\x05\x02\x06a\tb\x02\x04cd": "type",
        b"\x02\x02\x02\x0a\x02\x05\x02\x06a\nb\x02\x04cd": "type",
        b"\x02\x02\x02\x0a\x02\x05\x02\x04ab\x02\x02\xff": "encoding",
        b"\x00\x00\x00\x00\x00": "label",
    },
    # Texts in fields 1 to 5: a tag of 8 * field + 2, a length and the text.
    "protobuf": {
        b"\x0a\x011\x12\x015\x1a\x05": "protobuf",  # cut
        b"\x0a\x011\x12": "protobuf",
        b"\x0a\x011\x17": "protobuf",  # there is no such wire type
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x011": "protobuf",
        b"\x00\x00": "protobuf",  # there is no field 0
        b"\x0a\x011\x22\x03a\tb": "type",
        b"\x0a\x011\x22\x03a\rb": "type",
        b"\x0a\x011\x22\x01\xff": "encoding",
        b"\x12\x015": "label",
        b"\x0a\x011\x0a\x012": "label",  # of a field that is there twice the last counts
        b"\x08\x01\x12\x015": "label",  # a number where a text was expected is passed by, as if unknown
    },
    "arrow": {
        arrow(label=[1], I1=[5])[:-40]: "arrow",  # cut
        b"ARROW1\0\0 and so on": "arrow",  # a file
        b"label,I1": "arrow",
        arrow(label=[1, 1], I1=[5, 6]): "arrow",  # two rows where one is wanted
        arrow(label=[1], I1=[2.5]): "number",
        arrow(label=[1], I1=[True]): "number",
        arrow(label=[1], I1=[10**18]): "number",
        arrow(label=[None], I1=[5]): "label",
        arrow(label=[1], C1=["a\tb"]): "type",
        arrow(label=[1], C1=[b"ab"]): "type",
        arrow(label=[1], C1=[["ab"]]): "type",
        arrow(label=[1], C1=[{"a": "b"}]): "type",
    },
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", FORMATS)
def test_a_format_keeps_its_contract(name, check):
    check(find(name), CASES[name])


def test_a_format_that_breaks_it_is_found():
    class Quoting(Tsv):
        def encode(self, fields, columns):
            return super().encode([f'"{field}"' for field in fields], columns)

    check_format(Tsv(), CASES["tsv"])
    with pytest.raises(AssertionError):
        check_format(Quoting())


def test_an_unknown_format_is_named():
    with pytest.raises(ValueError, match=r"'xml' is no format of messages\. Expected one of .*tsv.*json"):
        find("xml")


def test_messages_are_written_without_tensorflow():
    code = "import sys; from tfonline.formats import FORMATS; from tfonline.features.schema import load_schema; "
    code += "columns = load_schema('configs/criteo.yaml').columns[:2]; [f.encode(['1', '2'], columns) for f in FORMATS.values()]; "
    code += "sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
