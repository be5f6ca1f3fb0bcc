"""Every format of messages through the same checks. Who adds a format adds a line to CASES."""

import subprocess
import sys

import pytest
from contracts.formats import CHECKS, check_format

from tfonline.formats import FORMATS, find
from tfonline.formats.tsv import Tsv

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
